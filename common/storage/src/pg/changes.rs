//! The change feed: one row says that a store, a store's catalogue, an API key or the tax rates are not what they were. Edges follow it from memory's last
//! known id on; `NOTIFY` wakes them, a poll each second makes sure.

use std::time::SystemTime;

use super::{GenericClient, StorageError};

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
    /// What operators have laid over the tax rates; the subject is the batch.
    Tax,
    /// Something that a newer version has recorded, and this one does not know of. Only ever read.
    Newer,
}

impl ChangeKind {
    fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Store => "store",
            ChangeKind::Catalogue => "catalogue",
            ChangeKind::ApiKey => "api_key",
            ChangeKind::Tax => "tax",
            ChangeKind::Newer => "newer",
        }
    }

    /// While versions replace each other, what an older one does not know must not keep it from following the rest.
    fn parse(text: &str) -> Self {
        let known = [ChangeKind::Store, ChangeKind::Catalogue, ChangeKind::ApiKey, ChangeKind::Tax];
        known.into_iter().find(|kind| kind.as_str() == text).unwrap_or(ChangeKind::Newer)
    }
}

/// One row of the feed.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Where a reader stands that has applied this one.
    pub position: Position,
    /// What changed.
    pub kind: ChangeKind,
    /// The row's id in its own table.
    pub subject_id: i64,
}

/// How far a reader has come. The time tells a change from another one of the same id: a restored database gives ids again that it had
/// given before, and a reader who goes by the id alone would take the new changes for those it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last change that is known; 0 when there was none yet. Ids commit in order: whoever has seen this one has seen all before it.
    pub id: i64,
    recorded_at: Option<SystemTime>,
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

/// Where the feed ends just now.
pub async fn end(client: &impl GenericClient) -> Result<Position, StorageError> {
    let newest = client.query_opt("select id, created_at from changes order by id desc limit 1", &[]).await?;
    Ok(newest.map_or(Position { id: 0, recorded_at: None }, |row| Position { id: row.get(0), recorded_at: Some(row.get(1)) }))
}

/// The changes after `position`, oldest first, at most `limit`. `None` when the feed cannot tell, and the reader must load everything
/// anew: the change it stands on was pruned, and perhaps others behind it; or it never happened, because the database was restored.
pub async fn after(client: &impl GenericClient, position: Position, limit: i64) -> Result<Option<Vec<Change>>, StorageError> {
    // The reader's own place and what follows it in one statement, so that nothing can be pruned between two looks.
    let sql = "select id, created_at, kind, subject_id from changes where id >= $1 order by id limit 1 + $2::bigint";
    let mut changes = Vec::new();
    for row in client.query(sql, &[&position.id, &limit]).await? {
        let position = Position { id: row.get(0), recorded_at: Some(row.get(1)) };
        changes.push(Change { position, kind: ChangeKind::parse(row.get(2)), subject_id: row.get(3) });
    }
    let place = changes.first().map(|change| change.position);
    if place == Some(position) {
        changes.remove(0);
        return Ok(Some(changes));
    }
    Ok((place.is_none() && position.id == 0).then_some(changes))
}

/// The newest change of tax rates, as far as it is kept: for whoever follows these alone. They have an index of their own.
pub async fn newest_of_tax(client: &impl GenericClient) -> Result<Option<Position>, StorageError> {
    let sql = "select id, created_at from changes where kind = 'tax' order by id desc limit 1";
    let newest = client.query_opt(sql, &[]).await?;
    Ok(newest.map(|row| Position { id: row.get(0), recorded_at: Some(row.get(1)) }))
}

/// When a change was recorded, by the database's clock, as long as it is kept.
pub async fn recorded_at(client: &impl GenericClient, id: i64) -> Result<Option<SystemTime>, StorageError> {
    Ok(client.query_opt("select created_at from changes where id = $1", &[&id]).await?.map(|row| row.get(0)))
}
