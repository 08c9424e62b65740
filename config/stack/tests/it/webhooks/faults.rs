//! Whatever breaks while events go out, each of them arrives: at least once, signed, and no oftener than attempts were counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use common::webhook::schedule::ATTEMPTS_MAX;
use storage::pg::events;
use testkit::receiver::{Behavior, Receiver};
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::mortal::MortalWorker;
use crate::redis_commands::Commands;
use crate::system::{System, eventually};

use super::{LONG, is_signed};

const STORES: usize = 10;
const ORDERS: usize = 10_000;
/// Orders in one transaction.
const TOGETHER: usize = 10;
const BETWEEN_FAULTS: Duration = Duration::from_millis(1_200);

fn order(store_id: i64) -> NewOrder {
    let body = br#"{"customer_email":"a@b.example","items":[{"sku":"A","quantity":1}],"external_reference":"r"}"#;
    NewOrder {
        order_id: OrderId::new(1_772_452_800_000, rand::random()),
        store_id,
        mode: Mode::Live,
        idempotency_key: None,
        request: FulfillRequest::parse(body).unwrap(),
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_events_arrive_while_everything_breaks() {
    let mut system = System::with_own_postgres().await;
    system.set("WEBHOOKS__TIMEOUT_MS", "500");
    system.set("WEBHOOKS__CONNECT_TIMEOUT_MS", "500");
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    let (mut stores, mut secrets) = (Vec::new(), HashMap::new());
    for n in 0..STORES {
        let shop = system.shop(&format!("store-{n}")).await.0;
        let (_, secret) = shop.endpoint(&system.pg, Mode::Live, &receiver.url(&format!("/{n}"))).await.unwrap();
        stores.push(shop.store_id);
        secrets.insert(format!("/{n}"), secret);
    }
    // One of them refuses everything for a while.
    receiver.behave_at("/3", Behavior::status(503));

    let settings = system.worker_settings();
    let mut worker = MortalWorker::start(&settings, None).await;
    let made = Arc::new(AtomicBool::new(false));
    let making = tokio::spawn({
        let (pg, made) = (system.pg.clone(), made.clone());
        async move {
            for n in 0..ORDERS / TOGETHER {
                let orders: Vec<NewOrder> = (0..TOGETHER).map(|k| order(stores[(n + k) % STORES])).collect();
                let happened: Vec<(EventKind, &NewOrder)> =
                    orders.iter().flat_map(|order| [(EventKind::Created, order), (EventKind::Fulfilled, order)]).collect();
                // While Postgres is away nothing happens to anybody. Whether a commit that failed came about does not matter here: what is
                // in the table has happened.
                loop {
                    let inserted =
                        async { events::insert_of_fulfillment(&*pg.client().await?, &happened, "2026-11-23T12:00:00Z", None).await };
                    match inserted.await {
                        Ok(_) => break,
                        Err(error) if error.is_unique_violation() => break,
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }
            made.store(true, Ordering::Release);
        }
    });
    let mut faults = 0;
    while !made.load(Ordering::Acquire) || faults < 8 {
        tokio::time::sleep(BETWEEN_FAULTS).await;
        match faults % 4 {
            0 => {
                worker.life.kill().await;
                worker = MortalWorker::start(&settings, None).await;
            }
            1 => assert_eq!(Commands::connect(&system.redis).run(&["FLUSHALL"]), b"+OK\r\n"),
            2 => block_in_place(|| system.redis.kill().and_then(|()| system.redis.restart())).unwrap(),
            _ => block_in_place(|| system.postgres().restart_immediately()).unwrap(),
        }
        faults += 1;
        if faults == 6 {
            receiver.behave_at("/3", Behavior::status(200));
        }
    }
    making.await.unwrap();
    let began = Instant::now();
    eventually("that all are delivered", LONG, async || {
        let client = system.pg.client().await.ok()?;
        let pending = "select count(*) from webhook_deliveries where status <> 'delivered'";
        (client.query_one(pending, &[]).await.ok()?.get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    println!("{faults} faults; all delivered {:?} after the last event; {} requests", began.elapsed(), receiver.requests());

    let received = receiver.received();
    let mut heard: HashMap<String, u32> = HashMap::new();
    for received in &received {
        assert!(is_signed(received, &secrets[&received.path]));
        *heard.entry(received.header("webhook-id").to_owned()).or_default() += 1;
    }
    let client = system.pg.client().await.unwrap();
    let rows = client.query("select e.id::text, d.attempts from events e left join webhook_deliveries d on d.event_id = e.id", &[]);
    let rows = rows.await.unwrap();
    assert!(rows.len() >= 2 * ORDERS, "{} events", rows.len());
    for row in &rows {
        let (id, attempts): (String, Option<i32>) = (row.get(0), row.get(1));
        let attempts = attempts.unwrap_or_else(|| panic!("event {id} has no delivery")) as u32;
        let heard = heard.remove(&id).unwrap_or(0);
        assert!((1..=attempts.min(ATTEMPTS_MAX)).contains(&heard), "event {id} came {heard} times, and {attempts} attempts were counted");
    }
    assert!(heard.is_empty(), "events came that never were: {heard:?}");
    worker.life.kill().await;
}
