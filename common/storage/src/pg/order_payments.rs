//! What is known of an order's payment: its facts, row by row, as [`OrderFacts`] has them. The order's own row is locked before they are
//! read, by whoever is going to add to them.

use std::collections::BTreeMap;
use std::time::Duration;

use common::ids::OrderId;
use common::mode::Mode;
use common::money::Currency;
use common::order::facts::{Dispute, OrderFacts, Policy};
use common::order::{Order, OrderStatus};
use common::stripe::{DisputeStatus, Subject};

use super::{GenericClient, Pg, StorageError, orders};

/// An order, locked until the transaction ends, with all that is known of its payment.
#[derive(Debug)]
pub struct Known {
    /// The order.
    pub order: Order,
    /// The facts.
    pub facts: OrderFacts,
    /// What it is paid with, once that is known.
    pub payment_intent: Option<String>,
    /// What its store wants.
    pub policy: Policy,
    /// It was paid before, and has waited for license keys.
    pub awaits_keys: bool,
}

/// The order that `subject` names, in this mode. `None` while there is none.
pub async fn lock(tx: &impl GenericClient, mode: Mode, subject: &Subject) -> Result<Option<Known>, StorageError> {
    if let Some(id) = &subject.order_id {
        return match orders::lock(tx, mode, id).await? {
            Some(order) => known(tx, order).await.map(Some),
            None => Ok(None),
        };
    }
    let sql = "select order_id from order_payments where payment_intent = $1 and live = $2";
    let row = tx.query_opt(sql, &[&subject.payment_intent, &mode.is_live()]).await?;
    let Some(id) = row.and_then(|row| OrderId::parse(row.get(0)).ok()) else { return Ok(None) };
    match orders::lock(tx, mode, &id).await? {
        Some(order) => known(tx, order).await.map(Some),
        None => Ok(None),
    }
}

/// Whether a payment, or a dispute, is known to be another order's.
pub async fn is_of_another(
    tx: &impl GenericClient,
    order: &Order,
    payment_intent: Option<&str>,
    dispute_id: Option<&str>,
) -> Result<bool, StorageError> {
    let sql = "select exists (select 1 from order_payments where payment_intent = $1 and live = $3 and order_id <> $4)
                   or exists (select 1 from order_disputes where id = $2 and order_id <> $4)";
    let row = tx.query_one(sql, &[&payment_intent, &dispute_id, &order.mode.is_live(), &order.id.as_str()]).await?;
    Ok(row.get(0))
}

async fn known(tx: &impl GenericClient, order: Order) -> Result<Known, StorageError> {
    let row = tx
        .query_one(
            "select p.payment_intent, p.paid_at is not null, p.is_expired, p.is_revoked, p.refunded_minor, p.charged_minor, p.awaits_keys,
                    exists (select 1 from order_keys k where k.order_id = $1), s.revoke_when_refunded, s.suspend_while_disputed
             from stores s left join order_payments p on p.order_id = $1 where s.id = $2",
            &[&order.id.as_str(), &order.store_id],
        )
        .await?;
    let is_allocated: bool = row.get(7);
    let mut disputes = BTreeMap::new();
    for row in tx.query("select id, status, amount_minor from order_disputes where order_id = $1", &[&order.id.as_str()]).await? {
        let (id, status): (String, &str) = (row.get(0), row.get(1));
        let status = DisputeStatus::parse(status).ok_or_else(|| StorageError::Corrupt(format!("dispute {id}: status {status:?}")))?;
        disputes.insert(id, Dispute { status, amount_minor: row.get(2) });
    }
    let is_lost = disputes.values().any(|dispute| dispute.status == DisputeStatus::Lost);
    let facts = OrderFacts {
        // What was paid elsewhere has no row of its own until Stripe speaks of it.
        is_paid: row.get::<_, Option<bool>>(1).unwrap_or(false) || is_allocated,
        is_expired: row.get::<_, Option<bool>>(2).unwrap_or(false) || order.status == OrderStatus::Expired,
        is_allocated,
        is_revoked: row.get::<_, Option<bool>>(3).unwrap_or(false) || order.status == OrderStatus::Revoked && !is_lost,
        refunded_minor: row.get::<_, Option<i64>>(4).unwrap_or(0),
        charged_minor: row.get::<_, Option<i64>>(5).unwrap_or(0),
        disputes,
    };
    Ok(Known {
        facts,
        payment_intent: row.get(0),
        policy: Policy { revoke_when_refunded: row.get(8), suspend_while_disputed: row.get(9) },
        awaits_keys: row.get::<_, Option<bool>>(6).unwrap_or(false),
        order,
    })
}

