//! Revocations travel twice: in the change feed, and on a Redis channel, so that an edge that has lost one of the two still hears of them.
//! Whoever revokes a stolen key must know whether it still opens a door somewhere, so [`Revoker`] waits for each edge's own word.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use fred::clients::Client;
use fred::interfaces::{ClientLike, PubsubInterface};
use tokio::time::{Instant, sleep, timeout};

use crate::pg::audit_log::Actor;
use crate::pg::{api_keys, changes, edges};
use crate::redis::fail_fast;
use crate::{Pg, StorageError};

/// For how long an edge's silence is taken for life.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// An edge that was not heard of for longer is forgotten by the table too.
const KNOWN_WITHIN: Duration = Duration::from_secs(86_400);
/// For how long edges are waited for. They promise to follow within one second.
pub const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The channel that all edges listen to.
pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}:revoked")
}

/// Tells the edges that are connected to Redis to refuse this API key from now on.
pub async fn publish(client: &Client, prefix: &str, key_id: i64) -> Result<(), StorageError> {
    let _receivers: i64 = client.with_options(&fail_fast()).publish(channel(prefix), key_id.to_string()).await?;
    Ok(())
}

/// Revokes keys. Of each way it uses what is there.
pub struct Revoker {
    client: Client,
    prefix: String,
    patience: Duration,
}

impl Revoker {
    /// One that tells edges by this client, which may still be connecting, for `patience` at most. `prefix` is what the channel begins with.
    pub fn new(client: Client, prefix: &str, patience: Duration) -> Self {
        Self { client, prefix: prefix.to_owned(), patience }
    }

    /// Revokes a key, tells the edges, and waits for them, [`PATIENCE`] at most. `None` when there is no such key.
    pub async fn revoke(&self, pg: &Pg, key_id: i64, actor: Actor<'_>) -> Result<Option<Revoked>, StorageError> {
        let Some(change) = api_keys::revoke(pg, key_id, actor).await? else { return Ok(None) };
        // Both at once: an edge that is cut off from the database is waiting for this one.
        let (told, followed) = tokio::join!(self.tell(key_id), wait_for_edges(pg, change));
        if let Err(error) = &told {
            tracing::warn!(%error, "API key {key_id} is revoked in the database, but Redis could not be told; edges that reach the database follow");
        }
        Ok(Some(Revoked { told, followed }))
    }

    /// Publishes as soon as the connection stands.
    async fn tell(&self, key_id: i64) -> Result<(), StorageError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let error = match timeout(self.patience, publish(&self.client, &self.prefix, key_id)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => StorageError::Unavailable("Redis did not answer in time".into()),
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// What came of a revocation that is in the database.
#[derive(Debug)]
pub struct Revoked {
    /// Whether Redis took the message; edges that reach the database do not need it.
    pub told: Result<(), StorageError>,
    /// Which edges have followed. An error leaves it unknown; revoking again shows it.
    pub followed: Result<Followed, StorageError>,
}

/// How far edges have followed.
#[derive(Debug)]
pub struct Followed {
    /// Edges that are alive.
    pub edges: Vec<EdgeFollowed>,
    /// Edges that stopped reporting without saying that they end.
    pub silent: Vec<String>,
}

/// One edge's word.
#[derive(Debug)]
pub struct EdgeFollowed {
    /// Which.
    pub id: String,
    /// Since when it refuses the key; none while it has not said so.
    pub at: Option<SystemTime>,
    /// How long after the revocation that was.
    pub after: Option<Duration>,
}

/// Looks until every edge that was alive at the beginning has followed, stopped in an orderly way, or run out of time.
async fn wait_for_edges(pg: &Pg, change: i64) -> Result<Followed, StorageError> {
    let client = pg.client().await?;
    let revoked_at = changes::recorded_at(&*client, change).await?;
    let begun = Instant::now();
    let mut first_seen: BTreeMap<String, SystemTime> = BTreeMap::new();
    loop {
        // The window grows with the waiting: an edge that falls silent meanwhile must not drop out of the account.
        let waited = begun.elapsed();
        let alive = edges::alive(&*client, (ALIVE_WITHIN + waited).as_secs_f64()).await?;
        for edge in alive.iter().filter(|edge| edge.applied_change_id >= change) {
            first_seen.entry(edge.id.clone()).or_insert(edge.applied_at);
        }
        if waited >= PATIENCE || alive.iter().all(|edge| first_seen.contains_key(&edge.id)) {
            let known = edges::alive(&*client, KNOWN_WITHIN.as_secs_f64()).await?;
            let silent = known.into_iter().map(|edge| edge.id).filter(|id| !alive.iter().any(|edge| edge.id == *id)).collect();
            return Ok(Followed { edges: alive.into_iter().map(|edge| followed(edge.id, &first_seen, revoked_at)).collect(), silent });
        }
        sleep(LOOK_EVERY).await;
    }
}

fn followed(id: String, first_seen: &BTreeMap<String, SystemTime>, revoked_at: Option<SystemTime>) -> EdgeFollowed {
    let at = first_seen.get(&id).copied();
    let after = at.zip(revoked_at).map(|(followed, revoked)| followed.duration_since(revoked).unwrap_or_default());
    EdgeFollowed { id, at, after }
}
