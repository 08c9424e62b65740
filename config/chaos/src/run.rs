//! A run from its beginning to its verdict: start, call, strike, mend, wait until healed, and so on; then come to rest and judge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::seal::{Purpose, Sealer};
use common::session::SessionSigner;
use storage::pg::audit::{self, Moment};
use storage::{Pg, StorageError};
use testkit::http::Client;
use testkit::process::Usage;
use testkit::shop::{Shop, license_keys};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, Programs};
use crate::judge::{Violation, judge};
use crate::ledger::{self, Ledger};
use crate::load::{Load, MADE, SCARCE, STOCKED, Store};
use crate::partner::Partner;
use crate::payer::Payer;
use crate::plan::{self, Fault, Strike};
use crate::report::{Healed, Report};
use crate::truth;

const STORES: usize = 4;
/// What is in stock of the scarce product, in each store: gone long before the run ends.
const SCARCE_STOCK: usize = 200;
/// What is imported at once of the other.
const IMPORT: usize = 5_000;
/// Below this the stock is filled up.
const STOCK_LOW: i64 = 10_000;
const WARM_UP: Duration = Duration::from_secs(4);
/// New orders within this time are what the rate is judged by.
const WINDOW: Duration = Duration::from_secs(1);
/// The longest that the fleet may need after a fault was mended.
const HEAL_DEADLINE: Duration = Duration::from_secs(60);
/// The longest until nothing is being worked on, once nobody calls any more.
const REST_DEADLINE: Duration = Duration::from_secs(60);
/// Between two FLUSHALLs of a storm.
const STORM_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Makes the plan.
    pub seed: u64,
    /// How many rounds.
    pub rounds: usize,
    /// Which kinds of faults.
    pub faults: Vec<Fault>,
    /// Calls a second.
    pub rate: u32,
    /// Stripe's events a second.
    pub stripe_rate: u32,
    /// What runs.
    pub programs: Programs,
    /// Where ledger and logs go.
    pub folder: PathBuf,
}

