//! Store API keys, as far as they are kept: a hash, a hint, and what the key may do. The key itself is never here.

use std::time::SystemTime;

use common::api_key::{ApiKeyHash, Scopes};
use common::mode::Mode;
use futures_util::{Stream, TryStreamExt};
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::audit_log::{self, Actor, Change, What};
use super::changes::{self, ChangeKind};
use super::{GenericClient, Pg, StorageError};

/// What an edge needs to know of a key.
#[derive(Debug, Clone)]
pub struct ApiKeyRow {
    /// Internal id.
    pub id: i64,
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// HMAC of the key under one of the peppers.
    pub hash: ApiKeyHash,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Requests a minute, where they differ from everybody's.
    pub quotas: Quotas,
    /// From when on it is refused, Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A key's own limits, requests a minute; `None` means everybody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Checkout sessions.
    pub checkout: Option<u32>,
    /// Fulfillments.
    pub licensing: Option<u32>,
    /// Everything else.
    pub api: Option<u32>,
}

const COLUMNS: &str =
    "id, store_id, live, hash, scopes, checkout_per_minute, licensing_per_minute, api_per_minute, expires_at, revoked_at is not null";

fn read(row: &Row) -> Result<ApiKeyRow, StorageError> {
    let id: i64 = row.get(0);
    let corrupt = |what: &str| StorageError::Corrupt(format!("API key {id}: {what}"));
    let quota = |column: usize| row.get::<_, Option<i32>>(column).and_then(|per_minute| u32::try_from(per_minute).ok());
    let expires_at = row.get::<_, Option<SystemTime>>(8);
    Ok(ApiKeyRow {
        id,
        store_id: row.get(1),
        mode: Mode::from_live(row.get(2)),
        hash: row.get::<_, &[u8]>(3).try_into().map_err(|_| corrupt("the hash has another length"))?,
        scopes: Scopes::from_names(&row.get::<_, Vec<&str>>(4)).map_err(|error| corrupt(&error.to_string()))?,
        quotas: Quotas { checkout: quota(5), licensing: quota(6), api: quota(7) },
        expires_at_ms: expires_at.map(|at| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)),
        revoked: row.get(9),
    })
}

/// Every key that has not been revoked, one after another: a million of them need not fit into memory twice.
pub async fn stream_all(client: &impl GenericClient) -> Result<impl Stream<Item = Result<ApiKeyRow, StorageError>>, StorageError> {
    let sql = format!("select {COLUMNS} from api_keys where revoked_at is null");
    let rows = tokio_postgres::GenericClient::query_raw(client.plain(), &sql, std::iter::empty::<i64>()).await?;
    Ok(rows.map_err(StorageError::from).and_then(|row| std::future::ready(read(&row))))
}

/// One key, revoked or not.
pub async fn get(client: &impl GenericClient, id: i64) -> Result<Option<ApiKeyRow>, StorageError> {
    client.query_opt(&format!("select {COLUMNS} from api_keys where id = $1"), &[&id]).await?.as_ref().map(read).transpose()
}

/// A key to be kept.
#[derive(Debug, Clone)]
pub struct NewApiKey<'a> {
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The name people read.
    pub name: &'a str,
    /// The first characters of the key.
    pub hint: &'a str,
    /// The pepper that made the hash.
    pub pepper_id: &'a str,
    /// HMAC of the key.
    pub hash: ApiKeyHash,
    /// Names of scopes; none means all.
    pub scopes: &'a [String],
    /// In how many seconds it expires, if it does.
    pub expires_in_s: Option<f64>,
}

/// Keeps a new key. Returns its id.
pub async fn create(pg: &Pg, key: &NewApiKey<'_>, actor: Actor<'_>) -> Result<i64, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let id = insert(&tx, key).await?;
    let after = json!({ "mode": key.mode.to_string(), "scopes": key.scopes, "ends": key.expires_in_s.map_or_else(|| "never".to_owned(), in_words) });
    let (store_id, object) = (key.store_id, described(key.name, key.hint));
    let change = Change { store_id, actor, what: What::KeyCreated, object: &object, before: Value::Null, after };
    audit_log::write(&tx, &change).await?;
    changes::record(&tx, ChangeKind::ApiKey, id).await?;
    tx.commit().await?;
    Ok(id)
}

