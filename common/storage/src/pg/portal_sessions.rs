//! Sessions of the portal, as far as they are kept: a digest of what the browser holds, and until when it is good.

use common::partner::Role;

use super::{GenericClient, StorageError, memberships};

/// Begins a session that lives for `lifetime_s` at most, and ends the one that the browser had before.
pub async fn begin(
    client: &impl GenericClient,
    account_id: i64,
    browser: &[u8; 32],
    digest: &[u8; 32],
    before: Option<&[u8; 32]>,
    lifetime_s: f64,
) -> Result<(), StorageError> {
    let before = before.map(<[u8; 32]>::as_slice);
    client
        .execute(
            "with before as (update portal_sessions set ended_at = now() where digest = $4 and ended_at is null)
             insert into portal_sessions (account_id, browser, digest, expires_at) values ($1, $2, $3, now() + make_interval(secs => $5))",
            &[&account_id, &browser.as_slice(), &digest.as_slice(), &before, &lifetime_s],
        )
        .await?;
    Ok(())
}

/// Who a session belongs to, and what they may do as of now.
#[derive(Debug, Clone)]
pub struct Session {
    /// The account.
    pub account_id: i64,
    /// Its e-mail address.
    pub email: String,
    /// By store.
    pub roles: Vec<(i64, Role)>,
}

/// The session with this digest, if it is good: not ended, not over, and seen within the last `idle_s`. It is seen now, to the minute.
pub async fn find(client: &impl GenericClient, digest: &[u8; 32], idle_s: f64) -> Result<Option<Session>, StorageError> {
    let rows = client
        .query(
            "with good as (
                 select digest, account_id, seen_at from portal_sessions
                 where digest = $1 and ended_at is null and expires_at > now() and seen_at > now() - make_interval(secs => $2)),
             seen as (
                 update portal_sessions s set seen_at = now() from good where s.digest = good.digest and good.seen_at < now() - interval '1 minute')
             select a.id, a.email, m.store_id, m.role
             from good join accounts a on a.id = good.account_id left join memberships m on m.account_id = a.id",
            &[&digest.as_slice(), &idle_s],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut session = Session { account_id: first.get(0), email: first.get(1), roles: Vec::new() };
    for row in &rows {
        if let Some(store_id) = row.get::<_, Option<i64>>(2) {
            session.roles.push((store_id, memberships::role(row.get(3))?));
        }
    }
    Ok(Some(session))
}

/// Ends a session.
pub async fn end(client: &impl GenericClient, digest: &[u8; 32]) -> Result<(), StorageError> {
    client.execute("update portal_sessions set ended_at = now() where digest = $1 and ended_at is null", &[&digest.as_slice()]).await?;
    Ok(())
}

/// Ends every session of an account.
pub async fn end_all(client: &impl GenericClient, account_id: i64) -> Result<(), StorageError> {
    client.execute("update portal_sessions set ended_at = now() where account_id = $1 and ended_at is null", &[&account_id]).await?;
    Ok(())
}