/// Runs, and reports. `progress` is told what happens. An error means that the harness itself could not go on.
pub async fn run(options: Options, progress: impl Fn(&str)) -> Result<Report> {
    progress(&format!("seed {}; ledger and logs are in {}", options.seed, options.folder.display()));
    let mut fleet = block_in_place(|| Fleet::start_servers(&options.programs, &options.folder, &progress))?;
    let pg = fleet.pg().clone();
    storage::pg::migrations::run(&pg).await?;
    truth::note_moves(&pg).await?;
    let shops = open_shops(&pg).await?;
    let paid = Payer::open(&pg).await?;
    let partner = Partner::open(&pg, shops.iter().map(|(shop, _)| shop).chain(&paid.0)).await?;
    let nothing_comes = CancellationToken::new();
    let listening = tokio::spawn(partner.clone().listen(nothing_comes.clone()));
    fleet.start_services().await?;

    let settings = fleet.settings();
    let ledger_path = options.folder.join("ledger.jsonl");
    let clients: Vec<Client> = fleet.edge_addresses().into_iter().map(|address| Client::new(address, false)).collect();
    let payer = Payer::new(pg.clone(), paid, clients.clone());
    let signer = SessionSigner::new(&settings.secrets.session_signing);
    let stores = shops.iter().map(|(_, store)| store.clone()).collect();
    let load = Load::new(Ledger::create(&ledger_path)?, stores, clients, signer);
    let (no_new_calls, nobody_insists) = (CancellationToken::new(), CancellationToken::new());
    let calling = tokio::spawn(load.clone().run(options.rate, options.seed, no_new_calls.clone()));
    let insisting = tokio::spawn(load.clone().insist(options.seed, nobody_insists.clone()));
    let stocking = tokio::spawn(keep_stocked(pg.clone(), shops.iter().map(|(shop, _)| shop.clone()).collect(), no_new_calls.clone()));

    let paying = tokio::spawn(payer.clone().run(options.stripe_rate, options.seed, no_new_calls.clone(), nobody_insists.clone()));

    tokio::time::sleep(WARM_UP).await;
    let usual = load.made_since(load.now().saturating_sub(WINDOW));
    if usual == 0 {
        bail!("the fleet makes no orders; see its logs in {}", options.folder.display());
    }
    let before = fleet.footprints()?;
    let mut harness = Harness { fleet, load: load.clone(), usual, violations: Vec::new(), zombie: None, flush_every: None };
    let mut rounds = Vec::new();
    for (number, round) in plan::rounds(options.seed, options.rounds, &options.faults).iter().enumerate() {
        let healed = harness.round(&round.strikes).await?;
        load.check()?;
        let names: Vec<String> = healed.faults.iter().map(Fault::to_string).collect();
        let took = healed.recovered_after.as_secs_f64();
        progress(&format!("round {}/{}: {}, back after {took:.2} s", number + 1, options.rounds, names.join(" + ")));
        rounds.push(healed);
    }
    harness.end_zombie(true).await?;
    no_new_calls.cancel();
    calling.await?;
    stocking.await?;
    let lasted = load.now();

    progress("nobody calls any more; waiting until nothing is being worked on");
    let resting = Instant::now();
    let at_rest = harness.rest(resting + REST_DEADLINE, &pg).await;
    let paid = payer.rest(resting + REST_DEADLINE).await;
    // What a killed worker had begun to deliver is due when its lease is over.
    let delivered = partner.rest(resting + REST_DEADLINE, &pg).await;
    let rested_after = resting.elapsed();
    nobody_insists.cancel();
    insisting.await?;
    paying.await?;
    load.check()?;
    let Harness { mut fleet, mut violations, .. } = harness;
    for why in [at_rest, paid, delivered].into_iter().filter_map(Result::err) {
        violations.push(Violation { rule: "comes_to_rest", what: format!("{why:#}") });
    }
    load.hang_up();
    payer.hang_up();
    let processes = returned(&fleet, &before, resting + REST_DEADLINE, &mut violations).await?;

    progress("comparing what callers were told with what is in Postgres");
    let sealer = Sealer::new(&settings.secrets.sealing, Purpose::License, rand::random());
    let store_ids: Vec<i64> = shops.iter().map(|(shop, _)| shop.store_id).collect();
    let truth = truth::read(&pg, &store_ids, &sealer).await?;
    violations.extend(judge(&ledger::read(&ledger_path)?, &truth));
    nothing_comes.cancel();
    listening.await?;
    let (events, unheard) = partner.judge(&pg).await?;
    violations.extend(unheard);
    violations.extend(payer.judge().await?);
    violations.extend(audit_violations(&pg, &settings).await?);
    block_in_place(|| fleet.stop())?;
    Ok(Report {
        seed: options.seed,
        lasted,
        rounds,
        completions: load.completions(),
        held_back: load.held_back(),
        rested_after,
        processes,
        orders: truth.orders.len(),
        license_keys: truth.orders.values().map(|order| order.license_keys.len()).sum(),
        events,
        stripe_events: payer.taken(),
        violations,
    })
}

/// Memory and descriptors have to come back to where they were, give or take what caches and pools may keep. Before and after, by process.
async fn returned(
    fleet: &Fleet,
    before: &[(String, Usage)],
    deadline: Instant,
    violations: &mut Vec<Violation>,
) -> Result<Vec<(String, Usage, Usage)>> {
    const MEMORY_SLACK_BYTES: u64 = 64_000_000;
    const FILES_SLACK: u64 = 8;
    loop {
        let after = fleet.footprints()?;
        let processes: Vec<_> = before.iter().cloned().zip(after).map(|((name, before), (_, after))| (name, before, after)).collect();
        let grown = |(_, before, after): &&(String, Usage, Usage)| {
            after.resident_bytes > before.resident_bytes * 2 + MEMORY_SLACK_BYTES || after.open_files > before.open_files + FILES_SLACK
        };
        let grown: Vec<&(String, Usage, Usage)> = processes.iter().filter(grown).collect();
        if !grown.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        violations.extend(grown.into_iter().map(|(name, before, after)| {
            let what = format!("{name} was {before:?} and is {after:?} at rest");
            Violation { rule: "returns_to_base", what }
        }));
        return Ok(processes);
    }
}