/// A span of time for people: the portal and the command line know whole hours and days.
fn in_words(seconds: f64) -> String {
    match (seconds / 3_600.0).round() as u64 {
        0 => "at once".to_owned(),
        1 => "in an hour".to_owned(),
        hours if hours % 24 == 0 => format!("in {} day{}", hours / 24, if hours == 24 { "" } else { "s" }),
        hours => format!("in {hours} hours"),
    }
}

/// As the audit log calls a key.
fn described(name: &str, hint: &str) -> String {
    format!("“{name}” ({hint}…)")
}

async fn insert(tx: &impl GenericClient, key: &NewApiKey<'_>) -> Result<i64, StorageError> {
    let row = tx
        .query_one(
            "insert into api_keys (store_id, live, name, hint, pepper_id, hash, scopes, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)) returning id",
            &[
                &key.store_id,
                &key.mode.is_live(),
                &key.name,
                &key.hint,
                &key.pepper_id,
                &key.hash.as_slice(),
                &key.scopes,
                &key.expires_in_s,
            ],
        )
        .await?;
    Ok(row.get(0))
}

/// Keeps a new key in place of an old one: the old one's store, mode, name, scopes and limits, and the old one ends `overlap_s` seconds
/// from now. `None` when the old one does not exist or is revoked. Returns the new id.
pub async fn roll(
    pg: &Pg,
    old_id: i64,
    hint: &str,
    pepper_id: &str,
    hash: ApiKeyHash,
    overlap_s: f64,
    actor: Actor<'_>,
) -> Result<Option<i64>, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let row = tx
        .query_opt(
            "insert into api_keys (store_id, live, name, hint, pepper_id, hash, scopes, checkout_per_minute, licensing_per_minute, api_per_minute)
             select store_id, live, name, $2, $3, $4, scopes, checkout_per_minute, licensing_per_minute, api_per_minute
             from api_keys where id = $1 and revoked_at is null returning id, store_id, name",
            &[&old_id, &hint, &pepper_id, &hash.as_slice()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (new_id, store_id, name): (i64, i64, &str) = (row.get(0), row.get(1), row.get(2));
    let old = tx
        .query_one(
            "update api_keys set expires_at = least(expires_at, now() + make_interval(secs => $2)) where id = $1 returning hint",
            &[&old_id, &overlap_s],
        )
        .await?;
    let (before, after) = (
        json!({ "key": format!("{}…", old.get::<_, &str>(0)) }),
        json!({ "key": format!("{hint}…"), "the_old_one_ends": in_words(overlap_s) }),
    );
    let object = described(name, old.get(0));
    audit_log::write(&tx, &Change { store_id, actor, what: What::KeyReplaced, object: &object, before, after }).await?;
    changes::record(&tx, ChangeKind::ApiKey, old_id).await?;
    changes::record(&tx, ChangeKind::ApiKey, new_id).await?;
    tx.commit().await?;
    Ok(Some(new_id))
}

/// Revokes a key. Returns the change's id to follow through the edges, or `None` when there is no such key. Revoking twice is harmless.
pub async fn revoke(pg: &Pg, id: i64, actor: Actor<'_>) -> Result<Option<i64>, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let known = "select store_id, name, hint, revoked_at is not null from api_keys where id = $1 for update";
    let Some(row) = tx.query_opt(known, &[&id]).await? else { return Ok(None) };
    let is_revoked: bool = row.get(3);
    if !is_revoked {
        tx.execute("update api_keys set revoked_at = now() where id = $1", &[&id]).await?;
        let object = described(row.get(1), row.get(2));
        let change =
            Change { store_id: row.get(0), actor, what: What::KeyRevoked, object: &object, before: Value::Null, after: Value::Null };
        audit_log::write(&tx, &change).await?;
    }
    let change = changes::record(&tx, ChangeKind::ApiKey, id).await?;
    tx.commit().await?;
    Ok(Some(change))
}

/// Gives a key limits of its own. `false` when there is no such key.
pub async fn set_quotas(pg: &Pg, id: i64, quotas: Quotas, actor: Actor<'_>) -> Result<bool, StorageError> {
    let column = |per_minute: Option<u32>| per_minute.map(|per_minute| i32::try_from(per_minute).unwrap_or(i32::MAX));
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let known = "select store_id, name, hint, checkout_per_minute, licensing_per_minute, api_per_minute
                 from api_keys where id = $1 for update";
    let Some(row) = tx.query_opt(known, &[&id]).await? else { return Ok(false) };
    tx.execute(
        "update api_keys set checkout_per_minute = $2, licensing_per_minute = $3, api_per_minute = $4 where id = $1",
        &[&id, &column(quotas.checkout), &column(quotas.licensing), &column(quotas.api)],
    )
    .await?;
    let shown = |[checkout, licensing, api]: [Option<i32>; 3]| json!({ "checkout_per_minute": checkout, "licensing_per_minute": licensing, "api_per_minute": api });
    let before = shown([row.get(3), row.get(4), row.get(5)]);
    let after = shown([quotas.checkout, quotas.licensing, quotas.api].map(column));
    let object = described(row.get(1), row.get(2));
    if before != after {
        let change = Change { store_id: row.get(0), actor, what: What::KeyLimited, object: &object, before, after };
        audit_log::write(&tx, &change).await?;
    }
    changes::record(&tx, ChangeKind::ApiKey, id).await?;
    tx.commit().await?;
    Ok(true)
}

/// A key as its owner sees it in a list.
#[derive(Debug, Clone)]
pub struct ApiKeySummary {
    /// Internal id.
    pub id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The name people read.
    pub name: String,
    /// The key's first characters.
    pub hint: String,
    /// HMAC of the key under one of the peppers.
    pub hash: ApiKeyHash,
    /// Names of scopes; none means all.
    pub scopes: Vec<String>,
    /// Its own limits.
    pub quotas: Quotas,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it ends.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
    /// The minute in which it was last used.
    pub last_used_at: Option<SystemTime>,
    /// Requests in the last 24 hours, the present one included.
    pub requests_24h: i64,
    /// Of these, the ones refused with 429.
    pub limited_24h: i64,
}

/// A store's keys, newest first.
pub async fn of_store(client: &impl GenericClient, store_id: i64) -> Result<Vec<ApiKeySummary>, StorageError> {
    let rows = client
        .query(
            "select k.id, k.live, k.name, k.hint, k.scopes, k.checkout_per_minute, k.licensing_per_minute, k.api_per_minute,
                    k.created_at, k.expires_at, k.revoked_at, k.last_used_at,
                    coalesce(u.requests, 0)::bigint, coalesce(u.limited, 0)::bigint, k.hash
             from api_keys k left join lateral (
                 select sum(requests) as requests, sum(limited) as limited from api_key_usage
                 where key_id = k.id and minute >= date_trunc('hour', now()) - interval '23 hours') u on true
             where k.store_id = $1 order by k.id desc",
            &[&store_id],
        )
        .await?;
    let quota = |row: &Row, column: usize| row.get::<_, Option<i32>>(column).and_then(|per_minute| u32::try_from(per_minute).ok());
    let summary = |row: &Row| {
        let hash = row.get::<_, &[u8]>(14).try_into();
        Ok(ApiKeySummary {
            id: row.get(0),
            mode: Mode::from_live(row.get(1)),
            name: row.get(2),
            hint: row.get(3),
            hash: hash.map_err(|_| StorageError::Corrupt(format!("API key {}: the hash has another length", row.get::<_, i64>(0))))?,
            scopes: row.get(4),
            quotas: Quotas { checkout: quota(row, 5), licensing: quota(row, 6), api: quota(row, 7) },
            created_at: row.get(8),
            expires_at: row.get(9),
            revoked_at: row.get(10),
            last_used_at: row.get(11),
            requests_24h: row.get(12),
            limited_24h: row.get(13),
        })
    };
    rows.iter().map(summary).collect()
}

/// How many keys that are still good hang on each pepper, by the pepper's id.
pub async fn good_by_pepper(client: &impl GenericClient) -> Result<Vec<(String, i64)>, StorageError> {
    let rows = client
        .query(
            "select pepper_id, count(*) from api_keys
             where revoked_at is null and (expires_at is null or expires_at > now()) group by 1 order by 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
