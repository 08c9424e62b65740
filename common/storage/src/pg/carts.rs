//! Carts of the hosted pages: what a browser is about to buy in one store. One checkout session makes one cart, and one cart makes one
//! order; the database sees to both.

use common::cart::{LINES_MAX, Line, QUANTITY_MAX, Sku};
use common::ids::{CartId, OrderId};
use common::mode::Mode;
use common::money::Currency;
use common::tax::Category;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{GenericClient, Pg, StorageError};

/// What is kept of a browser's secret: its digest.
pub type Browser = [u8; 32];

/// A cart that is to be.
#[derive(Debug, Clone)]
pub struct NewCart {
    /// Its id, should it be the first of its session.
    pub id: CartId,
    /// Who sells.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The checkout session that was opened, if it was one.
    pub session_id: Option<Uuid>,
    /// Whose it is.
    pub browser: Browser,
    /// What is paid in.
    pub currency: Currency,
    /// BCP 47 tag for the pages.
    pub locale: Option<String>,
    /// What the partner gave along.
    pub metadata: Vec<(String, String)>,
    /// What is bought, each SKU once.
    pub lines: Vec<Line>,
    /// The customer's address, where the partner knows it.
    pub email: Option<String>,
}

/// A cart.
#[derive(Debug, Clone)]
pub struct Cart {
    /// Its id.
    pub id: CartId,
    /// Who sells.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The checkout session that made it.
    pub session_id: Option<Uuid>,
    /// Whose it is.
    pub browser: Browser,
    /// Whether it was filled on the marketplace.
    pub market: bool,
    /// What is paid in.
    pub currency: Currency,
    /// BCP 47 tag for the pages.
    pub locale: Option<String>,
    /// What the partner gave along.
    pub metadata: Vec<(String, String)>,
    /// What is bought.
    pub lines: Vec<Line>,
    /// Who buys, as far as told.
    pub details: Details,
    /// What it has become.
    pub order_id: Option<OrderId>,
}

/// Who buys, and where tax is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// E-mail address.
    pub email: Option<String>,
    /// ISO 3166-1 code.
    pub country: Option<String>,
    /// ISO 3166-2 code without the country.
    pub subdivision: Option<String>,
    /// Of a business, without blanks, in upper case.
    pub vat_id: Option<String>,
}

/// A line of a cart with what the catalogue says of it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
    /// The product, while it is sold in the cart's currency.
    pub product: Option<PricedProduct>,
}

/// What the catalogue says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedProduct {
    /// Internal id.
    pub id: i64,
    /// The name people read.
    pub name: String,
    /// What one piece costs now, minor units.
    pub unit_minor: i64,
    /// What it is for tax.
    pub tax_category: Category,
}

