//! Stores.

use common::geo::CountryCode;
use common::order::facts::Policy;
use common::return_hosts::ReturnHosts;
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::audit_log::{self, Actor, Change, What};
use super::changes::{self, ChangeKind};
use super::{GenericClient, Pg, StorageError, Transaction};

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
    /// What it has said for tax.
    #[serde(flatten)]
    pub tax: TaxSettings,
    /// What becomes of license keys when money goes back.
    #[serde(flatten)]
    pub policy: Policy,
    /// Where its customers may be sent back to.
    pub return_hosts: ReturnHosts,
}

/// What a store says of itself for tax.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TaxSettings {
    /// Where it is. Without it no tax is reversed.
    pub country: Option<CountryCode>,
    /// Whether its prices have the tax in them; `None` is as usual in the customer's country.
    pub prices_include_tax: Option<bool>,
}

const COLUMNS: &str = "id, slug, name, licensing, country, prices_include_tax, revoke_when_refunded, suspend_while_disputed, return_hosts";

fn read(row: &Row) -> Result<Store, StorageError> {
    let id = row.get(0);
    let country = row.get::<_, Option<&str>>(4).map(CountryCode::parse).transpose();
    let country = country.map_err(|error| StorageError::Corrupt(format!("store {id}: {error}")))?;
    let tax = TaxSettings { country, prices_include_tax: row.get(5) };
    let policy = Policy { revoke_when_refunded: row.get(6), suspend_while_disputed: row.get(7) };
    Ok(Store { id, slug: row.get(1), name: row.get(2), licensing: row.get(3), tax, policy, return_hosts: ReturnHosts::of_kept(row.get(8)) })
}

/// Makes a store. A slug that is taken is a unique violation.
pub async fn create(pg: &Pg, slug: &str, name: &str, licensing: bool) -> Result<Store, StorageError> {
    create_with(pg, slug, name, licensing, TaxSettings::default()).await
}

/// [`create`] with settings for tax.
pub async fn create_with(pg: &Pg, slug: &str, name: &str, licensing: bool, tax: TaxSettings) -> Result<Store, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let row = tx
        .query_one(
            &format!(
                "insert into stores (slug, name, licensing, country, prices_include_tax) values ($1, $2, $3, $4, $5) returning {COLUMNS}"
            ),
            &[&slug, &name, &licensing, &tax.country.as_ref().map(CountryCode::as_str), &tax.prices_include_tax],
        )
        .await?;
    let store = read(&row)?;
    changes::record(&tx, ChangeKind::Store, store.id).await?;
    tx.commit().await?;
    Ok(store)
}

/// Turns licensing on or off.
pub async fn set_licensing(pg: &Pg, id: i64, licensing: bool, actor: Actor<'_>) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let Some(before) = get_for_update(&tx, id).await? else { return Ok(()) };
    tx.execute("update stores set licensing = $2 where id = $1", &[&id, &licensing]).await?;
    let shown = |licensing: bool| json!({ "licensing": licensing });
    log(&tx, &before, actor, What::StoreLicensing, shown(before.licensing), shown(licensing)).await?;
    changes::record(&tx, ChangeKind::Store, id).await?;
    tx.commit().await?;
    Ok(())
}

/// Changes what a store says for tax.
pub async fn set_tax(pg: &Pg, id: i64, tax: TaxSettings, actor: Actor<'_>) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let Some(before) = get_for_update(&tx, id).await? else { return Ok(()) };
    let sql = "update stores set country = $2, prices_include_tax = $3 where id = $1";
    tx.execute(sql, &[&id, &tax.country.as_ref().map(CountryCode::as_str), &tax.prices_include_tax]).await?;
    let shown = |tax: TaxSettings| json!({ "country": tax.country, "prices_include_tax": tax.prices_include_tax });
    log(&tx, &before, actor, What::StoreTax, shown(before.tax), shown(tax)).await?;
    changes::record(&tx, ChangeKind::Store, id).await?;
    tx.commit().await?;
    Ok(())
}

/// Changes what becomes of license keys when money goes back, from now on: what has been decided about an order stays until something new
/// is known of its payment.
pub async fn set_policy(pg: &Pg, id: i64, policy: Policy, actor: Actor<'_>) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let Some(before) = get_for_update(&tx, id).await? else { return Ok(()) };
    let sql = "update stores set revoke_when_refunded = $2, suspend_while_disputed = $3 where id = $1";
    tx.execute(sql, &[&id, &policy.revoke_when_refunded, &policy.suspend_while_disputed]).await?;
    let shown = |policy: Policy| json!({ "revoke_when_refunded": policy.revoke_when_refunded, "suspend_while_disputed": policy.suspend_while_disputed });
    log(&tx, &before, actor, What::StorePolicy, shown(before.policy), shown(policy)).await?;
    tx.commit().await?;
    Ok(())
}

/// Changes where a store's customers may be sent back to, in sessions from now on.
pub async fn set_return_hosts(pg: &Pg, id: i64, hosts: &ReturnHosts, actor: Actor<'_>) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let Some(before) = get_for_update(&tx, id).await? else { return Ok(()) };
    tx.execute("update stores set return_hosts = $2 where id = $1", &[&id, &hosts.as_slice()]).await?;
    // Said in words: an empty list of something is read as all of it.
    let shown = |hosts: &ReturnHosts| {
        let hosts = hosts.as_slice();
        json!({ "hosts": if hosts.is_empty() { "any".to_owned() } else { hosts.join(", ") } })
    };
    log(&tx, &before, actor, What::StoreReturnHosts, shown(&before.return_hosts), shown(hosts)).await?;
    changes::record(&tx, ChangeKind::Store, id).await?;
    tx.commit().await?;
    Ok(())
}

/// The store. Nobody else changes it until this transaction ends; orders go on being written.
async fn get_for_update(tx: &Transaction<'_>, id: i64) -> Result<Option<Store>, StorageError> {
    let sql = format!("select {COLUMNS} from stores where id = $1 for no key update");
    tx.query_opt(&sql, &[&id]).await?.as_ref().map(read).transpose()
}

/// What stays as it was is no change.
async fn log(tx: &Transaction<'_>, store: &Store, actor: Actor<'_>, what: What, before: Value, after: Value) -> Result<(), StorageError> {
    if before == after {
        return Ok(());
    }
    audit_log::write(tx, &Change { store_id: store.id, actor, what, object: &store.name, before, after }).await
}

/// All stores by slug.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Store>, StorageError> {
    client.query(&format!("select {COLUMNS} from stores order by slug"), &[]).await?.iter().map(read).collect()
}

/// The store with this slug.
pub async fn find(client: &impl GenericClient, slug: &str) -> Result<Option<Store>, StorageError> {
    client.query_opt(&format!("select {COLUMNS} from stores where slug = $1"), &[&slug]).await?.as_ref().map(read).transpose()
}

/// The store with this id.
pub async fn get(client: &impl GenericClient, id: i64) -> Result<Option<Store>, StorageError> {
    client.query_opt(&format!("select {COLUMNS} from stores where id = $1"), &[&id]).await?.as_ref().map(read).transpose()
}
