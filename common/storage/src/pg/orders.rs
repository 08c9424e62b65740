//! Orders. Rows are inserted on (store, mode, reference), so that of any number of equal requests one makes the order and the rest find it.

pub mod history;
pub mod search;

use std::time::Duration;

use common::event::EventKind;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use common::money::Currency;
use common::order::{Failure, Order, OrderStatus, Revocation};
use serde_json::json;
use tokio_postgres::Row;

use super::audit_log::{self, Actor, Change, What};
use super::order_items::{self, Item};
use super::{GenericClient, Pg, StorageError, events, unix_ms};
use crate::crash_point::reach;

/// The channel on which a worker says that an order which was `processing` no longer is; the payload is its id.
pub const SETTLED_CHANNEL: &str = "order_settled";
/// The channel on which an edge says that an order is `processing` and nobody works on it yet.
pub const PROCESSING_CHANNEL: &str = "order_processing";

/// Inserts orders as fulfilled; what they sold must follow in the same transaction. Returns the ids of those that were inserted; the
/// reference or idempotency key of the others belongs to an order already.
pub async fn insert_fulfilled(tx: &impl GenericClient, orders: &[&NewOrder]) -> Result<Vec<OrderId>, StorageError> {
    let ids: Vec<&str> = orders.iter().map(|order| order.order_id.as_str()).collect();
    let stores: Vec<i64> = orders.iter().map(|order| order.store_id).collect();
    let lives: Vec<bool> = orders.iter().map(|order| order.mode.is_live()).collect();
    let references: Vec<&str> = orders.iter().map(|order| order.request.external_reference.as_str()).collect();
    let keys: Vec<Option<&str>> = orders.iter().map(|order| order.idempotency_key.as_deref()).collect();
    let fingerprints: Vec<[u8; 32]> = orders.iter().map(|order| order.request.fingerprint()).collect();
    let fingerprints: Vec<&[u8]> = fingerprints.iter().map(|fingerprint| fingerprint.as_slice()).collect();
    let currencies: Vec<Option<&str>> = orders.iter().map(|order| order.request.currency.map(|currency| currency.as_str())).collect();
    let totals: Vec<Option<i64>> = orders.iter().map(|order| order.request.total_minor).collect();
    let emails: Vec<&str> = orders.iter().map(|order| order.request.customer_email.as_str()).collect();
    let rows = tx
        .query(
            "insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, currency, total_minor,
                                 customer_email, status)
             select *, 'fulfilled' from unnest($1::text[], $2::bigint[], $3::boolean[], $4::text[], $5::text[], $6::bytea[], $7::text[],
                                               $8::bigint[], $9::text[])
             on conflict do nothing returning id",
            &[&ids, &stores, &lives, &references, &keys, &fingerprints, &currencies, &totals, &emails],
        )
        .await?;
    rows.iter().map(|row| read_id(row.get(0))).collect()
}

/// Writes an order down as `processing` with its sealed request, due at once: its row, its first event and the word to the workers, in
/// one transaction. `false` when the reference or idempotency key belongs to an order already. `created_at` is RFC 3339.
pub async fn write_down(pg: &Pg, order: &NewOrder, sealed_request: &[u8], created_at: &str) -> Result<bool, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    reach("write_down.begun").await;
    let inserted = tx
        .execute(
            "insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, currency, total_minor,
                                 customer_email, status, sealed_request, next_attempt_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'processing', $10, now()) on conflict do nothing",
            &[
                &order.order_id.as_str(),
                &order.store_id,
                &order.mode.is_live(),
                &order.request.external_reference,
                &order.idempotency_key,
                &order.request.fingerprint().as_slice(),
                &order.request.currency.map(|currency| currency.as_str()),
                &order.request.total_minor,
                &order.request.customer_email,
                &sealed_request,
            ],
        )
        .await?;
    if inserted == 0 {
        reach("write_down.refused").await;
        return Ok(false);
    }
    reach("write_down.inserted").await;
    // What is due is found by the workers' poll: nobody hears of an order that was written down any sooner.
    events::insert_of_fulfillment(&tx, &[(EventKind::Created, order)], created_at, None).await?;
    reach("write_down.events_inserted").await;
    tx.execute("select pg_notify('order_processing', '')", &[]).await?;
    reach("write_down.notified").await;
    tx.commit().await?;
    reach("write_down.committed").await;
    Ok(true)
}

