//! Events: facts about orders, born in the order's own transaction.

use common::ids::OrderId;
use common::mode::Mode;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::StorageError;

/// An event to be kept.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// Names the event.
    pub id: Uuid,
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// What it is about.
    pub order_id: &'a OrderId,
    /// 1 for the order's first.
    pub sequence: i32,
    /// The public name.
    pub kind: &'static str,
    /// The bytes that are signed and sent.
    pub body: String,
}

/// Keeps events.
pub async fn insert(tx: &impl GenericClient, events: &[NewEvent<'_>]) -> Result<(), StorageError> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let stores: Vec<i64> = events.iter().map(|event| event.store_id).collect();
    let lives: Vec<bool> = events.iter().map(|event| event.mode.is_live()).collect();
    let orders: Vec<&str> = events.iter().map(|event| event.order_id.as_str()).collect();
    let sequences: Vec<i32> = events.iter().map(|event| event.sequence).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind).collect();
    let bodies: Vec<&str> = events.iter().map(|event| event.body.as_str()).collect();
    tx.execute(
        "insert into events (id, store_id, live, order_id, sequence, kind, body)
         select * from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::integer[], $6::text[], $7::text[])",
        &[&ids, &stores, &lives, &orders, &sequences, &kinds, &bodies],
    )
    .await?;
    Ok(())
}

/// The bodies of an order's events, oldest first.
pub async fn of_order(client: &impl GenericClient, order_id: &OrderId) -> Result<Vec<String>, StorageError> {
    let rows = client.query("select body from events where order_id = $1 order by sequence", &[&order_id.as_str()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
