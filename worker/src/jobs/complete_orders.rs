//! `complete_orders`: takes care of the orders that an edge wrote down because no worker answered it in time. A notification starts it,
//! a sweep makes sure. Retries live in the database, as the time of the next attempt.

use std::sync::Arc;
use std::time::Duration;

use common::ids::OrderId;
use storage::crash_point::reach;
use storage::pg::dead_letters;
use storage::pg::listener::{self, Notice};
use storage::pg::orders::{self, PROCESSING_CHANNEL, ProcessingOrder};
use storage::{Pg, StorageError};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::fulfillment::{Completed, Fulfillment};
use crate::metrics::WorkerMetrics;

/// The job's name, as a label.
pub const NAME: &str = "complete_orders";
/// The most orders claimed at once.
const CLAIM_MAX: i64 = 64;
/// The wait after a first start that came to nothing; it doubles with each.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sweeps until `stop`, each `interval` and whenever an edge says that there is something.
pub async fn run(
    pg: Pg,
    fulfillment: Arc<Fulfillment>,
    metrics: WorkerMetrics,
    mut notices: broadcast::Receiver<Notice>,
    interval: Duration,
    stop: CancellationToken,
) -> Result<(), StorageError> {
    let mut sweeper = Sweeper { pg, fulfillment, metrics, unforgiven: Vec::new() };
    loop {
        match sweeper.sweep(&stop).await {
            Ok(()) => {}
            // The health check tells the operator; the next sweep tries again.
            Err(error) if error.is_unavailable() => tracing::debug!(%error, "sweeping"),
            Err(error) if error.is_forbidden() => tracing::error!(%error, "sweeping"),
            Err(error) => return Err(error),
        }
        let said = listener::heard(&mut notices, PROCESSING_CHANNEL);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = said => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

struct Sweeper {
    pg: Pg,
    fulfillment: Arc<Fulfillment>,
    metrics: WorkerMetrics,
    /// Orders whose start ended in an orderly way while nobody could write that down. Nothing is claimed before it is.
    unforgiven: Vec<OrderId>,
}

impl Sweeper {
    /// Works until nothing is due. New orders are taken many at a time, those that were left behind one by one.
    async fn sweep(&mut self, stop: &CancellationToken) -> Result<(), StorageError> {
        while !stop.is_cancelled() {
            self.forgive().await?;
            let fresh = orders::claim_fresh(&*self.pg.client().await?, CLAIM_MAX, RETRY_AFTER).await?;
            let nothing_new = fresh.is_empty();
            self.complete(fresh).await?;
            let suspect = orders::claim_suspect(&*self.pg.client().await?, RETRY_AFTER).await?;
            if nothing_new && suspect.is_none() {
                return Ok(());
            }
            self.complete(suspect.into_iter().collect()).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, claimed: Vec<ProcessingOrder>) -> Result<(), StorageError> {
        if claimed.is_empty() {
            return Ok(());
        }
        reach("sweep.claimed").await;
        let ids: Vec<OrderId> = claimed.iter().map(|order| order.id.clone()).collect();
        let count = claimed.len() as u64;
        let fulfillment = self.fulfillment.clone();
        let (outcome, reason) = match tokio::spawn(async move { fulfillment.complete(claimed).await }).await {
            // An orderly end says nothing against the orders that are still processing, whatever the reason: others were quicker, or the
            // database went away.
            Ok(Ok(completed)) => {
                reach("sweep.completed").await;
                count_up(&self.metrics, completed, count);
                self.unforgiven = ids;
                self.forgive().await?;
                reach("sweep.forgiven").await;
                return Ok(());
            }
            // Not these orders' fault.
            Ok(Err(error)) if error.is_unavailable() || error.is_forbidden() => {
                self.metrics.jobs_total.with_label_values(&[NAME, "unavailable"]).inc_by(count);
                self.unforgiven = ids;
                return Err(error);
            }
            Ok(Err(error)) => ("broken", error.to_string()),
            Err(panicked) => ("panicked", panicked.to_string()),
        };
        // The starts stay counted: these orders are taken one by one from now on, and the one that is at fault is given up in the end.
        self.metrics.jobs_total.with_label_values(&[NAME, outcome]).inc_by(count);
        tracing::error!(reason, orders = count, "completing orders");
        Ok(())
    }

    async fn forgive(&mut self) -> Result<(), StorageError> {
        if !self.unforgiven.is_empty() {
            orders::forgive_start(&*self.pg.client().await?, &self.unforgiven).await?;
            self.unforgiven.clear();
        }
        Ok(())
    }
}

fn count_up(metrics: &WorkerMetrics, completed: Completed, claimed: u64) {
    let other = claimed.saturating_sub(completed.fulfilled + completed.failed + completed.dead_letters);
    for (outcome, count) in [("fulfilled", completed.fulfilled), ("failed", completed.failed), ("left", other)] {
        metrics.jobs_total.with_label_values(&[NAME, outcome]).inc_by(count);
    }
    metrics.dead_letters_total.with_label_values(&[dead_letters::ORDER_REQUEST]).inc_by(completed.dead_letters);
    metrics.license_keys_allocated_total.inc_by(completed.license_keys);
}
