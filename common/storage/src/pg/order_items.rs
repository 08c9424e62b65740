//! What orders sold: items, and the license keys that belong to them for good.

use std::collections::HashMap;

use common::cart::Sku;
use common::ids::OrderId;
use common::license::{self, LicenseKey};
use common::mode::Mode;
use common::order::{Order, SoldItem};
use common::seal::Sealer;
use uuid::Uuid;

use super::{GenericClient, StorageError};

/// An item of an order.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its place in the order, from 0.
    pub line: i32,
    /// What.
    pub product_id: i64,
    /// What, as the partner calls it.
    pub sku: Sku,
    /// How many.
    pub quantity: i32,
    /// Its license keys, in the order they were given out.
    pub keys: Vec<SoldKey>,
}

/// A license key that is sold.
#[derive(Debug, Clone)]
pub struct SoldKey {
    /// Names the key; part of what it is sealed to.
    pub id: Uuid,
    /// The key, sealed to store, product and id.
    pub sealed: Vec<u8>,
}

/// Keeps the items of several orders and their keys.
pub async fn insert(tx: &impl GenericClient, orders: &[(&OrderId, &[Item])]) -> Result<(), StorageError> {
    insert_items(tx, orders).await?;
    insert_keys(tx, orders).await
}

/// Keeps the items of several orders without their keys.
pub async fn insert_items(tx: &impl GenericClient, orders: &[(&OrderId, &[Item])]) -> Result<(), StorageError> {
    let items = || orders.iter().flat_map(|(id, items)| items.iter().map(move |item| (id.as_str(), item)));
    let ids: Vec<&str> = items().map(|(id, _)| id).collect();
    let lines: Vec<i32> = items().map(|(_, item)| item.line).collect();
    let products: Vec<i64> = items().map(|(_, item)| item.product_id).collect();
    let skus: Vec<&str> = items().map(|(_, item)| item.sku.as_str()).collect();
    let quantities: Vec<i32> = items().map(|(_, item)| item.quantity).collect();
    let insert_items = "insert into order_items (order_id, line, product_id, sku, quantity)
                        select * from unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::integer[])";
    tx.execute(insert_items, &[&ids, &lines, &products, &skus, &quantities]).await?;
    Ok(())
}

/// Keeps the keys of items that are there.
pub async fn insert_keys(tx: &impl GenericClient, orders: &[(&OrderId, &[Item])]) -> Result<(), StorageError> {
    let items = || orders.iter().flat_map(|(id, items)| items.iter().map(move |item| (id.as_str(), item)));
    let keys = || items().flat_map(|(id, item)| item.keys.iter().enumerate().map(move |(position, key)| (id, item.line, position, key)));
    let ids: Vec<&str> = keys().map(|(id, ..)| id).collect();
    let lines: Vec<i32> = keys().map(|(_, line, ..)| line).collect();
    let positions: Vec<i32> = keys().map(|(_, _, position, _)| position as i32).collect();
    let key_ids: Vec<Uuid> = keys().map(|(.., key)| key.id).collect();
    let sealed: Vec<&[u8]> = keys().map(|(.., key)| key.sealed.as_slice()).collect();
    let insert_keys = "insert into order_keys (order_id, line, position, license_key_id, sealed)
                       select * from unnest($1::text[], $2::integer[], $3::integer[], $4::uuid[], $5::bytea[])";
    tx.execute(insert_keys, &[&ids, &lines, &positions, &key_ids, &sealed]).await?;
    Ok(())
}

/// The items of these orders with their keys, in the order they were sold.
pub async fn of_orders(client: &impl GenericClient, ids: &[OrderId]) -> Result<HashMap<String, Vec<Item>>, StorageError> {
    let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    let rows = client
        .query(
            "select i.order_id, i.line, i.product_id, i.sku, i.quantity, k.license_key_id, k.sealed
             from order_items i left join order_keys k on k.order_id = i.order_id and k.line = i.line
             where i.order_id = any($1) order by i.order_id, i.line, k.position",
            &[&ids],
        )
        .await?;
    let mut orders: HashMap<String, Vec<Item>> = HashMap::new();
    for row in &rows {
        let items = orders.entry(row.get(0)).or_default();
        let line = row.get(1);
        if items.last().is_none_or(|item| item.line != line) {
            let sku = Sku::parse(row.get(3))
                .map_err(|error| StorageError::Corrupt(format!("item of order {}: {error}", row.get::<_, &str>(0))))?;
            items.push(Item { line, product_id: row.get(2), sku, quantity: row.get(4), keys: Vec::new() });
        }
        if let (Some(item), Some(id)) = (items.last_mut(), row.get::<_, Option<Uuid>>(5)) {
            item.keys.push(SoldKey { id, sealed: row.get(6) });
        }
    }
    Ok(orders)
}

/// What an order sold, with its license keys in clear while they are usable. `sealer` must be one for the purpose `license`.
pub fn reveal(sealer: &Sealer, order: &Order, items: &[Item]) -> Result<Vec<SoldItem>, StorageError> {
    let item = |item: &Item| {
        let keys = if order.keys_usable() { item.keys.as_slice() } else { &[] };
        let license_keys = keys.iter().map(|key| open(sealer, order.store_id, item.product_id, key)).collect::<Result<_, _>>()?;
        Ok(SoldItem { sku: item.sku.clone(), license_keys })
    };
    items.iter().map(item).collect()
}

/// A sealed license key in clear.
pub fn open(sealer: &Sealer, store_id: i64, product_id: i64, key: &SoldKey) -> Result<LicenseKey, StorageError> {
    let text = sealer.open(&license::place(store_id, product_id, key.id), &key.sealed)?;
    let text = std::str::from_utf8(&text).ok().and_then(|text| LicenseKey::parse(text).ok());
    text.ok_or_else(|| StorageError::Corrupt(format!("license key {}", key.id)))
}

/// What a store has sold of late.
#[derive(Debug, Default)]
pub struct RecentSales {
    /// Pieces of each product.
    pub pieces: HashMap<i64, i64>,
    /// Since when, as seconds before now.
    pub window_s: f64,
}

/// What the newest orders of a store sold: those since `since`, and `orders_max` at most, so that a busy store costs no more than others.
pub async fn recent_sales(
    client: &impl GenericClient,
    store_id: i64,
    mode: Mode,
    since: &OrderId,
    orders_max: i64,
) -> Result<RecentSales, StorageError> {
    let rows = client
        .query(
            "with recent as materialized (
                 select id, status, created_at from orders where store_id = $1 and live = $2 and id >= $3 order by id desc limit $4)
             select i.product_id, sum(i.quantity)::bigint, (select extract(epoch from now() - min(created_at))::float8 from recent)
             from recent r join order_items i on i.order_id = r.id
             where r.status in ('fulfilled', 'partially_refunded', 'refunded', 'disputed', 'revoked') group by 1",
            &[&store_id, &mode.is_live(), &since.as_str(), &orders_max],
        )
        .await?;
    let window_s = rows.first().map_or(0.0, |row| row.get(2));
    Ok(RecentSales { pieces: rows.iter().map(|row| (row.get(0), row.get(1))).collect(), window_s })
}
