//! A whole system inside the test: real Postgres, real Redis, as many edges and workers as the test starts, each on a port of its own,
//! all speaking through sockets only. Every wait has a deadline, and nothing waits longer than the thing it waits for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::clock::{Clock, Now, SystemClock};
use ops::admin::AdminServer;
use ops::health::Health;
use ops::metrics::Metrics;
use serde_json::{Value, json};
use storage::Pg;
use storage::pg::license_keys;
use storage::pg::products::Product;
use testkit::database::{Database, make_logins};
use testkit::http::{Client, Response};
use testkit::servers::{Host, Kind, Lifetime, Postgres, Redis};
use testkit::settings::Settings;
use testkit::shop::Shop;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::Instant;

/// Longer than anything that should happen at all takes, on a machine that does other things too.
pub const SOON: Duration = Duration::from_secs(15);
/// Systems at once: each has some forty database connections, and the tests share one server.
const SYSTEMS_MAX: u32 = 4;
static TURNS: Semaphore = Semaphore::const_new(SYSTEMS_MAX as usize);

/// For what keeps the whole machine busy: while this lives there is no system, so that nobody measures what is not his own.
pub async fn alone() -> SemaphorePermit<'static> {
    TURNS.acquire_many(SYSTEMS_MAX).await.expect("turns are never closed")
}

/// A clock that tests can set forward.
pub struct TestClock {
    system: SystemClock,
    ahead_ms: AtomicU64,
}

impl TestClock {
    /// Sets the clock forward.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let (now, ahead_ms) = (self.system.now(), self.ahead_ms.load(Ordering::Relaxed));
        Now { unix_ms: now.unix_ms + ahead_ms, mono_ns: now.mono_ns + ahead_ms * 1_000_000 }
    }
}

/// Servers with nothing running on them yet. Multi-threaded tests only.
pub struct System {
    /// The database, past edges and workers.
    pub pg: Pg,
    /// What edges take for the time.
    pub clock: Arc<TestClock>,
    /// This system's own Redis.
    pub redis: Redis,
    /// This system's own Postgres, where the test asked for one.
    postgres: Option<Postgres>,
    settings: Settings,
    /// To the same database, as an edge and as a worker log in.
    urls: [String; 2],
    owner_url: String,
    _turn: SemaphorePermit<'static>,
}

impl System {
    /// A database of its own on the shared Postgres, and a Redis of its own.
    pub async fn new() -> Self {
        let turn = TURNS.acquire().await.expect("turns are never closed");
        let database = Database::new().await.expect("a database");
        Self::over(None, database.url(), [database.edge_url(), database.worker_url()], turn)
    }

    /// As [`System::new`], where edges and workers log in as the owner.
    pub async fn with_one_login() -> Self {
        let mut this = Self::new().await;
        this.urls = [this.owner_url.clone(), this.owner_url.clone()];
        this
    }

    /// As [`System::new`], beside no other.
    pub async fn alone() -> Self {
        let turn = alone().await;
        let database = Database::new().await.expect("a database");
        Self::over(None, database.url(), [database.edge_url(), database.worker_url()], turn)
    }

