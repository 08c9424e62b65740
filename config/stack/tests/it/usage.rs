//! What a key is used for is added up in Postgres, from all edges, and nothing is counted twice or lost.

use std::time::Duration;

use common::clock::Clock;
use common::mode::Mode;
use serde_json::json;
use storage::pg::api_keys::{self, ApiKeySummary, Quotas};
use storage::pg::audit_log::Actor;
use testkit::http::Client;

use crate::system::{SOON, System, eventually, in_parallel};

async fn summary(system: &System, store_id: i64, id: i64) -> ApiKeySummary {
    let keys = api_keys::of_store(&*system.pg.client().await.unwrap(), store_id).await.unwrap();
    keys.into_iter().find(|key| key.id == id).unwrap()
}

/// Sends `count` requests for a checkout session. Returns how many were refused for their number.
async fn ask(clients: &[Client], count: usize) -> i64 {
    let session = json!({ "cart": { "A": 1 }, "currency": "GBP" });
    let answers = in_parallel(count, 16, |n| {
        let (client, session) = (clients[n % clients.len()].clone(), session.clone());
        async move { client.post("/api/v1/stores/demo/checkout/session/", &session).await.unwrap().status.as_u16() }
    })
    .await;
    assert!(answers.iter().all(|status| [201, 429].contains(status)), "{answers:?}");
    answers.iter().filter(|status| **status == 429).count() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_what_is_reported() {
    let mut system = System::new().await;
    system.set("EDGE__USAGE_FLUSH_S", "1");
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let quotas = Quotas { checkout: Some(30), ..Quotas::default() };
    let (id, key) = shop.key(&system.pg, Mode::Live, &[], quotas).await.unwrap();
    let (idle_id, _) = shop.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let clients = edges.each_ref().map(|edge| edge.client(&key));

    let began_ms = system.clock.now().unix_ms;
    let mut limited = 0;
    for (round, count) in [(1, 100), (2, 137)] {
        limited += ask(&clients, count).await;
        let sent = if round == 1 { 100 } else { 237 };
        eventually("the report", SOON, async || (summary(&system, shop.store_id, id).await.requests_24h == sent).then_some(())).await;
        assert_eq!(summary(&system, shop.store_id, id).await.limited_24h, limited);
    }
    assert!(limited > 100, "{limited}");
    let last_used = summary(&system, shop.store_id, id).await.last_used_at.expect("used");
    let last_used_ms = last_used.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(
        last_used_ms.is_multiple_of(60_000) && (began_ms - 60_000..=system.clock.now().unix_ms).contains(&last_used_ms),
        "to the minute"
    );
    let idle = summary(&system, shop.store_id, idle_id).await;
    assert_eq!((idle.last_used_at, idle.requests_24h), (None, 0));

    // What was not reported yet is reported at the stop, to the last request.
    system.clock.advance(Duration::from_secs(120));
    limited += ask(&clients, 63).await;
    for edge in edges {
        edge.stop().await;
    }
    let after = summary(&system, shop.store_id, id).await;
    assert_eq!((after.requests_24h, after.limited_24h), (300, limited));
    assert!(after.last_used_at.unwrap() > last_used, "the last use moves on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_revoked_key_is_reported_too() {
    let mut system = System::new().await;
    system.set("EDGE__USAGE_FLUSH_S", "2");
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (id, key) = shop.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
    let edge = system.edge().await;
    assert_eq!(ask(&[edge.client(&key)], 7).await, 0);
    api_keys::revoke(&system.pg, id, Actor::CommandLine).await.unwrap();
    eventually("the report", SOON, async || (summary(&system, shop.store_id, id).await.requests_24h == 7).then_some(())).await;
    edge.stop().await;
}
