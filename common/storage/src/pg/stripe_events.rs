//! Stripe's events, each once: stored before Stripe hears that they were, and settled when they are part of what is known of an order.

use std::time::Duration;

use common::ids::OrderId;
use common::mode::Mode;
use common::stripe::{Fact, Happened, StripeEvent, Subject};
use tokio_postgres::Row;

use super::{GenericClient, StorageError};

/// Where edges say that there is something.
pub const CHANNEL: &str = "stripe_event";

/// An event as it came.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Stripe's id.
    pub id: String,
    /// Live or test.
    pub mode: Mode,
    /// What Stripe calls it.
    pub kind: String,
    /// What it says, or why that cannot be read.
    pub fact: Result<Fact, String>,
}

impl NewEvent {
    /// Of an event that is of use. `None` of another.
    pub fn of(event: StripeEvent) -> Option<Self> {
        Some(Self { id: event.id, mode: event.mode, kind: event.kind, fact: event.fact?.map_err(|unusable| unusable.to_string()) })
    }
}

/// Keeps events, those that are there already left out. Returns how many are new.
pub async fn insert(client: &impl GenericClient, events: &[NewEvent]) -> Result<u64, StorageError> {
    let mut events: Vec<&NewEvent> = events.iter().collect();
    // Everybody in the same order: two edges that are told the same wait for each other and never in a circle.
    events.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    let lives: Vec<bool> = events.iter().map(|event| event.mode.is_live()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let subject = |event: &NewEvent| event.fact.as_ref().ok().map(|fact| fact.subject.clone());
    let orders: Vec<Option<String>> = events.iter().map(|event| subject(event)?.order_id.map(|id| id.as_str().to_owned())).collect();
    let payments: Vec<Option<String>> = events.iter().map(|event| subject(event)?.payment_intent).collect();
    let json = |fact: &Fact| serde_json::to_string(&fact.happened).expect("names and numbers serialize");
    let facts: Vec<Option<String>> = events.iter().map(|event| event.fact.as_ref().ok().map(json)).collect();
    let reasons: Vec<Option<&str>> = events.iter().map(|event| event.fact.as_ref().err().map(String::as_str)).collect();
    let row = client
        .query_one(
            "with new as (
                 insert into stripe_events (id, live, kind, order_id, payment_intent, fact, reason, status, settled_at)
                 select id, live, kind, order_id, payment_intent, fact, reason,
                        case when reason is null then 'waiting' else 'refused' end, case when reason is null then null else now() end
                 from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
                     as e (id, live, kind, order_id, payment_intent, fact, reason)
                 on conflict do nothing returning 1),
             told as (select pg_notify('stripe_event', '') from (select 1 from new limit 1) any_new)
             select (select count(*) from new), (select count(*) from told)",
            &[&ids, &lives, &kinds, &orders, &payments, &facts, &reasons],
        )
        .await?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

/// An event that is to be applied.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Stripe's id.
    pub id: String,
    /// Live or test.
    pub mode: Mode,
    /// What it says, or why that cannot be read any more.
    pub fact: Result<Fact, String>,
    /// How often somebody has begun with it, this time included.
    pub tries: i32,
}

/// Takes up to `limit` events that are due, oldest first, and sets the time at which somebody else takes them: `again` away, doubling with
/// each of the first tries: most tries that come to nothing are the database's fault, not the event's.
pub async fn claim(client: &impl GenericClient, limit: i64, again: Duration) -> Result<Vec<Waiting>, StorageError> {
    let rows = client
        .query(
            "with due as materialized (
                 select id from stripe_events where status = 'waiting' and next_attempt_at <= now()
                 order by next_attempt_at limit $1 for update skip locked)
             update stripe_events e set tries = tries + 1, next_attempt_at = now() + make_interval(secs => $2 * power(2, least(tries, 2)))
             from due where e.id = due.id
             returning e.id, e.live, e.order_id, e.payment_intent, e.fact, e.tries, e.received_at",
            &[&limit, &again.as_secs_f64()],
        )
        .await?;
    Ok(rows.iter().map(read).collect())
}

fn read(row: &Row) -> Waiting {
    let happened: Result<Happened, String> = match row.get::<_, Option<&str>>(4) {
        Some(json) => serde_json::from_str(json).map_err(|_| "its fact cannot be read".to_owned()),
        None => Err("it has no fact".to_owned()),
    };
    let order_id = row.get::<_, Option<&str>>(2).and_then(|id| OrderId::parse(id).ok());
    let subject = Subject { order_id, payment_intent: row.get(3) };
    Waiting {
        id: row.get(0),
        mode: Mode::from_live(row.get(1)),
        fact: happened.map(|happened| Fact { subject, happened }),
        tries: row.get(5),
    }
}

/// These are part of what is known of their order.
pub async fn applied(tx: &impl GenericClient, ids: &[&str]) -> Result<(), StorageError> {
    tx.execute("update stripe_events set status = 'applied', settled_at = now() where id = any($1) and status = 'waiting'", &[&ids])
        .await?;
    Ok(())
}

/// This can never be applied.
pub async fn refuse(tx: &impl GenericClient, id: &str, reason: &str) -> Result<(), StorageError> {
    let sql = "update stripe_events set status = 'refused', reason = $2, settled_at = now() where id = $1 and status = 'waiting'";
    tx.execute(sql, &[&id, &reason]).await?;
    Ok(())
}

/// The order of these is not there yet.
pub async fn park(tx: &impl GenericClient, ids: &[&str]) -> Result<(), StorageError> {
    tx.execute("update stripe_events set status = 'parked' where id = any($1) and status = 'waiting'", &[&ids]).await?;
    Ok(())
}

/// Makes parked events due whose order has appeared, at most `limit`. Returns how many.
pub async fn unpark(client: &impl GenericClient, limit: i64) -> Result<u64, StorageError> {
    let unparked = client
        .execute(
            "update stripe_events set status = 'waiting', tries = 0, next_attempt_at = now() where id = any(array(
                 select e.id from stripe_events e where e.status = 'parked' and (
                     exists (select 1 from orders o where o.id = e.order_id and o.live = e.live and o.status <> 'processing')
                     or e.order_id is null and exists (
                         select 1 from order_payments p join orders o on o.id = p.order_id and o.status <> 'processing'
                         where p.payment_intent = e.payment_intent and p.live = e.live))
                 order by e.received_at limit $1 for update skip locked))",
            &[&limit],
        )
        .await?;
    Ok(unparked)
}

/// What is not settled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Events that are to be applied.
    pub waiting: i64,
    /// The age of the oldest of them, in seconds.
    pub waiting_oldest_s: f64,
    /// Events whose order is not there.
    pub parked: i64,
    /// The age of the oldest of them, in seconds.
    pub parked_oldest_s: f64,
}

/// Looks at what is not settled.
pub async fn backlog(client: &impl GenericClient) -> Result<Backlog, StorageError> {
    let sql = "select count(*) filter (where status = 'waiting'),
                      coalesce(extract(epoch from now() - min(received_at) filter (where status = 'waiting')), 0)::float8,
                      count(*) filter (where status = 'parked'),
                      coalesce(extract(epoch from now() - min(received_at) filter (where status = 'parked')), 0)::float8
               from (select status, received_at from stripe_events where status = 'waiting'
                     union all select status, received_at from stripe_events where status = 'parked') e";
    let row = client.query_one(sql, &[]).await?;
    Ok(Backlog { waiting: row.get(0), waiting_oldest_s: row.get(1), parked: row.get(2), parked_oldest_s: row.get(3) })
}
