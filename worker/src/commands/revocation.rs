//! Revoking an API key: in the database, which every edge follows; on Redis, for an edge that has lost the database; and then waiting for
//! each edge's own word that it refuses the key. Who revokes a stolen key must know whether it still opens a door somewhere.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use storage::pg::{api_keys, changes, edges};
use storage::{StorageError, revocations};
use tokio::time::{Instant, sleep, timeout};

use super::Failure;
use super::context::{Context, no_such_key};
use super::output::time;

/// For how long an edge's silence is taken for life.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// An edge that was not heard of for longer is forgotten by the table too.
const KNOWN_WITHIN: Duration = Duration::from_secs(86_400);
/// Edges promise to follow within one second.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(25);

#[derive(Serialize)]
struct Report {
    id: i64,
    /// Whether Redis took the message; edges that reach the database do not need it.
    redis: &'static str,
    followed: usize,
    alive: usize,
    edges: Vec<EdgeReport>,
    /// Edges that stopped reporting without saying that they end.
    silent: Vec<String>,
}

#[derive(Serialize)]
struct EdgeReport {
    id: String,
    followed_at: Option<String>,
    /// Milliseconds from the revocation to the edge's word.
    followed_after_ms: Option<u64>,
}

pub async fn revoke(context: &Context, id: i64) -> Result<(), Failure> {
    let change = api_keys::revoke(&context.pg, id).await?.ok_or_else(|| no_such_key(id))?;
    // Both at once: an edge that is cut off from the database is waiting for this one.
    let (told, followed) = tokio::join!(tell_redis(context, id), wait_for_edges(context, change));
    if let Err(error) = &told {
        tracing::warn!(%error, "API key {id} is revoked in the database, but Redis could not be told; edges that reach the database follow");
    }
    let unknown = || format!("API key {id} is revoked, but which edges have followed is unknown: revoke it again to see");
    let (edges, silent) = followed.map_err(|error| Failure::from(error).and(&unknown()))?;
    let redis = if told.is_ok() { "told" } else { "unreachable" };
    let followed = edges.iter().filter(|edge| edge.followed_at.is_some()).count();
    let report = Report { id, redis, followed, alive: edges.len(), edges, silent };
    context.output.show(&report, || report.text())?;
    report.verdict()
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("API key {} is revoked.\n", self.id);
        // Times of one format and zone sort as text.
        let since = self.edges.iter().filter_map(|edge| edge.followed_at.as_deref()).max();
        let after_ms = self.edges.iter().filter_map(|edge| edge.followed_after_ms).max();
        match (since, after_ms) {
            (Some(since), Some(after_ms)) => {
                text +=
                    &format!("{} of {} edges refuse it since {since}, {after_ms} ms after the revocation.\n", self.followed, self.alive);
            }
            _ if self.alive == 0 => text += "No edge is running.\n",
            _ => text += &format!("0 of {} edges refuse it.\n", self.alive),
        }
        for edge in &self.edges {
            match edge.followed_after_ms {
                Some(after_ms) => text += &format!("  {}  after {after_ms} ms\n", edge.id),
                None => text += &format!("  {}  NOT YET\n", edge.id),
            }
        }
        if !self.silent.is_empty() {
            let (silent, s) = (self.silent.join(", "), ALIVE_WITHIN.as_secs());
            text += &format!("Silent for more than {s} s, either crashed or cut off from the database: {silent}\n");
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.followed == self.alive {
            return Ok(());
        }
        let late: Vec<&str> = self.edges.iter().filter(|edge| edge.followed_at.is_none()).map(|edge| edge.id.as_str()).collect();
        Err(Failure::lagging(format!(
            "API key {} is revoked, but {} of {} edges had not followed after {} s and may still accept it: {}; make sure that they reach \
             Postgres or Redis, or stop them, and revoke the key again to see",
            self.id,
            late.len(),
            self.alive,
            PATIENCE.as_secs(),
            late.join(", "),
        )))
    }
}

/// Publishes as soon as the connection, which is made in the background, stands.
async fn tell_redis(context: &Context, id: i64) -> Result<(), StorageError> {
    let settings = &context.settings;
    let client = storage::redis::client(&settings.redis)?;
    let deadline = Instant::now() + settings.redis.connect_timeout + settings.redis.command_timeout;
    loop {
        let error = match timeout(settings.redis.command_timeout, revocations::publish(&client, &settings.queue.prefix, id)).await {
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

type Followed = (Vec<EdgeReport>, Vec<String>);

/// Looks until every edge that was alive at the beginning has followed, stopped in an orderly way, or run out of time.
async fn wait_for_edges(context: &Context, change: i64) -> Result<Followed, StorageError> {
    let client = context.pg.client().await?;
    let revoked_at = changes::recorded_at(&**client, change).await?;
    let begun = Instant::now();
    let mut first_seen: BTreeMap<String, SystemTime> = BTreeMap::new();
    loop {
        // The window grows with the waiting: an edge that falls silent meanwhile must not drop out of the account.
        let waited = begun.elapsed();
        let alive = edges::alive(&**client, (ALIVE_WITHIN + waited).as_secs_f64()).await?;
        for edge in alive.iter().filter(|edge| edge.applied_change_id >= change) {
            first_seen.entry(edge.id.clone()).or_insert(edge.applied_at);
        }
        if waited >= PATIENCE || alive.iter().all(|edge| first_seen.contains_key(&edge.id)) {
            let known = edges::alive(&**client, KNOWN_WITHIN.as_secs_f64()).await?;
            let silent = known.into_iter().map(|edge| edge.id).filter(|id| !alive.iter().any(|edge| edge.id == *id)).collect();
            return Ok((alive.into_iter().map(|edge| edge_report(edge.id, &first_seen, revoked_at)).collect(), silent));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn edge_report(id: String, first_seen: &BTreeMap<String, SystemTime>, revoked_at: Option<SystemTime>) -> EdgeReport {
    let followed_at = first_seen.get(&id).copied();
    let after = followed_at.zip(revoked_at).map(|(followed, revoked)| followed.duration_since(revoked).unwrap_or_default());
    EdgeReport { id, followed_at: followed_at.map(time), followed_after_ms: after.map(|after| after.as_millis() as u64) }
}
