//! Products, their prices, and where their license keys come from.

use common::cart::Sku;
use common::license::Pattern;
use common::money::{Currency, Minor};
use common::tax::Category;
use serde_json::Value;
use tokio_postgres::Row;

use super::audit_log::{self, Actor, Change, What};
use super::changes::{self, ChangeKind};
use super::{GenericClient, Pg, StorageError, Transaction};

/// Where a product's license keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Imported, until there are none left.
    Pool,
    /// Made when sold.
    Generator(Pattern),
}

/// Something a store sells.
#[derive(Debug, Clone)]
pub struct Product {
    /// Internal id.
    pub id: i64,
    /// Whose.
    pub store_id: i64,
    /// The partner's name for it.
    pub sku: Sku,
    /// The name people read.
    pub name: String,
    /// Where its license keys come from.
    pub source: Source,
    /// What it is for tax.
    pub tax_category: Category,
}

/// What one piece costs, minor units.
pub type Price = (Currency, i64);

fn read(row: &Row) -> Result<Product, StorageError> {
    let corrupt = |error: &dyn std::fmt::Display| StorageError::Corrupt(format!("product {}: {error}", row.get::<_, i64>(0)));
    let source = match row.get::<_, Option<&str>>(4) {
        None => Source::Pool,
        Some(pattern) => Source::Generator(Pattern::parse(pattern).map_err(|error| corrupt(&error))?),
    };
    let sku = Sku::parse(row.get(2)).map_err(|error| corrupt(&error))?;
    let category: &str = row.get(5);
    let tax_category = Category::parse(category).ok_or_else(|| corrupt(&format!("{category:?} is no tax category")))?;
    Ok(Product { id: row.get(0), store_id: row.get(1), sku, name: row.get(3), source, tax_category })
}

/// Makes a product with its prices, as the operator does. A SKU that the store already has is a unique violation.
pub async fn create(pg: &Pg, store_id: i64, sku: &Sku, name: &str, source: &Source, prices: &[Price]) -> Result<Product, StorageError> {
    create_in(pg, store_id, sku, name, source, prices, Category::Standard, Actor::CommandLine).await
}

/// [`create`] in a tax category, by anybody.
#[expect(clippy::too_many_arguments, reason = "a product has as many sides")]
pub async fn create_in(
    pg: &Pg,
    store_id: i64,
    sku: &Sku,
    name: &str,
    source: &Source,
    prices: &[Price],
    tax_category: Category,
    actor: Actor<'_>,
) -> Result<Product, StorageError> {
    let (kind, pattern) = match source {
        Source::Pool => ("pool", None),
        Source::Generator(pattern) => ("generator", Some(pattern.as_str())),
    };
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let row = tx
        .query_one(
            "insert into products (store_id, sku, name, source, pattern, tax_category) values ($1, $2, $3, $4, $5, $6)
             returning id, store_id, sku, name, pattern, tax_category",
            &[&store_id, &sku.as_str(), &name, &kind, &pattern, &tax_category.as_str()],
        )
        .await?;
    let product = read(&row)?;
    upsert_prices(&tx, product.id, prices).await?;
    let after = facts(&product, prices);
    audit_log::write(&tx, &Change { store_id, actor, what: What::ProductCreated, object: sku.as_str(), before: Value::Null, after })
        .await?;
    changes::record(&tx, ChangeKind::Catalogue, store_id).await?;
    tx.commit().await?;
    Ok(product)
}

/// Sets the price in each of these currencies, as the operator does; others stay as they are.
pub async fn set_prices(pg: &Pg, product: &Product, prices: &[Price]) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let before = known(&tx, product).await?;
    upsert_prices(&tx, product.id, prices).await?;
    write_change(&tx, product, Actor::CommandLine, before).await?;
    changes::record(&tx, ChangeKind::Catalogue, product.store_id).await?;
    tx.commit().await?;
    Ok(())
}

/// Says what a product is for tax, as the operator does.
pub async fn set_tax_category(pg: &Pg, product: &Product, tax_category: Category) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let before = known(&tx, product).await?;
    tx.execute("update products set tax_category = $2 where id = $1", &[&product.id, &tax_category.as_str()]).await?;
    write_change(&tx, product, Actor::CommandLine, before).await?;
    changes::record(&tx, ChangeKind::Catalogue, product.store_id).await?;
    tx.commit().await?;
    Ok(())
}

/// Gives a product this name, tax category and these prices. Prices in other currencies are taken away.
pub async fn change(
    pg: &Pg,
    product: &Product,
    name: &str,
    tax_category: Category,
    prices: &[Price],
    actor: Actor<'_>,
) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    // The product's row first: whoever changes it at the same time waits here, and prices are one form's or the other's.
    tx.execute("select 1 from products where id = $1 for update", &[&product.id]).await?;
    let before = known(&tx, product).await?;
    let sql = "update products set name = $2, tax_category = $3 where id = $1";
    tx.execute(sql, &[&product.id, &name, &tax_category.as_str()]).await?;
    let currencies: Vec<&str> = prices.iter().map(|(currency, _)| currency.as_str()).collect();
    tx.execute("delete from prices where product_id = $1 and currency <> all($2)", &[&product.id, &currencies]).await?;
    upsert_prices(&tx, product.id, prices).await?;
    write_change(&tx, product, actor, before).await?;
    changes::record(&tx, ChangeKind::Catalogue, product.store_id).await?;
    tx.commit().await?;
    Ok(())
}

