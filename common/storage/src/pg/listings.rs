//! What the marketplace shows: products that their partner has listed, with the store that sells them.

use common::cart::Sku;
use common::money::Currency;
use tokio_postgres::{GenericClient, Row};

use super::StorageError;

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
    /// The name people read.
    pub name: String,
    /// What one piece costs, minor units.
    pub unit_minor: i64,
}

fn read(row: &Row) -> Result<Listing, StorageError> {
    let sku = Sku::parse(row.get(2)).map_err(|error| StorageError::Corrupt(format!("listing of {}: {error}", row.get::<_, &str>(0))))?;
    Ok(Listing { slug: row.get(0), store: row.get(1), sku, name: row.get(3), unit_minor: row.get(4) })
}

/// Listed products with a price in this currency, by name, `limit` of them after the first `skip`. Every word must be in the product's name,
/// its SKU or the store's name, in any case (of other letters than A to Z: as the database's locale knows them).
pub async fn search(
    client: &impl GenericClient,
    words: &[&str],
    currency: Currency,
    limit: i64,
    skip: i64,
) -> Result<Vec<Listing>, StorageError> {
    let rows = client
        .query(
            "select s.slug, s.name, p.sku, p.name, c.amount_minor
             from listings l join products p on p.id = l.product_id join stores s on s.id = p.store_id
                  join prices c on c.product_id = p.id and c.currency = $2
             where (select coalesce(bool_and(strpos(lower(p.name || ' ' || p.sku || ' ' || s.name), lower(word)) > 0), true)
                    from unnest($1::text[]) word)
             order by p.name, s.slug, p.sku limit $3 offset $4",
            &[&words, &currency.as_str(), &limit, &skip],
        )
        .await?;
    rows.iter().map(read).collect()
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
