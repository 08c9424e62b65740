//! `prune`: lets rows go that have served, by age, in small steps with pauses between them. Any number of workers may run it: whoever is
//! in a step is alone, and the others leave the round to it. What goes, and what never does, is the table in `storage::pg::retention`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use config::Retention;
use storage::pg::retention::{self, KINDS, Kind, Step};
use storage::{Pg, StorageError};
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;

/// The longest wait until the first round, and until the next after one that failed.
const SOON: Duration = Duration::from_secs(60);

/// What came of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Nothing old is left.
    Whole,
    /// Another worker is at it, or we were asked to stop.
    Left,
    /// At least one kind could not be pruned to its end.
    Failed,
}

/// What it takes to prune.
#[derive(Clone)]
pub struct Pruner {
    /// Where the rows are.
    pub pg: Pg,
    /// What is old, and how fast it goes.
    pub settings: Retention,
    /// What time it is, for the metric alone: the age of rows is judged by the database.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

impl Pruner {
    /// Prunes until `stop`: soon after the start, because a worker may never grow as old as the interval, and then each interval, give
    /// or take half by chance, so that workers started together do not stay together.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let interval = self.settings.interval;
        let mut wait = interval.min(SOON).mul_f64(rand::random());
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            let about = match self.round(&stop).await {
                Round::Whole | Round::Left => interval,
                Round::Failed => interval.min(SOON),
            };
            wait = about.mul_f64(0.5 + rand::random::<f64>());
        }
        Ok(())
    }

    /// Goes once through everything that grows old. What fails keeps nothing else from being pruned.
    pub async fn round(&self, stop: &CancellationToken) -> Round {
        let mut round = Round::Whole;
        for kind in &KINDS {
            match self.prune(kind, stop).await {
                Ok(true) => {}
                Ok(false) => return Round::Left,
                Err(error) => {
                    // An outage is told by the health check.
                    if error.is_unavailable() {
                        tracing::debug!(kind = kind.name, %error, "pruning");
                    } else {
                        tracing::error!(kind = kind.name, %error, "pruning; the next round tries again");
                    }
                    round = Round::Failed;
                }
            }
        }
        if round == Round::Whole {
            self.metrics.prune_round_timestamp_seconds.set(self.clock.now().unix_s() as i64);
        }
        round
    }

    /// Prunes one kind to its end. `false` when somebody else is at it, or we are asked to stop.
    async fn prune(&self, kind: &Kind, stop: &CancellationToken) -> Result<bool, StorageError> {
        let Retention { step_rows, step_pause, .. } = self.settings;
        // Counted from the start, so that the series exists before anything grows old.
        let pruned = self.metrics.pruned_rows_total.with_label_values(&[kind.name]);
        loop {
            match retention::step(&self.pg, kind, (kind.age)(&self.settings), step_rows).await? {
                Step::Busy => return Ok(false),
                Step::Pruned(rows) => {
                    pruned.inc_by(rows);
                    if rows < u64::from(step_rows) {
                        return Ok(true);
                    }
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(step_pause)).await.is_none() {
                return Ok(false);
            }
        }
    }
}