async fn audit_violations(pg: &Pg, settings: &config::Settings) -> Result<Vec<Violation>> {
    let report = audit::run(pg, &settings.secrets, Moment::AtRest, &|_| {}).await?;
    let what = |check: &audit::Check| format!("{}: {} × {:?}", check.name, check.violations, check.examples);
    Ok(report.violated().map(|check| Violation { rule: "audit", what: what(check) }).collect())
}

async fn open_shops(pg: &Pg) -> Result<Vec<(Shop, Store)>> {
    let mut shops = Vec::new();
    for number in 0..STORES {
        let slug = format!("store-{number}");
        let shop = Shop::open(pg, &slug).await?;
        shop.generated(pg, MADE).await?;
        shop.pooled(pg, SCARCE, &license_keys(&format!("SCARCE-{number}"), SCARCE_STOCK)).await?;
        let stocked = shop.pooled(pg, STOCKED, &[]).await?;
        for part in 0..4 {
            shop.stock(pg, &stocked, common::mode::Mode::Live, &license_keys(&format!("STOCK-{number}-0-{part}"), IMPORT)).await?;
        }
        let api_key = shop.unlimited_key(pg).await?;
        shops.push((shop, Store { slug, api_key }));
    }
    Ok(shops)
}

/// Fills the stock up while it is being sold, whatever goes wrong meanwhile, as a partner would who looks at the level now and then.
async fn keep_stocked(pg: Pg, shops: Vec<Shop>, stop: CancellationToken) {
    for part in 1_u32.. {
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
            return;
        }
        for shop in &shops {
            // An import that failed, or of which nothing is known, is followed by one of other keys.
            match fill_up(&pg, shop, part).await {
                // That the database is away is what the run is about.
                Err(error) if !error.downcast_ref::<StorageError>().is_some_and(StorageError::is_unavailable) => {
                    eprintln!("importing license keys: {error:#}");
                }
                _ => {}
            }
        }
    }
}

async fn fill_up(pg: &Pg, shop: &Shop, part: u32) -> Result<()> {
    let client = pg.client().await?;
    let product = storage::pg::products::find(&*client, &[(shop.store_id, STOCKED)]).await?.pop().context("the product is gone")?;
    let level = storage::pg::license_keys::count_free(&*client, product.id, common::mode::Mode::Live, STOCK_LOW).await?;
    drop(client);
    if level < STOCK_LOW {
        let keys = license_keys(&format!("STOCK-{}-{part}", shop.store_id), IMPORT);
        shop.stock(pg, &product, common::mode::Mode::Live, &keys).await?;
    }
    Ok(())
}

/// What strikes and mends.
struct Harness {
    fleet: Fleet,
    load: Arc<Load>,
    /// New orders made within [`WINDOW`] when all is well.
    usual: usize,
    violations: Vec<Violation>,
    /// A worker that was stopped, and when it goes on.
    zombie: Option<(Strike, Instant)>,
    /// While a storm of FLUSHALL lasts.
    flush_every: Option<Duration>,
}

