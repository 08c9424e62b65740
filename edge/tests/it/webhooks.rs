//! Managing webhook endpoints: their whole life, the walls between stores and modes, and secrets that are shown once. Nobody delivers here.

mod deliveries;
mod walls;

use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use common::webhook::ids::EndpointId;
use common::webhook::secret::WebhookSecret;
use edge::router::ROUTES;
use http::Method;
use serde_json::{Value, json};
use storage::pg::api_keys::Quotas;
use storage::pg::webhook_endpoints;
use testkit::http::{Client, Response};
use testkit::settings::Settings;

use crate::stage::{Backstage, Stage, WEBHOOKS, fields, problem};

const URL: &str = "https://shop.example/hooks";
const OWN: &str = "a-secret-of-the-partner";

async fn patch(client: &Client, path: &str, body: &Value) -> Response {
    client.send(Method::PATCH, path, &[("content-type", "application/json")], body.to_string()).await.unwrap()
}

async fn delete(client: &Client, path: &str) -> Response {
    client.send(Method::DELETE, path, &[], "").await.unwrap()
}

/// POST without a body.
async fn push(client: &Client, path: &str) -> Response {
    client.send(Method::POST, path, &[], "").await.unwrap()
}

/// Makes an endpoint for all events. Returns its path and what was answered.
async fn make(client: &Client) -> (String, Value) {
    let made = client.post(WEBHOOKS, &json!({"url": URL})).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    (format!("{WEBHOOKS}{}/", made["id"].as_str().unwrap()), made)
}

