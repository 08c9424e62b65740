//! Schema migrations, applied in order and once, by whoever comes first: an advisory lock keeps the others waiting.

use super::{Pg, StorageError};

mod embedded {
    #![allow(missing_docs, reason = "written by a macro")]
    refinery::embed_migrations!("migrations");
}

/// Any number, as long as nobody else takes it.
const LOCK: i64 = 0x6170_6d69;

/// Applies what has not been applied yet. Returns the names of the migrations it applied.
pub async fn run(pg: &Pg) -> Result<Vec<String>, StorageError> {
    let mut client = pg.client().await?;
    // Migrating a large table may take as long as it takes.
    client.batch_execute("set statement_timeout = 0").await?;
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
    let report = embedded::migrations::runner().run_async(&mut **client).await;
    // The lock goes with the connection, which must not return to the pool with its time-out off.
    drop(deadpool_postgres::Object::take(client));
    Ok(report?.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Whether this binary's migrations have all been applied. A schema that a newer one has migrated further is as good.
pub async fn is_current(pg: &Pg) -> Result<bool, StorageError> {
    is_current_for(&**pg.client().await?).await
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
