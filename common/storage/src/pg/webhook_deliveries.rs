//! Deliveries of events to endpoints. A row is born in its event's transaction, claimed by counting an attempt on it, and settled by
//! whoever counted last: a worker that comes too late changes nothing. All times are Postgres' own.

use std::collections::VecDeque;
use std::time::Duration;

use common::trace::Trace;
use common::webhook::schedule::ATTEMPTS_MAX;
use common::webhook::{DISABLE_AFTER_FAILURES, DISABLE_AFTER_HOURS, ORDER_WAIT_S};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::webhook_endpoints::{DISABLED_FAILING, DISABLED_GONE};
use super::{GenericClient, Pg, StorageError};
use crate::crash_point::reach;

/// A delivery whose attempt was begun: the row's claim, and everything that it takes to make it.
#[derive(Clone)]
pub struct Claimed {
    /// The delivery.
    pub id: i64,
    /// Attempts that were begun, this one included. What the row is settled under.
    pub attempts: i32,
    /// Of these, in the schedule as it began last; 1 for its first.
    pub attempts_of_schedule: u32,
    /// Where to.
    pub endpoint_id: Uuid,
    /// Whose.
    pub store_id: i64,
    /// As it was checked when the endpoint was saved.
    pub url: String,
    /// What signs.
    pub sealed_secret: Vec<u8>,
    /// What signs too, for a day after a rotation.
    pub sealed_previous_secret: Option<Vec<u8>>,
    /// The event.
    pub event_id: Uuid,
    /// The order it is about.
    pub order_id: String,
    /// What is signed and sent.
    pub body: String,
    /// The trace that the event belongs to.
    pub trace: Option<Trace>,
    /// How long it had been due when it was claimed, in seconds.
    pub due_s: f64,
    /// Of the same order and for the same endpoint, claimed with it: each may be sent when the one before it is settled for good.
    pub followers: VecDeque<Claimed>,
}

// The body has an e-mail address in it, and the URL may have a token.
impl std::fmt::Debug for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claimed({} attempt {} for {})", self.id, self.attempts, self.endpoint_id)
    }
}

/// What a claim returns of `webhook_deliveries d`, `webhook_endpoints w` and `events e`. How long it had been due follows it.
const CLAIMED: &str = "d.id, d.attempts, d.attempts - d.attempts_before, d.endpoint_id, w.store_id, w.url, w.sealed_secret,
                       case when w.previous_secret_until > now() then w.sealed_previous_secret end, d.event_id, d.order_id, e.body,
                       e.trace";

fn read(row: &Row) -> Claimed {
    Claimed {
        id: row.get(0),
        attempts: row.get(1),
        attempts_of_schedule: u32::try_from(row.get::<_, i32>(2)).unwrap_or(0),
        endpoint_id: row.get(3),
        store_id: row.get(4),
        url: row.get(5),
        sealed_secret: row.get(6),
        sealed_previous_secret: row.get(7),
        event_id: row.get(8),
        order_id: row.get(9),
        body: row.get(10),
        trace: row.get::<_, Option<String>>(11).and_then(|trace| Trace::try_from(trace).ok()),
        due_s: row.get(12),
        followers: VecDeque::new(),
    }
}

/// Claims those of these deliveries that are due, for `lease`: after it, whoever has not settled is taken for dead.
pub async fn claim(client: &impl GenericClient, ids: &[i64], lease: Duration) -> Result<Vec<Claimed>, StorageError> {
    let sql = format!(
        "with due as materialized (
             select id, next_attempt_at from webhook_deliveries
             where id = any($1) and status = 'pending' and next_attempt_at <= now() for update skip locked)
         update webhook_deliveries d set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $2)
         from due, webhook_endpoints w, events e
         where d.id = due.id
             and d.attempts - d.attempts_before < {ATTEMPTS_MAX} and w.id = d.endpoint_id and w.enabled and e.id = d.event_id
         returning {CLAIMED}, extract(epoch from now() - due.next_attempt_at)::float8"
    );
    Ok(client.query(&sql, &[&ids, &lease.as_secs_f64()]).await?.iter().map(read).collect())
}