/// What the audit log knows of a product.
fn facts(product: &Product, prices: &[Price]) -> Value {
    let mut facts = serde_json::Map::new();
    facts.insert("name".to_owned(), product.name.clone().into());
    facts.insert("tax_category".to_owned(), product.tax_category.as_str().into());
    for &(currency, minor) in prices {
        let decimal = Minor::new(minor).map_or_else(|_| minor.to_string(), |minor| minor.decimal(currency));
        facts.insert(format!("price_{currency}"), decimal.into());
    }
    facts.into()
}

async fn known(tx: &Transaction<'_>, product: &Product) -> Result<Value, StorageError> {
    Ok(get(tx, product.store_id, product.id).await?.map_or(Value::Null, |(product, prices)| facts(&product, &prices)))
}

async fn write_change(tx: &Transaction<'_>, product: &Product, actor: Actor<'_>, before: Value) -> Result<(), StorageError> {
    let (store_id, object, after) = (product.store_id, product.sku.as_str(), known(tx, product).await?);
    if before == after {
        return Ok(());
    }
    audit_log::write(tx, &Change { store_id, actor, what: What::ProductChanged, object, before, after }).await
}

async fn upsert_prices(tx: &impl GenericClient, product_id: i64, prices: &[Price]) -> Result<(), StorageError> {
    let currencies: Vec<&str> = prices.iter().map(|(currency, _)| currency.as_str()).collect();
    let amounts: Vec<i64> = prices.iter().map(|&(_, amount_minor)| amount_minor).collect();
    tx.execute(
        "insert into prices (product_id, currency, amount_minor) select $1, * from unnest($2::text[], $3::bigint[])
         on conflict (product_id, currency) do update set amount_minor = excluded.amount_minor",
        &[&product_id, &currencies, &amounts],
    )
    .await?;
    Ok(())
}

/// The products of these pairs of store and SKU, in no order; those that do not exist are left out.
pub async fn find(client: &impl GenericClient, wanted: &[(i64, &str)]) -> Result<Vec<Product>, StorageError> {
    let stores: Vec<i64> = wanted.iter().map(|&(store_id, _)| store_id).collect();
    let skus: Vec<&str> = wanted.iter().map(|&(_, sku)| sku).collect();
    let rows = client
        .query(
            "select p.id, p.store_id, p.sku, p.name, p.pattern, p.tax_category
             from unnest($1::bigint[], $2::text[]) as wanted (store_id, sku) join products p using (store_id, sku)",
            &[&stores, &skus],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// A product and all its prices.
pub type Priced = (Product, Vec<Price>);

/// A store's products with their prices, by SKU.
pub async fn of_store(client: &impl GenericClient, store_id: i64) -> Result<Vec<Priced>, StorageError> {
    let rows = client
        .query(
            "select p.id, p.store_id, p.sku, p.name, p.pattern, p.tax_category, c.currency, c.amount_minor
             from products p left join prices c on c.product_id = p.id where p.store_id = $1 order by p.sku, c.currency",
            &[&store_id],
        )
        .await?;
    group(&rows)
}

/// A part of a store's products with their prices, by SKU: `limit` of them, those after `after` where one is named.
pub async fn page(client: &impl GenericClient, store_id: i64, after: Option<&str>, limit: i64) -> Result<Vec<Priced>, StorageError> {
    let rows = client
        .query(
            "select p.id, p.store_id, p.sku, p.name, p.pattern, p.tax_category, c.currency, c.amount_minor
             from (select id, store_id, sku, name, pattern, tax_category from products
                   where store_id = $1 and ($2::text is null or sku > $2) order by sku limit $3) p
             left join prices c on c.product_id = p.id order by p.sku, c.currency",
            &[&store_id, &after, &limit],
        )
        .await?;
    group(&rows)
}

/// One product of a store, with its prices.
pub async fn get(client: &impl GenericClient, store_id: i64, id: i64) -> Result<Option<Priced>, StorageError> {
    let rows = client
        .query(
            "select p.id, p.store_id, p.sku, p.name, p.pattern, p.tax_category, c.currency, c.amount_minor
             from products p left join prices c on c.product_id = p.id where p.id = $2 and p.store_id = $1 order by c.currency",
            &[&store_id, &id],
        )
        .await?;
    Ok(group(&rows)?.pop())
}

/// Every store's products with their prices.
pub async fn all(client: &impl GenericClient) -> Result<Vec<Priced>, StorageError> {
    let rows = client
        .query(
            "select p.id, p.store_id, p.sku, p.name, p.pattern, p.tax_category, c.currency, c.amount_minor
             from products p left join prices c on c.product_id = p.id order by p.id, c.currency",
            &[],
        )
        .await?;
    group(&rows)
}

fn group(rows: &[Row]) -> Result<Vec<Priced>, StorageError> {
    let mut products: Vec<Priced> = Vec::new();
    for row in rows {
        if products.last().is_none_or(|(product, _)| product.id != row.get::<_, i64>(0)) {
            products.push((read(row)?, Vec::new()));
        }
        if let (Some((product, prices)), Some(currency)) = (products.last_mut(), row.get::<_, Option<&str>>(6)) {
            let currency =
                Currency::parse(currency).map_err(|error| StorageError::Corrupt(format!("price of product {}: {error}", product.id)))?;
            prices.push((currency, row.get(7)));
        }
    }
    Ok(products)
}
