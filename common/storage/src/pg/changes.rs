//! The change feed: one row says that a store, a store's catalogue or an API key is not what it was. Edges follow it from memory's last
//! known id on; `NOTIFY` wakes them, a poll each second makes sure.

use std::time::SystemTime;

use tokio_postgres::GenericClient;

use super::StorageError;

/// The channel that wakes edges.
pub const CHANNEL: &str = "changes";

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A store's row.
    Store,
    /// A store's products or prices; the subject is the store.
    Catalogue,
    /// An API key.
    ApiKey,
}

impl ChangeKind {
    fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Store => "store",
            ChangeKind::Catalogue => "catalogue",
            ChangeKind::ApiKey => "api_key",
        }
    }

    fn parse(text: &str) -> Result<Self, StorageError> {
        [ChangeKind::Store, ChangeKind::Catalogue, ChangeKind::ApiKey]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| StorageError::Corrupt(format!("change of kind {text:?}")))
    }
}

/// One row of the feed.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Ids commit in order: whoever has seen this one has seen all before it.
    pub id: i64,
    /// What changed.
    pub kind: ChangeKind,
    /// The row's id in its own table.
    pub subject_id: i64,
}

/// Any number, as long as nobody else takes it.
const LOCK: i64 = 0x6170_6368;

/// Records a change. Must be the last statement of its transaction: from here to the commit nobody else can record one, which is
/// what makes ids commit in order. Returns the change's id.
pub async fn record(tx: &impl GenericClient, kind: ChangeKind, subject_id: i64) -> Result<i64, StorageError> {
    tx.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let row = tx
        .query_one(
            "with change as (insert into changes (kind, subject_id) values ($1, $2) returning id)
             select id, pg_notify('changes', '') from change",
            &[&kind.as_str(), &subject_id],
        )
        .await?;
    Ok(row.get(0))
}

/// The changes after `after`, oldest first, at most `limit`.
pub async fn after(client: &impl GenericClient, after: i64, limit: i64) -> Result<Vec<Change>, StorageError> {
    let rows = client.query("select id, kind, subject_id from changes where id > $1 order by id limit $2", &[&after, &limit]).await?;
    rows.iter().map(|row| Ok(Change { id: row.get(0), kind: ChangeKind::parse(row.get(1))?, subject_id: row.get(2) })).collect()
}

/// The newest change's id, and the oldest that is still kept; 0 and 0 when there was none yet. A reader that has applied less than
/// the oldest minus one has missed something and must load everything again.
pub async fn bounds(client: &impl GenericClient) -> Result<(i64, i64), StorageError> {
    let row = client.query_one("select coalesce(max(id), 0), coalesce(min(id), 0) from changes", &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// When a change was recorded, by the database's clock, as long as it is kept.
pub async fn recorded_at(client: &impl GenericClient, id: i64) -> Result<Option<SystemTime>, StorageError> {
    Ok(client.query_opt("select created_at from changes where id = $1", &[&id]).await?.map(|row| row.get(0)))
}
