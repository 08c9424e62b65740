//! The steps of a checkout session and of a fulfillment that cost most, one by one: `cargo bench -p bench`. For whoever makes one of them faster;
//! what the whole costs is the affair of `cargo stack bench`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use common::api_key::{ApiKey, ApiKeyHasher, Scope};
use common::cart::{Line, SessionRequest, Sku};
use common::clock::{Clock, SystemClock};
use common::fulfill::FulfillRequest;
use common::limits::{Bucket, Quota};
use common::mode::Mode;
use common::money::Currency;
use common::session::{Claims, SessionSigner};
use criterion::{Criterion, criterion_group, criterion_main};
use edge::client_address::ClientAddress;
use edge::gate::Access;
use edge::quotas::QuotaName;
use edge::runner::Running;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ops::health::Health;
use ops::metrics::Metrics;
use testkit::database::Database;
use testkit::servers::Redis;
use testkit::settings::Settings;
use testkit::shop::Shop;
use tokio::runtime::Runtime;
use uuid::Uuid;

// The edge's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SKU: &str = "WIN-11-PRO";
const SLUG: &str = "my-store";
const SESSION: &[u8] = br#"{"cart": {"WIN-11-PRO": 1}, "currency": "GBP"}"#;
const FULFILL: &[u8] =
    br#"{"customer_email": "you@example.org", "items": [{"sku": "WIN-11-PRO", "quantity": 1}], "external_reference": "payment-1"}"#;

/// A running edge that knows one store and one key.
async fn edge() -> (Running, String) {
    let database = Database::new().await.expect("a database");
    let pg = database.pg().expect("a pool");
    let shop = Shop::open(&pg, SLUG).await.expect("a shop");
    shop.generated(&pg, SKU).await.expect("a product");
    let key = shop.unlimited_key(&pg).await.expect("a key");
    let redis = tokio::task::spawn_blocking(Redis::shared_for_tests).await.expect("a thread").expect("Redis");
    let settings = Settings::new().postgres(&database.edge_url()).redis(&redis.url()).load().expect("good settings");
    let metrics = Metrics::new("edge", &[]).expect("metrics");
    let running = edge::runner::start(&settings, &metrics, &Health::new(&metrics), Arc::new(SystemClock::new())).await.expect("an edge");
    let client = testkit::http::Client::new(running.address, false).with_key(&key);
    let body = serde_json::from_slice(SESSION).expect("JSON");
    let answer = client.post(&format!("/api/v1/stores/{SLUG}/checkout/session/"), &body).await.expect("an answer");
    assert_eq!(answer.status, 201);
    (running, key)
}

fn gate(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (running, key) = runtime.block_on(Box::pin(edge()));
    let (gate, now) = (&running.edge.gate, running.edge.clock.now());
    let address = ClientAddress::of(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {key}").parse().expect("a header"));
    let access = Access::Key(Scope::Checkout, QuotaName::Checkout);
    criterion.bench_function("gate/admit a key", |bencher| {
        bencher.iter(|| gate.admit(black_box(access), black_box(&headers), black_box(SLUG), address, now).outcome.is_ok());
    });
    criterion.bench_function("gate/admit an address", |bencher| {
        bencher.iter(|| gate.admit(black_box(Access::Address(QuotaName::Geo)), &HeaderMap::new(), "", address, now).outcome.is_ok());
    });
    runtime.block_on(running.stop(std::time::Duration::from_secs(10)));
}

fn api_keys(criterion: &mut Criterion) {
    let settings = Settings::new().load().expect("good settings");
    let hasher = ApiKeyHasher::new(&settings.secrets.api_key_pepper);
    let key = ApiKey::generate(Mode::Live, rand::random::<u64>);
    let text = key.expose().to_owned();
    criterion.bench_function("API key/parse", |bencher| {
        bencher.iter(|| ApiKey::parse(black_box(text.as_bytes())).is_ok());
    });
    criterion.bench_function("API key/hash", |bencher| bencher.iter(|| hasher.hash(black_box(&key)).1));
}

fn tokens(criterion: &mut Criterion) {
    let settings = Settings::new().load().expect("good settings");
    let signer = SessionSigner::new(&settings.secrets.session_signing);
    let claims = Claims {
        store_id: 1,
        mode: Mode::Live,
        cart: vec![Line { sku: Sku::parse(SKU).expect("a SKU"), quantity: 1 }],
        currency: Currency::parse("GBP").expect("a currency"),
        locale: None,
        metadata: Vec::new(),
        issued_at_s: 1_772_452_800,
        expires_at_s: 1_772_539_200,
        id: Uuid::nil(),
    };
    let token = signer.sign(&claims).expect("a token");
    criterion.bench_function("session token/sign", |bencher| bencher.iter(|| signer.sign(black_box(&claims)).is_ok()));
    criterion.bench_function("session token/verify", |bencher| {
        bencher.iter(|| signer.verify(black_box(&token), claims.issued_at_s).is_ok());
    });
}

fn bodies(criterion: &mut Criterion) {
    criterion.bench_function("body/checkout session", |bencher| {
        bencher.iter(|| SessionRequest::parse(black_box(SESSION), true).is_ok());
    });
    criterion.bench_function("body/fulfill", |bencher| bencher.iter(|| FulfillRequest::parse(black_box(FULFILL)).is_ok()));
    let request = FulfillRequest::parse(FULFILL).expect("a good body");
    criterion.bench_function("body/fingerprint of a fulfill", |bencher| bencher.iter(|| black_box(&request).fingerprint()));
}

fn limits(criterion: &mut Criterion) {
    let (clock, bucket) = (SystemClock::new(), Bucket::default());
    let quota = Quota::per_minute(100_000_000);
    criterion.bench_function("limits/take", |bencher| bencher.iter(|| bucket.take(black_box(quota), black_box(clock.now())).admitted));
    criterion.bench_function("clock", |bencher| bencher.iter(|| clock.now()));
}

criterion_group!(hot_paths, gate, api_keys, tokens, bodies, limits);
criterion_main!(hot_paths);
