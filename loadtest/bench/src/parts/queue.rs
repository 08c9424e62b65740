//! What carrying a question to a worker and its answer back costs: round trips a second through a worker that does nothing, with so many
//! callers at once, ours against apalis-redis as it can be had.
//!
//! Both carry the same job on the same Redis, callers and worker in this process, on the same threads, and take turns. Each caller asks again
//! as soon as it is answered, and every answer must be the one to its own question. Ours does more on the way: what Redis sees is sealed.

mod ours;
mod stock;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::cart::{Line, Sku};
use common::fulfill::{FulfillOutcome, FulfillRequest};
use common::ids::OrderId;
use common::job::{FulfillJob, JOB_VERSION, NewOrder, Reply};
use common::license::LicenseKey;
use common::mode::Mode;
use common::order::{OrderStatus, SoldItem};
use uuid::Uuid;

use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::{Spread, percentile};
use crate::system::Servers;

const SKU: &str = "WIN-11-PRO";
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

const AT_64: Promise = Promise {
    what: "queue round trip, 64 callers, against apalis-redis 1.0.0",
    good: Good::AtLeast,
    must: 2.0,
    glory: 2.5,
    unit: " ×",
    decimals: 2,
};
const AT_256: Promise = Promise { what: "queue round trip, 256 callers, against apalis-redis 1.0.0", ..AT_64 };

/// A queue with its worker, as one caller sees it.
trait Queue: Clone + Send + Sync + 'static {
    /// The channel that answers come by.
    fn reply_to(&self) -> &str;

    /// Asks, and waits for the answer.
    fn ask(&mut self, job: FulfillJob) -> impl Future<Output = Result<Reply>> + Send;
}

/// What one round came to.
#[derive(Clone, Copy)]
struct Measured {
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let servers = Servers::start(&plan.folder, plan.progress).await?;
    let settings = servers.settings().load()?;
    let mut report = Report::default();
    for (promise, callers) in [(AT_64, 64), (AT_256, 256)] {
        let (mut ours, mut stocks) = (Vec::new(), Vec::new());
        for round in 1..=plan.rounds {
            let one = {
                let (queue, worker) = ours::start(&settings).await?;
                let measured = measure(&queue, callers, plan).await.context("our queue")?;
                worker.stop().await?;
                measured
            };
            let other = {
                let (queue, worker) = stock::start(&servers.redis.url()).await?;
                let measured = measure(&queue, callers, plan).await.context("apalis-redis")?;
                worker.stop().await?;
                measured
            };
            // Finished jobs stay in stock's Redis for ever, and would make later rounds slower.
            servers.redis.flush()?;
            plan.say(format!(
                "queue {round}/{}: {callers} callers, ours {:.0}/s, apalis-redis {:.0}/s: {:.2} ×",
                plan.rounds,
                one.per_s,
                other.per_s,
                one.per_s / other.per_s
            ));
            ours.push(one);
            stocks.push(other);
        }
        report.measured(promise, Spread::of(ours.iter().zip(&stocks).map(|(one, other)| one.per_s / other.per_s)));
        for (name, measured) in [("ours", &ours), ("apalis-redis", &stocks)] {
            let spread = |value: fn(&Measured) -> f64| Spread::of(measured.iter().map(value));
            report.note(format!(
                "queue, {callers} callers, {name}: {} round trips/s, p50 {} ms, p99 {} ms",
                spread(|measured| measured.per_s).text(0),
                spread(|measured| measured.p50_ms).text(2),
                spread(|measured| measured.p99_ms).text(2)
            ));
        }
    }
    Ok(report)
}

async fn measure(queue: &impl Queue, callers: usize, plan: &Plan<'_>) -> Result<Measured> {
    drive(queue, callers, plan.size(4_000, 500)).await.context("warming up")?;
    drive(queue, callers, plan.size(40_000, 2_000)).await
}

/// So many round trips, shared among the callers.
async fn drive(queue: &impl Queue, callers: usize, round_trips: usize) -> Result<Measured> {
    let begun = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let asking: Vec<_> = (0..callers)
        .map(|_| {
            let (mut queue, begun) = (queue.clone(), begun.clone());
            tokio::spawn(async move {
                let mut latencies_ns = Vec::new();
                while begun.fetch_add(1, Ordering::Relaxed) < round_trips {
                    let asked = Instant::now();
                    round_trip(&mut queue).await?;
                    latencies_ns.push(u64::try_from(asked.elapsed().as_nanos())?);
                }
                Ok::<_, anyhow::Error>(latencies_ns)
            })
        })
        .collect();
    let mut latencies_ns = Vec::with_capacity(round_trips);
    for caller in asking {
        latencies_ns.extend(caller.await??);
    }
    let elapsed = started.elapsed();
    latencies_ns.sort_unstable();
    let ms = |share| percentile(&latencies_ns, share) as f64 / 1e6;
    Ok(Measured { per_s: round_trips as f64 / elapsed.as_secs_f64(), p50_ms: ms(0.5), p99_ms: ms(0.99) })
}

async fn round_trip(queue: &mut impl Queue) -> Result<()> {
    let job = job(queue.reply_to())?;
    let (id, order_id) = (job.id, job.order.order_id.clone());
    let reply = tokio::time::timeout(PATIENCE, queue.ask(job)).await.context("a question was not answered")??;
    let right = matches!(&reply.outcome, FulfillOutcome::Order { order_id: answered, .. } if *answered == order_id);
    ensure!(reply.id == id && right, "a question got another one's answer");
    Ok(())
}

/// An order of one license key, as an edge asks for it.
fn job(reply_to: &str) -> Result<FulfillJob> {
    let id = Uuid::now_v7();
    let request = FulfillRequest {
        customer_email: "you@example.org".into(),
        items: vec![Line { sku: Sku::parse(SKU)?, quantity: 1 }],
        external_reference: format!("payment-{id}"),
        currency: None,
        total_minor: None,
    };
    let order = NewOrder {
        order_id: OrderId::new(1_772_452_800_250, rand::random()),
        store_id: 1,
        mode: Mode::Live,
        idempotency_key: None,
        request,
        trace: None,
    };
    let request_id = id.simple().to_string();
    Ok(FulfillJob { v: JOB_VERSION, id, reply_to: reply_to.to_owned(), request_id, ttl_ms: 4_000, order })
}

/// What a worker says that has nothing to do.
fn reply(job: &FulfillJob) -> Result<Reply> {
    let items = vec![SoldItem { sku: Sku::parse(SKU)?, license_keys: vec![LicenseKey::parse("AAAAA-BBBBB-CCCCC-DDDDD")?] }];
    let outcome = FulfillOutcome::Order { order_id: job.order.order_id.clone(), status: OrderStatus::Fulfilled, items, replayed: false };
    Ok(Reply { v: JOB_VERSION, id: job.id, outcome })
}
