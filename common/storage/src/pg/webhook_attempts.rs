//! What came of deliveries: for partners to read, never for deciding anything.

use common::clock::rfc3339;
use common::event::EventBody;
use common::ids::OrderId;
use common::trace::Trace;
use tokio_postgres::Row;
use uuid::Uuid;

use super::webhook_endpoints::Which;
use super::{GenericClient, StorageError, unix_ms};

/// A delivery, as its partner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id; later ones are larger.
    pub id: i64,
    /// Where it goes.
    pub endpoint_id: Uuid,
    /// The event, the same for every endpoint.
    pub event_id: Uuid,
    /// The event's public name.
    pub event: String,
    /// The order it is about.
    pub order_id: String,
    /// `pending`, `delivered` or `exhausted`.
    pub status: String,
    /// Attempts that were begun.
    pub attempts: u32,
    /// When the next one is due, of a pending delivery, in Unix milliseconds.
    pub next_attempt_at_ms: Option<u64>,
    /// In Unix milliseconds.
    pub created_at_ms: u64,
    /// When it was delivered or given up, in Unix milliseconds.
    pub settled_at_ms: Option<u64>,
}

const COLUMNS: &str = "d.id, d.endpoint_id, d.event_id, e.kind, d.order_id, d.status, d.attempts,
                       case when d.status = 'pending' then d.next_attempt_at end, d.created_at, d.settled_at";

fn read(row: &Row) -> Delivery {
    let maybe_ms = |column| row.get::<_, Option<std::time::SystemTime>>(column).map(unix_ms);
    Delivery {
        id: row.get(0),
        endpoint_id: row.get(1),
        event_id: row.get(2),
        event: row.get(3),
        order_id: row.get(4),
        status: row.get(5),
        attempts: u32::try_from(row.get::<_, i32>(6)).unwrap_or(0),
        next_attempt_at_ms: maybe_ms(7),
        created_at_ms: unix_ms(row.get(8)),
        settled_at_ms: maybe_ms(9),
    }
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the delivery's first.
    pub attempt: u32,
    /// In Unix milliseconds.
    pub started_at_ms: u64,
    /// Until the answer, or until it was given up.
    pub duration_ms: u32,
    /// What the server answered.
    pub status: Option<u16>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// The beginning of the answer's body.
    pub answer: Vec<u8>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of this status.
    pub status: Option<String>,
    /// Only those about this order.
    pub order_id: Option<String>,
    /// Only those older than this one.
    pub before: Option<i64>,
}

/// An endpoint's deliveries, newest first, at most `limit`.
pub async fn deliveries(client: &impl GenericClient, which: Which, filter: &Filter, limit: i64) -> Result<Vec<Delivery>, StorageError> {
    // An order's events are few and found by its id; their deliveries were born in the same transaction, at the same time to the last digit.
    let sql = format!(
        "select {COLUMNS} from webhook_deliveries d join events e on e.id = d.event_id
         where d.endpoint_id = $3 and e.store_id = $1 and e.live = $2 and ($4::text is null or d.status = $4)
             and ($5::text is null or e.order_id = $5 and d.created_at = e.created_at)
             and ($6::bigint is null
                  or (d.created_at, d.id) < (select c.created_at, c.id from webhook_deliveries c where c.id = $6 and c.endpoint_id = $3))
         order by d.created_at desc, d.id desc limit $7"
    );
    let live = which.mode.is_live();
    let rows = client.query(&sql, &[&which.store_id, &live, &which.id, &filter.status, &filter.order_id, &filter.before, &limit]).await?;
    Ok(rows.iter().map(read).collect())
}

/// One delivery of an endpoint, and the body that is sent.
pub async fn delivery(client: &impl GenericClient, which: Which, id: i64) -> Result<Option<(Delivery, String)>, StorageError> {
    let sql = format!(
        "select {COLUMNS}, e.body from webhook_deliveries d join events e on e.id = d.event_id
         where d.id = $4 and d.endpoint_id = $3 and e.store_id = $1 and e.live = $2"
    );
    let row = client.query_opt(&sql, &[&which.store_id, &which.mode.is_live(), &which.id, &id]).await?;
    Ok(row.map(|row| (read(&row), row.get(10))))
}

/// The attempts of a delivery, oldest first.
pub async fn of_delivery(client: &impl GenericClient, id: i64) -> Result<Vec<Attempt>, StorageError> {
    let rows = client
        .query(
            "select attempt, started_at, duration_ms, status, error, coalesce(answer, '') from webhook_attempts
             where delivery_id = $1 order by attempt",
            &[&id],
        )
        .await?;
    let unsigned = |value: i32| u32::try_from(value).unwrap_or(0);
    Ok(rows
        .iter()
        .map(|row| Attempt {
            attempt: unsigned(row.get(0)),
            started_at_ms: unix_ms(row.get(1)),
            duration_ms: unsigned(row.get(2)),
            status: row.get::<_, Option<i32>>(3).and_then(|status| u16::try_from(status).ok()),
            error: row.get(4),
            answer: row.get(5),
        })
        .collect())
}

