//! Fulfilling, the whole way: over HTTP through edge, Redis, worker and Postgres and back, one license key an order, everything and the load
//! on the same cores.
//!
//! Two measures. Orders a second in a closed loop, against pgbench making the same orders one by one, in alternate rounds on the
//! same tables. And how long the slowest hundredth waits when orders come at a fixed rate, at 80 % of what was reached. Postgres is as durable
//! as in production: a commit is on the disk. Both use up the same stock, and in the end the tables must hold every order that was answered,
//! and no other.

mod one_by_one;

use anyhow::{Result, ensure};
use storage::Pg;
use testkit::shop::{Shop, license_keys};

use self::one_by_one::OneByOne;
use crate::cpu_time::CpuTime;
use crate::load::{Clients, Pace};
use crate::orders::Orders;
use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::{Spread, percentile};
use crate::system::Servers;

const STORES: usize = 50;
const SKU: &str = "WIN-11-PRO";
const IN_FLIGHT: usize = 256;
/// Of the rate that was reached, for the latency.
const LOAD_SHARE: f64 = 0.8;

const RATE: Promise =
    Promise { what: "fulfill, whole way, fsync on", good: Good::AtLeast, must: 3_000.0, glory: 5_000.0, unit: "/s", decimals: 0 };
const SHARE: Promise =
    Promise { what: "fulfill, against pgbench one by one", good: Good::AtLeast, must: 45.0, glory: 70.0, unit: " %", decimals: 0 };
const P99: Promise =
    Promise { what: "fulfill p99 at 80 % of that peak", good: Good::AtMost, must: 100.0, glory: 40.0, unit: " ms", decimals: 1 };

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let orders = plan.size(20_000, 480).next_multiple_of(one_by_one::CLIENTS);
    let warm_up = orders / 4;
    let servers = Servers::start(&plan.folder, plan.progress).await?;
    let all = warm_up + 3 * plan.rounds * orders;
    plan.say(format!("fulfill: making {STORES} stores and {} license keys", stock_of(all) * STORES));
    let stores = Stores::open(&servers.pg, all).await?;
    let edge = servers.start_edge(&plan.programs.edge, &servers.settings(), None).await?;
    let worker = servers.start_worker(&plan.programs.worker, &servers.settings()).await?;
    let pgbench = OneByOne::prepare(&servers, stores.first_id, STORES)?;
    let mut requests = Orders::of(&stores.shops, SKU, edge.address);
    let mut clients = Clients::connect(edge.address, IN_FLIGHT, 201)?;
    let mut ask = |pace, orders| tokio::task::block_in_place(|| clients.run(pace, orders, |buffer| requests.write(buffer)));

    ask(Pace::Closed, warm_up)?;
    let (mut rates, mut one_by_one, mut cpu) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for round in 1..=plan.rounds {
        let before = [edge.pid(), worker.pid(), servers.redis.pid()].map(CpuTime::of);
        let rate = ask(Pace::Closed, orders)?.per_s();
        for (spent, before) in cpu.iter_mut().zip(before) {
            spent.push(before?.elapsed()?.as_secs_f64() * 1e6 / orders as f64);
        }
        let single = tokio::task::block_in_place(|| pgbench.run(round, orders))?;
        plan.say(format!("fulfill {round}/{}: {rate:.0}/s, pgbench one by one {single:.0}/s: {:.0} %", plan.rounds, rate / single * 100.0));
        rates.push(rate);
        one_by_one.push(single);
    }
    let peak = Spread::of(rates.iter().copied());
    let (mut p50s, mut p99s) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let mut latencies = ask(Pace::Open(peak.median * LOAD_SHARE), orders)?.latencies_ns;
        latencies.sort_unstable();
        let [p50, p99] = [0.5, 0.99].map(|share| percentile(&latencies, share) as f64 / 1e6);
        plan.say(format!("fulfill {round}/{}: at {:.0}/s p50 {p50:.1} ms, p99 {p99:.1} ms", plan.rounds, peak.median * LOAD_SHARE));
        p50s.push(p50);
        p99s.push(p99);
    }
    edge.stop()?;
    worker.stop()?;
    check(&servers.pg, all).await?;

    let mut report = Report::default();
    report.measured(RATE, peak);
    report.measured(SHARE, Spread::of(rates.iter().zip(&one_by_one).map(|(rate, single)| rate / single * 100.0)));
    report.measured(P99, Spread::of(p99s));
    report.note(format!("fulfill, p50 at 80 % of the peak: {} ms", Spread::of(p50s).text(1)));
    report.note(format!("fulfill, pgbench one by one, {} clients: {}/s", one_by_one::CLIENTS, Spread::of(one_by_one).text(0)));
    let [edge, worker, redis] = cpu.map(|spent| Spread::of(spent).text(0));
    report.note(format!("fulfill, µs of CPU an order: edge {edge}, worker {worker}, Redis {redis}; the rest is Postgres' and the load's"));
    Ok(report)
}

/// Every order that was answered is there with its license key, and no other.
async fn check(pg: &Pg, expected: usize) -> Result<()> {
    let sql = "select (select count(*) from orders where status = 'fulfilled'), (select count(*) from orders),
                      (select count(*) from order_keys), (select count(*) from events)";
    let row = pg.client().await?.query_one(sql, &[]).await?;
    let found: [i64; 4] = [row.get(0), row.get(1), row.get(2), row.get(3)];
    let expected = i64::try_from(expected)?;
    ensure!(
        found == [expected, expected, expected, 2 * expected],
        "{expected} orders were answered, and the tables hold {} of {} orders fulfilled, {} license keys and {} events",
        found[0],
        found[1],
        found[2],
        found[3]
    );
    Ok(())
}

/// License keys of one store, so that chance empties none.
fn stock_of(orders: usize) -> usize {
    orders / STORES * 5 / 4 + 200
}

struct Stores {
    /// Their ids, and their products', follow one another from here.
    first_id: i64,
    shops: Vec<(Shop, String)>,
}

impl Stores {
    async fn open(pg: &Pg, orders: usize) -> Result<Self> {
        let mut shops = Vec::with_capacity(STORES);
        let mut first_id = 0;
        for number in 0..STORES {
            let shop = Shop::open(pg, &format!("store-{number:02}")).await?;
            let product = shop.pooled(pg, SKU, &license_keys(&format!("KEY-{number:02}"), stock_of(orders))).await?;
            if number == 0 {
                first_id = shop.store_id;
            }
            let expected = first_id + i64::try_from(number)?;
            ensure!(shop.store_id == expected && product.id == expected, "stores and products are not numbered alike");
            let api_key = shop.unlimited_key(pg).await?;
            shops.push((shop, api_key));
        }
        // Import and bench are far apart in real life.
        pg.client().await?.batch_execute("vacuum analyze").await?;
        Ok(Self { first_id, shops })
    }
}
