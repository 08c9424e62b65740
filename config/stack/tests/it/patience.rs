//! Long waits and long queues: nothing wedges, nothing is condemned for what others did, and nobody has to help.

use std::time::{Duration, Instant};

use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::{FULFILL_ORDER, FulfillJob, JOB_PLACE, JOB_VERSION, NewOrder};
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use storage::queue::{Producer, QueueName};
use storage::redis;
use tokio::task::block_in_place;
use uuid::Uuid;

use crate::system::{System, eventually, fulfill, fulfill_until_made, in_parallel, order};

const WAITING: usize = 50_000;

/// A job nobody waits for any more, but which is not moot for an hour.
fn job(sealer: &Sealer, store_id: i64, number: usize) -> Vec<u8> {
    let body = order(&format!("r-{number}"), &[("A", 1)]).to_string();
    let new = NewOrder {
        order_id: OrderId::new(1_700_000_000_000 + number as u64, rand::random()),
        store_id,
        mode: Mode::Live,
        idempotency_key: None,
        request: FulfillRequest::parse(body.as_bytes()).unwrap(),
        trace: None,
    };
    let (reply_to, request_id) = ("ap:replies:nobody".into(), format!("req-{number}"));
    let job = FulfillJob { v: JOB_VERSION, id: Uuid::now_v7(), reply_to, request_id, ttl_ms: 3_600_000, order: new };
    sealer.seal(JOB_PLACE, &serde_json::to_vec(&job).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_waiting_jobs_drain() {
    let system = System::alone().await;
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let settings = system.settings();
    let client = redis::client(&settings.redis).unwrap();
    let queue = Producer::new(client, QueueName::new(&settings.queue.prefix, FULFILL_ORDER));
    eventually("Redis to be connected", Duration::from_secs(15), async || queue.is_connected().then_some(())).await;
    let sealer = std::sync::Arc::new(Sealer::new(&settings.secrets.sealing, Purpose::Job, rand::random()));
    let store_id = shop.store_id;
    in_parallel(WAITING, 256, |number| {
        let (queue, sealer) = (queue.clone(), sealer.clone());
        async move { queue.push(&job(&sealer, store_id, number)).await.unwrap() }
    })
    .await;
    assert_eq!(queue.depth().await.unwrap(), WAITING as u64);

    let begun = Instant::now();
    let (first, second) = (system.worker().await, system.worker().await);
    eventually("the queue to be empty", Duration::from_secs(300), async || (queue.depth().await.ok()? == 0).then_some(())).await;
    let took = begun.elapsed();
    println!("{WAITING} waiting jobs: gone after {took:?}, {:.0} a second", WAITING as f64 / took.as_secs_f64());
    assert_eq!(system.number("select count(*) from orders where status = 'fulfilled'").await, WAITING as i64);
    assert_eq!(system.number("select count(distinct external_reference) from orders").await, WAITING as i64);
    assert_eq!(system.number("select count(*) from order_keys").await, WAITING as i64);
    assert_eq!(system.number("select count(*) from dead_letters").await, 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_of_a_silent_redis_cost_no_worker() {
    let mut system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    fulfill_until_made(&client, "demo", &order("before", &[("A", 1)])).await;
    let replied = r#"edge_fulfill_answers_total{how="replied"}"#;
    assert!(edge.metric(replied) > 0.0, "orders are made through the queue");

    block_in_place(|| system.redis.pause()).unwrap();
    let mut answers = Vec::new();
    let silent = Instant::now();
    while silent.elapsed() < Duration::from_secs(10) {
        answers.push(fulfill(&client, "demo", &order(&format!("during-{}", answers.len()), &[("A", 1)])).await.status.as_u16());
    }
    block_in_place(|| system.redis.resume()).unwrap();
    println!("while Redis was silent: {answers:?}");
    assert!(answers.iter().all(|status| [201, 202].contains(status)), "{answers:?}");
    let before = edge.metric(replied);
    let mut number = 0;
    eventually("orders to be made through the queue again", Duration::from_secs(15), async || {
        number += 1;
        fulfill(&client, "demo", &order(&format!("after-{number}"), &[("A", 1)])).await;
        (edge.metric(replied) > before).then_some(())
    })
    .await;
    eventually("everything to be fulfilled", Duration::from_secs(15), async || {
        (system.number("select count(*) from orders where status <> 'fulfilled'").await == 0).then_some(())
    })
    .await;
    edge.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_seconds_without_postgres_condemn_no_job() {
    let mut system = System::with_own_postgres().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let edge = system.edge().await;
    let client = edge.client(&key);
    // Without a worker they are written down; with one they would be done before Postgres goes.
    let accepted = in_parallel(40, 40, |number| {
        let client = client.clone();
        async move { fulfill(&client, "demo", &order(&format!("r-{number}"), &[("A", 1)])).await.status.as_u16() }
    })
    .await;
    assert_eq!(accepted, [202; 40]);
    let worker = {
        block_in_place(|| system.postgres().kill()).unwrap();
        let worker = system.worker_at_once();
        tokio::time::sleep(Duration::from_secs(30)).await;
        worker
    };
    let refused = fulfill(&client, "demo", &order("meanwhile", &[("A", 1)])).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    block_in_place(|| system.postgres().restart()).unwrap();
    let begun = Instant::now();
    eventually("everything to be fulfilled", Duration::from_secs(30), async || {
        let client = system.pg.client().await.ok()?;
        let row = client.query_one("select count(*) from orders where status = 'fulfilled'", &[]).await.ok()?;
        (row.get::<_, i64>(0) == 40).then_some(())
    })
    .await;
    println!("after 30 s without Postgres 40 orders were made within {:?}", begun.elapsed());
    assert_eq!(system.number("select count(*) from dead_letters").await, 0);
    assert_eq!(system.number("select count(*) from orders").await, 40, "none has failed, and the refused one left nothing");
    edge.stop().await;
    worker.stop().await;
}