/// How much an endpoint may be given at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// Deliveries that it has room for, which may be none.
    pub deliveries: i32,
}

/// Claims up to `limit` deliveries that are due, oldest first for each endpoint; of an endpoint that is not in `rooms`, `room` at most.
/// The cost grows with the endpoints that have something pending, not with how much. Deliveries whose attempts are used up, because
/// workers died over the last one, are settled as exhausted and not returned.
pub async fn claim_due(
    client: &impl GenericClient,
    limit: i64,
    room: i32,
    rooms: &[Room],
    lease: Duration,
) -> Result<Vec<Claimed>, StorageError> {
    let endpoints: Vec<Uuid> = rooms.iter().map(|room| room.endpoint_id).collect();
    let deliveries: Vec<i32> = rooms.iter().map(|room| room.deliveries).collect();
    let sql = format!(
        "with recursive pending (endpoint_id) as (
             (select endpoint_id from webhook_deliveries where status = 'pending' order by endpoint_id limit 1)
             union all
             select (select d.endpoint_id from webhook_deliveries d where d.status = 'pending' and d.endpoint_id > pending.endpoint_id
                     order by d.endpoint_id limit 1)
             from pending where pending.endpoint_id is not null),
         due as materialized (
             select of_endpoint.id, of_endpoint.next_attempt_at
             from pending join webhook_endpoints w on w.id = pending.endpoint_id and w.enabled
             left join unnest($3::uuid[], $4::integer[]) r (endpoint_id, deliveries) on r.endpoint_id = w.id
             cross join lateral (
                 select id, next_attempt_at from webhook_deliveries d
                 where d.endpoint_id = pending.endpoint_id and d.status = 'pending' and d.next_attempt_at <= now()
                 order by d.next_attempt_at limit coalesce(r.deliveries, $2) for update skip locked) of_endpoint
             limit $1),
         claimed as (
             update webhook_deliveries d set
                 attempts = case when d.attempts - d.attempts_before < {ATTEMPTS_MAX} then d.attempts + 1 else d.attempts end,
                 status = case when d.attempts - d.attempts_before < {ATTEMPTS_MAX} then 'pending' else 'exhausted' end,
                 settled_at = case when d.attempts - d.attempts_before < {ATTEMPTS_MAX} then null else now() end,
                 next_attempt_at = now() + make_interval(secs => $5)
             where d.id = any(array(select id from due)) returning d.*)
         select {CLAIMED}, extract(epoch from now() - due.next_attempt_at)::float8
         from claimed d join due on due.id = d.id join webhook_endpoints w on w.id = d.endpoint_id join events e on e.id = d.event_id
         where d.status = 'pending'"
    );
    let rows = client.query(&sql, &[&limit, &room, &endpoints, &deliveries, &lease.as_secs_f64()]).await?;
    Ok(rows.iter().map(read).collect())
}

/// Makes those due whose order has no earlier event waiting any more although nobody said so: their transaction and the one that settled
/// the earlier event did not see each other. Returns how many.
pub async fn release_waiting(client: &impl GenericClient) -> Result<u64, StorageError> {
    let released = client
        .execute(
            "update webhook_deliveries d set waits = false, next_attempt_at = now()
             where d.status = 'pending' and d.waits and d.attempts = d.attempts_before and d.next_attempt_at > now() and not exists (
                 select 1 from webhook_deliveries earlier
                 where earlier.order_id = d.order_id and earlier.endpoint_id = d.endpoint_id and earlier.status = 'pending'
                     and earlier.sequence < d.sequence)",
            &[],
        )
        .await?;
    Ok(released)
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, and is to be tried again so much later; or, with `None`, not again.
    Failed(Option<Duration>),
    /// The partner's server is gone for good. The endpoint is disabled, and the delivery kept for when it is enabled again.
    Gone,
    /// It was not made after all, and does not count in the schedule. The number stays: given again, it would name two claims.
    NotMade,
    /// The same, as the event before it is to be tried again: it goes on waiting for that.
    Waits,
}

/// What is known of an attempt that was made.
#[derive(Clone)]
pub struct Made {
    /// How long ago it was begun.
    pub ago: Duration,
    /// How long it took.
    pub took: Duration,
    /// The answer's status and the beginning of its body, or why there is none.
    pub answer: Result<(u16, Vec<u8>), String>,
}

