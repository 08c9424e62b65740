//! Where partners want to hear of events: up to five addresses for each store and mode, each with a secret that is stored sealed.

use std::time::SystemTime;

use common::mode::Mode;
use common::webhook::ids::EndpointId;
use common::webhook::{ENDPOINTS_MAX, ROTATION_HOURS};
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::audit_log::{self, Actor, What, origin};
use super::{GenericClient, Pg, StorageError, Transaction, unix_ms};

/// Any number, as long as nobody else takes it.
const LOCK: i32 = 0x6570;

/// An endpoint, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its public id.
    pub id: Uuid,
    /// Whose.
    pub store_id: i64,
    /// Which events it hears of.
    pub mode: Mode,
    /// Where it is.
    pub url: String,
    /// Public names of the events it asked for; none means all.
    pub events: Vec<String>,
    /// Whether it is sent anything. What happens while it is not is kept for it.
    pub enabled: bool,
    /// Why it is not.
    pub disabled_reason: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Since when there have been any, in Unix milliseconds.
    pub failing_since_ms: Option<u64>,
    /// Until when the secret before this one signs too, in Unix milliseconds.
    pub previous_secret_until_ms: Option<u64>,
    /// In Unix milliseconds.
    pub created_at_ms: u64,
    /// When somebody, or its own failing, last changed it, in Unix milliseconds.
    pub updated_at_ms: u64,
}

const COLUMNS: &str = "id, store_id, live, url, events, enabled, disabled_reason, failures, failing_since,
                       case when previous_secret_until > now() then previous_secret_until end, created_at, updated_at";

fn read(row: &Row) -> Endpoint {
    let maybe_ms = |column| row.get::<_, Option<SystemTime>>(column).map(unix_ms);
    Endpoint {
        id: row.get(0),
        store_id: row.get(1),
        mode: Mode::from_live(row.get(2)),
        url: row.get(3),
        events: row.get(4),
        enabled: row.get(5),
        disabled_reason: row.get(6),
        failures: u32::try_from(row.get::<_, i32>(7)).unwrap_or(0),
        failing_since_ms: maybe_ms(8),
        previous_secret_until_ms: maybe_ms(9),
        created_at_ms: unix_ms(row.get(10)),
        updated_at_ms: unix_ms(row.get(11)),
    }
}

/// Which endpoint, and whose: nobody reaches another store's, or the other mode's, by its id.
#[derive(Debug, Clone, Copy)]
pub struct Which {
    /// The store.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The endpoint.
    pub id: Uuid,
}

impl Endpoint {
    /// Which it is.
    pub fn which(&self) -> Which {
        Which { store_id: self.store_id, mode: self.mode, id: self.id }
    }
}

/// An endpoint to be made.
#[derive(Debug)]
pub struct NewEndpoint<'a> {
    /// Which. The id names the place that its secret is sealed to.
    pub which: Which,
    /// Checked and normalized.
    pub url: &'a str,
    /// Public names of events; none means all.
    pub events: &'a [String],
    /// Its secret.
    pub sealed_secret: &'a [u8],
}

/// Makes an endpoint. `None` when the store has as many as it may have.
pub async fn create(pg: &Pg, new: &NewEndpoint<'_>, actor: Actor<'_>) -> Result<Option<Endpoint>, StorageError> {
    let Which { store_id, mode, id } = new.which;
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    // Else two at once would both see room for one.
    tx.execute("select pg_advisory_xact_lock($1::integer, ($2::bigint % 2147483647)::integer)", &[&LOCK, &store_id]).await?;
    let sql = format!(
        "insert into webhook_endpoints (id, store_id, live, url, events, sealed_secret)
         select $1, $2, $3, $4, $5, $6
         where (select count(*) from webhook_endpoints where store_id = $2 and live = $3) < $7 returning {COLUMNS}"
    );
    let (live, max) = (mode.is_live(), ENDPOINTS_MAX as i64);
    let row = tx.query_opt(&sql, &[&id, &store_id, &live, &new.url, &new.events, &new.sealed_secret, &max]).await?;
    let Some(made) = row.as_ref().map(read) else { return Ok(None) };
    log(&tx, actor, What::WebhookCreated, &made, Value::Null, shown(&made)).await?;
    tx.commit().await?;
    Ok(Some(made))
}

