//! Revoking an API key, and telling whoever did which edges refuse it already, and which do not.

use serde::Serialize;
use storage::pg::audit_log::Actor;
use storage::revocations::{ALIVE_WITHIN, EdgeFollowed, PATIENCE, Revoker};

use super::Failure;
use super::context::{Context, no_such_key};
use super::output::time;

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
    let settings = &context.settings;
    let client = storage::redis::client(&settings.redis)?;
    let patience = settings.redis.connect_timeout + settings.redis.command_timeout;
    let revoker = Revoker::new(client, &settings.queue.prefix, patience);
    let revoked = revoker.revoke(&context.pg, id, Actor::CommandLine).await?.ok_or_else(|| no_such_key(id))?;
    let unknown = || format!("API key {id} is revoked, but which edges have followed is unknown: revoke it again to see");
    let known = revoked.followed.map_err(|error| Failure::from(error).and(&unknown()))?;
    let redis = if revoked.told.is_ok() { "told" } else { "unreachable" };
    let edges: Vec<EdgeReport> = known.edges.into_iter().map(edge_report).collect();
    let followed = edges.iter().filter(|edge| edge.followed_at.is_some()).count();
    let report = Report { id, redis, followed, alive: edges.len(), edges, silent: known.silent };
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

fn edge_report(edge: EdgeFollowed) -> EdgeReport {
    let after_ms = edge.after.map(|after| after.as_millis() as u64);
    EdgeReport { id: edge.id, followed_at: edge.at.map(time), followed_after_ms: after_ms }
}
