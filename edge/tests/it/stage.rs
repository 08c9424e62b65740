//! The edge on its stage: real Postgres and Redis, a database of its own with a shop in it, and a clock that the test moves. Every test
//! sets its own stage, so that buckets and settings are nobody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::mode::Mode;
use ops::health::Health;
use ops::metrics::Metrics;
use serde_json::{Value, json};
use storage::Pg;
use storage::pg::api_keys::Quotas;
use testkit::clock::FakeClock;
use testkit::database::{Database, make_logins};
use testkit::http::{Client, Response};
use testkit::servers::Redis;
use testkit::settings::Settings;
use testkit::shop::Shop;

/// The address that customers are told; nobody listens there.
pub const PUBLIC_BASE_URL: &str = "https://pay.example";
/// Longer than anything here takes, however busy the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is there before the edge: a database with shop `demo`, which sells `MADE` and holds a key without limits.
pub struct Backstage {
    pub pg: Pg,
    pub shop: Shop,
    pub key: String,
    /// Of an edge.
    pub settings: Settings,
    /// The database, as a worker logs in.
    pub worker_url: String,
}

impl Backstage {
    pub async fn new() -> Self {
        let database = Database::new().await.expect("a database");
        let redis = tokio::task::spawn_blocking(Redis::shared_for_tests).await.expect("a thread").expect("Redis");
        let urls = [database.edge_url(), database.worker_url()];
        Self::over(database.pg().expect("a pool"), urls, &redis.url()).await
    }

    /// On these servers.
    pub async fn with(pg: Pg, postgres_url: &str, redis_url: &str) -> Self {
        let urls = make_logins(&pg, postgres_url).await.expect("logins");
        Self::over(pg, urls, redis_url).await
    }

    /// The queue is this stage's own. `pg` is the owner's; the URLs are an edge's and a worker's.
    async fn over(pg: Pg, [edge_url, worker_url]: [String; 2], redis_url: &str) -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let shop = Shop::open(&pg, "demo").await.expect("a shop");
        shop.generated(&pg, "MADE").await.expect("a product");
        let key = shop.unlimited_key(&pg).await.expect("a key");
        let settings = Settings::new()
            .postgres(&edge_url)
            .redis(redis_url)
            .set("QUEUE__PREFIX", &format!("edge-{}", STAGES.fetch_add(1, Ordering::Relaxed)))
            .set("HTTP__PUBLIC_BASE_URL", PUBLIC_BASE_URL)
            .set("EDGE__SNAPSHOT_POLL_MS", "50")
            .set("EDGE__DRAIN_IDLE_MS", "200");
        Self { pg, shop, key, settings, worker_url }
    }

    /// A live key for everything, with everybody's limits.
    pub async fn common_key(&self) -> String {
        self.key_with(Mode::Live, &[], Quotas::default()).await.1
    }

    pub async fn key_with(&self, mode: Mode, scopes: &[&str], quotas: Quotas) -> (i64, String) {
        self.shop.key(&self.pg, mode, scopes, quotas).await.expect("a key")
    }

    /// Changes one knob.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings = self.settings.set(name, value);
        self
    }

    /// No limit for addresses, for tests of something else.
    pub fn unlimited_addresses(self) -> Self {
        ["GEO", "TAX", "ANONYMOUS"].into_iter().fold(self, |this, name| this.set(&format!("LIMITS__{name}"), "1000000"))
    }

    pub async fn start(self) -> Stage {
        let Self { pg, shop, key, settings, worker_url } = self;
        let workers = settings.clone().postgres(&worker_url).load().expect("good settings");
        let settings = settings.load().expect("good settings");
        let clock = FakeClock::new();
        let metrics = Metrics::new("edge", &[]).expect("metrics");
        let health = Health::new(&metrics);
        let running = edge::runner::start(&settings, &metrics, &health, Arc::new(clock.clone())).await.expect("an edge");
        Stage { address: running.address, pg, shop, key, clock, health, metrics, workers, running }
    }
}

