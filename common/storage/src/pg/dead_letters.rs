//! Dead letters: work that cannot be done, kept whole and sealed for a person to look at.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::{GenericClient, StorageError};

/// What the order of an edge's promise is called among them, which was in no queue.
pub const ORDER_REQUEST: &str = "order_request";

/// What a dead letter is called that was the entry `entry` of a queue. Always the same: who ends between keeping it and saying so is
/// followed by somebody who keeps it again.
pub fn id_of_entry(queue: &str, entry: &str, sealed: &[u8]) -> Uuid {
    let digest = Sha256::new().chain_update(queue).chain_update([0]).chain_update(entry).chain_update([0]).chain_update(sealed).finalize();
    Builder::from_custom_bytes(std::array::from_fn(|n| digest[n])).into_uuid()
}

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
