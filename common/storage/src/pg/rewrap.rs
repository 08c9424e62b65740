//! Walking through everything that is sealed, batch by batch, and putting back what was sealed anew. A value is replaced only while it
//! is still the one that was read and no order holds it, so that workers go on selling beside it: nobody waits for a row in here, and so
//! nobody can wait in a circle. What is inside is not known here.

use common::ids::OrderId;
use common::license::LicenseDigest;
use common::mode::Mode;
use uuid::Uuid;

use super::{GenericClient, StorageError};

/// Where license keys lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// In stock.
    Free,
    /// Out of the sale.
    Held,
    /// In orders.
    Sold,
}

/// A license key with all that its place and its digest are made of.
#[derive(Debug, Clone)]
pub struct SealedLicense {
    /// The key's id.
    pub id: Uuid,
    /// Whose.
    pub store_id: i64,
    /// What it is a key for.
    pub product_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The key, sealed.
    pub sealed: Vec<u8>,
}

/// The next license keys by id, at most `limit`. Begin after [`Uuid::nil`].
pub async fn licenses(client: &impl GenericClient, shelf: Shelf, after: Uuid, limit: i64) -> Result<Vec<SealedLicense>, StorageError> {
    let sql = match shelf {
        Shelf::Free => {
            "select k.id, p.store_id, k.product_id, k.live, k.sealed from license_keys k join products p on p.id = k.product_id
             where k.id > $1 order by k.id limit $2"
        }
        Shelf::Held => {
            "select k.id, p.store_id, k.product_id, k.live, k.sealed from held_license_keys k join products p on p.id = k.product_id
             where k.id > $1 order by k.id limit $2"
        }
        Shelf::Sold => {
            "select k.license_key_id, o.store_id, i.product_id, o.live, k.sealed
             from order_keys k join orders o on o.id = k.order_id
             join order_items i on i.order_id = k.order_id and i.line = k.line
             where k.license_key_id > $1 order by k.license_key_id limit $2"
        }
    };
    let license = |row: &tokio_postgres::Row| SealedLicense {
        id: row.get(0),
        store_id: row.get(1),
        product_id: row.get(2),
        mode: Mode::from_live(row.get(3)),
        sealed: row.get(4),
    };
    Ok(client.query(sql, &[&after, &limit]).await?.iter().map(license).collect())
}

/// A sealed value that was opened and sealed again.
#[derive(Debug, Clone)]
pub struct Resealed<Id> {
    /// Its row.
    pub id: Id,
    /// As it was read.
    pub before: Vec<u8>,
    /// As it is to be.
    pub after: Vec<u8>,
}

/// Replaces license keys that have not moved since they were read. Returns how many.
pub async fn replace_licenses(client: &impl GenericClient, shelf: Shelf, resealed: &[Resealed<Uuid>]) -> Result<u64, StorageError> {
    let sql = match shelf {
        Shelf::Free => {
            "with held as materialized (select id from license_keys where id = any($1) for update skip locked)
             update license_keys k set sealed = new.after from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as new (id, before, after)
             where k.id = new.id and k.sealed = new.before and k.id in (select id from held)"
        }
        Shelf::Held => {
            "with held as materialized (select id from held_license_keys where id = any($1) for update skip locked)
             update held_license_keys k set sealed = new.after from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as new (id, before, after)
             where k.id = new.id and k.sealed = new.before and k.id in (select id from held)"
        }
        Shelf::Sold => {
            "with held as materialized (
                 select license_key_id as id from order_keys where license_key_id = any($1) for update skip locked)
             update order_keys k set sealed = new.after from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as new (id, before, after)
             where k.license_key_id = new.id and k.sealed = new.before and k.license_key_id in (select id from held)"
        }
    };
    replace_by_uuid(client, sql, resealed).await
}

/// A dead letter with what tells where it was sealed to.
#[derive(Debug, Clone)]
pub struct SealedLetter {
    /// Its id.
    pub id: Uuid,
    /// Where it came from.
    pub queue: String,
    /// Why it is dead, in words.
    pub reason: String,
    /// The letter, sealed.
    pub sealed: Vec<u8>,
}

/// The next dead letters by id, at most `limit`. Begin after [`Uuid::nil`].
pub async fn dead_letters(client: &impl GenericClient, after: Uuid, limit: i64) -> Result<Vec<SealedLetter>, StorageError> {
    let sql = "select id, queue, reason, sealed from dead_letters where id > $1 order by id limit $2";
    let rows = client.query(sql, &[&after, &limit]).await?;
    let letter = |row: &tokio_postgres::Row| SealedLetter { id: row.get(0), queue: row.get(1), reason: row.get(2), sealed: row.get(3) };
    Ok(rows.iter().map(letter).collect())
}

/// Replaces dead letters that are still as they were read. Returns how many.
pub async fn replace_dead_letters(client: &impl GenericClient, resealed: &[Resealed<Uuid>]) -> Result<u64, StorageError> {
    let sql = "update dead_letters d set sealed = new.after from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as new (id, before, after)
               where d.id = new.id and d.sealed = new.before";
    replace_by_uuid(client, sql, resealed).await
}

async fn replace_by_uuid(client: &impl GenericClient, sql: &str, resealed: &[Resealed<Uuid>]) -> Result<u64, StorageError> {
    let ids: Vec<Uuid> = resealed.iter().map(|value| value.id).collect();
    let (before, after) = columns(resealed);
    Ok(client.execute(sql, &[&ids, &before, &after]).await?)
}

