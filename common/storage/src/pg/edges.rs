//! How far each edge has followed the change feed, so that whoever revokes a key can be told who refuses it already.

use std::time::SystemTime;

use super::{GenericClient, StorageError};

/// One edge, as it last reported.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Chosen by the edge at its start.
    pub id: String,
    /// The newest change it has applied.
    pub applied_change_id: i64,
    /// When it applied that change, by the database's clock.
    pub applied_at: SystemTime,
}

/// Reports that an edge lives and how far it has come.
pub async fn report(client: &impl GenericClient, id: &str, applied_change_id: i64) -> Result<(), StorageError> {
    client
        .execute(
            "insert into edges (id, applied_change_id) values ($1, $2)
             on conflict (id) do update set seen_at = now(), applied_change_id = excluded.applied_change_id,
               applied_at = case when edges.applied_change_id = excluded.applied_change_id then edges.applied_at else now() end",
            &[&id, &applied_change_id],
        )
        .await?;
    Ok(())
}

/// The edges that reported within the last `seen_within_s` seconds.
pub async fn alive(client: &impl GenericClient, seen_within_s: f64) -> Result<Vec<Edge>, StorageError> {
    let rows = client
        .query(
            "select id, applied_change_id, applied_at from edges where seen_at > now() - make_interval(secs => $1) order by id",
            &[&seen_within_s],
        )
        .await?;
    Ok(rows.iter().map(|row| Edge { id: row.get(0), applied_change_id: row.get(1), applied_at: row.get(2) }).collect())
}

/// Forgets an edge that stops in an orderly way. One that does not is pruned.
pub async fn remove(client: &impl GenericClient, id: &str) -> Result<(), StorageError> {
    client.execute("delete from edges where id = $1", &[&id]).await?;
    Ok(())
}
