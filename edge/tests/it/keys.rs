//! How a key is presented, what it opens, and what those are told whose key opens nothing.

use common::mode::Mode;
use http::Method;
use storage::pg::api_keys::{self, Quotas};
use storage::pg::audit_log::Actor;
use testkit::shop::Shop;

use crate::stage::{Backstage, FULFILL, ORDERS, SESSION, problem, session, until};
use crate::wire::Wire;

#[tokio::test]
async fn exactly_one_bearer_header_in_any_case() {
    let stage = Backstage::new().await.unlimited_addresses().start().await;
    let key = &stage.key;
    let cases = [
        (format!("authorization: Bearer {key}\r\n"), None),
        (format!("Authorization: bearer {key}\r\n"), None),
        (format!("AUTHORIZATION: BEARER {key}\r\n"), None),
        (format!("authorization: Bearer   {key}  \r\n"), None),
        (String::new(), Some("missing_api_key")),
        ("authorization: \r\n".to_owned(), Some("missing_api_key")),
        ("authorization: Bearer\r\n".to_owned(), Some("missing_api_key")),
        ("authorization: Bearer \r\n".to_owned(), Some("missing_api_key")),
        (format!("authorization: {key}\r\n"), Some("missing_api_key")),
        ("authorization: Basic c2tfbGl2ZV94Og==\r\n".to_owned(), Some("missing_api_key")),
        (format!("authorization: Token {key}\r\n"), Some("missing_api_key")),
        (format!("x-api-key: {key}\r\n"), Some("missing_api_key")),
        (format!("authorization: Bearer {key} {key}\r\n"), Some("invalid_api_key")),
        (format!("authorization: Bearer {key},\r\n"), Some("invalid_api_key")),
        (format!("authorization: Bearer \"{key}\"\r\n"), Some("invalid_api_key")),
        (format!("authorization: Bearer {key}x\r\n"), Some("invalid_api_key")),
        (format!("authorization: Bearer {}\r\n", key.to_uppercase()), Some("invalid_api_key")),
        (format!("authorization: Bearer {}\r\n", "é".repeat(42)), Some("invalid_api_key")),
        (format!("authorization: Bearer {key}\r\nauthorization: Bearer {key}\r\n"), Some("invalid_api_key")),
        (format!("authorization: Basic eA==\r\nauthorization: Bearer {key}\r\n"), Some("invalid_api_key")),
    ];
    for (lines, refused) in cases {
        let body = session().to_string();
        let head = format!("POST {SESSION} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{lines}content-length: {}", body.len());
        let answer = Wire::connect(stage.address).await.ask(format!("{head}\r\n\r\n{body}")).await;
        match refused {
            None => assert_eq!(answer.status, 201, "{lines}"),
            Some(code) => drop(problem(&answer, 401, code)),
        }
    }
    // A key in the address is no key: addresses are logged on the way.
    for query in [format!("?key={key}"), format!("?api_key={key}"), format!("?access_token={key}")] {
        problem(&stage.anyone().post(&format!("{SESSION}{query}"), &session()).await.unwrap(), 401, "missing_api_key");
    }
    assert_eq!(stage.partner().post(&format!("{SESSION}?key=other"), &session()).await.unwrap().status, 201);
}

#[tokio::test]
async fn unknown_revoked_expired_and_foreign_keys_are_told_the_same() {
    let backstage = Backstage::new().await;
    let (revoked_id, revoked) = backstage.key_with(Mode::Live, &[], Quotas::default()).await;
    let (expired_id, expired) = backstage.key_with(Mode::Live, &[], Quotas::default()).await;
    let other = Shop::open(&backstage.pg, "other").await.unwrap();
    let foreign = other.unlimited_key(&backstage.pg).await.unwrap();
    let stage = backstage.start().await;
    for key in [&revoked, &expired] {
        assert_eq!(stage.anyone().with_key(key).post(SESSION, &session()).await.unwrap().status, 201);
    }
    assert!(api_keys::revoke(&stage.pg, revoked_id, Actor::CommandLine).await.unwrap().is_some());
    // The fake clock is long before the machine's, so an end that Postgres calls now would be far away.
    let client = stage.pg.client().await.unwrap();
    let (mut client, long_ago) = (client, "update api_keys set expires_at = '2026-03-02T12:00:00Z' where id = $1");
    let tx = client.transaction().await.unwrap();
    tx.execute(long_ago, &[&expired_id]).await.unwrap();
    storage::pg::changes::record(&tx, storage::pg::changes::ChangeKind::ApiKey, expired_id).await.unwrap();
    tx.commit().await.unwrap();
    for key in [&revoked, &expired] {
        let client = stage.anyone().with_key(key);
        until("refused", async || client.post(SESSION, &session()).await.unwrap().status == 401).await;
    }

    let unknown = common::api_key::ApiKey::generate(Mode::Live, rand::random::<u64>).expose().to_owned();
    let other_mode = stage.key.replace("sk_live_", "sk_test_");
    for (method, path) in [(Method::POST, SESSION), (Method::POST, FULFILL), (Method::GET, ORDERS)] {
        let mut bodies = Vec::new();
        for key in [&unknown, &revoked, &expired, &foreign, &other_mode, &"sk_live_garbage".to_owned()] {
            let headers = [("content-type", "application/json"), ("x-request-id", "the-same")];
            let answer = stage.anyone().with_key(key).send(method.clone(), path, &headers, session().to_string()).await.unwrap();
            problem(&answer, 401, "invalid_api_key");
            bodies.push(answer.body);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    }
    // At home the foreign key is good, and where there is no store it is told so; an unknown one learns nothing there either.
    let at = |slug: &str| format!("/api/v1/stores/{slug}/orders/");
    assert_eq!(stage.anyone().with_key(&foreign).get(&at("other")).await.unwrap().status, 200);
    problem(&stage.anyone().with_key(&foreign).get(&at("none")).await.unwrap(), 404, "store_not_found");
    problem(&stage.anyone().with_key(&unknown).get(&at("none")).await.unwrap(), 401, "invalid_api_key");
}

#[tokio::test]
async fn a_scope_opens_its_own_routes() {
    let backstage = Backstage::new().await;
    let checkout = backstage.key_with(Mode::Test, &["checkout"], Quotas::default()).await.1;
    let licensing = backstage.key_with(Mode::Live, &["licensing", "webhooks"], Quotas::default()).await.1;
    let stage = backstage.start().await;
    let (checkout, licensing) = (stage.anyone().with_key(&checkout), stage.anyone().with_key(&licensing));
    assert_eq!(checkout.post(SESSION, &session()).await.unwrap().status, 201);
    problem(&checkout.get(ORDERS).await.unwrap(), 401, "insufficient_scope");
    problem(&checkout.post(FULFILL, &session()).await.unwrap(), 401, "insufficient_scope");
    assert_eq!(licensing.get(ORDERS).await.unwrap().status, 200);
    problem(&licensing.post(SESSION, &session()).await.unwrap(), 401, "insufficient_scope");
}
