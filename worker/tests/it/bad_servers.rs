//! A worker among partners' servers that send what nobody should: it stays as small as it was, whatever they do, and goes on delivering.

use std::time::Duration;

use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use storage::Pg;
use storage::pg::events;
use testkit::database::Database;
use testkit::health::all_checks_pass;
use testkit::http::Client;
use testkit::process::{Launch, Usage};
use testkit::receiver::{Answer, Behavior, Receiver, Recording};
use testkit::servers::{Host, Kind, Redis, free_port};
use testkit::settings::Settings;
use testkit::shop::Shop;
use tokio::task::block_in_place;
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Attempts under way at once to each, when it is trusted.
const EACH: usize = 16;
const GB: u64 = 1 << 30;
/// What all of them together may cost. It is nothing that can be measured; answers kept whole would be 40 MB and more.
const GROWTH_MAX: u64 = 16 << 20;

/// Events of this store, so many, each of an order of its own.
async fn happen(pg: &Pg, store_id: i64, count: usize) {
    let body = br#"{"customer_email":"a@b.example","items":[{"sku":"A","quantity":1}],"external_reference":"r"}"#;
    let request = FulfillRequest::parse(body).expect("a request");
    let order = || NewOrder {
        order_id: OrderId::new(1_772_452_800_000, rand::random()),
        store_id,
        mode: Mode::Live,
        idempotency_key: None,
        request: request.clone(),
        trace: None,
    };
    let orders: Vec<NewOrder> = (0..count).map(|_| order()).collect();
    let happened: Vec<(EventKind, &NewOrder)> = orders.iter().map(|order| (EventKind::Created, order)).collect();
    events::insert_of_fulfillment(&*pg.client().await.unwrap(), &happened, "2026-03-02T12:00:00Z", None).await.expect("events");
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < SOON, "waited {SOON:?} for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_servers_send_a_worker_stays_as_small_as_it_was() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    let redis = block_in_place(|| {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default())?;
        Redis::start(&host.find_or_unpack(&[Kind::Redis], &|line| eprintln!("{line}"))?, None)
    });
    let redis = redis.unwrap();
    let admin = format!("127.0.0.1:{}", free_port().unwrap());
    let settings = Settings::new().postgres(&database.worker_url()).redis(&redis.url()).set("MODE", "development");
    let settings =
        settings.set("WORKER__ADMIN_LISTEN", &admin).set("WEBHOOKS__TIMEOUT_MS", "2000").set("WEBHOOKS__CONNECT_TIMEOUT_MS", "2000");
    let launch =
        settings.environment().fold(Launch::new("worker", env!("CARGO_BIN_EXE_worker")), |launch, (name, value)| launch.env(name, value));
    let folder = tempfile::tempdir().unwrap();
    let mut worker = launch.arg("run").start(&folder.path().join("worker.log")).unwrap();
    let client = Client::new(admin.parse().unwrap(), false);
    until("the worker to be ready", async || {
        assert_eq!(worker.exited().unwrap(), None, "{}", worker.log_tail(5));
        client.get("/readyz").await.is_ok_and(|answer| answer.status == 200 && all_checks_pass(&String::from_utf8_lossy(&answer.body)))
    })
    .await;

    let behaviors = [
        Behavior::Flood(GB),
        Behavior::Answer(Answer::gzip_bomb()),
        Behavior::Headers(100_000),
        Behavior::LongHeader(64 << 20),
        Behavior::Interim,
        Behavior::DripHead,
        Behavior::DripBody,
        Behavior::Hang,
        Behavior::Reset,
    ];
    let (mut stores, mut receivers) = (Vec::new(), Vec::new());
    for (n, behavior) in behaviors.iter().enumerate() {
        let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
        receiver.record(Recording::Counted);
        let shop = Shop::open(&pg, &format!("store-{n}")).await.unwrap();
        shop.endpoint(&pg, Mode::Live, &receiver.url("/")).await.unwrap();
        stores.push(shop.store_id);
        receivers.push((receiver, behavior.clone()));
    }
    let pending = async || -> i64 {
        let sql = "select count(*) from webhook_deliveries where status = 'pending' and attempts = 0";
        pg.client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
    };
    // Well-behaved at first, so that each is trusted with as much as there is.
    for store_id in &stores {
        happen(&pg, *store_id, 200).await;
    }
    until("the good deliveries", async || receivers.iter().all(|(receiver, _)| receiver.requests() >= 200)).await;
    let before = Usage::of(worker.pid()).unwrap();

    for (receiver, behavior) in &receivers {
        receiver.behave(behavior.clone());
    }
    for store_id in &stores {
        happen(&pg, *store_id, 2 * EACH).await;
    }
    let mut most = before.resident_bytes;
    until("an attempt of each", async || {
        most = most.max(Usage::of(worker.pid()).unwrap().resident_bytes);
        pending().await == 0 && receivers.iter().all(|(receiver, _)| receiver.requests() >= 200 + EACH as u64)
    })
    .await;
    let growth = most.saturating_sub(before.resident_bytes);
    println!("{} MB at first, {} MB at most", before.resident_bytes >> 20, most >> 20);
    assert!(growth < GROWTH_MAX, "{} MB more than the {} MB before", growth >> 20, before.resident_bytes >> 20);

    // And it is as good as it was to whoever behaves again.
    let (good, _) = &receivers[1];
    good.behave(Behavior::status(200));
    let heard = good.requests();
    happen(&pg, stores[1], 1).await;
    good.wait_for_requests(heard + 1, SOON).await.unwrap();
}
