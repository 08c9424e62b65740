//! How soon every edge knows: from the call that revokes an API key, or gives a product a price, as the operator's commands make it, until
//! the last of two edges acts on it. Partners ask each edge all the time, a millisecond after its last answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::mode::Mode;
use common::money::Currency;
use storage::pg::audit_log::Actor;
use storage::pg::{api_keys, products};
use storage::{redis, revocations};
use testkit::http::Client;
use testkit::shop::Shop;
use tokio::time::{Instant, sleep, timeout};

use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::Spread;
use crate::system::Servers;

const EDGES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1);
const OLD_CURRENCY: &str = "GBP";
const NEW_CURRENCY: &str = "EUR";

const REVOCATION: Promise = Promise {
    what: "a revocation, until every edge refuses the key",
    good: Good::AtMost,
    must: 1_000.0,
    glory: 100.0,
    unit: " ms",
    decimals: 1,
};
const PRICE: Promise = Promise { what: "a price change, until every edge knows it", ..REVOCATION };

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let servers = Servers::start(&plan.folder, plan.progress).await?;
    let settings = servers.settings().load()?;
    let shop = Shop::open(&servers.pg, "my-store").await?;
    shop.generated(&servers.pg, "OLD").await?;
    let lasting = shop.unlimited_key(&servers.pg).await?;
    let mut edges = Vec::new();
    for _ in 0..EDGES {
        edges.push(servers.start_edge(&plan.programs.edge, &servers.settings(), None).await?);
    }
    let clients: Vec<Client> = edges.iter().map(|edge| Client::new(edge.address, false)).collect();
    let publisher = redis::client(&settings.redis)?;
    let path = format!("/api/v1/stores/{}/checkout/session/", shop.slug);

    let trials = plan.size(5, 1) * plan.rounds;
    let (mut revocations, mut prices) = (Vec::new(), Vec::new());
    for trial in 0..trials {
        let (id, key) = shop.key(&servers.pg, Mode::Live, &[], api_keys::Quotas::default()).await?;
        let asking = Asking { clients: &clients, path: &path, key: &key, body: session("OLD", OLD_CURRENCY) };
        asking.until(201).await.context("a new key")?;
        let started = Instant::now();
        let revoking = async {
            ensure!(api_keys::revoke(&servers.pg, id, Actor::CommandLine).await?.is_some(), "the key is gone");
            Ok(revocations::publish(&publisher, &settings.queue.prefix, id).await?)
        };
        let (revoked, refused) = tokio::join!(revoking, asking.until(401));
        revoked?;
        revocations.push((refused.context("a revoked key")? - started).as_secs_f64() * 1e3);

        let sku = format!("SKU-{trial}");
        let product = shop.generated(&servers.pg, &sku).await?;
        let known = Asking { clients: &clients, path: &path, key: &lasting, body: session(&sku, OLD_CURRENCY) };
        known.until(201).await.context("a new product")?;
        let asking = Asking { body: session(&sku, NEW_CURRENCY), ..known };
        asking.until(400).await.context("a product without a price in that currency")?;
        let started = Instant::now();
        let price = [(Currency::parse(NEW_CURRENCY)?, 3_299)];
        let (changed, sold) = tokio::join!(products::set_prices(&servers.pg, &product, &price), asking.until(201));
        changed?;
        prices.push((sold.context("a product with a new price")? - started).as_secs_f64() * 1e3);
    }
    for edge in edges {
        edge.stop()?;
    }
    let mut report = Report::default();
    report.measured(REVOCATION, Spread::of(revocations));
    report.measured(PRICE, Spread::of(prices));
    plan.say(format!("follow: {trials} revocations and {trials} prices, {EDGES} edges"));
    Ok(report)
}

fn session(sku: &str, currency: &str) -> serde_json::Value {
    serde_json::json!({"cart": {sku: 1}, "currency": currency})
}

/// The same question to every edge.
struct Asking<'a> {
    clients: &'a [Client],
    path: &'a str,
    key: &'a str,
    body: serde_json::Value,
}

impl Asking<'_> {
    /// When the last edge first answered with this status.
    async fn until(&self, status: u16) -> Result<Instant> {
        let each = self.clients.iter().map(|client| async move {
            let client = client.with_key(self.key);
            loop {
                if client.post(self.path, &self.body).await?.status == status {
                    return Ok::<_, anyhow::Error>(Instant::now());
                }
                sleep(ASK_AGAIN_AFTER).await;
            }
        });
        let answered = timeout(PATIENCE, futures_util::future::try_join_all(each)).await;
        answered.with_context(|| format!("no status {status} within {PATIENCE:?}"))??.into_iter().max().context("no edges")
    }
}