/// What the audit log says of an endpoint: of its address, only where it leads.
fn shown(endpoint: &Endpoint) -> Value {
    let events = if endpoint.events.is_empty() { "all".to_owned() } else { endpoint.events.join(", ") };
    json!({ "url": origin(&endpoint.url), "mode": endpoint.mode.to_string(), "events": events })
}

async fn log(
    tx: &Transaction<'_>,
    actor: Actor<'_>,
    what: What,
    endpoint: &Endpoint,
    before: Value,
    after: Value,
) -> Result<(), StorageError> {
    let object = format!("{} ({})", origin(&endpoint.url), EndpointId(endpoint.id));
    audit_log::write(tx, &audit_log::Change { store_id: endpoint.store_id, actor, what, object: &object, before, after }).await
}

/// A store's endpoints of one mode, oldest first.
pub async fn list(client: &impl GenericClient, store_id: i64, mode: Mode) -> Result<Vec<Endpoint>, StorageError> {
    let sql = format!("select {COLUMNS} from webhook_endpoints where store_id = $1 and live = $2 order by id");
    Ok(client.query(&sql, &[&store_id, &mode.is_live()]).await?.iter().map(read).collect())
}

/// A store's endpoint, whichever its mode.
pub async fn find(client: &impl GenericClient, store_id: i64, id: Uuid) -> Result<Option<Endpoint>, StorageError> {
    let sql = format!("select {COLUMNS} from webhook_endpoints where store_id = $1 and id = $2");
    Ok(client.query_opt(&sql, &[&store_id, &id]).await?.as_ref().map(read))
}

/// One endpoint.
pub async fn get(client: &impl GenericClient, which: Which) -> Result<Option<Endpoint>, StorageError> {
    let sql = format!("select {COLUMNS} from webhook_endpoints where store_id = $1 and live = $2 and id = $3");
    Ok(client.query_opt(&sql, &[&which.store_id, &which.mode.is_live(), &which.id]).await?.as_ref().map(read))
}

/// What is to be different; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Another address, checked and normalized.
    pub url: Option<String>,
    /// Other events.
    pub events: Option<Vec<String>>,
    /// Enabling sends what has been kept; disabling keeps what happens from now on.
    pub enabled: Option<bool>,
}

/// Changes an endpoint. `None` when there is none.
pub async fn change(pg: &Pg, which: Which, changes: &Changes, actor: Actor<'_>) -> Result<Option<Endpoint>, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let Some(before) = get_for_update(&tx, which).await? else { return Ok(None) };
    let sql = format!(
        "update webhook_endpoints set url = coalesce($4, url), events = coalesce($5, events), enabled = coalesce($6, enabled),
             disabled_reason = case when coalesce($6, enabled) then null else coalesce(disabled_reason, 'its owner disabled it') end,
             failures = case when $6 and not enabled then 0 else failures end,
             failing_since = case when $6 and not enabled then null else failing_since end,
             replay = case when $6 and not enabled then true else replay end,
             updated_at = now()
         where store_id = $1 and live = $2 and id = $3 returning {COLUMNS}"
    );
    let values: [&(dyn ToSql + Sync); 6] =
        [&which.store_id, &which.mode.is_live(), &which.id, &changes.url, &changes.events, &changes.enabled];
    let after = read(&tx.query_one(&sql, &values).await?);
    if before.url != after.url || before.events != after.events {
        let mut new = shown(&after);
        if before.url != after.url && origin(&before.url) == origin(&after.url) {
            new["path"] = "another one".into();
        }
        log(&tx, actor, What::WebhookChanged, &before, shown(&before), new).await?;
    }
    if before.enabled != after.enabled {
        let what = if after.enabled { What::WebhookEnabled } else { What::WebhookDisabled };
        let why = |endpoint: &Endpoint| json!({ "enabled": endpoint.enabled, "disabled_reason": endpoint.disabled_reason });
        log(&tx, actor, what, &after, why(&before), why(&after)).await?;
    }
    tx.commit().await?;
    Ok(Some(after))
}

