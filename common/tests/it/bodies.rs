//! Good bodies, in any spelling of JSON, are read as what they say; with one thing wrong they are refused, and that thing is named.

use common::cart::{Line, SessionRequest};
use common::fulfill::FulfillRequest;
use common::money::MINOR_MAX;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::drawn::{cart, cases, chance, currency, email, locale, sku, spell, text};

fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    let own = prop::collection::btree_map("[a-z]{1,12}", text(20), 0..6);
    let url = prop::option::of("https://[a-z]{1,10}\\.example/[a-z0-9?=&%/{}-]{0,20}");
    (own, prop::option::of(text(40)), url).prop_map(|(own, reference, url)| {
        let mut pairs: Map<String, Value> = own.into_iter().map(|(name, value)| (name, value.into())).collect();
        reference.map(|reference| pairs.insert("external_reference".into(), reference.into()));
        url.map(|url| pairs.insert("return_url_success".into(), url.into()));
        pairs
    })
}

fn quantities(cart: &[Line]) -> Map<String, Value> {
    cart.iter().map(|line| (line.sku.to_string(), line.quantity.into())).collect()
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_session_is_what_its_body_says(
        cart in cart(50), currency in currency(), locale in prop::option::of(locale()), metadata in metadata(),
        expires_in in prop::option::of(1_800_u32..=86_400), seed: u64,
    ) {
        let body = json!({"cart": quantities(&cart), "currency": currency, "locale": locale, "metadata": metadata, "expires_in": expires_in});
        let [first, second] = [seed, seed.rotate_left(32)].map(|seed| {
            let body = spell(&body, &mut chance(seed));
            SessionRequest::parse(body.as_bytes(), true).map_err(|errors| TestCaseError::fail(format!("{errors}: {body}")))
        });
        let (first, second) = (first?, second?);
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(first.derived_id(7, true, "k"), second.derived_id(7, true, "k"));
        prop_assert_eq!((&first.cart, first.currency, &first.locale, first.expires_in), (&cart, currency, &locale, expires_in));
        let read: Map<String, Value> = first.metadata.into_iter().map(|(name, value)| (name, value.into())).collect();
        prop_assert_eq!(read, metadata);
    }

    #[test]
    fn a_session_with_one_thing_wrong_names_it(cart in cart(10), wrong in 0_usize..9, index: prop::sample::Index, seed: u64) {
        let mut body = json!({"cart": quantities(&cart), "currency": "GBP", "locale": "en", "metadata": {"a": "b"}, "expires_in": 3_600});
        let sku = cart[index.index(cart.len())].sku.to_string();
        let field = match wrong {
            0 => { body["cart"][&sku] = json!(0); format!("cart.{sku}") }
            1 => { body["cart"][&sku] = json!(1_001); format!("cart.{sku}") }
            2 => { body["cart"][&sku] = json!(1.5); format!("cart.{sku}") }
            3 => { body["cart"]["no sku"] = json!(1); "cart.no sku".into() }
            4 => { body["currency"] = json!("XXX"); "currency".into() }
            5 => { body["locale"] = json!("en_GB"); "locale".into() }
            6 => { body["metadata"]["a"] = json!("x".repeat(2_048)); "metadata".into() }
            7 => { body["expires_in"] = json!(1_799); "expires_in".into() }
            _ => { body["curency"] = json!("GBP"); "curency".into() }
        };
        let errors = SessionRequest::parse(spell(&body, &mut chance(seed)).as_bytes(), true).unwrap_err();
        prop_assert_eq!(errors.as_slice().iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), [field.as_str()]);
    }

    #[test]
    fn an_order_is_what_its_body_says(
        email in email(), reference in text(255), currency in prop::option::of(currency()), total in prop::option::of(0..=MINOR_MAX),
        items in prop::collection::vec((prop::sample::select(vec!["A", "B.b", "C-c", "D_d"]), 1_u32..=20), 1..=50), seed: u64,
    ) {
        let body = |items: &[(&str, u32)], seed| {
            let items: Vec<Value> = items.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
            let body = json!({"customer_email": email, "items": items, "external_reference": reference, "currency": currency, "total_minor": total});
            let body = spell(&body, &mut chance(seed));
            FulfillRequest::parse(body.as_bytes()).map_err(|errors| TestCaseError::fail(format!("{errors}: {body}")))
        };
        let request = body(&items, seed)?;
        prop_assert_eq!((&request.customer_email, &request.external_reference), (&email, &reference));
        prop_assert_eq!((request.currency, request.total_minor), (currency, total));
        prop_assert_eq!(request.keys_needed(), items.iter().map(|(_, quantity)| *quantity as usize).sum::<usize>());
        for line in &request.items {
            let asked: u32 = items.iter().filter(|(sku, _)| *sku == line.sku.as_str()).map(|(_, quantity)| quantity).sum();
            prop_assert_eq!(line.quantity, asked);
        }
        // Turned round and said in other words, it is the same order; with one license key more it is another.
        let turned: Vec<(&str, u32)> = items.iter().copied().rev().collect();
        prop_assert_eq!(body(&turned, !seed)?.fingerprint(), request.fingerprint());
        if request.keys_needed() < 1_000 {
            let mut more = turned;
            more[0].1 += 1;
            prop_assert_ne!(body(&more, seed)?.fingerprint(), request.fingerprint());
        }
    }

    #[test]
    fn an_order_may_ask_for_a_thousand_keys_however_they_are_split(split in prop::collection::vec(1_u32..=60, 1..=50), one_sku: bool) {
        let skus = |index| if one_sku { "A".to_owned() } else { format!("S{index}") };
        let items: Vec<Value> = split.iter().enumerate().map(|(index, quantity)| json!({"sku": skus(index), "quantity": quantity})).collect();
        let body = json!({"customer_email": "a@b", "items": items, "external_reference": "r"}).to_string();
        prop_assert_eq!(FulfillRequest::parse(body.as_bytes()).is_ok(), split.iter().sum::<u32>() <= 1_000);
    }

    #[test]
    fn a_member_said_twice_is_refused_wherever_it_is(sku in sku(), seed: u64, twice in 0_usize..4, others in 0_usize..30) {
        let mut body = json!({"cart": {&sku: 1}, "currency": "GBP", "metadata": {"a": "b"}});
        // Large objects are searched in another way than small ones.
        (0..others).for_each(|other| body[format!("other-{other}")] = Value::Null);
        let text = spell(&body, &mut chance(seed));
        let again = [("cart", "{}"), ("currency", "\"USD\""), ("metadata", "null"), ("curr\\u0065ncy", "\"GBP\"")][twice];
        let end = text.rfind('}').unwrap();
        let doubled = format!("{},\"{}\":{}{}", &text[..end], again.0, again.1, &text[end..]);
        let errors = SessionRequest::parse(doubled.as_bytes(), true).unwrap_err();
        prop_assert!(errors.to_string().contains("is there twice"), "{}: {}", errors, doubled);
    }
}
