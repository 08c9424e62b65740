//! Stores.

use tokio_postgres::{GenericClient, Row};

use super::changes::{self, ChangeKind};
use super::{Pg, StorageError};

/// A shop.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Store {
    /// Internal id.
    pub id: i64,
    /// The name in URLs.
    pub slug: String,
    /// The name people read.
    pub name: String,
    /// Whether it may fulfill orders that were paid elsewhere.
    pub licensing: bool,
}

fn read(row: &Row) -> Store {
    Store { id: row.get(0), slug: row.get(1), name: row.get(2), licensing: row.get(3) }
}

/// Makes a store. A slug that is taken is a unique violation.
pub async fn create(pg: &Pg, slug: &str, name: &str, licensing: bool) -> Result<Store, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let row = tx
        .query_one(
            "insert into stores (slug, name, licensing) values ($1, $2, $3) returning id, slug, name, licensing",
            &[&slug, &name, &licensing],
        )
        .await?;
    let store = read(&row);
    changes::record(&*tx, ChangeKind::Store, store.id).await?;
    tx.commit().await?;
    Ok(store)
}

/// Turns licensing on or off.
pub async fn set_licensing(pg: &Pg, id: i64, licensing: bool) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    tx.execute("update stores set licensing = $2 where id = $1", &[&id, &licensing]).await?;
    changes::record(&*tx, ChangeKind::Store, id).await?;
    tx.commit().await?;
    Ok(())
}

/// All stores by slug.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Store>, StorageError> {
    Ok(client.query("select id, slug, name, licensing from stores order by slug", &[]).await?.iter().map(read).collect())
}

/// The store with this slug.
pub async fn find(client: &impl GenericClient, slug: &str) -> Result<Option<Store>, StorageError> {
    Ok(client.query_opt("select id, slug, name, licensing from stores where slug = $1", &[&slug]).await?.as_ref().map(read))
}

/// The store with this id.
pub async fn get(client: &impl GenericClient, id: i64) -> Result<Option<Store>, StorageError> {
    Ok(client.query_opt("select id, slug, name, licensing from stores where id = $1", &[&id]).await?.as_ref().map(read))
}