    /// As [`System::new`], with a Postgres that the test may stop.
    pub async fn with_own_postgres() -> Self {
        let turn = TURNS.acquire().await.expect("turns are never closed");
        let postgres = block_in_place(|| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let binaries = Host::of_this_checkout(path)?.find_or_unpack(&[Kind::Postgres], &|line| eprintln!("{line}"))?;
            Postgres::start(&binaries, Lifetime::Temporary, None)
        });
        let postgres = postgres.expect("a Postgres");
        let url = postgres.url();
        let mut this = Self::over(Some(postgres), &url, Default::default(), turn);
        storage::pg::migrations::run(&this.pg).await.expect("a schema");
        this.urls = make_logins(&this.pg, &url).await.expect("logins");
        this
    }

    fn over(postgres: Option<Postgres>, url: &str, urls: [String; 2], turn: SemaphorePermit<'static>) -> Self {
        let redis = block_in_place(|| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let binaries = Host::of_this_checkout(path)?.find_or_unpack(&[Kind::Redis], &|line| eprintln!("{line}"))?;
            Redis::start(&binaries, None)
        });
        let redis = redis.expect("a Redis");
        // Few connections, as many systems share one server; in exchange patience with waiting for one.
        let settings = Settings::new().postgres(url).redis(&redis.url());
        let settings = settings.set("POSTGRES__CONNECTIONS_MAX", "8").set("POSTGRES__CHECKOUT_TIMEOUT_MS", "15000");
        // Clients keep idle connections; a test that stops an edge need not wait for them.
        let settings = settings.set("EDGE__DRAIN_IDLE_MS", "200");
        let pg = Pg::new(&settings.load().expect("settings").postgres, "test").expect("a pool");
        let clock = Arc::new(TestClock { system: SystemClock::new(), ahead_ms: AtomicU64::new(0) });
        Self { pg, clock, redis, postgres, settings, urls, owner_url: url.to_owned(), _turn: turn }
    }

    /// Sets a knob for edges and workers that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings = self.settings.clone().set(name, value);
    }

    /// The settings of edges and workers, but for the database, which is the owner's.
    pub fn settings(&self) -> config::Settings {
        self.settings.load().expect("settings")
    }

    /// The settings of edges.
    pub fn edge_settings(&self) -> config::Settings {
        self.settings.clone().postgres(&self.urls[0]).load().expect("settings")
    }

    /// The settings of workers.
    pub fn worker_settings(&self) -> config::Settings {
        self.settings.clone().postgres(&self.urls[1]).load().expect("settings")
    }

    /// The Postgres that the test asked for.
    pub fn postgres(&mut self) -> &mut Postgres {
        self.postgres.as_mut().expect("this system was not made with a Postgres of its own")
    }

    /// Starts an edge as its program does, and waits until it has everything it needs.
    pub async fn edge(&self) -> Edge {
        let edge = self.edge_at_once().await;
        eventually("the edge to be connected", SOON, async || {
            let fulfillment = &edge.running.edge.fulfillment;
            let connected = fulfillment.pg.is_up() && fulfillment.asking.is_connected();
            (connected && edge.health.is_ready()).then_some(())
        })
        .await;
        edge
    }

    /// Starts an edge as its program does, and waits for nothing.
    pub async fn edge_at_once(&self) -> Edge {
        let settings = self.edge_settings();
        let metrics = Metrics::new("edge", &[]).expect("metrics");
        let health = Health::new(&metrics);
        health.spawn_heartbeat();
        let admin = AdminServer::start(settings.edge.admin_listen, metrics.clone(), health.clone()).expect("an admin listener");
        let running = edge::runner::start(&settings, &metrics, &health, self.clock.clone()).await.expect("an edge");
        Edge { address: running.address, health, admin, metrics, running, drain_timeout: settings.edge.drain_timeout }
    }

    /// Starts a worker as its program does, and waits until it is ready.
    pub async fn worker(&self) -> Worker {
        let worker = self.worker_at_once();
        eventually("the worker to be ready", SOON, async || worker.health.is_ready().then_some(())).await;
        worker
    }

    /// Starts a worker as its program does, and waits for nothing.
    pub fn worker_at_once(&self) -> Worker {
        let settings = self.worker_settings();
        let metrics = Metrics::new("worker", &[]).expect("metrics");
        let health = Health::new(&metrics);
        let admin = AdminServer::start(settings.worker.admin_listen, metrics.clone(), health.clone()).expect("an admin listener");
        let running = worker::runner::start(&settings, &metrics, &health).expect("a worker");
        Worker { running, health, admin, metrics, drain_timeout: settings.worker.drain_timeout }
    }

    /// A store, and a live key for it that no limit stops.
    pub async fn shop(&self, slug: &str) -> (Shop, String) {
        let shop = Shop::open(&self.pg, slug).await.expect("a store");
        let key = shop.unlimited_key(&self.pg).await.expect("a key");
        (shop, key)
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &str) -> i64 {
        self.pg.client().await.expect("a connection").query_one(sql, &[]).await.expect(sql).get(0)
    }

    /// How many license keys of a product are in stock.
    pub async fn free(&self, product: &Product, mode: common::mode::Mode) -> i64 {
        let client = self.pg.client().await.expect("a connection");
        license_keys::count_free(&*client, product.id, mode, i64::MAX).await.expect("a count")
    }
}

/// A running edge.
pub struct Edge {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its admin listener says.
    pub health: Health,
    admin: AdminServer,
    metrics: Metrics,
    running: edge::runner::Running,
    drain_timeout: Duration,
}

impl Edge {
    /// A client of this edge over HTTP/1.1.
    pub fn client(&self, key: &str) -> Client {
        Client::new(self.address, false).with_key(key)
    }

    /// A client of this edge over one connection of HTTP/2.
    pub fn client_http2(&self, key: &str) -> Client {
        Client::new(self.address, true).with_key(key)
    }

    /// What the readiness page answers.
    pub async fn ready_status(&self) -> u16 {
        // The admin listener keeps no connection alive, so a client of its own costs nothing.
        Client::new(self.admin.local_addr(), false).get("/readyz").await.expect("a page").status.as_u16()
    }

    /// Where its admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// What asks workers for taxes.
    pub fn tax_quotes(&self) -> &edge::tax_quotes::TaxQuotes {
        &self.running.edge.tax_quotes
    }