fn columns<Id>(resealed: &[Resealed<Id>]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    resealed.iter().map(|value| (value.before.as_slice(), value.after.as_slice())).unzip()
}

/// The next orders, by id, whose request is still kept; at most `limit`. `None` begins.
pub async fn order_requests(
    client: &impl GenericClient,
    after: Option<&OrderId>,
    limit: i64,
) -> Result<Vec<(OrderId, Vec<u8>)>, StorageError> {
    let after = after.map_or("", OrderId::as_str);
    let rows = client
        .query(
            "select id, sealed_request from orders where sealed_request is not null and id > $1 collate \"C\" order by id limit $2",
            &[&after, &limit],
        )
        .await?;
    let read = |row: &tokio_postgres::Row| {
        let id =
            OrderId::parse(row.get(0)).map_err(|error| StorageError::Corrupt(format!("order {:?}: {error}", row.get::<_, &str>(0))))?;
        Ok((id, row.get(1)))
    };
    rows.iter().map(read).collect()
}

/// Replaces requests of orders that are still to be worked on. Returns how many.
pub async fn replace_order_requests(client: &impl GenericClient, resealed: &[Resealed<OrderId>]) -> Result<u64, StorageError> {
    let ids: Vec<&str> = resealed.iter().map(|value| value.id.as_str()).collect();
    let (before, after) = columns(resealed);
    let replaced = client
        .execute(
            "with held as materialized (select id from orders where id = any($1) for update skip locked)
             update orders o set sealed_request = new.after from unnest($1::text[], $2::bytea[], $3::bytea[]) as new (id, before, after)
             where o.id = new.id and o.sealed_request = new.before and o.id in (select id from held)",
            &[&ids, &before, &after],
        )
        .await?;
    Ok(replaced)
}

/// Which of an endpoint's secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookSecretOf {
    /// The one that signs.
    Now,
    /// The one before it, which may sign too.
    Before,
}

/// The next secrets of webhook endpoints, by the endpoint's id; at most `limit`. Begin after [`Uuid::nil`].
pub async fn webhook_secrets(
    client: &impl GenericClient,
    of: WebhookSecretOf,
    after: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Vec<u8>)>, StorageError> {
    let sql = match of {
        WebhookSecretOf::Now => "select id, sealed_secret from webhook_endpoints where id > $1 order by id limit $2",
        WebhookSecretOf::Before => {
            "select id, sealed_previous_secret from webhook_endpoints where id > $1 and sealed_previous_secret is not null
             order by id limit $2"
        }
    };
    Ok(client.query(sql, &[&after, &limit]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Replaces secrets of webhook endpoints that were not rotated since they were read. Returns how many.
pub async fn replace_webhook_secrets(
    client: &impl GenericClient,
    of: WebhookSecretOf,
    resealed: &[Resealed<Uuid>],
) -> Result<u64, StorageError> {
    let sql = match of {
        WebhookSecretOf::Now => {
            "with held as materialized (select id from webhook_endpoints where id = any($1) for update skip locked)
             update webhook_endpoints w set sealed_secret = new.after from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as new (id, before, after)
             where w.id = new.id and w.sealed_secret = new.before and w.id in (select id from held)"
        }
        WebhookSecretOf::Before => {
            "with held as materialized (select id from webhook_endpoints where id = any($1) for update skip locked)
             update webhook_endpoints w set sealed_previous_secret = new.after
             from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as new (id, before, after)
             where w.id = new.id and w.sealed_previous_secret = new.before and w.id in (select id from held)"
        }
    };
    replace_by_uuid(client, sql, resealed).await
}

/// Forgets digests of keys that have been digested anew, in this same transaction.
pub async fn forget_digests(tx: &impl GenericClient, digests: &[(i64, Mode, LicenseDigest)]) -> Result<u64, StorageError> {
    let stores: Vec<i64> = digests.iter().map(|&(store_id, ..)| store_id).collect();
    let lives: Vec<bool> = digests.iter().map(|(_, mode, _)| mode.is_live()).collect();
    let values: Vec<&[u8]> = digests.iter().map(|(.., digest)| digest.as_slice()).collect();
    let forgotten = tx
        .execute(
            "delete from license_digests d using unnest($1::bigint[], $2::boolean[], $3::bytea[]) as old (store_id, live, digest)
             where d.store_id = old.store_id and d.live = old.live and d.digest = old.digest",
            &[&stores, &lives, &values],
        )
        .await?;
    Ok(forgotten)
}

/// How many stored values each secret has sealed, by the secret's id. Reads every table that holds sealed values.
pub async fn sealed_by_secret(client: &impl GenericClient) -> Result<Vec<(String, i64)>, StorageError> {
    // The envelope begins with its version, the length of the id, and the id. A dead letter may be anything.
    let rows = client
        .query(
            "select encode(substring(sealed from 3 for get_byte(sealed, 1)), 'escape'), count(*)
             from (select sealed from license_keys union all select sealed from held_license_keys union all
                   select sealed from order_keys union all
                   select sealed_request from orders where sealed_request is not null union all
                   select sealed_secret from webhook_endpoints union all
                   select sealed_previous_secret from webhook_endpoints where sealed_previous_secret is not null union all
                   select sealed from dead_letters where case when length(sealed) > 2 then get_byte(sealed, 0) = 1 else false end) every
             group by 1 order by 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// How many digests each secret has made, by the secret's id.
pub async fn digests_by_secret(client: &impl GenericClient) -> Result<Vec<(String, i64)>, StorageError> {
    let rows = client.query("select secret_id, count(*) from license_digests group by 1 order by 1", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
