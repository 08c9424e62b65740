//! Every status and code that callers can be given, each made to happen once. 500 is missing here: whoever can make one happen has found a
//! defect.

use std::collections::BTreeSet;

use common::mode::Mode;
use edge::error::Code;
use http::Method;
use serde_json::{Value, json};
use storage::pg::api_keys::Quotas;
use storage::pg::audit_log::Actor;
use storage::pg::stores;
use testkit::http::Response;

use crate::stage::{Backstage, FULFILL, GEO, ORDERS, PUBLIC_BASE_URL, SESSION, TAX, WEBHOOKS, fields, order, problem, session, until};
use crate::wire::{Wire, get, post};

/// Checks problems, and remembers which codes were seen.
#[derive(Default)]
struct Seen(BTreeSet<&'static str>);

impl Seen {
    #[track_caller]
    fn problem(&mut self, response: &Response, status: u16, code: &'static str) -> Value {
        self.0.insert(code);
        problem(response, status, code)
    }
}

#[tokio::test]
async fn every_code_once() {
    let backstage = Backstage::new().await.set("EDGE__WAITERS_MAX", "1").set("EDGE__BODY_TIMEOUT_MS", "200");
    let backstage = backstage.set("EDGE__FULFILL_FALLBACK_MS", "300").set("EDGE__FULFILL_DEADLINE_MS", "1000");
    let narrow = backstage.key_with(Mode::Live, &["webhooks"], Quotas::default()).await.1;
    let url = json!({"url": "https://shop.example/hooks"});
    let limited = backstage.key_with(Mode::Live, &[], Quotas { checkout: Some(1), ..Quotas::default() }).await.1;
    backstage.shop.pooled(&backstage.pg, "POOL", &testkit::shop::license_keys("K", 2)).await.unwrap();
    let stage = backstage.start().await;
    let (partner, anyone) = (stage.partner(), stage.anyone());
    let mut seen = Seen::default();
    let with = |name: &str, value: Value| {
        let mut body = session();
        body[name] = value;
        body
    };

    // 400
    let told = seen.problem(&partner.post(SESSION, &json!({"currency": 7, "color": 1})).await.unwrap(), 400, "invalid_request");
    assert_eq!(fields(&told), ["cart", "currency", "color"]);
    let long: Vec<_> = (0..17).map(|n| (format!("k{n}"), Value::from("\"".repeat(110)))).collect();
    let large = with("metadata", Value::Object(long.into_iter().collect()));
    seen.problem(&partner.post(SESSION, &large).await.unwrap(), 400, "session_too_large");
    seen.problem(&partner.post(SESSION, &with("currency", "JPY".into())).await.unwrap(), 400, "price_not_available");
    // 401
    let refused = anyone.post(SESSION, &session()).await.unwrap();
    seen.problem(&refused, 401, "missing_api_key");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    seen.problem(&anyone.with_key("sk_live_x").post(SESSION, &session()).await.unwrap(), 401, "invalid_api_key");
    let told = seen.problem(&anyone.with_key(&narrow).post(SESSION, &session()).await.unwrap(), 401, "insufficient_scope");
    assert!(told["detail"].as_str().unwrap().contains("checkout"), "{told}");
    // 404
    seen.problem(&anyone.get("/nothing/").await.unwrap(), 404, "not_found");
    seen.problem(&partner.post("/api/v1/stores/other/checkout/session/", &session()).await.unwrap(), 404, "store_not_found");
    let told = seen.problem(&partner.post(SESSION, &with("cart", json!({"NONE-SUCH": 1}))).await.unwrap(), 404, "product_not_found");
    assert!(told["detail"].as_str().unwrap().contains("NONE-SUCH"), "{told}");
    seen.problem(&partner.get(&format!("{ORDERS}ORD-000000000000000000/")).await.unwrap(), 404, "order_not_found");
    let unknown = format!("{WEBHOOKS}wh_{}/", "0".repeat(32));
    seen.problem(&partner.get(&unknown).await.unwrap(), 404, "webhook_not_found");
    let webhook = partner.post(WEBHOOKS, &url).await.unwrap().json()["id"].as_str().unwrap().to_owned();
    seen.problem(&partner.get(&format!("{WEBHOOKS}{webhook}/deliveries/whd_1/")).await.unwrap(), 404, "delivery_not_found");
    seen.problem(&anyone.get("/api/v1/geo/subdivisions/?country=ZZ").await.unwrap(), 404, "country_not_found");
    seen.problem(&anyone.get(&format!("{TAX}&subdivision=QQQ")).await.unwrap(), 404, "subdivision_not_found");
    // 405
    let refused = partner.send(Method::PUT, SESSION, &[], "").await.unwrap();
    seen.problem(&refused, 405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "POST, OPTIONS");
    // 408
    let mut slow = Wire::connect(stage.address).await;
    let body = session().to_string();
    let whole = post(SESSION, &stage.key, "", &body);
    seen.problem(&slow.ask(&whole[..whole.len() - 1]).await, 408, "request_timeout");
    // 413, 414, 415, 431
    let json_type = [("content-type", "application/json")];
    seen.problem(&partner.send(Method::POST, SESSION, &json_type, vec![b' '; 65_537]).await.unwrap(), 413, "body_too_large");
    seen.problem(&anyone.get(&format!("{GEO}&{}", "x".repeat(9_000))).await.unwrap(), 414, "uri_too_long");
    let text = partner.send(Method::POST, SESSION, &[("content-type", "text/plain")], body).await.unwrap();
    seen.problem(&text, 415, "unsupported_media_type");
    let crowded = Wire::connect(stage.address).await.ask(get(GEO, &"x: y\r\n".repeat(64))).await;
    seen.problem(&crowded, 431, "head_too_large");
    // 429
    assert_eq!(anyone.with_key(&limited).post(SESSION, &session()).await.unwrap().status, 201);
    let refused = anyone.with_key(&limited).post(SESSION, &session()).await.unwrap();
    seen.problem(&refused, 429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "60");

    // 202 and 503: one waits for a worker that is not there, and there is room for one.
    let (waiter, busy) = (partner.clone(), &stage.running.edge.metrics.fulfill_waiting);
    let waiting = tokio::spawn(async move { waiter.post(FULFILL, &order("r1")).await.unwrap() });
    until("waiting", || std::future::ready(busy.get() == 1)).await;
    let refused = partner.post(FULFILL, &order("r2")).await.unwrap();
    seen.problem(&refused, 503, "unavailable");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
    let accepted = waiting.await.unwrap();
    assert_eq!((accepted.status.as_u16(), accepted.json()["status"].as_str()), (202, Some("processing")));
    let location = accepted.header("location").to_owned();
    assert_eq!(location, format!("{ORDERS}{}/", accepted.json()["order_id"].as_str().unwrap()));
    // 409: what is processing cannot be revoked.
    let revoke = format!("{location}revoke/");
    seen.problem(&partner.send(Method::POST, &revoke, &[], "").await.unwrap(), 409, "order_not_revocable");

    for n in 2..=6 {
        let answer = partner.post(WEBHOOKS, &url).await.unwrap();
        assert_eq!(answer.status, if n == 6 { 409 } else { 201 }, "{answer:?}");
        if n == 6 {
            seen.problem(&answer, 409, "webhook_limit_reached");
        }
    }

    // With a worker: 201, and the other conflicts.
    let _worker = stage.start_worker();
    until("fulfilled", async || partner.get(&location).await.unwrap().json()["status"] == "fulfilled").await;
    let created = partner.post(FULFILL, &order("r1")).await.unwrap();
    assert_eq!((created.status.as_u16(), created.header("idempotent-replayed")), (201, "true"), "{created:?}");
    let mut other = order("r1");
    other["customer_email"] = "other@example.com".into();
    seen.problem(&partner.post(FULFILL, &other).await.unwrap(), 409, "external_reference_conflict");
    for (reference, status) in [("r3", 201), ("r4", 409)] {
        let headers = [json_type[0], ("idempotency-key", "once")];
        let answer = partner.send(Method::POST, FULFILL, &headers, order(reference).to_string()).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 409 {
            seen.problem(&answer, 409, "idempotency_key_conflict");
        }
    }
    let mut scarce = order("r5");
    scarce["items"] = json!([{"sku": "POOL", "quantity": 3}]);
    let told = seen.problem(&partner.post(FULFILL, &scarce).await.unwrap(), 409, "out_of_stock");
    assert_eq!(told["shortages"], json!([{"sku": "POOL", "requested": 3, "available": 2}]));
    stores::set_licensing(&stage.pg, stage.shop.store_id, false, Actor::CommandLine).await.unwrap();
    until("licensing off", async || partner.post(FULFILL, &order("r1")).await.unwrap().status == 400).await;
    seen.problem(&partner.post(FULFILL, &order("r1")).await.unwrap(), 400, "store_not_licensing");

    let all: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let missing: Vec<_> = all.difference(&seen.0).copied().collect();
    assert_eq!(missing, ["internal_error"], "codes that nothing here makes happen");
}

#[tokio::test]
async fn every_type_is_a_page_of_this_server() {
    let stage = Backstage::new().await.start().await;
    for code in Code::ALL {
        let path = format!("/developers/errors/{}/", code.as_str());
        let page = stage.anyone().get(&path).await.unwrap();
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let text = String::from_utf8(page.body.to_vec()).unwrap().replace("&#39;", "'").replace("&#34;", "\"");
        assert!(text.contains(code.as_str()) && text.contains(code.title()) && text.contains(code.advice()), "{text}");
        assert!(page.headers.get("x-ratelimit-limit").is_none(), "pages are not counted");
    }
    problem(&stage.anyone().get("/developers/errors/none_such/").await.unwrap(), 404, "not_found");
    // The address in a problem is this page's.
    let told = problem(&stage.anyone().get("/nothing").await.unwrap(), 404, "not_found");
    let path = told["type"].as_str().unwrap().strip_prefix(PUBLIC_BASE_URL).unwrap();
    assert_eq!(stage.anyone().get(path).await.unwrap().status, 200);
}