    /// What it counts; to be looked at when it has gone.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// A line's number on the metrics page; 0 while the line is not there.
    pub fn metric(&self, line: &str) -> f64 {
        metric(&self.metrics, line)
    }

    /// Stops it as its program does at SIGTERM, to the last task.
    pub async fn stop(self) {
        self.health.set_draining();
        self.running.stop(self.drain_timeout).await;
        self.admin.shutdown();
    }
}

fn metric(metrics: &Metrics, line: &str) -> f64 {
    let page = metrics.encode().expect("a page");
    page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
}

/// A running worker.
pub struct Worker {
    running: worker::runner::Running,
    health: Health,
    admin: AdminServer,
    metrics: Metrics,
    drain_timeout: Duration,
}

impl Worker {
    /// A line's number on the metrics page; 0 while the line is not there.
    pub fn metric(&self, line: &str) -> f64 {
        metric(&self.metrics, line)
    }

    /// Where its admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// Stops it as its program does at SIGTERM.
    pub async fn stop(self) {
        self.running.stop(self.drain_timeout).await;
        self.admin.shutdown();
    }
}

/// Looks again and again until there is something to see. The deadline's passing fails the test.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let (what, deadline) = (what.to_owned(), Instant::now() + within);
    let caller = std::panic::Location::caller();
    async move {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(Instant::now() < deadline, "{caller}: waited {within:?} for {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Does `count` things, `at_once` at a time. What came of them is in no order.
pub async fn in_parallel<T, Doing>(count: usize, at_once: usize, task: impl Fn(usize) -> Doing) -> Vec<T>
where
    T: Send + 'static,
    Doing: Future<Output = T> + Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::with_capacity(count));
    for n in 0..count {
        if running.len() == at_once {
            done.extend(running.join_next().await.transpose().expect("no panic"));
        }
        running.spawn(task(n));
    }
    done.extend(running.join_all().await);
    done
}

/// The body of a request to fulfill.
pub fn order(reference: &str, items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> = items.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
    json!({ "customer_email": "customer@shop.example", "items": items, "external_reference": reference, "currency": "GBP", "total_minor": 2999 })
}

/// Where a store's orders are fulfilled.
pub fn fulfill_path(slug: &str) -> String {
    format!("/api/v1/stores/{slug}/licensing/fulfill/")
}

/// Sends a request to fulfill.
pub async fn fulfill(client: &Client, slug: &str, body: &Value) -> Response {
    client.post(&fulfill_path(slug), body).await.expect("an answer")
}

/// Sends a request to fulfill until it is answered with 201, as a partner would who hears 202 or 503. Nothing else is heard on the way.
pub async fn fulfill_until_made(client: &Client, slug: &str, body: &Value) -> Response {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = fulfill(client, slug, body).await;
        if answer.status == 201 {
            return answer;
        }
        assert!([202, 503].contains(&answer.status.as_u16()) && Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends a request to fulfill under an `Idempotency-Key`.
pub async fn fulfill_once(client: &Client, slug: &str, idempotency_key: &str, body: &Value) -> Response {
    let headers = [("content-type", "application/json"), ("idempotency-key", idempotency_key)];
    client.send(http::Method::POST, &fulfill_path(slug), &headers, body.to_string()).await.expect("an answer")
}

/// The license keys in an answer, item by item in one list.
pub fn license_keys_of(answer: &Response) -> Vec<String> {
    let answer = answer.json();
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let keys = items.iter().flat_map(|item| item["license_keys"].as_array().cloned().unwrap_or_default());
    keys.map(|key| key.as_str().expect("a license key is text").to_owned()).collect()
}

/// The order's id in an answer.
pub fn order_id_of(answer: &Response) -> String {
    answer.json()["order_id"].as_str().unwrap_or_else(|| panic!("no order in {answer:?}")).to_owned()
}

/// GET of an order.
pub async fn read_order(client: &Client, slug: &str, id: &str) -> Response {
    client.get(&format!("/api/v1/stores/{slug}/orders/{id}/")).await.expect("an answer")
}

/// Reads an order until it is in this status.
pub async fn until_order_is(client: &Client, slug: &str, id: &str, status: &str) -> Response {
    eventually(&format!("order {id} to be {status}"), SOON, async || {
        let order = read_order(client, slug, id).await;
        (order.json()["status"] == status).then_some(order)
    })
    .await
}

/// `text` is the status of every one of these answers, or the test fails with what else there was.
#[track_caller]
pub fn all_are(answers: &[Response], status: u16) {
    let others: Vec<_> = answers.iter().filter(|answer| answer.status != status).collect();
    assert!(others.is_empty(), "all should be {status}, {} of {} are not: {:?}", others.len(), answers.len(), others[0]);
}
