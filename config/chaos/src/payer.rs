//! Customers who pay, and Stripe that tells of it: a storm of signed events about orders of the hosted cart, of all kinds, in any order, many
//! of them twice, some before their order is there. Stripe sends each until it is taken. In the end every order must stand as the merge of
//! all that was taken says, whatever was broken meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::ids::OrderId;
use common::mode::Mode;
use common::money::Currency;
use common::order::facts::OrderFacts;
use common::stripe::{DisputeStatus, StripeEvent};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use storage::Pg;
use storage::pg::products::{self, Product};
use testkit::http::Client;
use testkit::shop::Shop;
use testkit::stripe::{Payment, tell};
use tokio_util::sync::CancellationToken;

use crate::judge::Violation;
use crate::load::MADE;

/// What events are signed with.
pub const SECRET: &str = "whsec_of_the_payment_storm_of_chaos";
const TOTAL_MINOR: i64 = 2_999;
const STORES: usize = 2;
/// Orders made in one transaction.
const TOGETHER: usize = 50;
const TICK: Duration = Duration::from_millis(50);
/// The latest that an event is sent after it is known that it will be.
const SPREAD: Duration = Duration::from_secs(2);
/// Events under way at once.
const IN_FLIGHT_MAX: usize = 512;
const AGAIN_AFTER: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const EXAMPLES_MAX: usize = 10;

/// The rules about payments, and what each of them says.
pub const RULES: [(&str, &str); 1] = [(
    "payments_merge",
    "every order that is paid by Stripe stands as all events that were taken say, with its license keys if there is money",
)];

/// The customers and Stripe.
pub struct Payer {
    pg: Pg,
    stores: Vec<(Shop, Product)>,
    edges: Mutex<Vec<Client>>,
    state: Mutex<State>,
    in_flight: AtomicUsize,
    taken: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Orders that customers have made, and no database has yet.
    unmade: Vec<(usize, OrderId)>,
    queue: Vec<Owed>,
    /// What was taken, by order; nothing of an order that nobody pays.
    facts: HashMap<OrderId, OrderFacts>,
}

/// An event that is to be sent.
struct Owed {
    order: OrderId,
    event: Value,
    due: Instant,
}

impl Payer {
    /// Opens stores of its own.
    pub async fn open(pg: &Pg) -> Result<(Vec<Shop>, Vec<Product>)> {
        let (mut shops, mut made) = (Vec::new(), Vec::new());
        for number in 0..STORES {
            let shop = Shop::open(pg, &format!("paid-{number}")).await?;
            shop.generated(pg, MADE).await?;
            let client = pg.client().await?;
            made.push(products::find(&*client, &[(shop.store_id, MADE)]).await?.pop().context("the product is gone")?);
            shops.push(shop);
        }
        Ok((shops, made))
    }

    /// Nobody pays yet.
    pub fn new(pg: Pg, (shops, products): (Vec<Shop>, Vec<Product>), edges: Vec<Client>) -> Arc<Self> {
        let stores = shops.into_iter().zip(products).collect();
        Arc::new(Self {
            pg,
            stores,
            edges: Mutex::new(edges),
            state: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
        })
    }

