//! `GET /api/v1/openapi.json`: the contract, for machines. The document is written by hand; the tests below and those of the whole system
//! hold it to the code.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use crate::answer::Answer;

const DOCUMENT: &str = include_str!("openapi.json");

/// The document, as it was compiled in.
pub fn document() -> Answer {
    Answer::new(StatusCode::OK, DOCUMENT)
        .with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .with(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))
}

/// The document, read.
pub fn value() -> serde_json::Value {
    serde_json::from_str(DOCUMENT).expect("the document is JSON, as its tests say")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use common::cart::{EXTERNAL_REFERENCE_MAX_CHARS, LINES_MAX, LOCALE_MAX_BYTES, METADATA_PAIRS_MAX, QUANTITY_MAX, SESSION_LIFETIME_S};
    use common::event::{EventBody, EventKind};
    use common::fulfill::{EMAIL_MAX_BYTES, KEYS_MAX};
    use common::ids::OrderId;
    use common::json::FIELD_ERRORS_MAX;
    use common::license::LICENSE_KEY_MAX_BYTES;
    use common::money::{Currency, MINOR_MAX};
    use common::order::OrderStatus;
    use common::order::facts::{Dispute, News};
    use common::session::TOKEN_MAX_CHARS;
    use common::stripe::DisputeStatus;
    use common::tax::{Category, TaxType};
    use common::webhook::ENDPOINTS_MAX;
    use common::webhook_target::URL_MAX;
    use serde_json::{Value, json};

    use crate::api::webhooks::deliveries;
    use crate::error::Code;
    use crate::gate::Access;
    use crate::router::{ROUTES, Route};

    fn document() -> Value {
        super::value()
    }

    /// What a JSON pointer leads to, references followed on the way.
    fn at<'d>(document: &'d Value, pointer: &str) -> &'d Value {
        pointer.split('/').skip(1).fold(document, |value, part| {
            let name = part.replace("~1", "/");
            let next = value.get(&name).or_else(|| value.get(name.parse::<usize>().ok()?));
            resolved(document, next.unwrap_or_else(|| panic!("{pointer} ends before {name}")))
        })
    }

    fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => at(document, reference.strip_prefix('#').expect("references stay inside the document")),
            None => value,
        }
    }

    fn words(value: &Value) -> Vec<&str> {
        value.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word")).collect()
    }

    /// The document's path for a route. Files have no trailing slash.
    fn documented_path(route: &Route) -> String {
        if route.path.ends_with(".json") { route.path.to_owned() } else { format!("{}/", route.path) }
    }

    fn api_routes() -> impl Iterator<Item = &'static Route> {
        ROUTES.iter().filter(|route| route.path.starts_with("/api/"))
    }

    fn operation<'d>(document: &'d Value, route: &Route) -> &'d Value {
        &document["paths"][documented_path(route)][route.method.as_str().to_ascii_lowercase()]
    }

    #[test]
    fn it_has_every_route_and_no_other() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.to_ascii_uppercase())))
            .collect();
        let routed: BTreeSet<(String, String)> =
            api_routes().map(|route| (documented_path(route), route.method.as_str().to_owned())).collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn it_asks_for_a_key_and_names_the_scope_where_the_gate_does() {
        let document = document();
        for route in api_routes() {
            let operation = operation(&document, route);
            match route.access {
                Access::Key(scope, quota) => {
                    assert_eq!(operation["security"], json!([{ "storeApiKey": [] }]), "{}", route.name);
                    let said = operation["description"].as_str().unwrap();
                    assert!(said.contains(&format!("Scope `{}`", scope.as_str())), "{said}");
                    assert!(said.contains(&format!("bucket `{}`", quota.as_str())), "{said}");
                }
                Access::Address(quota) => {
                    assert_eq!(operation["security"], json!([]), "{}", route.name);
                    let said = operation["description"].as_str().unwrap().to_lowercase();
                    assert!(said.contains(&format!("bucket `{}`", quota.as_str())), "{said}");
                }
                Access::Page | Access::Open => panic!("{} is in the API and has no quota of it", route.name),
            }
        }
    }

    /// A code stands in the list of all codes, and only ever beside its own status.
    #[test]
    fn it_lists_every_code_and_each_under_its_status() {
        let document = document();
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words(&document["components"]["schemas"]["ProblemCode"]["enum"]), codes);
        let mut told = BTreeSet::new();
        for (path, method) in api_routes().map(|route| (documented_path(route), route.method.as_str().to_ascii_lowercase())) {
            let responses = document["paths"][&path][&method]["responses"].as_object().unwrap();
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &resolved(&document, response)["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
                assert_eq!(schema["status"]["const"].to_string(), *status, "{path}");
                for code in words(&schema["code"]["enum"]) {
                    let known = Code::ALL.iter().find(|known| known.as_str() == code).unwrap_or_else(|| panic!("{code}"));
                    assert_eq!(known.status().as_str(), status, "{path}: {code}");
                    told.insert(code);
                }
            }
        }
        // The one that no operation can give: an operation has a method.
        let untold: Vec<_> = codes.into_iter().filter(|code| !told.contains(code)).collect();
        assert_eq!(untold, [Code::MethodNotAllowed.as_str()]);
    }

    #[test]
    fn every_example_of_a_problem_is_one_that_is_really_given() {
        let document = document();
        for (name, response) in document["components"]["responses"].as_object().unwrap() {
            let example = &response["content"]["application/problem+json"]["example"];
            let code = Code::ALL.iter().find(|code| example["code"] == code.as_str()).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(example["title"], code.title(), "{name}");
            assert_eq!(example["status"], code.status().as_u16(), "{name}");
            assert_eq!(example["type"], format!("https://pay.example.com/developers/errors/{}/", code.as_str()), "{name}");
        }
    }

    #[test]
    fn its_bounds_are_the_codes_bounds() {
        let document = document();
        let schemas = "/components/schemas";
        let bounds = [
            ("SessionRequest/properties/cart/maxProperties", LINES_MAX as i64),
            ("SessionRequest/properties/locale/maxLength", LOCALE_MAX_BYTES as i64),
            ("SessionRequest/properties/expires_in/minimum", *SESSION_LIFETIME_S.start()),
            ("SessionRequest/properties/expires_in/maximum", *SESSION_LIFETIME_S.end()),
            // Beside the pairs of their own there are three members with a meaning.
            ("Metadata/maxProperties", METADATA_PAIRS_MAX as i64 + 3),
            ("Metadata/properties/external_reference/maxLength", EXTERNAL_REFERENCE_MAX_CHARS as i64),
            ("Session/properties/token/maxLength", TOKEN_MAX_CHARS as i64),
            ("FulfillRequest/properties/customer_email/maxLength", EMAIL_MAX_BYTES as i64),
            ("FulfillRequest/properties/items/maxItems", LINES_MAX as i64),
            ("ExternalReference/maxLength", EXTERNAL_REFERENCE_MAX_CHARS as i64),
            ("FulfillRequest/properties/total_minor/maximum", MINOR_MAX),
            ("Order/properties/total_minor/maximum", MINOR_MAX),
            ("Quantity/minimum", 1),
            ("Quantity/maximum", QUANTITY_MAX),
            ("FulfillItem/properties/quantity/maximum", KEYS_MAX),
            ("LicenseKeys/items/maxLength", LICENSE_KEY_MAX_BYTES as i64),
            ("Problem/properties/errors/maxItems", FIELD_ERRORS_MAX as i64),
            ("WebhookPage/properties/data/maxItems", ENDPOINTS_MAX as i64),
            ("WebhookCreate/properties/url/maxLength", URL_MAX as i64),
            ("WebhookChange/properties/url/maxLength", URL_MAX as i64),
            ("Webhook/properties/url/maxLength", URL_MAX as i64),
            ("Resent/properties/resent/maximum", storage::pg::webhook_attempts::RESENT_MAX),
        ];
        for (pointer, bound) in bounds {
            assert_eq!(*at(&document, &format!("{schemas}/{pointer}")), bound, "{pointer}");
        }
        let pattern = |name: &str| at(&document, &format!("{schemas}/{name}/pattern")).as_str().unwrap().to_owned();
        assert_eq!(pattern("Sku"), format!("^[A-Za-z0-9._-]{{1,{}}}$", common::cart::SKU_MAX_BYTES));
        assert!(pattern("OrderId").contains(&format!("{{{}}}", OrderId::LEN - "ORD-".len())));
        let key = at(&document, "/components/parameters/IdempotencyKey/schema/pattern");
        assert_eq!(*key, format!("^[!-~]{{1,{}}}$", common::fulfill::IDEMPOTENCY_KEY_MAX));
    }

    /// Every three letters there are, against the two lists of currencies.
    #[test]
    fn its_currencies_are_those_that_are_taken() {
        let letters = || ('A'..='Z').flat_map(|a| ('A'..='Z').flat_map(move |b| ('A'..='Z').map(move |c| [a, b, c])));
        let taken: Vec<[char; 3]> = letters().filter(|code| Currency::parse(&String::from_iter(code)).is_ok()).collect();
        let document = document();
        let upper: Vec<String> = taken.iter().map(String::from_iter).collect();
        assert_eq!(words(at(&document, "/components/schemas/Currency/enum")), upper);
        let either = |code: &[char; 3]| code.iter().map(|c| format!("[{c}{}]", c.to_ascii_lowercase())).collect::<String>();
        let pattern = format!("^({})$", taken.iter().map(either).collect::<Vec<_>>().join("|"));
        assert_eq!(*at(&document, "/components/schemas/CurrencyInAnyCase/pattern"), pattern);
    }

    #[test]
    fn its_events_have_the_members_that_are_sent() {
        let document = document();
        let order_id = OrderId::new(0, 0);
        let body = EventBody::of_test(&order_id, true, uuid::Uuid::nil(), "2026-03-02T12:00:00Z");
        let sent = body.to_json();
        let schema = at(&document, "/components/schemas/Event");
        let required = words(&schema["required"]);
        // Written in this order: each begins where the one before has ended.
        required.iter().fold(sent.as_str(), |rest, member| rest.split_once(&format!("\"{member}\":")).expect(member).1);
        let sent: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(sent.as_object().unwrap().len(), required.len());
        // Some tell of money besides.
        let refunded = News::Refunded { refunded_minor: 1_000 };
        let dispute = Dispute { status: DisputeStatus::Open, amount_minor: 2_999 };
        let disputed = News::Disputed { id: "dp_1".into(), dispute };
        let all: Value = serde_json::from_str(&body.with_news(&refunded).with_news(&disputed).to_json()).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let example = at(&document, "/webhooks/event/post/requestBody/content/application~1json/example");
        assert_eq!((keys(&schema["properties"]), keys(example)), (keys(&all), keys(&sent)));
        let dispute = &schema["properties"]["dispute"];
        assert_eq!(keys(&dispute["properties"]), keys(&all["dispute"]));
        assert!(words(&dispute["required"]).iter().all(|member| all["dispute"].get(member).is_some()));
        let named = EventKind::SUBSCRIBABLE.into_iter().chain([EventKind::Test]).map(EventKind::as_str);
        assert_eq!(words(&schema["properties"]["event"]["enum"]), named.collect::<Vec<_>>());
    }

    #[test]
    fn its_words_are_the_codes_words() {
        let document = document();
        let statuses = OrderStatus::ALL.map(OrderStatus::as_str);
        assert_eq!(words(at(&document, "/components/schemas/OrderStatus/enum")), statuses);
        assert_eq!(words(at(&document, "/components/schemas/EventName/enum")), EventKind::SUBSCRIBABLE.map(EventKind::as_str));
        let delivered = EventKind::SUBSCRIBABLE.into_iter().chain([EventKind::Test]).map(EventKind::as_str);
        assert_eq!(words(at(&document, "/components/schemas/Delivery/properties/event/enum")), delivered.collect::<Vec<_>>());
        assert_eq!(words(at(&document, "/components/schemas/DeliveryStatus/enum")), deliveries::STATUSES);
        for word in words(at(&document, "/components/schemas/TaxRate/properties/tax_type/enum")) {
            assert!(TaxType::parse(word).is_some_and(|tax| tax != TaxType::None), "{word}");
        }
        for word in words(at(&document, "/components/schemas/TaxRate/properties/category/enum")) {
            assert!(Category::parse(word).is_some(), "{word}");
        }
    }
}
