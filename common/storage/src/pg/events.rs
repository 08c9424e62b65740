//! Events: facts about orders, born in the order's own transaction.

use common::event::{EventBody, EventKind};
use common::ids::OrderId;
use common::job::NewOrder;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::StorageError;

/// Keeps the events of orders that were paid elsewhere. `created_at` is RFC 3339.
pub async fn insert_of_fulfillment(
    tx: &impl GenericClient,
    events: &[(EventKind, &NewOrder)],
    created_at: &str,
) -> Result<(), StorageError> {
    let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
    let bodies: Vec<EventBody<'_>> =
        events.iter().zip(&ids).map(|((kind, order), id)| EventBody::of_fulfillment(*kind, order, *id, created_at)).collect();
    let stores: Vec<i64> = events.iter().map(|(_, order)| order.store_id).collect();
    let lives: Vec<bool> = bodies.iter().map(|body| body.livemode).collect();
    let orders: Vec<&str> = bodies.iter().map(|body| body.order_id.as_str()).collect();
    let sequences: Vec<i32> = bodies.iter().map(|body| body.sequence).collect();
    let kinds: Vec<&str> = bodies.iter().map(|body| body.event).collect();
    let json: Vec<String> = bodies.iter().map(EventBody::to_json).collect();
    tx.execute(
        "insert into events (id, store_id, live, order_id, sequence, kind, body)
         select * from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::integer[], $6::text[], $7::text[])",
        &[&ids, &stores, &lives, &orders, &sequences, &kinds, &json],
    )
    .await?;
    Ok(())
}

/// The bodies of an order's events, oldest first.
pub async fn of_order(client: &impl GenericClient, order_id: &OrderId) -> Result<Vec<String>, StorageError> {
    let rows = client.query("select body from events where order_id = $1 order by sequence", &[&order_id.as_str()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
