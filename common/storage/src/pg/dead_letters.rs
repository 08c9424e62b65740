//! Dead letters: work that cannot be done, kept whole and sealed for a person to look at.

use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::StorageError;

/// Keeps a dead letter. The same id twice is one.
pub async fn insert(client: &impl GenericClient, id: Uuid, queue: &str, reason: &str, sealed: &[u8]) -> Result<(), StorageError> {
    client
        .execute(
            "insert into dead_letters (id, queue, reason, sealed) values ($1, $2, $3, $4) on conflict do nothing",
            &[&id, &queue, &reason, &sealed],
        )
        .await?;
    Ok(())
}

/// How many there are.
pub async fn count(client: &impl GenericClient) -> Result<i64, StorageError> {
    Ok(client.query_one("select count(*) from dead_letters", &[]).await?.get(0))
}
