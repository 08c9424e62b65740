//! What the rate headers say, against a book-keeper who counts in his own way, and on every status there is.

use std::time::Duration;

use common::clock::Clock;
use common::mode::Mode;
use http::{Method, StatusCode};
use serde_json::json;
use storage::pg::api_keys::Quotas;
use testkit::http::{Client, Response};

use crate::stage::{Backstage, FULFILL, GEO, ORDERS, SESSION, Stage, order, session, until};
use crate::wire::{Wire, get, post};

/// Counts in sixty-thousandths of a token, so that every millisecond brings a whole number of them.
struct Bookkeeper {
    name: &'static str,
    limit: u64,
    level: u64,
    unix_ms: u64,
}

const TOKEN: u64 = 60_000;

impl Bookkeeper {
    fn new(name: &'static str, limit: u64, unix_ms: u64) -> Self {
        Self { name, limit, level: limit * TOKEN, unix_ms }
    }

    /// What the answer to a request at this moment must say: admitted, and the headers.
    fn request(&mut self, unix_ms: u64) -> (bool, Vec<(&'static str, String)>) {
        self.level = (self.level + (unix_ms - self.unix_ms) * self.limit).min(self.limit * TOKEN);
        self.unix_ms = unix_ms;
        let admitted = self.level >= TOKEN;
        if admitted {
            self.level -= TOKEN;
        }
        let missing = self.limit * TOKEN - self.level;
        let (remaining, reset_after_s) = (self.level / TOKEN, missing.div_ceil(self.limit * 1_000));
        let reset_unix_s = (unix_ms * self.limit + missing).div_ceil(self.limit * 1_000);
        let retry_after = if admitted { String::new() } else { (TOKEN - self.level).div_ceil(self.limit * 1_000).max(1).to_string() };
        let headers = vec![
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", remaining.to_string()),
            ("x-ratelimit-reset", reset_unix_s.to_string()),
            ("ratelimit", format!("\"{}\";r={remaining};t={reset_after_s}", self.name)),
            ("ratelimit-policy", format!("\"{}\";q={};w=60", self.name, self.limit)),
            ("retry-after", retry_after),
        ];
        (admitted, headers)
    }
}

/// A thousand requests at odd moments: bursts, waits of milliseconds, and rests of up to two minutes.
async fn compare(stage: &Stage, mut book: Bookkeeper, client: Client, method: Method, path: &str, body: &str) {
    let (mut refusals, mut state) = (0, 0x2545_f491_4f6c_dd1d_u64);
    for step in 0..1_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait_ms = match state >> 60 {
            0..=9 => 0,
            10..=13 => (state >> 32) % 700,
            14 => (state >> 32) % 5_000,
            _ if step % 7 == 0 => (state >> 32) % 120_000,
            _ => 1,
        };
        stage.clock.advance(Duration::from_millis(wait_ms));
        let answer = client.send(method.clone(), path, &[("content-type", "application/json")], body.to_owned()).await.unwrap();
        let (admitted, headers) = book.request(stage.clock.now().unix_ms);
        assert_eq!(answer.status != StatusCode::TOO_MANY_REQUESTS, admitted, "step {step}");
        for (name, value) in headers {
            assert_eq!(answer.header(name), value, "{name} at step {step}");
        }
        refusals += usize::from(!admitted);
    }
    assert!((50..950).contains(&refusals), "{refusals} of a thousand refused: this shows little");
}

#[tokio::test]
async fn checkout_agrees_with_a_bookkeeper_over_a_thousand_requests() {
    let backstage = Backstage::new().await;
    let key = backstage.common_key().await;
    let stage = backstage.start().await;
    let book = Bookkeeper::new("checkout", 100, stage.clock.now().unix_ms);
    compare(&stage, book, stage.anyone().with_key(&key), Method::POST, SESSION, &session().to_string()).await;
}

#[tokio::test]
async fn geo_agrees_with_a_bookkeeper_over_a_thousand_requests() {
    // A fifth of the published limit, so that a thousand requests empty the bucket more than once.
    let stage = Backstage::new().await.set("LIMITS__GEO", "60").start().await;
    let book = Bookkeeper::new("geo", 60, stage.clock.now().unix_ms);
    compare(&stage, book, stage.anyone(), Method::GET, GEO, "").await;
}

#[track_caller]
fn assert_rate_headers(answer: &Response, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{:?}", answer.body);
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(answer.header(name).parse::<u64>().is_ok(), "{name} on {status}: {:?}", answer.headers);
    }
    for name in ["ratelimit", "ratelimit-policy", "x-request-id"] {
        assert!(!answer.header(name).is_empty(), "{name} on {status}: {:?}", answer.headers);
    }
    assert!(matches!(status, 429 | 503) || answer.headers.get("retry-after").is_none());
}