    /// Sends `per_second` events until `stop`, and what is left then until all of it is taken or `give_up`.
    pub async fn run(self: Arc<Self>, per_second: u32, seed: u64, stop: CancellationToken, give_up: CancellationToken) {
        let mut rng = StdRng::seed_from_u64(seed);
        let each_tick = (f64::from(per_second) * TICK.as_secs_f64()).ceil() as usize;
        let mut ticks = tokio::time::interval(TICK);
        while give_up.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = Instant::now();
            {
                let mut state = self.state();
                // As many are planned as are sent, and some are always waiting for their moment.
                while !stop.is_cancelled() && state.queue.len() < each_tick * (SPREAD.as_millis() / TICK.as_millis()) as usize {
                    let order = OrderId::new(common::clock::Clock::now(&common::clock::SystemClock::new()).unix_ms, rng.random());
                    state.unmade.push((rng.random_range(0..self.stores.len()), order.clone()));
                    state.facts.insert(order.clone(), OrderFacts::default());
                    for event in story(&order, &mut rng) {
                        let due = now + SPREAD.mul_f64(rng.random());
                        state.queue.push(Owed { order: order.clone(), event, due });
                    }
                }
            }
            // An order whose making failed may be there all the same: making it again changes nothing.
            if let Err(error) = self.make().await
                && !error.downcast_ref::<storage::StorageError>().is_some_and(storage::StorageError::is_unavailable)
            {
                eprintln!("making orders that are to be paid: {error:#}");
            }
            let room = IN_FLIGHT_MAX.saturating_sub(self.in_flight.load(Ordering::Relaxed)).min(each_tick);
            let mut due = Vec::new();
            {
                let mut state = self.state();
                for owed in std::mem::take(&mut state.queue) {
                    if owed.due <= now && due.len() < room { due.push(owed) } else { state.queue.push(owed) }
                }
            }
            let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for owed in due {
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                let (this, edge) = (self.clone(), edges[rng.random_range(0..edges.len())].clone());
                tokio::spawn(async move { this.send(&edge, owed).await });
            }
        }
    }

    async fn make(&self) -> Result<()> {
        let unmade: Vec<(usize, OrderId)> = self.state().unmade.iter().take(TOGETHER).cloned().collect();
        if unmade.is_empty() {
            return Ok(());
        }
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await.map_err(storage::StorageError::from)?;
        for (store, id) in &unmade {
            let (shop, product) = &self.stores[*store];
            shop.pending(&tx, Mode::Live, product, id, TOTAL_MINOR, None).await?;
        }
        tx.commit().await.map_err(storage::StorageError::from)?;
        self.state().unmade.drain(..unmade.len());
        Ok(())
    }

    async fn send(&self, edge: &Client, owed: Owed) {
        let answer = tell(edge, SECRET, &owed.event).await;
        let is_taken = answer.is_ok_and(|answer| answer.status == 200);
        let mut state = self.state();
        if is_taken {
            self.taken.fetch_add(1, Ordering::Relaxed);
            let facts = facts(&owed.event);
            let known = state.facts.entry(owed.order).or_default();
            *known = std::mem::take(known).merge(facts);
        } else {
            let due = Instant::now() + AGAIN_AFTER.mul_f64(1.0 + rand::rng().random::<f64>());
            state.queue.push(Owed { due, ..owed });
        }
        drop(state);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes all connections, once nothing is to be sent any more.
    pub fn hang_up(&self) {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many events were taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until every event was taken and nothing of them is left to do.
    pub async fn rest(&self, deadline: Instant) -> Result<()> {
        let sql = "select count(*) from stripe_events where status in ('waiting', 'parked')";
        loop {
            let (unsent, unmade) = {
                let state = self.state();
                (state.queue.len() + self.in_flight.load(Ordering::Relaxed), state.unmade.len())
            };
            let waiting: i64 = self.pg.client().await?.query_one(sql, &[]).await.map_err(storage::StorageError::from)?.get(0);
            if unsent == 0 && unmade == 0 && waiting == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{unsent} events of Stripe's were not taken, {unmade} orders not made, {waiting} events not applied");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Everything that does not stand as it should.
    pub async fn judge(&self) -> Result<Vec<Violation>> {
        let found = truth(&self.pg).await?;
        Ok(compare(&self.state().facts, &found))
    }
}

/// What happens to an order, as events in no order, some of them twice.
fn story(order: &OrderId, rng: &mut StdRng) -> Vec<Value> {
    // Not everybody pays.
    if rng.random_bool(0.1) {
        return Vec::new();
    }
    let id = format!("pi_{order}");
    let payment = Payment { id: &id, livemode: true, amount: TOTAL_MINOR, currency: "gbp" };
    let number = std::cell::Cell::new(0);
    let name = || {
        number.set(number.get() + 1);
        format!("evt_{order}_{}", number.get())
    };
    let mut events = vec![payment.succeeded(&name(), order)];
    if rng.random_bool(0.4) {
        let part = rng.random_range(1..TOTAL_MINOR);
        events.push(payment.refunded(&name(), part));
        events.push(payment.refunded(&name(), if rng.random() { TOTAL_MINOR } else { rng.random_range(part..TOTAL_MINOR) }));
    }
    let end = if rng.random() { "won" } else { "lost" };
    let dispute: &[(&str, &str)] = match rng.random_range(0..10) {
        0..3 => &[("created", "needs_response"), ("funds_withdrawn", "needs_response"), ("updated", "under_review"), ("closed", end)],
        3 => &[("created", "warning_needs_response"), ("updated", "warning_under_review"), ("closed", "warning_closed")],
        4 => &[("created", "needs_response"), ("funds_withdrawn", "under_review"), ("funds_reinstated", "won")],
        _ => &[],
    };
    events.extend(dispute.iter().map(|(what, status)| payment.disputed(&name(), what, status)));
    let again: Vec<Value> = events.iter().filter(|_| rng.random_bool(0.2)).cloned().collect();
    events.extend(again);
    events.shuffle(rng);
    events
}

/// What an event says, as it is defined.
fn facts(event: &Value) -> OrderFacts {
    let read = StripeEvent::read(event.to_string().as_bytes()).ok().and_then(|event| event.fact);
    let happened = read.expect("an event of use").expect("that can be used").happened;
    let total = (TOTAL_MINOR, Currency::parse("GBP").expect("a currency"));
    OrderFacts::of(&happened, Some(total)).expect("the right amount")
}

/// An order as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Found {
    status: String,
    refunded_minor: i64,
    license_keys: i64,
    disputes: Vec<DisputeStatus>,
}

impl Found {
    /// As it should be by these facts: its product can be made at any time, so whoever has paid has the license key.
    fn by(facts: &OrderFacts) -> Self {
        let facts = OrderFacts { is_allocated: facts.is_paid, ..facts.clone() };
        Self {
            status: facts.status().as_str().to_owned(),
            refunded_minor: facts.refunded_minor,
            license_keys: i64::from(facts.is_allocated),
            disputes: facts.disputes.values().map(|dispute| dispute.status).collect(),
        }
    }
}

async fn truth(pg: &Pg) -> Result<HashMap<OrderId, Found>> {
    let sql = "select o.id, o.status, coalesce(p.refunded_minor, 0), (select count(*) from order_keys k where k.order_id = o.id),
                      array(select d.status from order_disputes d where d.order_id = o.id order by d.id)
               from orders o join stores s on s.id = o.store_id left join order_payments p on p.order_id = o.id where s.slug like 'paid-%'";
    let rows = pg.client().await?.query(sql, &[]).await.map_err(storage::StorageError::from)?;
    rows.iter()
        .map(|row| {
            let disputes: Option<Vec<_>> = row.get::<_, Vec<&str>>(4).into_iter().map(DisputeStatus::parse).collect();
            let disputes = disputes.context("a dispute's status that nobody knows")?;
            Ok((OrderId::parse(row.get(0))?, Found { status: row.get(1), refunded_minor: row.get(2), license_keys: row.get(3), disputes }))
        })
        .collect()
}

fn compare(taken: &HashMap<OrderId, OrderFacts>, found: &HashMap<OrderId, Found>) -> Vec<Violation> {
    let rule = RULES[0].0;
    let wrong = taken.iter().filter_map(|(order, facts)| {
        let (wanted, found) = (Found::by(facts), found.get(order));
        (found != Some(&wanted)).then(|| Violation { rule, what: format!("order {order} is {found:?}, and should be {wanted:?}") })
    });
    let strange = found.keys().filter(|order| !taken.contains_key(order));
    let strange = strange.map(|order| Violation { rule, what: format!("order {order} was made by nobody") });
    wrong.take(EXAMPLES_MAX).chain(strange.take(EXAMPLES_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_break_is_noticed() {
        let order = |n| OrderId::new(1, n);
        let mut rng = StdRng::seed_from_u64(1);
        let mut taken: HashMap<OrderId, OrderFacts> = HashMap::new();
        for n in 0..200 {
            let merged = story(&order(n), &mut rng).iter().fold(OrderFacts::default(), |facts, event| facts.merge(super::facts(event)));
            taken.insert(order(n), merged);
        }
        let found: HashMap<OrderId, Found> = taken.iter().map(|(id, facts)| (id.clone(), Found::by(facts))).collect();
        assert!(compare(&taken, &found).is_empty());
        let statuses: std::collections::BTreeSet<&str> = found.values().map(|found| found.status.as_str()).collect();
        assert!(statuses.len() >= 5, "stories end in many ways: {statuses:?}");
        let breaks: [fn(&mut Found); 4] = [
            |found| found.status = "processing".into(),
            |found| found.refunded_minor += 1,
            |found| found.license_keys += 1,
            |found| found.disputes.push(DisputeStatus::Lost),
        ];
        for spoil in breaks {
            let mut spoiled = found.clone();
            spoil(spoiled.get_mut(&order(7)).unwrap());
            assert_eq!(compare(&taken, &spoiled).len(), 1);
        }
        let mut missing = found.clone();
        missing.remove(&order(7));
        assert_eq!(compare(&taken, &missing).len(), 1);
        let mut more = found;
        more.insert(order(1_000), Found::default());
        assert_eq!(compare(&taken, &more).len(), 1);
    }
}
