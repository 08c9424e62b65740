//! How much each API key is used: edges count in memory and add up here once a minute, hour by hour. The column that names the hour is
//! called `minute`, as rows of earlier versions are one for each; sums do not mind.

use std::time::SystemTime;

use common::mode::Mode;

use super::{GenericClient, StorageError};

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

/// Adds counts to the hour of each key's last use, and moves its last-used time forward, to the minute, never back.
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
             insert into api_key_usage as old (key_id, minute, requests, limited)
             select key_id, date_trunc('hour', minute), requests, limited from used
             on conflict (key_id, minute) do update
                 set requests = old.requests + excluded.requests, limited = old.limited + excluded.limited",
            &[&column(|u| u.key_id), &column(|u| u.requests), &column(|u| u.limited), &column(|u| u.last_used_s)],
        )
        .await?;
    Ok(())
}

/// What a store's keys did in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub starts_at: SystemTime,
    /// Requests that keys were charged for.
    pub requests: i64,
    /// Of these, the ones refused with 429.
    pub limited: i64,
}

/// The last 24 hours of a store's keys of a mode, the present one included, oldest first.
pub async fn by_hour(client: &impl GenericClient, store_id: i64, mode: Mode) -> Result<Vec<Hour>, StorageError> {
    let rows = client
        .query(
            "with used as (
                 select date_trunc('hour', u.minute) as hour, sum(u.requests) as requests, sum(u.limited) as limited
                 from api_keys k join api_key_usage u on u.key_id = k.id
                 where k.store_id = $1 and k.live = $2 and u.minute >= date_trunc('hour', now()) - interval '23 hours' group by 1)
             select hour, coalesce(used.requests, 0)::bigint, coalesce(used.limited, 0)::bigint
             from generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour') hour
                  left join used using (hour) order by hour",
            &[&store_id, &mode.is_live()],
        )
        .await?;
    Ok(rows.iter().map(|row| Hour { starts_at: row.get(0), requests: row.get(1), limited: row.get(2) }).collect())
}
