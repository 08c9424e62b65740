//! Whose bucket a request is charged to: four quotas and one for the rest, limits of one's own, failing keys, and refusals before a body.

use common::mode::Mode;
use http::Method;
use serde_json::json;
use storage::pg::api_keys::{self, Quotas};
use storage::pg::audit_log::Actor;
use testkit::http::{Client, Response};

use crate::stage::{Backstage, FULFILL, GEO, ORDERS, SESSION, TAX, order, problem, session, until};
use crate::wire::Wire;

/// Which quota an answer was charged to, its limit, and what is left of it.
#[track_caller]
fn charged(answer: &Response) -> (String, u32, u32) {
    let state = answer.header("ratelimit");
    let name = state.split('"').nth(1).expect("a name").to_owned();
    let number = |name| answer.header(name).parse().expect("a number");
    (name, number("x-ratelimit-limit"), number("x-ratelimit-remaining"))
}

/// A fulfillment that is refused after it was charged, so that nobody has to wait for a worker.
async fn fulfill(client: &Client) -> Response {
    client.post(FULFILL, &json!({})).await.unwrap()
}

#[tokio::test]
async fn every_route_has_its_own_bucket_with_the_published_limit() {
    let backstage = Backstage::new().await;
    let key = backstage.common_key().await;
    let stage = backstage.start().await;
    let (partner, anyone) = (stage.anyone().with_key(&key), stage.anyone());
    for (name, limit) in [("checkout", 100), ("licensing", 100), ("api", 600), ("geo", 300), ("tax", 300), ("anonymous", 300)] {
        for left in [limit - 1, limit - 2] {
            let answer = match name {
                "checkout" => partner.post(SESSION, &session()).await,
                "licensing" => Ok(fulfill(&partner).await),
                "api" if left == limit - 1 => partner.get(ORDERS).await,
                "api" => partner.get(&format!("{ORDERS}ORD-000000000000000000/")).await,
                "geo" => anyone.get(GEO).await,
                "tax" => anyone.get(TAX).await,
                _ => anyone.post(SESSION, &session()).await,
            };
            assert_eq!(charged(&answer.unwrap()), (name.to_owned(), limit, left));
        }
    }
}

#[tokio::test]
async fn an_empty_bucket_leaves_the_others_alone() {
    let backstage = Backstage::new().await.set("LIMITS__GEO", "1").set("LIMITS__CHECKOUT", "1");
    let (first, second) = (backstage.common_key().await, backstage.common_key().await);
    let stage = backstage.start().await;
    let partner = stage.anyone().with_key(&first);
    for status in [201, 429, 429] {
        assert_eq!(partner.post(SESSION, &session()).await.unwrap().status, status);
    }
    assert_eq!(charged(&fulfill(&partner).await).2, 99);
    assert_eq!(charged(&partner.get(ORDERS).await.unwrap()).2, 599);
    assert_eq!(stage.anyone().with_key(&second).post(SESSION, &session()).await.unwrap().status, 201);
    for status in [200, 429] {
        assert_eq!(stage.anyone().get(GEO).await.unwrap().status, status);
    }
    assert_eq!(stage.anyone().get(TAX).await.unwrap().status, 200);
}

#[tokio::test]
async fn failing_keys_cost_their_address_and_never_a_good_key() {
    let backstage = Backstage::new().await.set("LIMITS__ANONYMOUS", "20");
    let key = backstage.common_key().await;
    let stage = backstage.start().await;
    let (stranger, good) = (stage.anyone().with_key("sk_live_nobody"), stage.anyone().with_key(&key));
    for left in (0..20).rev() {
        // Whatever is wrong with it: unknown, none at all, or a path that leads nowhere.
        let answer = match left % 4 {
            0 => stranger.post(SESSION, &session()).await,
            1 => stranger.get(ORDERS).await,
            2 => stage.anyone().post(FULFILL, &order("r")).await,
            _ => good.get("/api/v1/nowhere/").await,
        };
        assert_eq!(charged(&answer.unwrap()), ("anonymous".to_owned(), 20, left));
    }
    for answer in [stranger.post(SESSION, &session()).await.unwrap(), stage.anyone().get("/api/x").await.unwrap()] {
        problem(&answer, 429, "rate_limited");
        assert_eq!(answer.header("retry-after"), "3");
    }
    let answer = good.post(SESSION, &session()).await.unwrap();
    assert_eq!((answer.status.as_u16(), charged(&answer).2), (201, 99));
    assert_eq!(stage.anyone().get(GEO).await.unwrap().status, 200);
    // A good key's own mistakes are its own.
    assert_eq!(charged(&good.post(SESSION, &json!({})).await.unwrap()).2, 98);
    assert_eq!(charged(&good.post("/api/v1/stores/none/checkout/session/", &session()).await.unwrap()).2, 97);
}

