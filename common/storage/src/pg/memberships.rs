//! Which account has which role in which store.

use std::time::SystemTime;

use common::partner::Role;
use serde_json::{Value, json};

use super::audit_log::{self, Actor, Change, What};
use super::{GenericClient, Pg, StorageError};

/// Gives an account a role in a store, in place of the one it has.
pub(super) async fn set(tx: &impl GenericClient, account_id: i64, store_id: i64, role: Role) -> Result<(), StorageError> {
    tx.execute(
        "insert into memberships (account_id, store_id, role) values ($1, $2, $3)
         on conflict (account_id, store_id) do update set role = excluded.role",
        &[&account_id, &store_id, &role.as_str()],
    )
    .await?;
    Ok(())
}

/// Someone who may see a store.
#[derive(Debug, Clone)]
pub struct Member {
    /// The account's e-mail address.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// Whether a password was ever set.
    pub has_password: bool,
    /// Since when.
    pub created_at: SystemTime,
}

/// Who may see a store, by e-mail address.
pub async fn of_store(client: &impl GenericClient, store_id: i64) -> Result<Vec<Member>, StorageError> {
    let sql = "select a.email, m.role, a.password_hash is not null, m.created_at
               from memberships m join accounts a on a.id = m.account_id where m.store_id = $1 order by 1";
    let rows = client.query(sql, &[&store_id]).await?;
    let read = |row: &tokio_postgres::Row| {
        Ok(Member { email: row.get(0), role: role(row.get(1))?, has_password: row.get(2), created_at: row.get(3) })
    };
    rows.iter().map(read).collect()
}

/// Takes an account out of a store; it is refused there from its next click on. `false` when it was not in it.
pub async fn remove(pg: &Pg, email: &str, store_id: i64, actor: Actor<'_>) -> Result<bool, StorageError> {
    let mut client = pg.client().await?;
    let tx = client.transaction().await?;
    let sql = "delete from memberships m using accounts a where a.id = m.account_id and a.email = $1 and m.store_id = $2 returning m.role";
    let Some(row) = tx.query_opt(sql, &[&email, &store_id]).await? else { return Ok(false) };
    let before = json!({ "role": row.get::<_, &str>(0) });
    audit_log::write(&tx, &Change { store_id, actor, what: What::MemberRemoved, object: email, before, after: Value::Null }).await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) fn role(text: &str) -> Result<Role, StorageError> {
    text.parse().map_err(|_| StorageError::Corrupt(format!("role {text:?}")))
}
