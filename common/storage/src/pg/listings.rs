//! What the marketplace shows: products that their partner has listed, with the store that sells them.

use std::collections::HashMap;

use common::cart::Sku;
use common::money::Currency;
use serde_json::json;
use tokio_postgres::Row;

use super::audit_log::{self, Actor, Change, What};
use super::products::{self, Priced, Product};
use super::{GenericClient, Pg, StorageError};

/// Lists a product. `false` when it was listed already.
pub async fn add(client: &impl GenericClient, product_id: i64) -> Result<bool, StorageError> {
    Ok(client.execute("insert into listings (product_id) values ($1) on conflict do nothing", &[&product_id]).await? > 0)
}

/// Takes a product off the marketplace. `false` when it was not listed.
pub async fn remove(client: &impl GenericClient, product_id: i64) -> Result<bool, StorageError> {
    Ok(client.execute("delete from listings where product_id = $1", &[&product_id]).await? > 0)
}

/// A product that is listed, with one price.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The store's name in URLs.
    pub slug: String,
    /// The store's name.
    pub store: String,
    /// The partner's name for the product.
    pub sku: Sku,
    /// The name people read: the listing's title where it has one.
    pub name: String,
    /// What the partner says of it.
    pub text: Option<String>,
    /// What one piece costs, minor units.
    pub unit_minor: i64,
}

fn read(row: &Row) -> Result<Listing, StorageError> {
    let sku = Sku::parse(row.get(2)).map_err(|error| StorageError::Corrupt(format!("listing of {}: {error}", row.get::<_, &str>(0))))?;
    Ok(Listing { slug: row.get(0), store: row.get(1), sku, name: row.get(3), unit_minor: row.get(4), text: row.get(5) })
}

/// Listed products with a price in this currency, by name, `limit` of them after the first `skip`. Every word must be in the product's name,
/// title or text, its SKU or the store's name, in any case (of other letters than A to Z: as the database's locale knows them).
pub async fn search(
    client: &impl GenericClient,
    words: &[&str],
    currency: Currency,
    limit: i64,
    skip: i64,
) -> Result<Vec<Listing>, StorageError> {
    let rows = client
        .query(
            "select s.slug, s.name, p.sku, coalesce(p.market_title, p.name), c.amount_minor, p.market_text
             from listings l join products p on p.id = l.product_id join stores s on s.id = p.store_id
                  join prices c on c.product_id = p.id and c.currency = $2
             where (select coalesce(bool_and(strpos(
                        lower(concat_ws(' ', p.market_title, p.name, p.sku, s.name, p.market_text)), lower(word)) > 0), true)
                    from unnest($1::text[]) word)
             order by coalesce(p.market_title, p.name), s.slug, p.sku limit $3 offset $4",
            &[&words, &currency.as_str(), &limit, &skip],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// What the marketplace says of a product, and whether it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whether it is listed.
    pub is_listed: bool,
    /// Instead of the product's name.
    pub title: Option<String>,
    /// What the partner says of it.
    pub text: Option<String>,
}

/// A part of a store's products, listed or not, by SKU: `limit` of them, those after `after` where one is named.
pub async fn page(
    client: &impl GenericClient,
    store_id: i64,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<(Priced, Shown)>, StorageError> {
    let found = products::page(client, store_id, after, limit).await?;
    let ids: Vec<i64> = found.iter().map(|(product, _)| product.id).collect();
    let sql = "select p.id, l.product_id is not null, p.market_title, p.market_text
               from products p left join listings l on l.product_id = p.id where p.id = any($1)";
    let rows = client.query(sql, &[&ids]).await?;
    let mut shown: HashMap<i64, Shown> = rows.iter().map(|row| (row.get(0), read_shown(row))).collect();
    Ok(found.into_iter().filter_map(|priced| shown.remove(&priced.0.id).map(|shown| (priced, shown))).collect())
}

fn read_shown(row: &Row) -> Shown {
    Shown { is_listed: row.get(1), title: row.get(2), text: row.get(3) }
}

/// What the marketplace says of a product that there is.
pub async fn shown(client: &impl GenericClient, product_id: i64) -> Result<Shown, StorageError> {
    let sql = "select p.id, l.product_id is not null, p.market_title, p.market_text
               from products p left join listings l on l.product_id = p.id where p.id = $1";
    Ok(read_shown(&client.query_one(sql, &[&product_id]).await?))
}

/// Says what the marketplace shows of a product. Title and text stay while it is not listed.
pub async fn change(pg: &Pg, product: &Product, new: &Shown, actor: Actor<'_>) -> Result<(), StorageError> {
    let product_id = product.id;
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let before = shown(&tx, product_id).await?;
    if before == *new {
        return Ok(());
    }
    let sql = "update products set market_title = $2, market_text = $3 where id = $1";
    tx.execute(sql, &[&product_id, &new.title, &new.text]).await?;
    let told = |shown: &Shown| json!({ "shown": shown.is_listed, "title": shown.title, "text": shown.text });
    let (before, after) = (told(&before), told(new));
    let (store_id, object) = (product.store_id, product.sku.as_str());
    audit_log::write(&tx, &Change { store_id, actor, what: What::ListingChanged, object, before, after }).await?;
    if new.is_listed {
        add(&tx, product_id).await?
    } else {
        remove(&tx, product_id).await?
    };
    tx.commit().await?;
    Ok(())
}

/// The currencies that listed products have prices in, by how many have one.
pub async fn currencies(client: &impl GenericClient) -> Result<Vec<Currency>, StorageError> {
    let rows = client
        .query("select c.currency from listings l join prices c using (product_id) group by 1 order by count(*) desc, 1 limit 50", &[])
        .await?;
    let read = |row: &Row| Currency::parse(row.get(0)).map_err(|error| StorageError::Corrupt(format!("price of a listing: {error}")));
    rows.iter().map(read).collect()
}

/// Whether a store's product is listed.
pub async fn is_listed(client: &impl GenericClient, store_id: i64, sku: &Sku) -> Result<bool, StorageError> {
    let sql = "select exists (select from listings l join products p on p.id = l.product_id where p.store_id = $1 and p.sku = $2)";
    Ok(client.query_one(sql, &[&store_id, &sku.as_str()]).await?.get(0))
}

/// The SKUs of a store's listed products, in order.
pub async fn of_store(client: &impl GenericClient, store_id: i64) -> Result<Vec<String>, StorageError> {
    let sql = "select p.sku from listings l join products p on p.id = l.product_id where p.store_id = $1 order by 1";
    Ok(client.query(sql, &[&store_id]).await?.iter().map(|row| row.get(0)).collect())
}