/// The end of an attempt.
#[derive(Clone)]
pub struct Ended {
    /// The delivery.
    pub id: i64,
    /// The number that it was claimed under.
    pub attempts: i32,
    /// Where it went.
    pub endpoint_id: Uuid,
    /// How it ended.
    pub outcome: Outcome,
    /// What to keep of it; none of one that was not made.
    pub made: Option<Made>,
}

/// Settles attempts in one transaction: each delivery whose claim still stands, what is kept of each attempt, and how the endpoints do.
/// Returns the next event of each order that waited for one of these, claimed for `lease`.
pub async fn settle(pg: &Pg, ended: &[Ended], lease: Duration) -> Result<Vec<Claimed>, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    reach("deliver.settling").await;
    // Nobody waits for the disk: attempts were counted when they were claimed, so that a crash of the database itself, which forgets that
    // they went well, makes the delivery come twice and is no attempt for nothing.
    tx.batch_execute("set local synchronous_commit = off").await?;
    let settled = settle_rows(&tx, ended).await?;
    reach("deliver.settled").await;
    // Whoever ends attempts at the same endpoints at the same time takes them in the same order.
    note_failures(&tx, ended).await?;
    reach("deliver.committing").await;
    tx.commit().await?;
    reach("deliver.committed").await;
    // For the claim somebody does wait: one that was forgotten would be an attempt that nobody counted.
    let next = if settled.is_empty() { Vec::new() } else { claim_next(&*client, &settled, lease).await? };
    reach("deliver.next_claimed").await;
    Ok(next)
}

/// Returns the orders and endpoints for which something was settled for good.
async fn settle_rows(tx: &impl GenericClient, ended: &[Ended]) -> Result<Vec<(String, Uuid)>, StorageError> {
    let ids: Vec<i64> = ended.iter().map(|ended| ended.id).collect();
    let attempts: Vec<i32> = ended.iter().map(|ended| ended.attempts).collect();
    let statuses: Vec<&str> = ended
        .iter()
        .map(|ended| match ended.outcome {
            Outcome::Delivered => "delivered",
            Outcome::Failed(None) => "exhausted",
            Outcome::Failed(Some(_)) | Outcome::Gone | Outcome::NotMade | Outcome::Waits => "pending",
        })
        .collect();
    let waits_s: Vec<f64> =
        ended.iter().map(|ended| if let Outcome::Failed(Some(wait)) = ended.outcome { wait.as_secs_f64() } else { 0.0 }).collect();
    let waiting: Vec<bool> = ended.iter().map(|ended| ended.outcome == Outcome::Waits).collect();
    let mades: Vec<bool> = ended.iter().map(|ended| ended.made.is_some()).collect();
    let millis = |duration: fn(&Made) -> Duration| -> Vec<Option<i32>> {
        let whole = |made| i32::try_from(duration(made).as_millis()).unwrap_or(i32::MAX);
        ended.iter().map(|ended| ended.made.as_ref().map(whole)).collect()
    };
    let (agos_ms, tooks_ms) = (millis(|made| made.ago), millis(|made| made.took));
    let answer = |ended: &Ended| ended.made.as_ref().and_then(|made| made.answer.as_ref().ok()).cloned();
    let (codes, answers): (Vec<Option<i32>>, Vec<Option<Vec<u8>>>) = ended
        .iter()
        .map(|ended| answer(ended).map_or((None, None), |(status, body)| (Some(i32::from(status)), (!body.is_empty()).then_some(body))))
        .unzip();
    let errors: Vec<Option<&str>> =
        ended.iter().map(|ended| ended.made.as_ref().and_then(|made| made.answer.as_ref().err()).map(String::as_str)).collect();
    let sql = format!(
        "with ended as (
                 select * from unnest($1::bigint[], $2::integer[], $3::text[], $4::float8[], $5::boolean[], $6::integer[], $7::integer[],
                                      $8::integer[], $9::text[], $10::bytea[], $11::boolean[])
                     as ended (id, attempts, status, wait_s, made, ago_ms, took_ms, code, error, answer, waits)),
             kept as (
                 insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status, error, answer)
                 select id, attempts, now() - make_interval(secs => ago_ms / 1000.0), took_ms, code, error, answer from ended where made
                 on conflict do nothing),
             settled as (
                 update webhook_deliveries d set
                     status = ended.status,
                     attempts_before = case when made then d.attempts_before else d.attempts_before + 1 end,
                     waits = ended.waits,
                     next_attempt_at = case when ended.waits then d.created_at + interval '{ORDER_WAIT_S} seconds'
                                            else now() + make_interval(secs => wait_s) end,
                     settled_at = case when ended.status = 'pending' then null else now() end
                 from ended where d.id = ended.id and d.attempts = ended.attempts and d.status = 'pending'
                 returning d.order_id, d.endpoint_id, d.status)
             select order_id, endpoint_id from settled where status <> 'pending'"
    );
    let parameters: [&(dyn ToSql + Sync); 11] =
        [&ids, &attempts, &statuses, &waits_s, &mades, &agos_ms, &tooks_ms, &codes, &errors, &answers, &waiting];
    let rows = tx.query(&sql, &parameters).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Counts what failed on the endpoints, and disables those that are gone or have failed for too long. An endpoint that takes everything
