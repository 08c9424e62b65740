//! How orders of the hosted pages came about: where they were put together, and the tax that their customer was told.

use common::ids::OrderId;
use common::tax::quote::TaxQuote;

use super::{GenericClient, StorageError};

/// How an order came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Whether it was put together on the marketplace, not in the store's own cart.
    pub is_market: bool,
    /// What its total is made of.
    pub tax_quote: TaxQuote,
}

/// Keeps how an order came about, in the transaction that makes it.
pub async fn insert(tx: &impl GenericClient, order_id: &OrderId, checkout: &Checkout) -> Result<(), StorageError> {
    let quote = serde_json::to_value(&checkout.tax_quote).map_err(|error| StorageError::Corrupt(error.to_string()))?;
    let sql = "insert into order_checkouts (order_id, market, tax_quote) values ($1, $2, $3)";
    tx.execute(sql, &[&order_id.as_str(), &checkout.is_market, &quote]).await?;
    Ok(())
}

/// How an order came about; `None` for one that was paid elsewhere.
pub async fn get(client: &impl GenericClient, order_id: &OrderId) -> Result<Option<Checkout>, StorageError> {
    let row = client.query_opt("select market, tax_quote from order_checkouts where order_id = $1", &[&order_id.as_str()]).await?;
    row.map(|row| {
        let tax_quote = serde_json::from_value(row.get(1));
        let tax_quote = tax_quote.map_err(|error| StorageError::Corrupt(format!("tax quote of order {order_id}: {error}")))?;
        Ok(Checkout { is_market: row.get(0), tax_quote })
    })
    .transpose()
}
