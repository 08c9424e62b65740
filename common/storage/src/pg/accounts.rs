//! Accounts of the portal: an e-mail address, and what is kept of a password.

use common::partner::Role;
use serde_json::{Value, json};

use super::audit_log::{self, Actor, Change, What};
use super::{GenericClient, Pg, StorageError, account_invites, memberships, portal_sessions};

/// What signing in needs to know.
#[derive(Debug, Clone)]
pub struct Account {
    /// Internal id.
    pub id: i64,
    /// argon2id in PHC's format; none until a password was set.
    pub password_hash: Option<String>,
    /// Whether this browser has been signed in to the account before.
    pub knows_browser: bool,
}

/// The account with this address, in lower case.
pub async fn find(client: &impl GenericClient, email: &str, browser: &[u8; 32]) -> Result<Option<Account>, StorageError> {
    let sql = "select id, password_hash, exists (select from portal_sessions s where s.account_id = a.id and s.browser = $2)
               from accounts a where email = $1";
    let row = client.query_opt(sql, &[&email, &browser.as_slice()]).await?;
    Ok(row.map(|row| Account { id: row.get(0), password_hash: row.get(1), knows_browser: row.get(2) }))
}

/// Makes sure that there is an account with this role in a store, and replaces its link for setting a password. `digest` is of the new link,
/// which is good for `lifetime_s`.
pub async fn invite(
    pg: &Pg,
    email: &str,
    store_id: i64,
    role: Role,
    digest: &[u8; 32],
    lifetime_s: f64,
    actor: Actor<'_>,
) -> Result<(), StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    // An update of nothing, so that the row comes back whoever made it.
    let sql = "insert into accounts (email) values ($1) on conflict (email) do update set email = excluded.email returning id";
    let id: i64 = tx.query_one(sql, &[&email]).await?.get(0);
    memberships::set(&tx, id, store_id, role).await?;
    account_invites::replace(&tx, id, digest, lifetime_s).await?;
    let after = json!({ "role": role.as_str() });
    audit_log::write(&tx, &Change { store_id, actor, what: What::MemberInvited, object: email, before: Value::Null, after }).await?;
    Ok(tx.commit().await?)
}

/// Sets the password of whoever holds the link with this digest, uses the link up, and ends every session of the account. `false` when the
/// link is not good any more.
pub async fn set_password(pg: &Pg, link: &[u8; 32], password_hash: &str) -> Result<bool, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let Some(id) = account_invites::take(&tx, link).await? else { return Ok(false) };
    tx.execute("update accounts set password_hash = $2 where id = $1", &[&id, &password_hash]).await?;
    portal_sessions::end_all(&tx, id).await?;
    tx.commit().await?;
    Ok(true)
}
