//! Events: facts about orders, born in the order's own transaction.

use common::event::{EventBody, EventKind};
use common::ids::OrderId;
use common::job::NewOrder;
use common::webhook::ORDER_WAIT_S;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::StorageError;

/// A delivery that is due as soon as its transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The delivery.
    pub id: i64,
    /// Where it goes.
    pub endpoint_id: Uuid,
}

/// Keeps the events of orders that were paid elsewhere, with a delivery to each endpoint that wants to hear of them. An event whose order
/// has an earlier one that is not settled waits for it, a minute at most. Returns the deliveries that are due. `created_at` is RFC 3339.
pub async fn insert_of_fulfillment(
    tx: &impl GenericClient,
    events: &[(EventKind, &NewOrder)],
    created_at: &str,
) -> Result<Vec<Due>, StorageError> {
    let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
    let bodies: Vec<EventBody<'_>> =
        events.iter().zip(&ids).map(|((kind, order), id)| EventBody::of_fulfillment(*kind, order, *id, created_at)).collect();
    let stores: Vec<i64> = events.iter().map(|(_, order)| order.store_id).collect();
    let lives: Vec<bool> = bodies.iter().map(|body| body.livemode).collect();
    let orders: Vec<&str> = bodies.iter().map(|body| body.order_id.as_str()).collect();
    let sequences: Vec<i32> = bodies.iter().map(|body| body.sequence).collect();
    let kinds: Vec<&str> = bodies.iter().map(|body| body.event).collect();
    let json: Vec<String> = bodies.iter().map(EventBody::to_json).collect();
    // Endpoints that are disabled get theirs too, and keep them.
    let sql = format!(
        "with made as (
             insert into events (id, store_id, live, order_id, sequence, kind, body)
             select * from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::integer[], $6::text[], $7::text[])
             returning id, store_id, live, order_id, sequence, kind),
         wanted as (
             select w.id as endpoint_id, w.enabled, made.id as event_id, made.order_id, made.sequence,
                    lag(made.id) over (partition by made.order_id, w.id order by made.sequence) is not null
                        or made.sequence > 1 and exists (
                            select 1 from webhook_deliveries d
                            where d.order_id = made.order_id and d.endpoint_id = w.id and d.status = 'pending') as waits
             from made join webhook_endpoints w
                 on w.store_id = made.store_id and w.live = made.live and (w.events = '{{}}' or made.kind = any(w.events))),
         born as (
             insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, waits, next_attempt_at)
             select endpoint_id, event_id, order_id, sequence, waits,
                    now() + make_interval(secs => case when waits then {ORDER_WAIT_S} else 0 end)
             from wanted order by endpoint_id, order_id, sequence
             returning id, endpoint_id, waits)
         select born.id, born.endpoint_id from born join webhook_endpoints w on w.id = born.endpoint_id
         where w.enabled and not born.waits"
    );
    let rows = tx.query(&sql, &[&ids, &stores, &lives, &orders, &sequences, &kinds, &json]).await?;
    Ok(rows.iter().map(|row| Due { id: row.get(0), endpoint_id: row.get(1) }).collect())
}

/// The bodies of an order's events, oldest first.
pub async fn of_order(client: &impl GenericClient, order_id: &OrderId) -> Result<Vec<String>, StorageError> {
    let rows = client.query("select body from events where order_id = $1 order by sequence", &[&order_id.as_str()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
