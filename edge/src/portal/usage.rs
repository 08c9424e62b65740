//! How much a store's API keys are used: requests of the last day hour by hour, how many of them were refused with 429, and how full each
//! key's buckets are in this moment. Charts are plain SVG; everything that they show is in words beside them.

use askama::Template;
use common::mode::Mode;
use storage::pg::api_keys::{self, ApiKeySummary};
use storage::pg::usage::{self, Hour};

use super::Visitor;
use super::frame::{Frame, minute};
use super::products::grouped;
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::query::Query;
use crate::quotas::QuotaName;
use crate::service::Call;

/// The chart, in the units of its `viewBox`: an hour's room, the width of its bar, and the height of the highest.
const HOUR_WIDTH: f64 = 30.0;
const BAR_WIDTH: f64 = 22.0;
const CHART_HEIGHT: f64 = 160.0;
/// Keys whose buckets are shown: those that were used last.
const KEYS_SHOWN: usize = 20;

/// An hour in the chart.
#[derive(Debug)]
struct Bar {
    /// `14:00`
    label: String,
    requests: String,
    limited: String,
    x: f64,
    /// Where the whole bar begins from above, and how high it is.
    y: f64,
    height: f64,
    /// The same of the part that was refused.
    limited_y: f64,
    limited_height: f64,
    /// Whether there is room for its label.
    is_labeled: bool,
}

/// A key's buckets.
#[derive(Debug)]
struct KeyUse {
    name: String,
    hint: String,
    requests: String,
    limited: i64,
    last_used: String,
    buckets: Vec<BucketUse>,
}

/// How full a bucket is.
#[derive(Debug)]
struct BucketUse {
    what: &'static str,
    used: String,
    limit: String,
    /// Of 100.
    percent: u32,
    tone: &'static str,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/usage.html")]
struct UsagePage {
    frame: Frame,
    mode: Mode,
    total: String,
    limited: String,
    /// The highest bar.
    most: String,
    bars: Vec<Bar>,
    keys: Vec<KeyUse>,
    more_keys: usize,
    is_idle: bool,
}

/// `GET /portal/stores/{slug}/usage/?mode=`
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let query = Query::parse(call.query, &["mode"])?;
    let mode: Mode = query.get("mode").map_or(Ok(Mode::Live), str::parse).map_err(|_| PageError::new(PageProblem::BadRequest))?;
    let pg = &edge.portal.pg;
    let read = in_time_of(pg, async {
        let client = pg.client().await?;
        let hours = usage::by_hour(&*client, visitor.store.id, mode).await?;
        Ok::<_, PageError>((hours, api_keys::of_store(&*client, visitor.store.id).await?))
    });
    let (hours, mut keys) = read.await?;
    keys.retain(|key| key.mode == mode && key.revoked_at.is_none());
    keys.sort_by_key(|key| std::cmp::Reverse(key.last_used_at));
    let more_keys = keys.len().saturating_sub(KEYS_SHOWN);
    let page = UsagePage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "usage"),
        mode,
        total: grouped(hours.iter().map(|hour| hour.requests).sum()),
        limited: grouped(hours.iter().map(|hour| hour.limited).sum()),
        most: grouped(hours.iter().map(|hour| hour.requests).max().unwrap_or(0)),
        bars: bars(&hours),
        keys: keys.into_iter().take(KEYS_SHOWN).map(|key| key_use(edge, key)).collect(),
        more_keys,
        is_idle: hours.iter().all(|hour| hour.requests == 0),
    };
    visitor.visit.page(&page)
}

fn bars(hours: &[Hour]) -> Vec<Bar> {
    let most = hours.iter().map(|hour| hour.requests).max().unwrap_or(0).max(1) as f64;
    let bar = |(index, hour): (usize, &Hour)| {
        // What is there can be seen, however little it is beside the rest.
        let height = |count: i64| if count == 0 { 0.0 } else { (count as f64 / most * CHART_HEIGHT).max(2.0).round() };
        let (all, limited) = (height(hour.requests), height(hour.limited));
        let at = minute(hour.starts_at);
        Bar {
            label: at[11..16].to_owned(),
            requests: grouped(hour.requests),
            limited: grouped(hour.limited),
            x: index as f64 * HOUR_WIDTH + (HOUR_WIDTH - BAR_WIDTH) / 2.0,
            y: CHART_HEIGHT - all,
            height: all,
            limited_y: CHART_HEIGHT - limited,
            limited_height: limited,
            is_labeled: index.is_multiple_of(6),
        }
    };
    hours.iter().enumerate().map(bar).collect()
}

fn key_use(edge: &Edge, key: ApiKeySummary) -> KeyUse {
    let now = edge.clock.now();
    let names = [("Checkout sessions", QuotaName::Checkout), ("Fulfillments", QuotaName::Licensing), ("Everything else", QuotaName::Api)];
    let bucket = |(what, name): (&'static str, QuotaName)| {
        // A key that this edge has not heard of yet has not been used here either.
        let entry = edge.snapshot.key_of_hash(&key.hash)?;
        let (bucket, quota) = entry.bucket(name, edge.gate.quota(name));
        let standing = bucket.peek(quota, now);
        Some(bucket_use(what, standing.limit - standing.remaining, standing.limit))
    };
    KeyUse {
        buckets: names.into_iter().filter_map(bucket).collect(),
        name: key.name,
        hint: key.hint,
        requests: grouped(key.requests_24h),
        limited: key.limited_24h,
        last_used: key.last_used_at.map_or_else(|| "never".to_owned(), minute),
    }
}

fn bucket_use(what: &'static str, used: u32, limit: u32) -> BucketUse {
    let percent = u32::try_from(u64::from(used) * 100 / u64::from(limit.max(1))).unwrap_or(100).min(100);
    let tone = match percent {
        0..80 => "good",
        80..100 => "note",
        _ => "wrong",
    };
    BucketUse { what, used: grouped(i64::from(used)), limit: grouped(i64::from(limit)), percent, tone }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_highest_bar_fills_the_chart_and_a_small_one_can_be_seen() {
        let hour = |index: u64, requests, limited| Hour {
            starts_at: SystemTime::UNIX_EPOCH + Duration::from_secs(index * 3_600),
            requests,
            limited,
        };
        let bars = bars(&[hour(0, 1_000, 500), hour(1, 1, 0), hour(2, 0, 0)]);
        let shape = |bar: &Bar| (bar.y, bar.height, bar.limited_y, bar.limited_height);
        assert_eq!(
            bars.iter().map(shape).collect::<Vec<_>>(),
            [(0.0, 160.0, 80.0, 80.0), (158.0, 2.0, 160.0, 0.0), (160.0, 0.0, 160.0, 0.0)]
        );
        assert_eq!((bars[1].label.as_str(), bars[0].requests.as_str()), ("01:00", "1,000"));
    }

    #[test]
    fn a_bucket_is_told_before_it_is_empty() {
        let tone = |used| bucket_use("x", used, 100).tone;
        assert_eq!((tone(0), tone(79), tone(80), tone(100)), ("good", "good", "note", "wrong"));
        assert_eq!(bucket_use("x", 1, 0).percent, 100);
    }
}
