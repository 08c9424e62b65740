//! License keys in stock, and the digests that make every key unique among free and sold ones.

use std::collections::HashMap;

use common::license::LicenseDigest;
use common::mode::Mode;
use uuid::Uuid;

use super::{GenericClient, StorageError};

/// A free license key, sealed.
#[derive(Debug, Clone)]
pub struct FreeKey {
    /// Names the key for good; part of what it is sealed to.
    pub id: Uuid,
    /// What it is a key for.
    pub product_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The key, sealed to store, product and id.
    pub sealed: Vec<u8>,
}

/// How many keys of a product are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// The product.
    pub product_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// How many.
    pub count: i64,
}

/// What to do about keys that another transaction is just taking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Take others. May find fewer than there are.
    Skip,
    /// Wait until it is known whether they are taken.
    Wait,
}

/// Takes up to as many keys as needed out of the stock, oldest first.
pub async fn take(tx: &impl GenericClient, needs: &[Need], busy: Busy) -> Result<Vec<FreeKey>, StorageError> {
    let products: Vec<i64> = needs.iter().map(|need| need.product_id).collect();
    let lives: Vec<bool> = needs.iter().map(|need| need.mode.is_live()).collect();
    let counts: Vec<i64> = needs.iter().map(|need| need.count).collect();
    let sql = match busy {
        Busy::Skip => {
            "with taken as materialized (
                 select k.id from unnest($1::bigint[], $2::boolean[], $3::bigint[]) as need (product_id, live, count)
                 cross join lateral (select id from license_keys f where f.product_id = need.product_id and f.live = need.live
                                     order by id limit need.count for update skip locked) k)
             delete from license_keys where id in (select id from taken) returning id, product_id, live, sealed"
        }
        Busy::Wait => {
            "with taken as materialized (
                 select k.id from unnest($1::bigint[], $2::boolean[], $3::bigint[]) as need (product_id, live, count)
                 cross join lateral (select id from license_keys f where f.product_id = need.product_id and f.live = need.live
                                     order by id limit need.count for update) k)
             delete from license_keys where id in (select id from taken) returning id, product_id, live, sealed"
        }
    };
    let rows = tx.query(sql, &[&products, &lives, &counts]).await?;
    let key = |row: &tokio_postgres::Row| FreeKey {
        id: row.get(0),
        product_id: row.get(1),
        mode: Mode::from_live(row.get(2)),
        sealed: row.get(3),
    };
    Ok(rows.iter().map(key).collect())
}

/// Puts keys into the stock.
pub async fn insert(tx: &impl GenericClient, keys: &[FreeKey]) -> Result<(), StorageError> {
    let ids: Vec<Uuid> = keys.iter().map(|key| key.id).collect();
    let products: Vec<i64> = keys.iter().map(|key| key.product_id).collect();
    let lives: Vec<bool> = keys.iter().map(|key| key.mode.is_live()).collect();
    let sealed: Vec<&[u8]> = keys.iter().map(|key| key.sealed.as_slice()).collect();
    tx.execute(
        "insert into license_keys (id, product_id, live, sealed) select * from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::bytea[])",
        &[&ids, &products, &lives, &sealed],
    )
    .await?;
    Ok(())
}

/// How many keys of a product are free, counted up to `at_most`: a large stock is not walked through to say that it is large.
pub async fn count_free(client: &impl GenericClient, product_id: i64, mode: Mode, at_most: i64) -> Result<i64, StorageError> {
    let row = client
        .query_one(
            "select count(*) from (select 1 from license_keys where product_id = $1 and live = $2 limit $3) as free",
            &[&product_id, &mode.is_live(), &at_most],
        )
        .await?;
    Ok(row.get(0))
}

/// How many keys of each of these products are free, counted up to `at_most` each; as [`count_free`].
pub async fn count_free_of(
    client: &impl GenericClient,
    products: &[i64],
    mode: Mode,
    at_most: i64,
) -> Result<HashMap<i64, i64>, StorageError> {
    let rows = client
        .query(
            "select w.id, (select count(*) from (
                 select 1 from license_keys k where k.product_id = w.id and k.live = $2 limit $3) free)
             from unnest($1::bigint[]) w (id)",
            &[&products, &mode.is_live(), &at_most],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A product's stock beside what it sells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stock {
    /// Free license keys, counted as far as they are needed within the days asked for.
    pub free: i64,
    /// Pieces sold in a day, judged by the newest orders.
    pub sold_a_day: f64,
}

