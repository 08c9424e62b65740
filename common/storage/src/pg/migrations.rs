//! Schema migrations, applied in order and once, by whoever comes first: an advisory lock keeps the others waiting.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::{Pg, StorageError, describe, roles};

mod embedded {
    #![allow(missing_docs, reason = "written by a macro")]
    refinery::embed_migrations!("migrations");
}

/// Any number, as long as nobody else takes it.
const LOCK: i64 = 0x6170_6d69;

/// A statement that waits for a table's lock keeps everybody else waiting behind it. After this it gives way, and tries again later.
const LOCK_TIMEOUT_MS: u32 = 1_000;
const ATTEMPTS_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Applies what has not been applied yet, and gives edges and workers their rights. Returns the names of the migrations it applied. The
/// login must be the owner of the tables.
pub async fn run(pg: &Pg) -> Result<Vec<String>, StorageError> {
    let mut client = pg.client().await?;
    // Migrating a large table may take as long as it takes, and so may whoever migrates before us.
    client.batch_execute("set statement_timeout = 0; set lock_timeout = 0").await?;
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
    client.batch_execute(&format!("set lock_timeout = {LOCK_TIMEOUT_MS}")).await?;
    let (mut applied, mut attempt) = (Vec::new(), 0);
    let outcome = loop {
        let outcome = embedded::migrations::runner().run_async(&mut **client).await;
        let report = outcome.as_ref().map_or_else(|error| error.report(), Some);
        applied.extend(report.iter().flat_map(|report| report.applied_migrations()).map(ToString::to_string));
        attempt += 1;
        match outcome {
            Err(error) if attempt < ATTEMPTS_MAX && met_others(&error) => {
                tracing::info!(%error, attempt, "others were in the way; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => break outcome,
        }
    };
    let outcome = match outcome {
        Ok(_) => roles::set_up(&mut client).await,
        Err(error) => Err(refused(error)),
    };
    // The lock goes with the connection, which must not return to the pool with its time-outs changed.
    drop(deadpool_postgres::Object::take(client));
    outcome?;
    Ok(applied)
}

/// What Postgres said, where it said anything.
fn cause(error: &refinery::Error) -> Option<&tokio_postgres::Error> {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()).next()
}

fn refused(error: refinery::Error) -> StorageError {
    match cause(&error) {
        Some(cause) if cause.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => StorageError::Forbidden(describe(cause)),
        _ => error.into(),
    }
}

/// Whether a migration did not get a lock in time, or was ended because it and somebody else waited for each other.
fn met_others(error: &refinery::Error) -> bool {
    let code = cause(error).and_then(tokio_postgres::Error::code);
    [&SqlState::LOCK_NOT_AVAILABLE, &SqlState::T_R_DEADLOCK_DETECTED].into_iter().any(|state| code == Some(state))
}

/// Whether this binary's migrations have all been applied. A schema that a newer one has migrated further is as good.
pub async fn is_current(pg: &Pg) -> Result<bool, StorageError> {
    is_current_for(&*pg.client().await?).await
}

/// [`is_current`] over a connection that is there already.
pub(super) async fn is_current_for(client: &tokio_postgres::Client) -> Result<bool, StorageError> {
    let table = client.query_one("select to_regclass('refinery_schema_history') is not null", &[]).await?;
    if !table.get::<_, bool>(0) {
        return Ok(false);
    }
    let row = client.query_one("select coalesce(max(version), 0)::bigint from refinery_schema_history", &[]).await?;
    let wanted = embedded::migrations::runner().get_migrations().iter().map(|migration| i64::from(migration.version())).max();
    Ok(row.get::<_, i64>(0) >= wanted.unwrap_or(0))
}