/// An order that a customer is about to pay.
#[derive(Debug)]
pub struct PendingOrder<'a> {
    /// Its id.
    pub id: &'a OrderId,
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The partner's name for it.
    pub external_reference: Option<&'a str>,
    /// Digest of what it is made of.
    pub fingerprint: [u8; 32],
    /// What it is to be paid in.
    pub currency: Currency,
    /// What is to be paid, minor units.
    pub total_minor: i64,
    /// Who buys.
    pub customer_email: &'a str,
    /// What, without keys.
    pub items: &'a [Item],
    /// When, in Unix milliseconds.
    pub created_at_ms: u64,
}

/// Makes an order that is to be paid, and tells of it. `None`, and nothing is made, when another order has its reference.
pub async fn insert_pending(tx: &impl GenericClient, order: &PendingOrder<'_>) -> Result<Option<Order>, StorageError> {
    let sql = format!(
        "insert into orders (id, store_id, live, external_reference, fingerprint, status, currency, total_minor, customer_email)
         values ($1, $2, $3, $4, $5, 'pending', $6, $7, $8) on conflict do nothing returning {COLUMNS}"
    );
    let fingerprint = order.fingerprint.as_slice();
    let row = tx
        .query_opt(
            &sql,
            &[
                &order.id.as_str(),
                &order.store_id,
                &order.mode.is_live(),
                &order.external_reference,
                &fingerprint,
                &order.currency.as_str(),
                &order.total_minor,
                &order.customer_email,
            ],
        )
        .await?;
    let Some(made) = row.as_ref().map(read).transpose()? else { return Ok(None) };
    order_items::insert_items(tx, &[(order.id, order.items)]).await?;
    let created_at = common::clock::rfc3339(order.created_at_ms);
    events::insert_of_order(tx, &made, &[(EventKind::Created, None)], &created_at, None).await?;
    Ok(Some(made))
}

/// Orders that nobody has paid for so long, the oldest first, at most `limit`.
pub async fn unpaid(client: &impl GenericClient, older_than: Duration, limit: i64) -> Result<Vec<(Mode, OrderId)>, StorageError> {
    let sql = "select live, id from orders where status = 'pending' and created_at < now() - make_interval(secs => $1)
               order by created_at limit $2";
    let rows = client.query(sql, &[&older_than.as_secs_f64(), &limit]).await?;
    rows.iter().map(|row| Ok((Mode::from_live(row.get(0)), read_id(row.get(1))?))).collect()
}

/// Takes back orders that this same transaction inserted.
pub async fn delete(tx: &impl GenericClient, ids: &[OrderId]) -> Result<(), StorageError> {
    let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    tx.execute("delete from orders where id = any($1)", &[&ids]).await?;
    Ok(())
}

const COLUMNS: &str = "id, store_id, live, external_reference, idempotency_key, fingerprint, status, currency, total_minor, customer_email,
                       error_code, error_detail, created_at, updated_at, keys_kept";

fn read_id(text: &str) -> Result<OrderId, StorageError> {
    OrderId::parse(text).map_err(|error| StorageError::Corrupt(format!("order {text:?}: {error}")))
}

fn read(row: &Row) -> Result<Order, StorageError> {
    let id = read_id(row.get(0))?;
    let corrupt = |what: String| StorageError::Corrupt(format!("order {id}: {what}"));
    let failure = match (row.get::<_, Option<String>>(10), row.get::<_, Option<&str>>(11)) {
        (Some(code), detail) => {
            let shortages = serde_json::from_str(detail.unwrap_or("[]")).map_err(|error| corrupt(error.to_string()))?;
            Some(Failure { code, shortages })
        }
        (None, _) => None,
    };
    Ok(Order {
        keys_kept: row.get(14),
        status: row.get::<_, &str>(6).parse().map_err(|_| corrupt(format!("status {:?}", row.get::<_, &str>(6))))?,
        fingerprint: row.get::<_, &[u8]>(5).try_into().map_err(|_| corrupt("its fingerprint has another length".into()))?,
        id,
        store_id: row.get(1),
        mode: Mode::from_live(row.get(2)),
        external_reference: row.get(3),
        idempotency_key: row.get(4),
        currency: row.get(7),
        total_minor: row.get(8),
        customer_email: row.get(9),
        failure,
        created_at_ms: unix_ms(row.get(12)),
        updated_at_ms: unix_ms(row.get(13)),
    })
}