/// Where more than this are left, there is enough, however well they sell.
const STOCK_COUNTED_MAX: i64 = 100_000;

/// The stock of the products that the newest live orders of all stores sold from pools: of the last day's newest 5,000, and of them the 50
/// products that sell best. The cost is bounded, whatever there is in stock. The first hour's sales are taken for a whole hour's.
pub async fn stocks_of_recent_sales(client: &impl GenericClient, days: u32) -> Result<Vec<Stock>, StorageError> {
    let rows = client
        .query(
            "with recent as materialized (
                 select id, live, status, created_at from orders order by id desc limit 5000),
             span as (
                 select greatest(extract(epoch from now() - min(created_at)), 3600)::float8 / 86400 as days
                 from recent where created_at > now() - interval '1 day'),
             sold as materialized (
                 select i.product_id, sum(i.quantity) / (select days from span) as a_day
                 from recent r join order_items i on i.order_id = r.id join products p on p.id = i.product_id and p.source = 'pool'
                 where r.live and r.created_at > now() - interval '1 day'
                     and r.status in ('fulfilled', 'partially_refunded', 'refunded', 'disputed', 'revoked')
                 group by 1 order by 2 desc limit 50)
             select s.a_day::float8, (select count(*) from (
                 select 1 from license_keys k where k.product_id = s.product_id and k.live
                 limit least(s.a_day * $1, $2)::bigint + 1) free)
             from sold s",
            &[&f64::from(days), &(STOCK_COUNTED_MAX as f64)],
        )
        .await?;
    let counted = |free: i64| if free > STOCK_COUNTED_MAX { i64::MAX } else { free };
    Ok(rows.iter().map(|row| Stock { sold_a_day: row.get(0), free: counted(row.get(1)) }).collect())
}

/// How many keys each product of a store has in stock: product, mode, count.
pub async fn levels(client: &impl GenericClient, store_id: i64) -> Result<Vec<(i64, Mode, i64)>, StorageError> {
    let rows = client
        .query(
            "select k.product_id, k.live, count(*) from license_keys k join products p on p.id = k.product_id
             where p.store_id = $1 group by 1, 2 order by 1, 2",
            &[&store_id],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), Mode::from_live(row.get(1)), row.get(2))).collect())
}

/// A digest to be claimed.
#[derive(Debug, Clone)]
pub struct NewDigest<'a> {
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The digest.
    pub digest: LicenseDigest,
    /// The secret that made it.
    pub secret_id: &'a str,
}

/// Claims digests, in one order whatever the order given, so that two who claim the same ones cannot lock each other out. Returns those
/// that were new; the others belong to keys that exist or existed.
pub async fn claim_digests(tx: &impl GenericClient, digests: &[NewDigest<'_>]) -> Result<Vec<LicenseDigest>, StorageError> {
    let stores: Vec<i64> = digests.iter().map(|new| new.store_id).collect();
    let lives: Vec<bool> = digests.iter().map(|new| new.mode.is_live()).collect();
    let values: Vec<&[u8]> = digests.iter().map(|new| new.digest.as_slice()).collect();
    let secrets: Vec<&str> = digests.iter().map(|new| new.secret_id).collect();
    let rows = tx
        .query(
            "insert into license_digests (store_id, live, digest, secret_id)
             select * from unnest($1::bigint[], $2::boolean[], $3::bytea[], $4::text[]) as new (store_id, live, digest, secret_id)
             order by store_id, live, digest on conflict do nothing returning digest",
            &[&stores, &lives, &values, &secrets],
        )
        .await?;
    rows.iter().map(|row| row.get::<_, &[u8]>(0).try_into().map_err(|_| StorageError::Corrupt("a license digest".into()))).collect()
}

/// Which of these digests are already claimed.
pub async fn known_digests(
    tx: &impl GenericClient,
    store_id: i64,
    mode: Mode,
    digests: &[LicenseDigest],
) -> Result<Vec<LicenseDigest>, StorageError> {
    let values: Vec<&[u8]> = digests.iter().map(|digest| digest.as_slice()).collect();
    let rows = tx
        .query(
            "select digest from license_digests where store_id = $1 and live = $2 and digest = any($3)",
            &[&store_id, &mode.is_live(), &values],
        )
        .await?;
    rows.iter().map(|row| row.get::<_, &[u8]>(0).try_into().map_err(|_| StorageError::Corrupt("a license digest".into()))).collect()
}
