//! Revocations travel twice: in the change feed, and on a Redis channel, so that an edge that has lost one of the two still hears of them.

use fred::clients::Client;
use fred::interfaces::{ClientLike, PubsubInterface};

use crate::StorageError;
use crate::redis::fail_fast;

/// The channel that all edges listen to.
pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}:revoked")
}

/// Tells the edges that are connected to Redis to refuse this API key from now on.
pub async fn publish(client: &Client, prefix: &str, key_id: i64) -> Result<(), StorageError> {
    let _receivers: i64 = client.with_options(&fail_fast()).publish(channel(prefix), key_id.to_string()).await?;
    Ok(())
}