/// The orders, failed ones left out, that have the reference or the idempotency key of one of these.
pub async fn find(client: &impl GenericClient, wanted: &[&NewOrder]) -> Result<Vec<Order>, StorageError> {
    let stores: Vec<i64> = wanted.iter().map(|order| order.store_id).collect();
    let lives: Vec<bool> = wanted.iter().map(|order| order.mode.is_live()).collect();
    let references: Vec<&str> = wanted.iter().map(|order| order.request.external_reference.as_str()).collect();
    let keys: Vec<Option<&str>> = wanted.iter().map(|order| order.idempotency_key.as_deref()).collect();
    // One look-up per index: a single condition with `or` would use neither.
    let sql = format!(
        "with wanted as (select * from unnest($1::bigint[], $2::boolean[], $3::text[], $4::text[]) as w (store_id, live, reference, key)),
         ids as (
             select o.id from wanted w join orders o
                 on o.store_id = w.store_id and o.live = w.live and o.external_reference = w.reference and o.status <> 'failed'
             union
             select o.id from wanted w join orders o
                 on o.store_id = w.store_id and o.live = w.live and o.idempotency_key = w.key and o.status <> 'failed'
                 where w.key is not null
         )
         select {COLUMNS} from orders where id in (select id from ids)"
    );
    client.query(&sql, &[&stores, &lives, &references, &keys]).await?.iter().map(read).collect()
}

/// One order of a store.
pub async fn get(client: &impl GenericClient, store_id: i64, mode: Mode, id: &OrderId) -> Result<Option<Order>, StorageError> {
    let sql = format!("select {COLUMNS} from orders where id = $1 and store_id = $2 and live = $3");
    client.query_opt(&sql, &[&id.as_str(), &store_id, &mode.is_live()]).await?.as_ref().map(read).transpose()
}

/// One order of a store, locked until the transaction ends.
pub async fn get_for_update(tx: &impl GenericClient, store_id: i64, mode: Mode, id: &OrderId) -> Result<Option<Order>, StorageError> {
    let sql = format!("select {COLUMNS} from orders where id = $1 and store_id = $2 and live = $3 for update");
    tx.query_opt(&sql, &[&id.as_str(), &store_id, &mode.is_live()]).await?.as_ref().map(read).transpose()
}

/// One order of any store, locked until the transaction ends.
pub async fn lock(tx: &impl GenericClient, mode: Mode, id: &OrderId) -> Result<Option<Order>, StorageError> {
    let sql = format!("select {COLUMNS} from orders where id = $1 and live = $2 for update");
    tx.query_opt(&sql, &[&id.as_str(), &mode.is_live()]).await?.as_ref().map(read).transpose()
}

/// Which orders to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only with this reference.
    pub external_reference: Option<String>,
    /// Only in this status.
    pub status: Option<OrderStatus>,
    /// Only older than this one.
    pub starting_after: Option<OrderId>,
}

/// A store's orders, newest first, at most `limit`.
pub async fn list(client: &impl GenericClient, store_id: i64, mode: Mode, filter: &Filter, limit: i64) -> Result<Vec<Order>, StorageError> {
    // `status <> 'failed' or status = 'failed'` is always true. It splits the look-up by reference in two, each with an index that has
    // only such orders.
    let sql = format!(
        "select {COLUMNS} from orders where store_id = $1 and live = $2
           and ($3::text is null or external_reference = $3 and (status <> 'failed' or status = 'failed'))
           and ($4::text is null or status = $4)
           and ($5::text is null or id < $5 collate \"C\") order by id desc limit $6"
    );
    let (reference, status) = (filter.external_reference.as_deref(), filter.status.map(OrderStatus::as_str));
    let after = filter.starting_after.as_ref().map(OrderId::as_str);
    client.query(&sql, &[&store_id, &mode.is_live(), &reference, &status, &after, &limit]).await?.iter().map(read).collect()
}

/// Moves an order on. Its request, if it still had one, is forgotten.
pub async fn set_status(tx: &impl GenericClient, ids: &[OrderId], status: OrderStatus) -> Result<(), StorageError> {
    let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    tx.execute(
        "update orders set status = $2, keys_kept = false, sealed_request = null, next_attempt_at = null, starts = 0, updated_at = now()
         where id = any($1)",
        &[&ids, &status.as_str()],
    )
    .await?;
    Ok(())
}

/// Takes an order's license keys back: they become unusable for good and never return to the stock. Twice is once. Returns what the order
/// let be done, and where it stood; `None` when the store has no such order in this mode.
pub async fn revoke(
    pg: &Pg,
    store_id: i64,
    mode: Mode,
    id: &OrderId,
    actor: Actor<'_>,
) -> Result<Option<(Revocation, OrderStatus)>, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    reach("revoke.begun").await;
    let Some(order) = get_for_update(&tx, store_id, mode, id).await? else { return Ok(None) };
    reach("revoke.locked").await;
    let revocation = order.status.revocation();
    if revocation == Revocation::Revokes {
        set_status(&tx, std::slice::from_ref(id), OrderStatus::Revoked).await?;
        let (before, after) = (json!({ "status": order.status.as_str() }), json!({ "status": OrderStatus::Revoked.as_str() }));
        audit_log::write(&tx, &Change { store_id, actor, what: What::OrderRevoked, object: id.as_str(), before, after }).await?;
    }
    if revocation != Revocation::Refused {
        reach("revoke.status_set").await;
        tx.commit().await?;
        reach("revoke.committed").await;
    }
    Ok(Some((revocation, order.status)))
}

