//! `follow_taxes`: keeps the tax rates in memory equal to what operators have imported. A notification wakes it, a poll each second makes
//! sure. While the database is away the rates stay as they are.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::clock::{Clock, rfc3339};
use common::tax::parse_date;
use ops::health::Check;
use storage::pg::changes;
use storage::pg::listener::{self, Notice};
use storage::pg::tax_rates::LiveTable;
use storage::{Pg, StorageError};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;

/// Between two looks at the feed: an import is everywhere a second later.
const EVERY: Duration = Duration::from_secs(1);

/// What it takes to follow.
#[derive(Clone)]
pub struct Follower {
    /// Where the rows are.
    pub pg: Pg,
    /// What is kept up to date.
    pub taxes: Arc<LiveTable>,
    /// What day it is.
    pub clock: Arc<dyn Clock>,
    /// What is told of the rates.
    pub metrics: WorkerMetrics,
    /// Passes once the rates are there: what was loaded once goes on serving.
    pub check: Check,
}

impl Follower {
    /// Follows until `stop`.
    pub async fn run(self, mut notices: broadcast::Receiver<Notice>, stop: CancellationToken) -> Result<(), Infallible> {
        let mut loaded = None;
        loop {
            if let Err(error) = self.catch_up(&mut loaded).await {
                tracing::debug!(%error, "the tax rates could not be brought up to date");
            }
            self.tell();
            let woken = listener::heard(&mut notices, changes::CHANNEL);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = woken => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Loads the rates when something was imported since, and the first time. `loaded` is the newest import that is in them: a change that
    /// is committed between the look and the loading is loaded twice, and never missed.
    async fn catch_up(&self, loaded: &mut Option<Option<changes::Position>>) -> Result<(), StorageError> {
        let client = self.pg.client().await?;
        let newest = changes::newest_of_tax(&*client).await?;
        if *loaded != Some(newest) {
            self.taxes.load(&*client).await?;
            *loaded = Some(newest);
        }
        Ok(())
    }

    /// Says whether there are rates, and how old the oldest of them are.
    fn tell(&self) {
        let table = self.taxes.table();
        if table.is_some() {
            self.check.ok()
        } else {
            self.check.failed("the tax rates are not loaded")
        }
        let today = rfc3339(self.clock.now().unix_ms);
        let Some((table, today)) = table.zip(parse_date(&today[..10]).ok()) else { return };
        self.metrics.tax_oldest_as_of_timestamp_seconds.set(table.oldest_as_of_s(today).unwrap_or(0));
        let ended: Vec<String> = table.ended(today).map(ToString::to_string).collect();
        if self.metrics.tax_rates_ended.get() != ended.len() as i64 {
            self.metrics.tax_rates_ended.set(ended.len() as i64);
            if !ended.is_empty() {
                tracing::warn!(?ended, "tax rates have ended, and nobody has said what holds since");
            }
        }
    }
}