impl Harness {
    async fn round(&mut self, strikes: &[Strike]) -> Result<Healed> {
        let begun = Instant::now();
        let mut moments: Vec<(Duration, bool, Strike)> = Vec::new();
        for strike in strikes {
            moments.push((strike.after, true, *strike));
            if strike.fault != Fault::Zombie {
                moments.push((strike.after + strike.hold, false, *strike));
            }
        }
        moments.sort_by_key(|(when, begins, _)| (*when, !*begins));
        let (mut struck, mut mended) = (None, self.load.now());
        for (when, begins, strike) in moments {
            self.sleep_until(begun + when).await?;
            if begins {
                struck.get_or_insert_with(|| self.load.now());
                self.begin(strike).await?;
            } else {
                self.mend(strike).await?;
            }
            mended = self.load.now();
        }
        self.end_zombie(false).await?;
        let recovered_after = self.wait_until_healed(mended).await?;
        let faults = strikes.iter().map(|strike| strike.fault).collect();
        Ok(Healed { faults, struck: struck.unwrap_or(mended), mended, recovered_after, ended: self.load.now() })
    }

    async fn begin(&mut self, strike: Strike) -> Result<()> {
        match strike.fault {
            // One at a time: with all workers stopped for two minutes there is nothing to see.
            Fault::Zombie if self.zombie.is_some() => return Ok(()),
            Fault::Zombie => self.zombie = Some((strike, Instant::now() + strike.hold)),
            Fault::FlushStorm => self.flush_every = Some(STORM_EVERY),
            _ => {}
        }
        self.fleet.strike(&strike).await
    }

    async fn mend(&mut self, strike: Strike) -> Result<()> {
        if strike.fault == Fault::FlushStorm {
            self.flush_every = None;
        }
        self.fleet.mend(&strike).await
    }

    async fn end_zombie(&mut self, now: bool) -> Result<()> {
        match self.zombie {
            Some((strike, until)) if now || until <= Instant::now() => {
                self.zombie = None;
                self.mend(strike).await
            }
            _ => Ok(()),
        }
    }

    async fn sleep_until(&mut self, until: Instant) -> Result<()> {
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            tokio::time::sleep(self.flush_every.map_or(left, |every| every.min(left))).await;
            if self.flush_every.is_some() {
                block_in_place(|| self.fleet.flush())?;
            }
        }
        Ok(())
    }

    /// Waits until new orders are made at 90 % of their rate again, and everybody says that they are well. Tells how long the orders took.
    async fn wait_until_healed(&mut self, mended: Duration) -> Result<Duration> {
        let deadline = Instant::now() + HEAL_DEADLINE;
        let mut at_rate = None;
        loop {
            let ended = block_in_place(|| self.fleet.ended_by_themselves())?;
            self.violations.extend(ended.into_iter().map(|what| Violation { rule: "stays_alive", what }));
            let now = self.load.now();
            // The window has to lie behind the mending, or it would count what was made before the fault.
            let from = now.saturating_sub(WINDOW);
            if at_rate.is_none() && from >= mended && self.load.made_since(from) * 10 >= self.usual * 9 {
                // The rate was there from the window's beginning.
                at_rate = Some(from - mended);
            }
            if let Some(after) = at_rate
                && self.fleet.all_ready().await
            {
                return Ok(after);
            }
            if Instant::now() > deadline {
                let made = self.load.made_since(from);
                let what = format!(
                    "{made} of {} orders a second, {HEAL_DEADLINE:?} after the fault was mended; {}",
                    self.usual,
                    self.fleet.state().await
                );
                self.violations.push(Violation { rule: "heals_alone", what });
                return Ok(at_rate.unwrap_or(HEAL_DEADLINE));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every caller has an answer, no order is being worked on and the queue is empty.
    async fn rest(&self, deadline: Instant, pg: &Pg) -> Result<()> {
        loop {
            let unanswered = self.load.unanswered();
            let (processing, _) = storage::pg::orders::processing_backlog(&*pg.client().await?).await?;
            let queued = self.fleet.queued().await?;
            if unanswered == 0 && processing == 0 && queued == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{unanswered} calls without an answer, {processing} orders being worked on, {queued} jobs in the queue");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
