//! Usage: every request is in the chart, and the buckets are those that the gate asks.

use storage::pg::usage::{self, Usage};

use super::*;

const TAB: &str = "/portal/stores/demo/usage/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_has_every_request_and_the_buckets_stand_as_the_gate_sees_them() {
    let stage = stage().await;
    let foreign = Shop::open(&stage.pg, "foreign").await.unwrap();
    partner(&stage, OWNER, stage.shop.store_id, Role::ReadOnly).await;
    let quotas = Quotas { checkout: Some(4), ..Quotas::default() };
    let (id, key) = stage.shop.key(&stage.pg, Mode::Test, &[], quotas).await.unwrap();
    let (theirs, _) = foreign.key(&stage.pg, Mode::Test, &[], quotas).await.unwrap();
    let client = stage.anyone().with_key(&key);
    until("the edge knows the key", async || client.get("/api/v1/stores/demo/orders/").await.unwrap().status == 200).await;
    let mut browser = signed_in(&stage, OWNER).await;
    browser.get(&format!("{TAB}?mode=test")).await.has("0 of 4 a minute");
    for _ in 0..3 {
        assert_eq!(client.post(SESSION, &session()).await.unwrap().status, 201);
    }
    let page = browser.get(&format!("{TAB}?mode=test")).await;
    page.has("3 of 4 a minute").has("width=\"75\"").has_not("100,000,000");
    client.post(SESSION, &session()).await.unwrap();
    assert_eq!(client.post(SESSION, &session()).await.unwrap().status, 429);
    browser.get(&format!("{TAB}?mode=test")).await.has("4 of 4 a minute").has("class=\"meter wrong\"");
    stage.clock.advance(std::time::Duration::from_secs(60));
    browser.get(&format!("{TAB}?mode=test")).await.has("0 of 4 a minute");

    let sql = "select extract(epoch from date_trunc('hour', now()))::bigint";
    let pg = stage.pg.client().await.unwrap();
    let hour: i64 = pg.query_one(sql, &[]).await.unwrap().get(0);
    let used = |key_id, requests, limited, last_used_s| Usage { key_id, requests, limited, last_used_s };
    let counts =
        [used(id, 1_000, 250, hour), used(id, 500, 0, hour - 3_600), used(id, 7, 7, hour - 24 * 3_600), used(theirs, 90_000, 0, hour)];
    for count in counts {
        usage::add(&*pg, &[count]).await.unwrap();
    }
    let page = browser.get(&format!("{TAB}?mode=test")).await;
    page.has("<span class=\"level\">1,500</span> requests, <span class=\"level\">250</span> of them").has("1,000 in the busiest hour");
    page.has("y=\"0\" width=\"22\" height=\"160\"").has("y=\"80\" width=\"22\" height=\"80\"").has("y=\"120\" width=\"22\" height=\"40\"");
    page.has_not("90,000").has_not(&key);
    browser.get(TAB).await.has("No live key was used.");
    assert_eq!(browser.get(&format!("{TAB}?mode=x")).await.status(), 400);
}
