//! Webhooks: from the commit of an event to the partner's server, which answers at once. Production's settings, but for the mode: in
//! production nobody may be sent to loopback.
//!
//! Three measures. Deliveries a second when events come as fast as they can be made, in transactions of their own with the word to the queue
//! after each, and what each costs in CPU, Postgres and Redis included. How long the slowest hundredth waits at a fixed rate, in whose
//! events orders bring about that come over HTTP, the whole way: from the moment at which Postgres begins the commit, as Postgres itself says,
//! to the first attempt. And how much longer it waits beside endpoints that never answer, in alternate rounds.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::{DELIVER_WEBHOOK, DeliverJob, JOB_VERSION, NewOrder};
use common::mode::Mode;
use rustix::time::{ClockId, clock_gettime};
use storage::pg::events;
use storage::queue::{Producer, QueueName};
use storage::{Pg, redis};
use testkit::receiver::{Behavior, Receiver, Recording};
use testkit::shop::Shop;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cpu_time::{Backends, CpuTime};
use crate::load::{Clients, Pace};
use crate::orders::Orders;
use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::{Spread, percentile};
use crate::system::Servers;

const STORES: usize = 50;
const SKU: &str = "WIN-11-PRO";
/// Endpoints that never answer, and endpoints that answer beside them.
const SILENT: usize = 100;
/// Events in one transaction when they come as fast as they can: what a worker makes of a busy queue.
const TOGETHER: usize = 64;
/// Transactions at once.
const AT_ONCE: usize = 4;
const PER_S: f64 = 200.0;
const CREATED_AT: &str = "2026-11-23T12:00:00Z";
/// Nothing takes longer that works.
const PATIENCE: Duration = Duration::from_secs(120);

const RATE: Promise =
    Promise { what: "webhooks, deliveries a second", good: Good::AtLeast, must: 2_500.0, glory: 6_000.0, unit: "/s", decimals: 0 };
const CPU: Promise =
    Promise { what: "CPU a delivery, Postgres and Redis included", good: Good::AtMost, must: 0.8, glory: 0.35, unit: " ms", decimals: 2 };
const P99: Promise =
    Promise { what: "commit to first attempt, p99 at 200/s", good: Good::AtMost, must: 10.0, glory: 4.0, unit: " ms", decimals: 1 };