fn ok(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Without what changes by itself.
fn still(mut endpoint: Value) -> Value {
    for member in ["updated_at", "secret"] {
        endpoint.as_object_mut().unwrap().remove(member);
    }
    endpoint
}

#[tokio::test]
async fn the_whole_life() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    assert_eq!(ok(&partner.get(WEBHOOKS).await.unwrap()), json!({"data": []}));
    let (path, made) = make(&partner).await;
    let expected = json!({"id": made["id"], "url": URL, "events": [], "enabled": true, "disabled_reason": null, "failures": 0,
        "failing_since": null, "previous_secret_until": null, "livemode": true, "created_at": made["created_at"]});
    assert_eq!(still(made.clone()), expected);
    assert!(made["id"].as_str().unwrap().parse::<EndpointId>().is_ok() && made["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(WebhookSecret::parse(made["secret"].as_str().unwrap()).is_ok() && made["secret"].as_str().unwrap().starts_with("whsec_"));
    let without_secret = |mut endpoint: Value| {
        endpoint.as_object_mut().unwrap().remove("secret");
        endpoint
    };
    assert_eq!(ok(&partner.get(&path).await.unwrap()), without_secret(made.clone()));

    let body = json!({"url": "https://shop.example/two", "events": ["order.refunded", "order.created"], "secret": OWN});
    let second = partner.post(WEBHOOKS, &body).await.unwrap();
    assert_eq!((second.status.as_u16(), &second.json()["secret"]), (201, &json!(OWN)));
    assert_eq!(second.json()["events"], json!(["order.refunded", "order.created"]), "in the caller's order");
    let listed = ok(&partner.get(WEBHOOKS).await.unwrap());
    assert_eq!(listed, json!({"data": [without_secret(made.clone()), without_secret(second.json())]}), "oldest first");

    // Each member for itself, and the others stay.
    let changed = ok(&patch(&partner, &path, &json!({"events": ["order.disputed"]})).await);
    assert_eq!((&changed["events"], &changed["url"], &changed["enabled"]), (&json!(["order.disputed"]), &json!(URL), &json!(true)));
    let changed = ok(&patch(&partner, &path, &json!({"url": "https://shop.example/new", "events": null})).await);
    assert_eq!((&changed["events"], &changed["url"]), (&json!(["order.disputed"]), &json!("https://shop.example/new")));
    let changed = ok(&patch(&partner, &path, &json!({"enabled": false})).await);
    assert_eq!((&changed["enabled"], &changed["disabled_reason"]), (&json!(false), &json!("its owner disabled it")));
    let changed = ok(&patch(&partner, &path, &json!({"enabled": true, "events": []})).await);
    assert_eq!((&changed["enabled"], &changed["disabled_reason"], &changed["events"]), (&json!(true), &json!(null), &json!([])));
    assert_eq!(still(ok(&patch(&partner, &path, &json!({})).await)), still(changed));

    assert_eq!(ok(&partner.post(&format!("{path}rotate-secret/"), &json!({})).await.unwrap())["url"], "https://shop.example/new");
    assert_eq!(push(&partner, &format!("{path}test/")).await.status, 202);
    let gone = delete(&partner, &path).await;
    assert_eq!((gone.status.as_u16(), gone.body.len(), gone.header("cache-control")), (204, 0, "no-store"));
    assert!(gone.headers.get("content-type").is_none() && !gone.header("x-ratelimit-remaining").is_empty());
    for answer in [
        delete(&partner, &path).await,
        partner.get(&path).await.unwrap(),
        patch(&partner, &path, &json!({"enabled": true})).await,
        push(&partner, &format!("{path}rotate-secret/")).await,
        push(&partner, &format!("{path}test/")).await,
        partner.get(&format!("{path}deliveries/")).await.unwrap(),
        partner.get(&format!("{path}deliveries/whd_1/")).await.unwrap(),
        push(&partner, &format!("{path}deliveries/whd_1/resend/")).await,
    ] {
        problem(&answer, 404, "webhook_not_found");
    }
    assert_eq!(ok(&partner.get(WEBHOOKS).await.unwrap())["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn five_at_most_of_each_store_and_mode_also_all_at_once() {
    let backstage = Backstage::new().await;
    let test_key = backstage.key_with(Mode::Test, &[], Quotas::default()).await.1;
    let stage = backstage.start().await;
    let url = json!({"url": URL});
    let asked = (0..20).map(|_| {
        let (partner, url) = (stage.partner(), url.clone());
        tokio::spawn(async move { partner.post(WEBHOOKS, &url).await.unwrap() })
    });
    let mut made = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        if answer.status == 201 {
            made.push(answer.json()["id"].as_str().unwrap().to_owned());
        } else {
            assert!(problem(&answer, 409, "webhook_limit_reached")["detail"].as_str().unwrap().contains("has 5 webhook endpoints"));
        }
    }
    assert_eq!(made.len(), 5);
    assert_eq!(ok(&stage.partner().get(WEBHOOKS).await.unwrap())["data"].as_array().unwrap().len(), 5);
    // The other mode has its own, and one that is gone makes room.
    assert_eq!(stage.anyone().with_key(&test_key).post(WEBHOOKS, &url).await.unwrap().status, 201);
    assert_eq!(delete(&stage.partner(), &format!("{WEBHOOKS}{}/", made[0])).await.status, 204);
    assert_eq!(stage.partner().post(WEBHOOKS, &url).await.unwrap().status, 201);
    problem(&stage.partner().post(WEBHOOKS, &url).await.unwrap(), 409, "webhook_limit_reached");
}

#[tokio::test]
async fn a_secret_is_shown_where_it_is_made_and_stored_sealed() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (path, made) = make(&partner).await;
    let own = partner.post(WEBHOOKS, &json!({"url": URL, "secret": OWN})).await.unwrap().json();
    let rotated = ok(&push(&partner, &format!("{path}rotate-secret/")).await);
    let secrets: Vec<&str> = [&made, &own, &rotated].iter().map(|answer| answer["secret"].as_str().unwrap()).collect();
    assert!(secrets[1] == OWN && secrets[0] != secrets[2], "{secrets:?}");

    push(&partner, &format!("{path}test/")).await;
    for answer in [
        partner.get(WEBHOOKS).await.unwrap(),
        partner.get(&path).await.unwrap(),
        patch(&partner, &path, &json!({"enabled": false})).await,
        partner.get(&format!("{path}deliveries/")).await.unwrap(),
    ] {
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(answer.status == 200 && !secrets.iter().any(|secret| text.contains(&secret[6..])), "{text}");
        assert!(!text.contains("\"secret\""), "{text}");
    }
    let client = stage.pg.client().await.unwrap();
    let rows = client.query("select w::text from webhook_endpoints w", &[]).await.unwrap();
    for stored in rows.iter().map(|row| row.get::<_, String>(0)) {
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(!secrets.iter().any(|secret| stored.contains(secret) || stored.contains(&hex(secret))), "{stored}");
    }
    // A worker that has the same secrets opens it, in its place.
    let EndpointId(id) = own["id"].as_str().unwrap().parse().unwrap();
    let sealed: Vec<u8> = client.query_one("select sealed_secret from webhook_endpoints where id = $1", &[&id]).await.unwrap().get(0);
    let sealer = Sealer::new(&Settings::new().load().unwrap().secrets.sealing, Purpose::WebhookSecret, rand::random());
    assert_eq!(sealer.open(&webhook_endpoints::place(id), &sealed).unwrap().as_slice(), OWN.as_bytes());
}

#[tokio::test]
async fn a_rotation_keeps_the_secret_before_for_a_day_unless_it_leaked() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (path, _) = make(&partner).await;
    let rotate = async |body: Value| ok(&partner.post(&format!("{path}rotate-secret/"), &body).await.unwrap());
    let previous = async || {
        let sql = "select sealed_previous_secret, extract(epoch from previous_secret_until - now())::float8 from webhook_endpoints";
        let row = stage.pg.client().await.unwrap().query_one(sql, &[]).await.unwrap();
        (row.get::<_, Option<Vec<u8>>>(0), row.get::<_, Option<f64>>(1))
    };
    assert_eq!(previous().await, (None, None));
    let first = rotate(json!({"secret": OWN})).await;
    assert_eq!((first["secret"].as_str(), first["previous_secret_until"].is_string()), (Some(OWN), true), "{first}");
    let (kept, seconds) = previous().await;
    assert!(kept.is_some() && (86_000.0..=86_400.0).contains(&seconds.unwrap()), "{seconds:?}");

    // The same again, because the answer was lost: what partners' servers know still signs.
    let again = rotate(json!({"secret": OWN})).await;
    assert_eq!(again, first);
    assert_eq!(previous().await.0, kept);

    let second = rotate(json!({"revoke_previous": true})).await;
    assert!(second["secret"] != OWN && second["previous_secret_until"].is_null(), "{second}");
    assert_eq!(previous().await, (None, None));
    // Also the secret that signs already, so that only it does.
    rotate(json!({"secret": OWN})).await;
    let alone = rotate(json!({"secret": OWN, "revoke_previous": true})).await;
    assert_eq!((&alone["secret"], &alone["previous_secret_until"]), (&json!(OWN), &json!(null)));
}

#[tokio::test]
async fn bodies_at_their_limits() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let (path, _) = make(&partner).await;
    let all = json!(["order.created", "order.fulfilled", "order.refunded", "order.disputed"]);
    let standard = |bytes: usize| format!("whsec_{}{}", "AAAA".repeat(bytes / 3), ["", "AA==", "AAA="][bytes % 3]);
    let cases = [
        (json!({"events": all}), None),
        (json!({"events": ["order.created", "order.created"]}), Some("events[1]")),
        (json!({"events": ["webhook.test"]}), Some("events[0]")),
        (json!({"events": ["ORDER.CREATED"]}), Some("events[0]")),
        (json!({"events": [null]}), Some("events[0]")),
        (json!({"enabled": 1}), Some("enabled")),
        (json!({"url": "shop.example"}), Some("url")),
        (json!({"url": "ftp://shop.example/"}), Some("url")),
        (json!({"url": ""}), Some("url")),
        (json!({"url": format!("https://shop.example/{}", "x".repeat(10_000))}), Some("url")),
        (json!({"secret": OWN}), Some("secret")),
        (json!({"id": "wh_1"}), Some("id")),
    ];
    for (body, field) in cases {
        let answer = patch(&partner, &path, &body).await;
        match field {
            None => drop(ok(&answer)),
            Some(field) => assert_eq!(fields(&problem(&answer, 400, "invalid_request")), [field], "{body}"),
        }
    }
    for (secret, good) in [
        ("x".repeat(16), true),
        ("x".repeat(15), false),
        ("x".repeat(128), true),
        ("x".repeat(129), false),
        ("sixteen letters!".to_owned(), false),
        ("sixteen-letters\u{0}".to_owned(), false),
        ("sechzehn-zeichen-ä".to_owned(), false),
        (standard(24), true),
        (standard(23), false),
        (standard(64), true),
        (standard(65), false),
    ] {
        let answer = partner.post(&format!("{path}rotate-secret/"), &json!({"secret": secret})).await.unwrap();
        if good {
            assert_eq!(ok(&answer)["secret"], secret);
        } else {
            let told = problem(&answer, 400, "invalid_request");
            assert!(fields(&told) == ["secret"] && !told.to_string().contains(&secret), "{told}");
        }
    }
    let bare = partner.send(Method::PATCH, &path, &[("content-type", "text/plain")], "{}").await.unwrap();
    problem(&bare, 415, "unsupported_media_type");
    let empty = partner.send(Method::PATCH, &path, &[], "").await.unwrap();
    assert_eq!(fields(&problem(&empty, 400, "invalid_request")), ["body"]);
    let large = partner.send(Method::PATCH, &path, &[("content-type", "application/json")], vec![b' '; 65_537]).await.unwrap();
    problem(&large, 413, "body_too_large");
    for path in [format!("{path}test/"), format!("{path}deliveries/whd_1/resend/")] {
        assert_eq!(fields(&problem(&partner.post(&path, &json!({"x": 1})).await.unwrap(), 400, "invalid_request")), ["x"]);
    }
}