/// is not written to.
async fn note_failures(tx: &impl GenericClient, ended: &[Ended]) -> Result<(), StorageError> {
    let of = |wanted: fn(&Outcome) -> bool| -> Vec<Uuid> {
        ended.iter().filter(|ended| wanted(&ended.outcome)).map(|ended| ended.endpoint_id).collect()
    };
    let mut taken = of(|outcome| *outcome == Outcome::Delivered);
    taken.sort_unstable();
    taken.dedup();
    let failed = of(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Gone));
    let gone = of(|outcome| *outcome == Outcome::Gone);
    if !failed.is_empty() {
        let sql = format!(
            "with failed as (select endpoint_id, count(*)::integer as failures from unnest($1::uuid[]) f (endpoint_id) group by 1),
             ordered as (select w.id, failed.failures from webhook_endpoints w join failed on w.id = failed.endpoint_id
                         order by w.id for update of w),
             judged as (
                 select o.id, o.failures, o.id = any($2) as gone,
                        w.failures + o.failures >= {DISABLE_AFTER_FAILURES}
                            and w.failing_since < now() - interval '{DISABLE_AFTER_HOURS} hours' and o.id <> all($3) as failing
                 from ordered o join webhook_endpoints w on w.id = o.id)
             update webhook_endpoints w set
                 failures = w.failures + judged.failures,
                 failing_since = coalesce(w.failing_since, now()),
                 enabled = w.enabled and not judged.gone and not coalesce(judged.failing, false),
                 disabled_reason = case when not w.enabled then w.disabled_reason when judged.gone then $4
                                        when judged.failing then $5 end,
                 updated_at = case when w.enabled and (judged.gone or judged.failing) then now() else w.updated_at end
             from judged where w.id = judged.id"
        );
        tx.execute(&sql, &[&failed, &gone, &taken, &DISABLED_GONE, &DISABLED_FAILING]).await?;
    }
    if !taken.is_empty() {
        tx.execute(
            "update webhook_endpoints set failures = 0, failing_since = null
             where id = any(array(select id from webhook_endpoints where id = any($1) and failing_since is not null order by id for update))",
            &[&taken],
        )
        .await?;
    }
    Ok(())
}

/// Of each order and endpoint, the next event that waits.
async fn claim_next(client: &impl GenericClient, settled: &[(String, Uuid)], lease: Duration) -> Result<Vec<Claimed>, StorageError> {
    let (orders, endpoints): (Vec<&str>, Vec<Uuid>) = settled.iter().map(|(order, endpoint)| (order.as_str(), *endpoint)).unzip();
    let sql = format!(
        "update webhook_deliveries d set waits = false,
             attempts = d.attempts + w.enabled::integer,
             next_attempt_at = now() + make_interval(secs => case when w.enabled then $3::float8 else 0 end)
         from unnest($1::text[], $2::uuid[]) settled (order_id, endpoint_id)
         cross join lateral (
             select id from webhook_deliveries p
             where p.order_id = settled.order_id and p.endpoint_id = settled.endpoint_id and p.status = 'pending' and p.waits
             order by p.sequence limit 1 for update skip locked) next,
             webhook_endpoints w, events e
         where d.id = next.id and d.attempts = d.attempts_before and w.id = d.endpoint_id and e.id = d.event_id
         returning {CLAIMED}, 0::float8, w.enabled"
    );
    let rows = client.query(&sql, &[&orders, &endpoints, &lease.as_secs_f64()]).await?;
    Ok(rows.iter().filter(|row| row.get::<_, bool>(13)).map(read).collect())
}