/// Keeps what is known now, and what follows from it for the order.
pub async fn store(tx: &impl GenericClient, known: &Known) -> Result<(), StorageError> {
    let Known { order, facts, payment_intent, policy, .. } = known;
    let id = order.id.as_str();
    tx.execute(
        "insert into order_payments (order_id, live, payment_intent, paid_at, is_expired, is_revoked, refunded_minor, charged_minor, awaits_keys)
         values ($1, $2, $3, case when $4 then now() end, $5, $6, $7, $8, $9)
         on conflict (order_id) do update set
             payment_intent = excluded.payment_intent, paid_at = coalesce(order_payments.paid_at, excluded.paid_at),
             is_expired = excluded.is_expired, is_revoked = excluded.is_revoked, refunded_minor = excluded.refunded_minor,
             charged_minor = excluded.charged_minor, awaits_keys = excluded.awaits_keys",
        &[
            &id,
            &order.mode.is_live(),
            payment_intent,
            &facts.is_paid,
            &facts.is_expired,
            &facts.is_revoked,
            &facts.refunded_minor,
            &facts.charged_minor,
            &facts.wants_keys(true),
        ],
    )
    .await?;
    let ids: Vec<&str> = facts.disputes.keys().map(String::as_str).collect();
    let statuses: Vec<&str> = facts.disputes.values().map(|dispute| dispute.status.as_str()).collect();
    let amounts: Vec<i64> = facts.disputes.values().map(|dispute| dispute.amount_minor).collect();
    if !ids.is_empty() {
        tx.execute(
            "insert into order_disputes (id, order_id, status, amount_minor)
             select id, $1, status, amount_minor from unnest($2::text[], $3::text[], $4::bigint[]) as d (id, status, amount_minor)
             on conflict (id) do update set status = excluded.status, amount_minor = excluded.amount_minor
             where order_disputes.order_id = excluded.order_id",
            &[&id, &ids, &statuses, &amounts],
        )
        .await?;
    }
    let status = facts.status();
    let keys_kept = facts.keys_usable(*policy) && !status.keys_usable();
    tx.execute(
        "update orders set status = $2, keys_kept = $3, updated_at = now() where id = $1 and (status, keys_kept) <> ($2, $3)",
        &[&id, &status.as_str(), &keys_kept],
    )
    .await?;
    Ok(())
}

/// An order that waits for its money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payable {
    /// Live or test.
    pub mode: Mode,
    /// Which.
    pub order_id: OrderId,
    /// How much, minor units.
    pub total_minor: i64,
    /// Of what.
    pub currency: Currency,
    /// The payment that was made for it.
    pub payment_intent: Option<String>,
}

/// What is to be paid for an order; `None` when it waits for no money, or not any more.
pub async fn payable(client: &impl GenericClient, mode: Mode, order_id: &OrderId) -> Result<Option<Payable>, StorageError> {
    let sql = "select o.total_minor, o.currency, p.payment_intent from orders o left join order_payments p on p.order_id = o.id
               where o.id = $1 and o.live = $2 and o.status = 'pending' and o.total_minor is not null and o.currency is not null";
    let Some(row) = client.query_opt(sql, &[&order_id.as_str(), &mode.is_live()]).await? else { return Ok(None) };
    let currency = Currency::parse(row.get(1)).map_err(|error| StorageError::Corrupt(format!("order {order_id}: {error}")))?;
    Ok(Some(Payable { mode, order_id: order_id.clone(), total_minor: row.get(0), currency, payment_intent: row.get(2) }))
}

/// Keeps by which payment an order is to be paid, unless one is known. Whatever is said of the payment from now on finds the order.
pub async fn keep_payment_intent(pg: &Pg, mode: Mode, order_id: &OrderId, payment_intent: &str) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    // Whoever merges facts holds this lock, and writes what it has read under it.
    orders::lock(&tx, mode, order_id).await?;
    tx.execute(
        "insert into order_payments (order_id, live, payment_intent) values ($1, $2, $3)
         on conflict (order_id) do update set payment_intent = excluded.payment_intent where order_payments.payment_intent is null",
        &[&order_id.as_str(), &mode.is_live(), &payment_intent],
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Paid orders that wait for license keys of which there are enough by now, the longest waiting first, at most `limit`.
pub async fn fillable(client: &impl GenericClient, limit: i64) -> Result<Vec<(Mode, OrderId)>, StorageError> {
    let rows = client
        .query(
            "select p.order_id, p.live from order_payments p where p.awaits_keys and not exists (
                 select 1 from (select product_id, sum(quantity) as pieces from order_items i where i.order_id = p.order_id group by 1) wanted
                 left join products r on r.id = wanted.product_id
                 where r.id is null or r.pattern is null and (
                     select count(*) from (
                         select 1 from license_keys k where k.product_id = wanted.product_id and k.live = p.live limit wanted.pieces) free
                     ) < wanted.pieces)
             order by p.paid_at, p.order_id limit $1",
            &[&limit],
        )
        .await?;
    let id = |text: &str| OrderId::parse(text).map_err(|error| StorageError::Corrupt(format!("order {text:?}: {error}")));
    rows.iter().map(|row| Ok((Mode::from_live(row.get(1)), id(row.get(0))?))).collect()
}

/// How many paid orders wait for license keys, and for how long the first of them has.
pub async fn awaiting(client: &impl GenericClient) -> Result<(i64, Duration), StorageError> {
    let sql = "select count(*), coalesce(extract(epoch from now() - min(paid_at)), 0)::float8 from order_payments where awaits_keys";
    let row = client.query_one(sql, &[]).await?;
    Ok((row.get(0), Duration::try_from_secs_f64(row.get(1)).unwrap_or_default()))
}
