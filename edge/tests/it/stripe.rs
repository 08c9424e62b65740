//! Stripe's events at the door: whose they are, that each is kept once, and that nothing is acknowledged which is not.

use std::sync::Arc;

use common::stripe::{SigningSecret, Verifier};
use http::Method;
use serde_json::{Value, json};
use testkit::http::{Client, Response};
use tokio::sync::Semaphore;

use crate::stage::{Backstage, Stage, problem};

const LIVE: &str = "whsec_live_mode_of_the_edge";
const LIVE_BEFORE: &str = "whsec_live_mode_before_rolling";
const TEST: &str = "whsec_test_mode_of_the_edge";
const PATH: &str = "/stripe/webhook/";

async fn stage() -> Stage {
    let both = format!("{LIVE}, {LIVE_BEFORE}");
    Backstage::new().await.set("STRIPE__LIVE_SIGNING_SECRETS", &both).set("STRIPE__TEST_SIGNING_SECRETS", TEST).start().await
}

fn paid(id: &str, livemode: bool) -> String {
    let object = json!({"id": "pi_1", "amount": 2999, "amount_received": 2999, "currency": "gbp", "metadata": {}});
    json!({"id": id, "object": "event", "type": "payment_intent.succeeded", "livemode": livemode, "created": 1, "data": {"object": object}})
        .to_string()
}

fn sign(secret: &str, body: &str, unix_s: u64) -> String {
    Verifier::new(&[SigningSecret::parse(secret).unwrap()]).sign(body.as_bytes(), unix_s).unwrap()
}

async fn send(client: &Client, signature: &str, body: &str) -> Response {
    let headers = [("content-type", "application/json; charset=utf-8"), ("stripe-signature", signature)];
    client.send(Method::POST, PATH, &headers, body.to_owned()).await.unwrap()
}

async fn kept(stage: &Stage) -> Vec<(String, bool)> {
    let rows = stage.pg.client().await.unwrap().query("select id, live from stripe_events order by id", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_stripe_has_signed_is_kept() {
    let stage = stage().await;
    let (client, now) = (stage.anyone(), common::clock::Clock::now(&stage.clock).unix_s());
    let live = paid("evt_live", true);
    let good = sign(LIVE, &live, now);
    let tag = good.split_once("v1=").unwrap().1;
    for (signature, body) in [
        (sign("whsec_somebody_elses_secret", &live, now), live.clone()),
        (sign(LIVE, &live, now - 301), live.clone()),
        (sign(LIVE, &live, now + 301), live.clone()),
        (format!("t={now},v0={tag}"), live.clone()),
        (format!("t={now}"), live.clone()),
        (tag.to_owned(), live.clone()),
        (String::new(), live.clone()),
        (good.clone(), live.replace("2999", "2998")),
        (sign(LIVE, "", now), live.clone()),
        // Signed by the other mode.
        (sign(TEST, &live, now), live.clone()),
        (sign(LIVE, &paid("evt_test", false), now), paid("evt_test", false)),
        // Signed, and no event.
        (sign(LIVE, "{}", now), "{}".to_owned()),
        (sign(LIVE, "no JSON", now), "no JSON".to_owned()),
    ] {
        problem(&send(&client, &signature, &body).await, 400, "invalid_request");
    }
    let unsigned = client.send(Method::POST, PATH, &[("content-type", "application/json")], live.clone()).await.unwrap();
    problem(&unsigned, 400, "invalid_request");
    let twice = [("content-type", "application/json"), ("stripe-signature", good.as_str()), ("stripe-signature", good.as_str())];
    problem(&client.send(Method::POST, PATH, &twice, live.clone()).await.unwrap(), 400, "invalid_request");
    assert!(kept(&stage).await.is_empty());

    for (secret, id, livemode, at) in
        [(LIVE, "evt_1", true, now), (LIVE_BEFORE, "evt_2", true, now - 300), (TEST, "evt_3", false, now + 300)]
    {
        let body = paid(id, livemode);
        let answer = send(&client, &sign(secret, &body, at), &body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"received": true})));
        // No part of the API, and so without its figures.
        assert_eq!(answer.header("x-ratelimit-limit"), "");
    }
    assert_eq!(kept(&stage).await, [("evt_1".into(), true), ("evt_2".into(), true), ("evt_3".into(), false)]);
    // With or without its slash; other methods are told so.
    let other = client.send(Method::GET, PATH, &[], "").await.unwrap();
    assert_eq!((other.status.as_u16(), other.header("allow")), (405, "POST, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_replays_are_one_event() {
    let stage = stage().await;
    let (client, now) = (stage.anyone(), common::clock::Clock::now(&stage.clock).unix_s());
    let body = paid("evt_1", true);
    let signature = sign(LIVE, &body, now);
    let permits = Arc::new(Semaphore::new(32));
    let sending: Vec<_> = (0..1_000)
        .map(|_| {
            let (client, body, signature, permits) = (client.clone(), body.clone(), signature.clone(), permits.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                send(&client, &signature, &body).await.status.as_u16()
            })
        })
        .collect();
    for sent in sending {
        assert_eq!(sent.await.unwrap(), 200);
    }
    assert_eq!(kept(&stage).await, [("evt_1".into(), true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_may_be_large_and_of_no_use() {
    let stage = stage().await;
    let (client, now) = (stage.anyone(), common::clock::Clock::now(&stage.clock).unix_s());
    let padded = |id: &str, bytes: usize| {
        let mut event: Value = serde_json::from_str(&paid(id, true)).unwrap();
        event["padding"] = json!("x".repeat(bytes));
        event.to_string()
    };
    let large = padded("evt_large", 1_000_000);
    assert_eq!(send(&client, &sign(LIVE, &large, now), &large).await.status, 200);
    let too_large = padded("evt_too_large", 1_048_576);
    problem(&send(&client, &sign(LIVE, &too_large, now), &too_large).await, 413, "body_too_large");
    let useless = paid("evt_useless", true).replace("payment_intent.succeeded", "customer.created");
    assert_eq!(send(&client, &sign(LIVE, &useless, now), &useless).await.status, 200);
    assert_eq!(kept(&stage).await, [("evt_large".into(), true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_secret_there_is_nothing_at_the_address() {
    let stage = Backstage::new().await.start().await;
    let body = paid("evt_1", true);
    let now = common::clock::Clock::now(&stage.clock).unix_s();
    problem(&send(&stage.anyone(), &sign(LIVE, &body, now), &body).await, 404, "not_found");
}
