//! License keys that are not for sale although no order has them. After a restore to an earlier moment the orders made since are gone, and
//! their keys look free while customers use them: the stock of that moment is held, and only what is known to be unsold is released.
//! Nothing that sells reads this table.

use common::mode::Mode;
use uuid::Uuid;

use super::license_keys::FreeKey;
use super::{GenericClient, StorageError};

/// Takes up to `limit` of a product's free keys out of the sale, oldest first, and waits for those that orders are just taking. Returns
/// how many; fewer than `limit` means that none is left.
pub async fn hold(client: &impl GenericClient, product_id: i64, mode: Mode, limit: i64) -> Result<u64, StorageError> {
    let held = client
        .execute(
            "with free as materialized (
                 select id from license_keys where product_id = $1 and live = $2 order by id limit $3 for update),
             gone as (delete from license_keys where id in (select id from free) returning id, product_id, live, sealed)
             insert into held_license_keys (id, product_id, live, sealed) select id, product_id, live, sealed from gone",
            &[&product_id, &mode.is_live(), &limit],
        )
        .await?;
    Ok(held)
}

/// The next held keys of a product by id, at most `limit`. Begin after [`Uuid::nil`].
pub async fn after(
    client: &impl GenericClient,
    product_id: i64,
    mode: Mode,
    after: Uuid,
    limit: i64,
) -> Result<Vec<FreeKey>, StorageError> {
    let rows = client
        .query(
            "select id, sealed from held_license_keys where product_id = $1 and live = $2 and id > $3 order by id limit $4",
            &[&product_id, &mode.is_live(), &after, &limit],
        )
        .await?;
    Ok(rows.iter().map(|row| FreeKey { id: row.get(0), product_id, mode, sealed: row.get(1) }).collect())
}

/// Puts held keys back into the stock, each where it was in the order of sale. Returns how many were still held.
pub async fn release(client: &impl GenericClient, ids: &[Uuid]) -> Result<u64, StorageError> {
    let released = client
        .execute(
            "with gone as (delete from held_license_keys where id = any($1) returning id, product_id, live, sealed)
             insert into license_keys (id, product_id, live, sealed) select id, product_id, live, sealed from gone",
            &[&ids],
        )
        .await?;
    Ok(released)
}

/// How many keys of each of a store's products are held: product, mode, count.
pub async fn levels(client: &impl GenericClient, store_id: i64) -> Result<Vec<(i64, Mode, i64)>, StorageError> {
    let rows = client
        .query(
            "select k.product_id, k.live, count(*) from held_license_keys k join products p on p.id = k.product_id
             where p.store_id = $1 group by 1, 2 order by 1, 2",
            &[&store_id],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), Mode::from_live(row.get(1)), row.get(2))).collect())
}