const BESIDE: Promise = Promise {
    what: "the same beside 100 endpoints that never answer: longer by",
    good: Good::AtMost,
    must: 20.0,
    glory: 1.0,
    unit: " ms",
    decimals: 1,
};

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let servers = Servers::start_with(&plan.folder, plan.progress, &["track_commit_timestamp=on"]).await?;
    let settings = servers.settings().set("MODE", "development");
    let queue = settings.clone().postgres(&servers.postgres.url()).load()?;
    let producer = Producer::new(redis::client(&queue.redis)?, QueueName::new(&queue.queue.prefix, DELIVER_WEBHOOK));
    let good = Receiver::start(Behavior::status(200)).await?;
    let silent = Receiver::start(Behavior::Hang).await?;
    silent.record(Recording::Counted);
    let shops = stores(&servers.pg, "good", STORES.max(SILENT), &good).await?;
    let silent_shops = stores(&servers.pg, "silent", SILENT, &silent).await?;
    let [stores, silent_stores] = [&shops, &silent_shops].map(|shops| shops.iter().map(|(shop, _)| shop.store_id).collect::<Vec<i64>>());
    let edge = servers.start_edge(&plan.programs.edge, &settings, None).await?;
    let worker = servers.start_worker(&plan.programs.worker, &settings).await?;
    let partners = Partners { pg: servers.pg.clone(), producer };

    let count = plan.size(20_000, 512).next_multiple_of(TOGETHER);
    let (mut rates, mut cpu, mut cpu_of) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    good.record(Recording::Counted);
    for round in 0..=plan.rounds {
        let before = good.requests();
        let postgres = Backends::of(&servers.pg).await?;
        let spent = [worker.pid(), servers.redis.pid()].map(CpuTime::of);
        let started = Instant::now();
        partners.happen_at_once(&stores[..STORES], count).await?;
        good.wait_for_requests(before + count as u64, PATIENCE).await?;
        let rate = count as f64 / started.elapsed().as_secs_f64();
        let [worker, redis] = spent;
        let spent =
            [worker?.elapsed()?, redis?.elapsed()?, postgres.elapsed().await?].map(|spent| spent.as_secs_f64() * 1e3 / count as f64);
        // The first round warms up.
        if round > 0 {
            plan.say(format!("webhooks {round}/{}: {rate:.0}/s, {:.2} ms of CPU each", plan.rounds, spent.iter().sum::<f64>()));
            rates.push(rate);
            cpu.push(spent.iter().sum());
            cpu_of.iter_mut().zip(spent).for_each(|(all, spent)| all.push(spent * 1e3));
        }
    }
    partners.settled().await?;

    good.record(Recording::WithoutBodies);
    let mut customers = Customers { clients: Clients::connect(edge.address, 64, 201)?, orders: Orders::of(&shops, SKU, edge.address) };
    let paced = plan.size(1_000, 100);
    customers.latency(&servers.pg, paced / 4, &good).await?;
    let (mut p50s, mut p99s, mut added, mut whole) = (Vec::new(), Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for round in 1..=plan.rounds {
        let alone = customers.latency(&servers.pg, paced, &good).await?;
        // As many as they hold, and more all the time.
        partners.happen_at_once(&silent_stores, SILENT * TOGETHER / 4).await?;
        let beside = customers.latency(&servers.pg, paced, &good).await?;
        let ([p50, p99], [_, beside]) = (alone.since_commit, beside.since_commit);
        plan.say(format!("webhooks {round}/{}: p50 {p50:.1} ms, p99 {p99:.1} ms; beside silent endpoints {beside:.1} ms", plan.rounds));
        p50s.push(p50);
        p99s.push(p99);
        added.push(beside - p99);
        whole.iter_mut().zip(alone.since_call).for_each(|(all, wait)| all.push(wait));
        partners.forget_silent(&silent_stores).await?;
    }
    ensure!(silent.requests() > 0, "nothing was sent to the silent endpoints");
    edge.stop()?;
    worker.stop()?;

    let mut report = Report::default();
    report.measured(RATE, Spread::of(rates));
    report.measured(CPU, Spread::of(cpu));
    report.measured(P99, Spread::of(p99s));
    report.measured(BESIDE, Spread::of(added));
    let [worker, redis, postgres] = cpu_of.map(|spent| Spread::of(spent).text(0));
    report.note(format!(
        "webhooks, µs of CPU a delivery: worker {worker}, Redis {redis}, Postgres {postgres}, in which the event is made too"
    ));
    report.note(format!("webhooks, commit to first attempt, p50 at 200/s: {} ms", Spread::of(p50s).text(1)));
    let [p50, p99] = whole.map(|waits| Spread::of(waits).text(1));
    report.note(format!("webhooks, from the call that fulfills to the first attempt of order.created: p50 {p50} ms, p99 {p99} ms"));
    Ok(report)
}

/// Stores with an endpoint, a product and an API key each.
async fn stores(pg: &Pg, name: &str, count: usize, receiver: &Receiver) -> Result<Vec<(Shop, String)>> {
    let mut shops = Vec::with_capacity(count);
    for number in 0..count {
        let shop = Shop::open(pg, &format!("{name}-{number:03}")).await?;
        shop.endpoint(pg, Mode::Live, &receiver.url(&format!("/{number}"))).await?;
        shop.generated(pg, SKU).await?;
        let api_key = shop.unlimited_key(pg).await?;
        shops.push((shop, api_key));
    }
    Ok(shops)
}

/// Customers whose orders come over HTTP, two events each.
struct Customers {
    clients: Clients,
    orders: Orders,
}

/// Milliseconds until the first attempt: half of all, and 99 of 100, take no longer.
struct Latency {
    /// Of both events, since their commit.
    since_commit: [f64; 2],
    /// Of the first event, since the order was sent.
    since_call: [f64; 2],
}

