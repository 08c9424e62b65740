//! Links by which an account sets its password, as far as they are kept: a digest, and until when. One for each account: a new one ends the
//! one before.

use super::{GenericClient, StorageError};

/// Keeps a new link in place of any other.
pub(super) async fn replace(tx: &impl GenericClient, account_id: i64, digest: &[u8; 32], lifetime_s: f64) -> Result<(), StorageError> {
    tx.execute(
        "insert into account_invites (account_id, digest, expires_at) values ($1, $2, now() + make_interval(secs => $3))
         on conflict (account_id) do update set digest = excluded.digest, expires_at = excluded.expires_at",
        &[&account_id, &digest.as_slice(), &lifetime_s],
    )
    .await?;
    Ok(())
}

/// Whose password this link sets, by e-mail address.
pub async fn email(client: &impl GenericClient, digest: &[u8; 32]) -> Result<Option<String>, StorageError> {
    let sql = "select email from account_invites i join accounts a on a.id = i.account_id where digest = $1 and expires_at > now()";
    Ok(client.query_opt(sql, &[&digest.as_slice()]).await?.map(|row| row.get(0)))
}

/// Uses a link up. Returns the account.
pub(super) async fn take(tx: &impl GenericClient, digest: &[u8; 32]) -> Result<Option<i64>, StorageError> {
    let sql = "delete from account_invites where digest = $1 and expires_at > now() returning account_id";
    Ok(tx.query_opt(sql, &[&digest.as_slice()]).await?.map(|row| row.get(0)))
}