impl Cart {
    /// A value that the partner gave along.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

const COLUMNS: &str = "id, store_id, live, session_id, browser, market, currency, locale, metadata, skus, quantities, email, country,
                       subdivision, vat_id, order_id";

fn read(row: &Row) -> Result<Cart, StorageError> {
    let corrupt = |what: &dyn std::fmt::Display| StorageError::Corrupt(format!("cart {}: {what}", row.get::<_, &str>(0)));
    let (skus, quantities): (Vec<&str>, Vec<i32>) = (row.get(9), row.get(10));
    let mut lines = Vec::with_capacity(skus.len());
    for (sku, quantity) in skus.into_iter().zip(quantities) {
        let sku = Sku::parse(sku).map_err(|error| corrupt(&error))?;
        lines.push(Line { sku, quantity: u32::try_from(quantity).map_err(|error| corrupt(&error))? });
    }
    Ok(Cart {
        id: CartId::parse(row.get(0)).map_err(|error| corrupt(&error))?,
        store_id: row.get(1),
        mode: Mode::from_live(row.get(2)),
        session_id: row.get(3),
        browser: row.get::<_, &[u8]>(4).try_into().map_err(|_| corrupt(&"its browser has another length"))?,
        market: row.get(5),
        currency: Currency::parse(row.get(6)).map_err(|error| corrupt(&error))?,
        locale: row.get(7),
        metadata: serde_json::from_value(row.get(8)).map_err(|error| corrupt(&error))?,
        lines,
        details: Details { email: row.get(11), country: row.get(12), subdivision: row.get(13), vat_id: row.get(14) },
        order_id: row.get::<_, Option<&str>>(15).map(OrderId::parse).transpose().map_err(|error| corrupt(&error))?,
    })
}

fn columns_of(lines: &[Line]) -> (Vec<&str>, Vec<i32>) {
    // Quantities are bounded by `QUANTITY_MAX`, which fits.
    lines.iter().map(|line| (line.sku.as_str(), i32::try_from(line.quantity).unwrap_or(i32::MAX))).unzip()
}

async fn insert(tx: &impl GenericClient, cart: &NewCart, market: bool) -> Result<Option<Cart>, StorageError> {
    let (skus, quantities) = columns_of(&cart.lines);
    let metadata = serde_json::to_value(&cart.metadata).unwrap_or(Value::Null);
    let sql = format!(
        "insert into carts (id, store_id, live, session_id, browser, market, currency, locale, metadata, skus, quantities, email)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing returning {COLUMNS}"
    );
    let row = tx
        .query_opt(
            &sql,
            &[
                &cart.id.as_str(),
                &cart.store_id,
                &cart.mode.is_live(),
                &cart.session_id,
                &cart.browser.as_slice(),
                &market,
                &cart.currency.as_str(),
                &cart.locale,
                &metadata,
                &skus,
                &quantities,
                &cart.email,
            ],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

/// Makes a cart, or finds the one that its session has made already. A session that is opened in another browser brings its cart along, as
/// whoever holds the token may have it, but not what was typed in where it was before; once it has become an order it stays where it is.
/// So the caller must look whose it is.
pub async fn open(pg: &Pg, new: &NewCart) -> Result<Cart, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    if let Some(cart) = insert(&tx, new, false).await? {
        tx.commit().await?;
        return Ok(cart);
    }
    let sql = format!("select {COLUMNS} from carts where store_id = $1 and live = $2 and session_id = $3 for update");
    let row = tx.query_opt(&sql, &[&new.store_id, &new.mode.is_live(), &new.session_id]).await?;
    // Ids are of 128 random bits: what stood in the way was the session, unless chance is broken.
    let mut cart = read(&row.ok_or_else(|| StorageError::Corrupt("a new cart's id is taken".into()))?)?;
    if cart.browser != new.browser && cart.order_id.is_none() {
        tx.execute(
            "update carts set browser = $2, email = null, country = null, subdivision = null, vat_id = null, updated_at = now() where id = $1",
            &[&cart.id.as_str(), &new.browser.as_slice()],
        )
        .await?;
        cart.browser = new.browser;
        cart.details = Details::default();
    }
    tx.commit().await?;
    Ok(cart)
}

/// One cart of a store.
pub async fn get(client: &impl GenericClient, store_id: i64, id: &CartId) -> Result<Option<Cart>, StorageError> {
    let sql = format!("select {COLUMNS} from carts where id = $1 and store_id = $2");
    client.query_opt(&sql, &[&id.as_str(), &store_id]).await?.as_ref().map(read).transpose()
}

/// One cart of a store, locked until the transaction ends.
pub async fn get_for_update(tx: &impl GenericClient, store_id: i64, id: &CartId) -> Result<Option<Cart>, StorageError> {
    let sql = format!("select {COLUMNS} from carts where id = $1 and store_id = $2 for update");
    tx.query_opt(&sql, &[&id.as_str(), &store_id]).await?.as_ref().map(read).transpose()
}

/// The cart that has become this order, while it is kept.
pub async fn of_order(client: &impl GenericClient, id: &OrderId) -> Result<Option<Cart>, StorageError> {
    let sql = format!("select {COLUMNS} from carts where order_id = $1");
    client.query_opt(&sql, &[&id.as_str()]).await?.as_ref().map(read).transpose()
}

/// Replaces what is bought, unless it has become an order.
pub async fn set_lines(client: &impl GenericClient, id: &CartId, lines: &[Line]) -> Result<bool, StorageError> {
    let (skus, quantities) = columns_of(lines);
    let sql = "update carts set skus = $2, quantities = $3, updated_at = now() where id = $1 and order_id is null";
    Ok(client.execute(sql, &[&id.as_str(), &skus, &quantities]).await? > 0)
}

/// Writes down who buys, in this cart and in the browser's others of the marketplace, unless it has become an order.
pub async fn set_details(client: &impl GenericClient, cart: &Cart, details: &Details) -> Result<bool, StorageError> {
    let sql = "update carts set email = $2, country = $3, subdivision = $4, vat_id = $5, updated_at = now()
               where order_id is null and (id = $1 or $6 and market and browser = $7)";
    let Details { email, country, subdivision, vat_id } = details;
    let values: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&cart.id.as_str(), email, country, subdivision, vat_id, &cart.market, &cart.browser.as_slice()];
    Ok(client.execute(sql, values).await? > 0)
}

/// Says what a cart has become. Its row must be locked by the transaction that makes the order.
pub async fn set_order(tx: &impl GenericClient, id: &CartId, order_id: &OrderId) -> Result<(), StorageError> {
    tx.execute("update carts set order_id = $2, updated_at = now() where id = $1", &[&id.as_str(), &order_id.as_str()]).await?;
    Ok(())
}

/// A cart's lines as the catalogue has them now.
pub async fn priced(client: &impl GenericClient, cart: &Cart) -> Result<Vec<PricedLine>, StorageError> {
    let (skus, _) = columns_of(&cart.lines);
    let rows = client
        .query(
            "select p.sku, p.id, p.name, c.amount_minor, p.tax_category from products p join prices c on c.product_id = p.id and c.currency = $3
             where p.store_id = $1 and p.sku = any($2)",
            &[&cart.store_id, &skus, &cart.currency.as_str()],
        )
        .await?;
    let product = |row: &Row| {
        let category: &str = row.get(4);
        let unknown = || StorageError::Corrupt(format!("product {}: {category:?} is no tax category", row.get::<_, i64>(1)));
        let tax_category = Category::parse(category).ok_or_else(unknown)?;
        Ok::<_, StorageError>(PricedProduct { id: row.get(1), name: row.get(2), unit_minor: row.get(3), tax_category })
    };
    let line = |line: &Line| {
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == line.sku.as_str());
        Ok(PricedLine { sku: line.sku.clone(), quantity: line.quantity, product: row.map(product).transpose()? })
    };
    cart.lines.iter().map(line).collect()
}