#[tokio::test]
async fn every_status_under_api_carries_them() {
    let backstage = Backstage::new().await.set("EDGE__WAITERS_MAX", "1").set("EDGE__BODY_TIMEOUT_MS", "100");
    let backstage = backstage.set("EDGE__FULFILL_FALLBACK_MS", "200").set("EDGE__FULFILL_DEADLINE_MS", "1000");
    let small = backstage.key_with(Mode::Live, &[], Quotas { checkout: Some(1), ..Quotas::default() }).await.1;
    let stage = backstage.start().await;
    let (partner, anyone) = (stage.partner(), stage.anyone());
    let no_json = |headers: &'static [(&'static str, &'static str)], body: &'static str| partner.send(Method::POST, SESSION, headers, body);

    assert_rate_headers(&partner.post(SESSION, &session()).await.unwrap(), 201);
    let geo = anyone.get(GEO).await.unwrap();
    assert_rate_headers(&geo, 200);
    assert_rate_headers(&anyone.send(Method::GET, GEO, &[("if-none-match", geo.header("etag"))], "").await.unwrap(), 304);
    assert_rate_headers(&anyone.send(Method::HEAD, GEO, &[], "").await.unwrap(), 200);
    assert_rate_headers(&anyone.send(Method::OPTIONS, GEO, &[], "").await.unwrap(), 204);
    assert_rate_headers(&anyone.send(Method::OPTIONS, SESSION, &[], "").await.unwrap(), 204);
    assert_rate_headers(&anyone.get("/api/v1/openapi.json").await.unwrap(), 200);
    assert_rate_headers(&partner.post(SESSION, &json!({})).await.unwrap(), 400);
    assert_rate_headers(&anyone.get("/api/v1/geo/subdivisions/").await.unwrap(), 400);
    assert_rate_headers(&anyone.post(SESSION, &session()).await.unwrap(), 401);
    assert_rate_headers(&anyone.with_key("sk_live_wrong").post(FULFILL, &order("r")).await.unwrap(), 401);
    assert_rate_headers(&anyone.get("/api/v1/nothing/").await.unwrap(), 404);
    assert_rate_headers(&anyone.get("/api/").await.unwrap(), 404);
    assert_rate_headers(&partner.post("/api/v1/stores/other/checkout/session/", &session()).await.unwrap(), 404);
    assert_rate_headers(&partner.send(Method::DELETE, SESSION, &[], "").await.unwrap(), 405);
    assert_rate_headers(&anyone.send(Method::POST, GEO, &[], "").await.unwrap(), 405);
    assert_rate_headers(
        &partner.send(Method::POST, SESSION, &[("content-type", "application/json")], vec![b' '; 65_537]).await.unwrap(),
        413,
    );
    assert_rate_headers(&anyone.get(&format!("{GEO}&x={}", "y".repeat(9_000))).await.unwrap(), 414);
    assert_rate_headers(&no_json(&[("content-type", "text/plain")], "{}").await.unwrap(), 415);
    assert_rate_headers(&anyone.with_key(&small).post(SESSION, &session()).await.unwrap(), 201);
    assert_rate_headers(&anyone.with_key(&small).post(SESSION, &session()).await.unwrap(), 429);
    let mut wire = Wire::connect(stage.address).await;
    assert_rate_headers(&wire.ask("GET /api/v1/geo/subdivisions/?country=US HTTP/1.1\r\n\r\n").await, 400);
    let mut slow = Wire::connect(stage.address).await;
    assert_rate_headers(&slow.ask(post(SESSION, &stage.key, "", &" ".repeat(50)).trim_end_matches(' ').to_owned() + " ").await, 408);
    let mut fields = Wire::connect(stage.address).await;
    assert_rate_headers(&fields.ask(get(GEO, &"x: y\r\n".repeat(64))).await, 431);

    // One waits for a worker that is not there, so there is no room for another; in the end it is written down.
    let (first, busy) = (stage.partner(), &stage.running.edge.metrics.fulfill_waiting);
    let waiting = tokio::spawn(async move { first.post(FULFILL, &order("r1")).await.unwrap() });
    until("waiting", || std::future::ready(busy.get() == 1)).await;
    assert_rate_headers(&partner.post(FULFILL, &order("r2")).await.unwrap(), 503);
    let accepted = waiting.await.unwrap();
    assert_rate_headers(&accepted, 202);
    assert_rate_headers(&partner.get(ORDERS).await.unwrap(), 200);
    let revoke = format!("{}revoke/", accepted.header("location"));
    assert_rate_headers(&partner.send(Method::POST, &revoke, &[], "").await.unwrap(), 409);
}