#[tokio::test]
async fn a_large_partner_has_limits_of_its_own_and_they_may_change() {
    let backstage = Backstage::new().await;
    let own = Quotas { checkout: Some(5), licensing: Some(5_000), api: None };
    let (id, key) = backstage.key_with(Mode::Live, &[], own).await;
    let stage = backstage.start().await;
    let partner = stage.anyone().with_key(&key);
    assert_eq!(charged(&partner.post(SESSION, &session()).await.unwrap()), ("checkout".to_owned(), 5, 4));
    assert_eq!(charged(&fulfill(&partner).await), ("licensing".to_owned(), 5_000, 4_999));
    assert_eq!(charged(&partner.get(ORDERS).await.unwrap()), ("api".to_owned(), 600, 599));
    for status in [201, 201, 201, 201, 429] {
        assert_eq!(partner.post(SESSION, &session()).await.unwrap().status, status);
    }
    let raised = Quotas { checkout: Some(200), ..own };
    assert!(api_keys::set_quotas(&stage.pg, id, raised, Actor::CommandLine).await.unwrap());
    until("the new limit", async || partner.post(SESSION, &session()).await.unwrap().header("x-ratelimit-limit") == "200").await;
}

#[tokio::test]
async fn refused_before_the_body_is_there() {
    let backstage = Backstage::new().await;
    let key = backstage.key_with(Mode::Live, &[], Quotas { checkout: Some(1), ..Quotas::default() }).await.1;
    let stage = backstage.start().await;
    assert_eq!(stage.anyone().with_key(&key).post(SESSION, &session()).await.unwrap().status, 201);
    let head = |key: &str, lines: &str| {
        format!(
            "POST {SESSION} HTTP/1.1\r\nhost: pay.example\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{lines}\r\n"
        )
    };
    // Only the head goes out; whoever waited for the body would wait for ten seconds and say 408.
    let cases = [
        (key.as_str(), "content-length: 40\r\nexpect: 100-continue\r\n", 429),
        (key.as_str(), "content-length: 40\r\n", 429),
        (key.as_str(), "transfer-encoding: chunked\r\n", 429),
        ("sk_live_x", "content-length: 40\r\nexpect: 100-continue\r\n", 401),
        (stage.key.as_str(), "content-length: 65537\r\nexpect: 100-continue\r\n", 413),
        (stage.key.as_str(), "content-length: 40\r\nexpect: 100-continue\r\ncontent-encoding: gzip\r\n", 415),
    ];
    for (key, lines, status) in cases {
        let mut wire = Wire::connect(stage.address).await;
        assert_eq!(wire.ask(head(key, lines)).await.status, status, "{lines}");
    }
    // A welcome one is asked to go on.
    let mut wire = Wire::connect(stage.address).await;
    let body = session().to_string();
    wire.say(head(&stage.key, &format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()))).await;
    assert_eq!(wire.hear_head().await.status, 100);
    assert_eq!(wire.ask(body).await.status, 201);
}

#[tokio::test]
async fn a_refused_method_or_question_is_not_charged_to_the_key() {
    let backstage = Backstage::new().await;
    let key = backstage.common_key().await;
    let stage = backstage.start().await;
    let partner = stage.anyone().with_key(&key);
    for method in [Method::OPTIONS, Method::DELETE, Method::HEAD] {
        assert_eq!(charged(&partner.send(method, SESSION, &[], "").await.unwrap()).0, "anonymous");
    }
    assert_eq!(charged(&partner.post(SESSION, &session()).await.unwrap()).2, 99);
}