/// Puts one piece of a product into the browser's marketplace cart of its store, which is made if need be. What a cart cannot hold any more
/// is left out.
pub async fn add_on_market(pg: &Pg, new: &NewCart) -> Result<Cart, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    if let Some(cart) = insert(&tx, new, true).await? {
        tx.commit().await?;
        return Ok(cart);
    }
    let sql = format!(
        "select {COLUMNS} from carts where browser = $1 and store_id = $2 and currency = $3 and market and order_id is null for update"
    );
    let row = tx.query_opt(&sql, &[&new.browser.as_slice(), &new.store_id, &new.currency.as_str()]).await?;
    let Some(row) = row else {
        // It has become an order just now, in another tab.
        return Err(StorageError::Unavailable("the cart has just become an order".into()));
    };
    let mut cart = read(&row)?;
    for line in &new.lines {
        match cart.lines.iter().position(|other| other.sku == line.sku) {
            Some(index) => cart.lines[index].quantity = (cart.lines[index].quantity + line.quantity).min(QUANTITY_MAX as u32),
            None if cart.lines.len() < LINES_MAX => cart.lines.push(line.clone()),
            None => {}
        }
    }
    set_lines(&tx, &cart.id, &cart.lines).await?;
    tx.commit().await?;
    Ok(cart)
}

/// The browser's marketplace carts that have not become orders, by store.
pub async fn on_market(client: &impl GenericClient, browser: &Browser) -> Result<Vec<Cart>, StorageError> {
    let sql = format!("select {COLUMNS} from carts where browser = $1 and market and order_id is null order by store_id, currency");
    client.query(&sql, &[&browser.as_slice()]).await?.iter().map(read).collect()
}