/// A running edge. Ends with its test.
pub struct Stage {
    pub address: SocketAddr,
    pub pg: Pg,
    pub shop: Shop,
    /// A live key for everything whose limits nobody reaches.
    pub key: String,
    pub clock: FakeClock,
    pub health: Health,
    pub metrics: Metrics,
    workers: config::Settings,
    pub running: edge::runner::Running,
}

impl Stage {
    pub async fn new() -> Self {
        Backstage::new().await.unlimited_addresses().start().await
    }

    /// A client without a key, on connections of its own.
    pub fn anyone(&self) -> Client {
        Client::new(self.address, false)
    }

    /// A client with the key without limits.
    pub fn partner(&self) -> Client {
        self.anyone().with_key(&self.key)
    }

    /// Starts a worker beside the edge; it ends with the test.
    pub fn start_worker(&self) -> worker::runner::Running {
        let metrics = Metrics::new("worker", &[]).expect("metrics");
        worker::runner::start(&self.workers, &metrics, &Health::new(&metrics)).expect("a worker")
    }
}

/// Paths in store `demo`.
pub const SESSION: &str = "/api/v1/stores/demo/checkout/session/";
pub const FULFILL: &str = "/api/v1/stores/demo/licensing/fulfill/";
pub const ORDERS: &str = "/api/v1/stores/demo/orders/";
pub const WEBHOOKS: &str = "/api/v1/stores/demo/webhooks/";
pub const GEO: &str = "/api/v1/geo/subdivisions/?country=US";
pub const TAX: &str = "/api/v1/tax/rates/?country=GB";

/// A body that makes a checkout session.
pub fn session() -> Value {
    json!({"cart": {"MADE": 1}, "currency": "GBP"})
}

/// A body that makes an order.
pub fn order(reference: &str) -> Value {
    json!({"customer_email": "customer@example.com", "items": [{"sku": "MADE", "quantity": 1}], "external_reference": reference})
}

/// Words that no caller should read: what we are made of and where it runs.
const INTERNAL: [&str; 16] = [
    "postgres",
    "redis",
    "sql",
    "127.0.0.1",
    "localhost",
    "panic",
    ".rs",
    "tokio",
    "hyper",
    "serde",
    "deadpool",
    "/work",
    "/home",
    "rust",
    "stack",
    "thread",
];

/// Checks that an answer is a whole problem document that says nothing of our insides, and returns it. Not for requests made by chance,
/// whose own words are told back to them.
#[track_caller]
pub fn problem(response: &Response, status: u16, code: &str) -> Value {
    let lower = String::from_utf8_lossy(&response.body).to_lowercase();
    assert!(!INTERNAL.iter().any(|word| lower.contains(word)), "{lower}");
    whole_problem(response, status, code)
}

/// Checks that an answer is a whole problem document with this status and code, and returns it.
#[track_caller]
pub fn whole_problem(response: &Response, status: u16, code: &str) -> Value {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    let problem = response.json();
    assert_eq!((response.status.as_u16(), problem["code"].as_str()), (status, Some(code)), "{text}");
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], format!("{PUBLIC_BASE_URL}/developers/errors/{code}/"));
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| text.len() > 10), "{member} in {text}");
    }
    assert!(!response.header("x-request-id").is_empty());
    assert_eq!(problem["request_id"], response.header("x-request-id"));
    if code == "invalid_request" {
        let errors = problem["errors"].as_array().expect("errors");
        let told = |error: &Value| ["field", "message"].iter().all(|member| error[*member].as_str().is_some_and(|text| !text.is_empty()));
        assert!(!errors.is_empty() && errors.iter().all(told), "{text}");
    } else {
        assert_eq!(problem.get("errors"), None, "{text}");
    }
    problem
}

/// The fields that a problem complains about.
pub fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().map(|errors| errors.iter().filter_map(|error| error["field"].as_str()).collect()).unwrap_or_default()
}

/// Asks again and again until `done` says so: for what happens a moment later by itself. Fails when it never does.
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let asked = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{what} did not happen in {PATIENCE:?}"));
}
