//! Stripe's events, from the socket to the order: how long Stripe waits for its 200, which means that the event is on the disk, at a steady
//! thousand a second; what an event costs in CPU until its order has its license keys, Postgres included; how long that takes after the
//! last one; and how many a second are taken as fast as they can come.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use common::ids::OrderId;
use common::mode::Mode;
use storage::Pg;
use storage::pg::products::Product;
use testkit::shop::Shop;
use testkit::stripe::{PATH, Payment, signature};
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::cpu_time::{Backends, CpuTime};
use crate::load::{Clients, Pace};
use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::{Spread, percentile};
use crate::system::Servers;

const SECRET: &str = "whsec_of_the_bench_in_live_mode";
const PER_S: f64 = 1_000.0;
/// Events on their way at once: Stripe has many senders.
const CONNECTIONS: usize = 64;
const TOTAL_MINOR: i64 = 2_999;
/// Orders made in one transaction.
const TOGETHER: usize = 200;
/// Nothing takes longer that works.
const PATIENCE: Duration = Duration::from_secs(120);

const ACK: Promise = Promise {
    what: "Stripe's events at 1,000/s, each on the disk: until its 200, p99",
    good: Good::AtMost,
    must: 100.0,
    glory: 20.0,
    unit: " ms",
    decimals: 1,
};

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let servers = Servers::start(&plan.folder, plan.progress).await?;
    let settings = servers.settings().set("STRIPE__LIVE_SIGNING_SECRETS", SECRET);
    let shop = Shop::open(&servers.pg, "paid").await?;
    let product = shop.generated(&servers.pg, "MADE").await?;
    let edge = servers.start_edge(&plan.programs.edge, &settings, None).await?;
    let worker = servers.start_worker(&plan.programs.worker, &settings).await?;

    let count = plan.size(5_000, 200);
    let (mut p50s, mut p99s, mut cpu, mut behind, mut peaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=plan.rounds {
        let orders = pending(&servers.pg, &shop, &product, count).await?;
        // Whoever connects and says nothing is cut off, and making orders takes a while.
        let mut clients = Clients::connect(edge.address, CONNECTIONS, 200)?;
        let postgres = Backends::of(&servers.pg).await?;
        let spent = [edge.pid(), worker.pid()].map(CpuTime::of);
        let mut next = orders.iter();
        let paid = block_in_place(|| {
            clients.run(Pace::Open(PER_S), count, |buffer| {
                let order = next.next().expect("as many orders as events");
                write(buffer, edge.address, &payment(order, |payment| payment.succeeded(&format!("evt_paid_{order}"), order)));
            })
        })?;
        let last = Instant::now();
        settled(&servers.pg).await?;
        let late_ms = last.elapsed().as_secs_f64() * 1e3;
        let [edge_spent, worker_spent] = spent;
        let spent = [edge_spent?.elapsed()?, worker_spent?.elapsed()?, postgres.elapsed().await?];
        let cpu_ms = spent.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3 / count as f64;

        let mut next = orders.iter();
        let refunded = block_in_place(|| {
            clients.run(Pace::Closed, count, |buffer| {
                let order = next.next().expect("as many orders as events");
                write(buffer, edge.address, &payment(order, |payment| payment.refunded(&format!("evt_refund_{order}"), 1_000)));
            })
        })?;
        settled(&servers.pg).await?;
        // The first round warms up.
        if round > 0 {
            let mut waits = paid.latencies_ns.clone();
            waits.sort_unstable();
            let [p50, p99] = [0.5, 0.99].map(|share| percentile(&waits, share) as f64 / 1e6);
            plan.say(format!(
                "stripe {round}/{}: 200 after {p50:.1} ms, p99 {p99:.1} ms; {cpu_ms:.2} ms of CPU each; at most {:.0}/s",
                plan.rounds,
                refunded.per_s()
            ));
            p50s.push(p50);
            p99s.push(p99);
            cpu.push(cpu_ms);
            behind.push(late_ms);
            peaks.push(refunded.per_s());
        }
    }
    let right: i64 = {
        let sql = "select count(*) from orders where status = 'partially_refunded'";
        servers.pg.client().await?.query_one(sql, &[]).await?.get(0)
    };
    ensure!(right as usize == count * (plan.rounds + 1), "{right} orders were paid and partly refunded");
    edge.stop()?;
    worker.stop()?;

    let mut report = Report::default();
    report.measured(ACK, Spread::of(p99s));
    report.note(format!("Stripe's events, until the 200 at 1,000/s, p50: {} ms", Spread::of(p50s).text(1)));
    report.note(format!(
        "Stripe's payments, CPU each until the order has its license key, Postgres included: {} ms; the last one has it after {} ms",
        Spread::of(cpu).text(2),
        Spread::of(behind).text(0)
    ));
    report.note(format!("Stripe's events, as fast as they come over {CONNECTIONS} connections: {}/s", Spread::of(peaks).text(0)));
    Ok(report)
}

fn payment(order: &OrderId, event: impl FnOnce(&Payment<'_>) -> serde_json::Value) -> String {
    let id = format!("pi_{order}");
    event(&Payment { id: &id, livemode: true, amount: TOTAL_MINOR, currency: "gbp" }).to_string()
}

fn write(buffer: &mut Vec<u8>, edge: SocketAddr, body: &str) {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: {edge}\r\ncontent-type: application/json\r\nstripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
        signature(SECRET, body),
        body.len()
    );
    buffer.extend_from_slice(head.as_bytes());
    buffer.extend_from_slice(body.as_bytes());
}

/// So many orders that are to be paid.
async fn pending(pg: &Pg, shop: &Shop, product: &Product, count: usize) -> Result<Vec<OrderId>> {
    let ids: Vec<OrderId> = (0..count).map(|_| OrderId::new(1_772_452_800_000, rand::random())).collect();
    for together in ids.chunks(TOGETHER) {
        let mut client = pg.client().await?;
        let tx = client.transaction().await?;
        for id in together {
            shop.pending(&tx, Mode::Live, product, id, TOTAL_MINOR, None).await?;
        }
        tx.commit().await?;
    }
    Ok(ids)
}

/// Waits until all that was taken is applied.
async fn settled(pg: &Pg) -> Result<()> {
    let began = Instant::now();
    loop {
        let sql = "select count(*) filter (where status <> 'applied'), count(*) filter (where status = 'refused') from stripe_events";
        let row = pg.client().await?.query_one(sql, &[]).await?;
        let (left, refused): (i64, i64) = (row.get(0), row.get(1));
        ensure!(refused == 0, "{refused} events were refused");
        if left == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{left} events are not applied");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