/// One endpoint. Nobody else changes it until this transaction ends.
async fn get_for_update(tx: &Transaction<'_>, which: Which) -> Result<Option<Endpoint>, StorageError> {
    let sql = format!("select {COLUMNS} from webhook_endpoints where store_id = $1 and live = $2 and id = $3 for update");
    Ok(tx.query_opt(&sql, &[&which.store_id, &which.mode.is_live(), &which.id]).await?.as_ref().map(read))
}

/// Gives an endpoint another secret. The one before signs beside it for a day, unless it is `known` to somebody who should not know it.
pub async fn rotate(
    tx: &Transaction<'_>,
    which: Which,
    sealed_secret: &[u8],
    known: bool,
    actor: Actor<'_>,
) -> Result<Option<Endpoint>, StorageError> {
    let sql = format!(
        "update webhook_endpoints set sealed_secret = $4,
             sealed_previous_secret = case when $5 then null else sealed_secret end,
             previous_secret_until = case when $5 then null else now() + make_interval(hours => $6) end,
             updated_at = now()
         where store_id = $1 and live = $2 and id = $3 returning {COLUMNS}"
    );
    let hours = ROTATION_HOURS as i32;
    let row = tx.query_opt(&sql, &[&which.store_id, &which.mode.is_live(), &which.id, &sealed_secret, &known, &hours]).await?;
    let Some(rotated) = row.as_ref().map(read) else { return Ok(None) };
    let after = json!({ "previous_secret": if known { "signs no longer" } else { "signs beside it for a day" } });
    log(tx, actor, What::WebhookSecretReplaced, &rotated, Value::Null, after).await?;
    Ok(Some(rotated))
}

/// [`rotate`] in a transaction of its own.
pub async fn rotate_alone(
    pg: &Pg,
    which: Which,
    sealed_secret: &[u8],
    known: bool,
    actor: Actor<'_>,
) -> Result<Option<Endpoint>, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let rotated = rotate(&tx, which, sealed_secret, known, actor).await?;
    tx.commit().await?;
    Ok(rotated)
}

/// The secret that an endpoint signs with, sealed to its [`place`].
pub async fn sealed_secret(client: &impl GenericClient, which: Which) -> Result<Option<Vec<u8>>, StorageError> {
    let sql = "select sealed_secret from webhook_endpoints where store_id = $1 and live = $2 and id = $3";
    Ok(client.query_opt(sql, &[&which.store_id, &which.mode.is_live(), &which.id]).await?.map(|row| row.get(0)))
}

/// The secret that an endpoint signs with, sealed to its [`place`]. Nobody else rotates it until this transaction ends.
pub async fn sealed_secret_for_update(client: &impl GenericClient, which: Which) -> Result<Option<Vec<u8>>, StorageError> {
    let sql = "select sealed_secret from webhook_endpoints where store_id = $1 and live = $2 and id = $3 for update";
    Ok(client.query_opt(sql, &[&which.store_id, &which.mode.is_live(), &which.id]).await?.map(|row| row.get(0)))
}

/// Removes an endpoint. What was still to be sent to it is not, and says so a moment later.
pub async fn remove(pg: &Pg, which: Which, actor: Actor<'_>) -> Result<bool, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let sql = format!("delete from webhook_endpoints where store_id = $1 and live = $2 and id = $3 returning {COLUMNS}");
    let row = tx.query_opt(&sql, &[&which.store_id, &which.mode.is_live(), &which.id]).await?;
    let Some(removed) = row.as_ref().map(read) else { return Ok(false) };
    log(&tx, actor, What::WebhookRemoved, &removed, shown(&removed), Value::Null).await?;
    tx.commit().await?;
    Ok(true)
}

/// How many endpoints are disabled because they failed.
pub async fn failed(client: &impl GenericClient) -> Result<i64, StorageError> {
    let sql = "select count(*) from webhook_endpoints where disabled_reason in ($1, $2)";
    Ok(client.query_one(sql, &[&DISABLED_GONE, &DISABLED_FAILING]).await?.get(0))
}

/// Why an endpoint is disabled whose server said that it is gone for good.
pub const DISABLED_GONE: &str = "it answered 410 Gone";
/// Why an endpoint is disabled that has taken nothing for days.
pub const DISABLED_FAILING: &str = "no attempt has succeeded for 72 hours";

/// What an endpoint's secret is sealed to.
pub fn place(endpoint_id: Uuid) -> [u8; 16] {
    endpoint_id.into_bytes()
}