impl Customers {
    /// So many orders, at half of [`PER_S`] as each has two events.
    async fn latency(&mut self, pg: &Pg, count: usize, receiver: &Receiver) -> Result<Latency> {
        receiver.take_received();
        let before = receiver.requests();
        let mut sent = Vec::with_capacity(count);
        let first = self.orders.made();
        tokio::task::block_in_place(|| {
            self.clients.run(Pace::Open(PER_S / 2.0), count, |buffer| {
                self.orders.write(buffer);
                sent.push(Instant::now());
            })
        })?;
        receiver.wait_for_requests(before + 2 * count as u64, PATIENCE).await?;
        let came: HashMap<Uuid, Instant> = receiver
            .take_received()
            .iter()
            .map(|received| Ok((received.header("webhook-id").parse()?, received.at.into())))
            .collect::<Result<_>>()?;
        let (now, unix) = (Instant::now(), clock_gettime(ClockId::Realtime));
        let unix = Duration::new(u64::try_from(unix.tv_sec)?, u32::try_from(unix.tv_nsec)?);
        let sql = "select e.id, e.sequence, o.external_reference, extract(epoch from pg_xact_commit_timestamp(e.xmin))::float8
                   from events e join orders o on o.id = e.order_id where e.id = any($1)";
        let rows = pg.client().await?.query(sql, &[&came.keys().collect::<Vec<_>>()]).await?;
        ensure!(rows.len() == 2 * count, "{} events came, and there are {}", rows.len(), 2 * count);
        let (mut since_commit, mut since_call) = (Vec::with_capacity(rows.len()), Vec::with_capacity(count));
        for row in rows {
            let at = came[&row.get::<_, Uuid>(0)];
            let committed = now - unix.saturating_sub(Duration::from_secs_f64(row.get(3)));
            since_commit.push(at.saturating_duration_since(committed).as_nanos() as u64);
            if row.get::<_, i32>(1) == 1 {
                let number: usize = row.get::<_, &str>(2).parse()?;
                since_call.push(at.saturating_duration_since(sent[number - first]).as_nanos() as u64);
            }
        }
        let percentiles = |mut waits_ns: Vec<u64>| {
            waits_ns.sort_unstable();
            [0.5, 0.99].map(|share| percentile(&waits_ns, share) as f64 / 1e6)
        };
        Ok(Latency { since_commit: percentiles(since_commit), since_call: percentiles(since_call) })
    }
}

/// Orders of whom events are told.
#[derive(Clone)]
struct Partners {
    pg: Pg,
    producer: Producer,
}

impl Partners {
    /// An event for each of these stores in one transaction, and the word that they are due.
    async fn happen(&self, stores: &[i64]) -> Result<()> {
        let orders = stores.iter().map(|&store_id| order(store_id)).collect::<Result<Vec<NewOrder>>>()?;
        let happened: Vec<(EventKind, &NewOrder)> = orders.iter().map(|order| (EventKind::Created, order)).collect();
        let due = events::insert_of_fulfillment(&*self.pg.client().await?, &happened, CREATED_AT, None).await?.due;
        let job = DeliverJob { v: JOB_VERSION, due: due.iter().map(|due| (due.id, due.endpoint_id)).collect() };
        self.producer.push(&serde_json::to_vec(&job)?).await?;
        Ok(())
    }

    /// So many events of these stores in turn, as fast as they can be made.
    async fn happen_at_once(&self, stores: &[i64], count: usize) -> Result<()> {
        let mut making = JoinSet::new();
        for maker in 0..AT_ONCE {
            let (partners, stores) = (self.clone(), stores.to_vec());
            let (first, last) = (count * maker / AT_ONCE, count * (maker + 1) / AT_ONCE);
            making.spawn(async move {
                let of: Vec<i64> = (first..last).map(|n| stores[n % stores.len()]).collect();
                for together in of.chunks(TOGETHER) {
                    partners.happen(together).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(made) = making.join_next().await {
            made??;
        }
        Ok(())
    }

    /// What waits for the silent ones is given up, so that the next round begins as this one did.
    async fn forget_silent(&self, stores: &[i64]) -> Result<()> {
        let sql = "update webhook_deliveries d set status = 'exhausted', settled_at = now() from webhook_endpoints w
                   where d.endpoint_id = w.id and w.store_id = any($1) and d.status = 'pending'";
        self.pg.client().await?.execute(sql, &[&stores]).await?;
        Ok(())
    }

    /// Waits until every delivery is written down as delivered.
    async fn settled(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let sql = "select count(*) from webhook_deliveries where status <> 'delivered' or attempts <> 1";
            let left: i64 = self.pg.client().await?.query_one(sql, &[]).await?.get(0);
            if left == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{left} deliveries are not settled, or were made twice");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn order(store_id: i64) -> Result<NewOrder> {
    let body = br#"{"customer_email":"customer@example.com","items":[{"sku":"WIN-11-PRO","quantity":1}],"external_reference":"reference","currency":"GBP","total_minor":2999}"#;
    let request = FulfillRequest::parse(body).map_err(|errors| anyhow::anyhow!("the order: {errors:?}"))?;
    Ok(NewOrder {
        order_id: OrderId::new(1_772_452_800_250, rand::random()),
        store_id,
        mode: Mode::Live,
        idempotency_key: None,
        request,
        trace: None,
    })
}
