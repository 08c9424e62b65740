//! Rows that have served go by age: one table of what goes, and one step that deletes a few of one kind. A step is a short transaction
//! that finds its rows by an index, waits for no lock, and runs in one worker at a time.
//!
//! Never pruned: orders with their items, license keys and events (an id that was told to a caller always resolves, failed orders too);
//! digests of license keys (a key that was sold ten years ago must not be sold again); stores, products and API keys, revoked and expired
//! ones included, and the audit log (who could do what, and who did); deliveries that are still to be made.

use std::time::Duration;

use config::Retention;

use super::{Pg, StorageError};

/// Any number, as long as nobody else takes it.
const LOCK: i64 = 0x6170_7072;

/// Something that grows old.
#[derive(Debug)]
pub struct Kind {
    /// What it is called in metrics and logs.
    pub name: &'static str,
    /// Rows older than this go.
    pub age: fn(&Retention) -> Duration,
    /// Deletes, or forgets, at most `$2` rows that are older than `$1` seconds. Rows are collected first and then reached by their place,
    /// so that no statistics can make it a scan.
    sql: &'static str,
}

/// All that grows old.
pub const KINDS: [Kind; 11] = [
    Kind {
        name: "changes",
        age: |retention| retention.changes,
        // Only ever the beginning of the feed, whatever times its rows have: an edge that misses the row it has come to loads everything
        // anew, and one that finds it has missed nothing. The last row older than the age stays, because it is where an edge stands that
        // follows, and with it the newest.
        sql: "with oldest as materialized (select ctid, id, created_at from changes order by id limit 1 + $2::bigint),
                   kept as (select max(id) as id from oldest where id < coalesce(
                       (select min(id) from oldest where created_at >= now() - make_interval(secs => $1)), 9223372036854775807))
              delete from changes where ctid = any(array(select ctid from oldest where id < (select id from kept)))",
    },
    Kind {
        name: "edges",
        age: |retention| retention.edges,
        // A few rows, and no index.
        sql: "delete from edges where ctid = any(array(
                  select ctid from edges where seen_at < now() - make_interval(secs => $1) limit $2 for update skip locked))",
    },
    Kind {
        name: "idempotency_keys",
        age: |retention| retention.idempotency_keys,
        sql: "update orders set idempotency_key = null where ctid = any(array(
                  select ctid from orders where idempotency_key is not null and created_at < now() - make_interval(secs => $1)
                  order by created_at limit $2 for update skip locked))",
    },
    Kind {
        name: "dead_letters",
        age: |retention| retention.dead_letters,
        sql: "delete from dead_letters where ctid = any(array(
                  select ctid from dead_letters where created_at < now() - make_interval(secs => $1)
                  order by created_at limit $2 for update skip locked))",
    },
    Kind {
        name: "webhook_deliveries",
        age: |retention| retention.webhook_deliveries,
        // Settled ones only; each goes with what came of its attempts.
        sql: "with old as materialized (
                  select id from webhook_deliveries where status <> 'pending' and settled_at < now() - make_interval(secs => $1)
                  order by settled_at limit $2 for update skip locked),
              gone as (delete from webhook_attempts where delivery_id = any(array(select id from old)))
              delete from webhook_deliveries where id = any(array(select id from old))",
    },
    Kind {
        name: "stripe_events",
        age: |retention| retention.stripe_events,
        // Settled ones only: one that comes again after that is merged again, which changes nothing.
        sql: "delete from stripe_events where ctid = any(array(
                  select ctid from stripe_events where status in ('applied', 'refused') and settled_at < now() - make_interval(secs => $1)
                  order by settled_at limit $2 for update skip locked))",
    },
    Kind {
        name: "parked_stripe_events",
        age: |retention| retention.parked_stripe_events,
        // Of payments that are none of ours, as it seems: one Stripe account may serve others too.
        sql: "delete from stripe_events where ctid = any(array(
                  select ctid from stripe_events where status = 'parked' and received_at < now() - make_interval(secs => $1)
                  order by received_at limit $2 for update skip locked))",
    },
    Kind {
        name: "carts",
        age: |retention| retention.carts,
        sql: "delete from carts where ctid = any(array(
                  select ctid from carts where created_at < now() - make_interval(secs => $1)
                  order by created_at limit $2 for update skip locked))",
    },
    Kind {
        name: "portal_sessions",
        age: |retention| retention.portal_sessions,
        sql: "delete from portal_sessions where ctid = any(array(
                  select ctid from portal_sessions where expires_at < now() - make_interval(secs => $1)
                  order by expires_at limit $2 for update skip locked))",
    },
    Kind {
        name: "account_invites",
        // A link that is not good any more.
        age: |_| Duration::ZERO,
        // One for each account at most, and no index.
        sql: "delete from account_invites where ctid = any(array(
                  select ctid from account_invites where expires_at < now() - make_interval(secs => $1) limit $2 for update skip locked))",
    },
    Kind {
        name: "api_key_usage",
        age: |retention| retention.api_key_usage,
        sql: "delete from api_key_usage where ctid = any(array(
                  select ctid from api_key_usage where minute < now() - make_interval(secs => $1)
                  order by minute limit $2 for update skip locked))",
    },
];

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many rows are gone; fewer than the limit means that there are no more for now.
    Pruned(u64),
    /// Another worker is in a step of its own, and nothing was done.
    Busy,
}

/// Prunes at most `limit` rows of a kind that are older than `age`.
pub async fn step(pg: &Pg, kind: &Kind, age: Duration, limit: u32) -> Result<Step, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let locked = tx.query_one("select pg_try_advisory_xact_lock($1)", &[&LOCK]).await?;
    if !locked.get::<_, bool>(0) {
        return Ok(Step::Busy);
    }
    let pruned = tx.execute(kind.sql, &[&age.as_secs_f64(), &i64::from(limit)]).await?;
    tx.commit().await?;
    Ok(Step::Pruned(pruned))
}

/// How Postgres would carry out a step just now, as `explain` prints it.
pub async fn explain(pg: &Pg, kind: &Kind, age: Duration, limit: u32) -> Result<String, StorageError> {
    let rows = pg.client().await?.query(&format!("explain {}", kind.sql), &[&age.as_secs_f64(), &i64::from(limit)]).await?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect())
}