/// Ends an order as failed, which frees its reference.
pub async fn fail(tx: &impl GenericClient, id: &OrderId, failure: &Failure) -> Result<(), StorageError> {
    let detail = serde_json::to_string(&failure.shortages).map_err(|error| StorageError::Corrupt(error.to_string()))?;
    tx.execute(
        "update orders set status = 'failed', error_code = $2, error_detail = $3, sealed_request = null, next_attempt_at = null,
                starts = 0, updated_at = now() where id = $1",
        &[&id.as_str(), &failure.code, &detail],
    )
    .await?;
    Ok(())
}

/// Tells the edges that this order is no longer `processing`. Takes effect at the commit.
pub async fn notify_settled(tx: &impl GenericClient, ids: &[OrderId]) -> Result<(), StorageError> {
    let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    tx.execute("select pg_notify('order_settled', id) from unnest($1::text[]) as settled (id)", &[&ids]).await?;
    Ok(())
}

/// An order that is to be completed.
#[derive(Debug, Clone)]
pub struct ProcessingOrder {
    /// Its id.
    pub id: OrderId,
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The request, sealed to the order's id.
    pub sealed_request: Vec<u8>,
    /// Starts that have not ended in an orderly way, this one included.
    pub starts: i32,
}

/// Claims up to `limit` orders that are `processing` and due and that no worker has left behind: counts a start and sets the time of the
/// next one, `retry_after` away and doubling with each start. Commit this before working on them, so that an order which kills its worker
/// is known by its count.
pub async fn claim_fresh(client: &impl GenericClient, limit: i64, retry_after: Duration) -> Result<Vec<ProcessingOrder>, StorageError> {
    claim(client, "starts = 0", limit, retry_after).await
}

/// Claims one order that is due and that a worker has left behind before, in the same way. One at a time: if it ends this worker too, no
/// other order has had a start counted that it is not to blame for.
pub async fn claim_suspect(client: &impl GenericClient, retry_after: Duration) -> Result<Option<ProcessingOrder>, StorageError> {
    Ok(claim(client, "starts > 0", 1, retry_after).await?.pop())
}

async fn claim(
    client: &impl GenericClient,
    which: &'static str,
    limit: i64,
    retry_after: Duration,
) -> Result<Vec<ProcessingOrder>, StorageError> {
    let sql = format!(
        "with due as materialized (
             select id from orders where status = 'processing' and next_attempt_at <= now() and {which}
             order by next_attempt_at limit $1 for update skip locked)
         update orders set starts = starts + 1,
                next_attempt_at = now() + make_interval(secs => $2 * power(2, least(starts, 6)))
         where id in (select id from due) returning id, store_id, live, sealed_request, starts"
    );
    let rows = client.query(&sql, &[&limit, &retry_after.as_secs_f64()]).await?;
    let read = |row: &Row| {
        Ok(ProcessingOrder {
            id: read_id(row.get(0))?,
            store_id: row.get(1),
            mode: Mode::from_live(row.get(2)),
            sealed_request: row.get::<_, Option<Vec<u8>>>(3).unwrap_or_default(),
            starts: row.get(4),
        })
    };
    rows.iter().map(read).collect()
}

/// Says that a start ended in an orderly way although the order could not be completed: it does not count against the order.
pub async fn forgive_start(client: &impl GenericClient, ids: &[OrderId]) -> Result<(), StorageError> {
    let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    client.execute("update orders set starts = greatest(starts - 1, 0) where id = any($1) and status = 'processing'", &[&ids]).await?;
    Ok(())
}

/// Of these orders, the ones that are still `processing`, locked until the transaction ends. Those that another worker holds are left out.
pub async fn lock_processing(tx: &impl GenericClient, ids: &[OrderId]) -> Result<Vec<Order>, StorageError> {
    let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    let sql = format!("select {COLUMNS} from orders where id = any($1) and status = 'processing' order by id for update skip locked");
    tx.query(&sql, &[&ids]).await?.iter().map(read).collect()
}

/// How many orders are `processing`, and the age of the oldest in seconds.
pub async fn processing_backlog(client: &impl GenericClient) -> Result<(i64, f64), StorageError> {
    let row = client
        .query_one(
            "select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::double precision from orders where status = 'processing'",
            &[],
        )
        .await?;
    Ok((row.get(0), row.get(1)))
}