/// Makes up to `limit` deliveries due that wait for a later attempt, of endpoints that were enabled again, and begins their schedules
/// anew. Returns whether there may be more. Not those that come soon by themselves: among them are the ones under way.
pub async fn replay(client: &impl GenericClient, limit: i64) -> Result<bool, StorageError> {
    let row = client
        .query_one(
            "with endpoint as (select id from webhook_endpoints where replay limit 1 for update skip locked),
             later as (
                 select d.id from webhook_deliveries d join endpoint on d.endpoint_id = endpoint.id
                 where d.status = 'pending' and d.next_attempt_at > now() + interval '2 minutes'
                 limit $1 for update of d skip locked),
             due as (
                 update webhook_deliveries d set next_attempt_at = now(), attempts_before = d.attempts, waits = false
                 from later where d.id = later.id returning 1),
             done as (
                 update webhook_endpoints w set replay = false from endpoint
                 where w.id = endpoint.id and (select count(*) from due) < $1 returning 1)
             select exists (select 1 from endpoint)",
            &[&limit],
        )
        .await?;
    Ok(row.get(0))
}

/// Gives up to `limit` deliveries up whose endpoint was removed. Returns how many.
pub async fn give_up_removed(client: &impl GenericClient, limit: i64) -> Result<u64, StorageError> {
    let given_up = client
        .execute(
            "with recursive pending (endpoint_id) as (
                 (select endpoint_id from webhook_deliveries where status = 'pending' order by endpoint_id limit 1)
                 union all
                 select (select d.endpoint_id from webhook_deliveries d where d.status = 'pending' and d.endpoint_id > pending.endpoint_id
                         order by d.endpoint_id limit 1)
                 from pending where pending.endpoint_id is not null)
             update webhook_deliveries set status = 'exhausted', settled_at = now()
             where id = any(array(
                 select d.id from pending join webhook_deliveries d on d.endpoint_id = pending.endpoint_id and d.status = 'pending'
                 where not exists (select 1 from webhook_endpoints w where w.id = pending.endpoint_id)
                 limit $1 for update of d skip locked))",
            &[&limit],
        )
        .await?;
    Ok(given_up)
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Deliveries that are not settled.
    pub pending: i64,
    /// Of these, the ones whose endpoint is disabled.
    pub kept: i64,
    /// How long the oldest delivery to an endpoint that is enabled has been pending, in seconds.
    pub oldest_s: f64,
    /// How long the first of those has been due that nobody has claimed, of endpoints that do not fail, in seconds.
    pub due_s: f64,
}

/// Looks at what is pending.
pub async fn backlog(client: &impl GenericClient) -> Result<Backlog, StorageError> {
    let row = client
        .query_one(
            "select coalesce(sum(n), 0)::bigint, coalesce(sum(n) filter (where not w.enabled), 0)::bigint,
                    coalesce(extract(epoch from now() - min(oldest) filter (where w.enabled)), 0)::float8,
                    greatest(coalesce(extract(epoch from now() - min(due) filter (where w.enabled and w.failing_since is null)), 0), 0)::float8
             from (select endpoint_id, count(*) as n, min(created_at) as oldest, min(next_attempt_at) as due
                   from webhook_deliveries where status = 'pending' group by 1) d
             join webhook_endpoints w on w.id = d.endpoint_id",
            &[],
        )
        .await?;
    Ok(Backlog { pending: row.get(0), kept: row.get(1), oldest_s: row.get(2), due_s: row.get(3) })
}
