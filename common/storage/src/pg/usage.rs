//! How much each API key is used: edges count in memory and add up here once a minute.

use tokio_postgres::GenericClient;

use super::StorageError;

/// What one key did since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The key.
    pub key_id: i64,
    /// Requests it was charged for.
    pub requests: i64,
    /// Of these, the ones refused with 429.
    pub limited: i64,
    /// Unix seconds of the last one.
    pub last_used_s: i64,
}

/// Adds counts to the minute of each key's last use, and moves its last-used time forward, never back.
pub async fn add(client: &impl GenericClient, usage: &[Usage]) -> Result<(), StorageError> {
    let column = |value: fn(&Usage) -> i64| usage.iter().map(value).collect::<Vec<i64>>();
    // Keys are visited in one order by every edge, so that two reports cannot lock each other out.
    client
        .execute(
            "with used as (
                 select key_id, requests, limited, date_trunc('minute', to_timestamp(last_used_s)) as minute
                 from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) as u (key_id, requests, limited, last_used_s)
                 join api_keys k on k.id = u.key_id order by key_id
             ), touched as (
                 update api_keys k set last_used_at = used.minute from used
                 where k.id = used.key_id and (k.last_used_at is null or k.last_used_at < used.minute)
             )
             insert into api_key_usage as old (key_id, minute, requests, limited) select key_id, minute, requests, limited from used
             on conflict (key_id, minute) do update
                 set requests = old.requests + excluded.requests, limited = old.limited + excluded.limited",
            &[&column(|u| u.key_id), &column(|u| u.requests), &column(|u| u.limited), &column(|u| u.last_used_s)],
        )
        .await?;
    Ok(())
}