/// Asks for deliveries again: `ids` of this endpoint, at most `limit`, whether they were delivered, given up, or wait for a later attempt.
/// Their schedules begin anew. What is under way, or comes within a minute by itself, stays as it is. Returns how many.
pub async fn resend(client: &impl GenericClient, endpoint_id: Uuid, ids: &[i64]) -> Result<u64, StorageError> {
    let resent = client
        .execute(
            "update webhook_deliveries set status = 'pending', waits = false, attempts_before = attempts, next_attempt_at = now(),
                 settled_at = null
             where endpoint_id = $1 and id = any($2) and (status <> 'pending' or next_attempt_at > now() + interval '1 minute')",
            &[&endpoint_id, &ids],
        )
        .await?;
    Ok(resent)
}

/// Deliveries of an endpoint whose event happened from `from_ms` to `to_ms` (Unix milliseconds, the end left out), oldest first, after
/// the delivery `after` if it is not 0, at most `limit`; only those that were given up, unless `all`.
pub async fn ids_between(
    client: &impl GenericClient,
    which: Which,
    (from_ms, to_ms): (u64, u64),
    all: bool,
    after: i64,
    limit: i64,
) -> Result<Vec<i64>, StorageError> {
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let rows = client
        .query(
            "select d.id from webhook_deliveries d join webhook_endpoints w on w.id = d.endpoint_id
             where d.endpoint_id = $3 and w.store_id = $1 and w.live = $2
                 and d.created_at >= to_timestamp($4) and d.created_at < to_timestamp($5) and ($6 or d.status = 'exhausted')
                 and ($7::bigint = 0 or (d.created_at, d.id) > (select c.created_at, c.id from webhook_deliveries c where c.id = $7))
             order by d.created_at, d.id limit $8",
            &[&which.store_id, &which.mode.is_live(), &which.id, &seconds(from_ms), &seconds(to_ms), &all, &after, &limit],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Deliveries that one call makes due.
pub const RESENT_MAX: i64 = 1_000;

/// A span of time whose deliveries are to be sent again.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// From here on, in Unix milliseconds,
    pub from_ms: u64,
    /// and before this.
    pub to_ms: u64,
    /// Not only those that were given up.
    pub all: bool,
}

/// Asks for the deliveries of a span of time again, after the delivery `after` if it is not 0, [`RESENT_MAX`] at most. Returns how many are
/// due, and the last that was looked at where there may be more.
pub async fn resend_span(client: &impl GenericClient, which: Which, span: Span, after: i64) -> Result<(u64, Option<i64>), StorageError> {
    let ids = ids_between(client, which, (span.from_ms, span.to_ms), span.all, after, RESENT_MAX).await?;
    let resent = resend(client, which.id, &ids).await?;
    Ok((resent, ids.last().filter(|_| ids.len() as i64 == RESENT_MAX).copied()))
}

/// Sends an endpoint a test event, about an order that there is not. Returns the delivery; `None` when there is no such endpoint.
pub async fn send_test(
    client: &impl GenericClient,
    which: Which,
    event_id: Uuid,
    order_id: &OrderId,
    unix_ms: u64,
    trace: Option<&Trace>,
) -> Result<Option<i64>, StorageError> {
    let body = EventBody::of_test(order_id, which.mode.is_live(), event_id, &rfc3339(unix_ms)).to_json();
    insert_test(client, which, event_id, order_id.as_str(), &body, trace).await
}

/// Keeps a test event and its one delivery, due at once. The order it names is none.
pub async fn insert_test(
    client: &impl GenericClient,
    which: Which,
    event_id: Uuid,
    order_id: &str,
    body: &str,
    trace: Option<&Trace>,
) -> Result<Option<i64>, StorageError> {
    let row = client
        .query_opt(
            "with endpoint as (select id, store_id, live from webhook_endpoints where store_id = $1 and live = $2 and id = $3),
             made as (
                 insert into events (id, store_id, live, order_id, sequence, kind, body, trace)
                 select $4, store_id, live, $5, 1, 'webhook.test', $6, $7 from endpoint returning id, order_id, sequence)
             insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence)
             select endpoint.id, made.id, made.order_id, made.sequence from made, endpoint returning id",
            &[&which.store_id, &which.mode.is_live(), &which.id, &event_id, &order_id, &body, &trace.map(Trace::to_string)],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}
