//! `fulfill_order`: the question of an edge whose caller is on the line. Batches are everything that was waiting; whatever happens to a
//! batch, every entry of it is settled in the end, and apalis is told that all went well. A question whose asker has gone is dropped:
//! if it matters, the asker has written the order down, and [`super::complete_orders`] takes care of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::backoff;
use common::fulfill::FulfillOutcome;
use common::job::{FULFILL_ORDER, FulfillJob, JOB_VERSION, NewOrder, Reply};
use common::trace::Trace;
use storage::crash_point::reach;
use storage::queue::Entry;
use storage::queue::backend::Batch;
use storage::queue::settle::Settler;

use crate::fulfillment::Fulfillment;
use crate::metrics::WorkerMetrics;
use crate::questions::Questions;

/// The job's name: part of the queue's key, and a label.
pub const NAME: &str = FULFILL_ORDER;

/// What the job needs.
pub struct FulfillOrder {
    /// Makes orders.
    pub fulfillment: Arc<Fulfillment>,
    /// Opens jobs and answers edges.
    pub questions: Questions,
    /// The most license keys in one transaction.
    pub batch_keys_max: usize,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

/// A job and the entry it came in.
struct Taken {
    entry: Entry,
    job: FulfillJob,
}

impl FulfillOrder {
    /// Works on a batch and settles all of it.
    pub async fn run(self: Arc<Self>, batch: Batch, settler: Settler) {
        reach("job.taken").await;
        let started = Instant::now();
        self.metrics.batch_jobs.observe(batch.len() as f64);
        let mut alive = Vec::with_capacity(batch.len());
        for entry in batch {
            self.questions.taken(&entry);
            match self.questions.read::<FulfillJob>(&entry) {
                Err(reason) => self.questions.bury(entry, &reason, &settler).await,
                Ok(job) if entry.age_ms > job.ttl_ms => self.questions.settle(entry, "moot", &settler),
                Ok(job) => alive.push(Taken { entry, job }),
            }
        }
        let mut chunk: Vec<Taken> = Vec::new();
        let mut keys = 0;
        for taken in alive {
            let needed = taken.job.order.request.keys_needed();
            if !chunk.is_empty() && keys + needed > self.batch_keys_max {
                self.clone().work(std::mem::take(&mut chunk), &settler).await;
                keys = 0;
            }
            keys += needed;
            chunk.push(taken);
        }
        if !chunk.is_empty() {
            self.clone().work(chunk, &settler).await;
        }
        self.metrics.batch_seconds.observe(started.elapsed().as_secs_f64());
    }

    async fn work(self: Arc<Self>, taken: Vec<Taken>, settler: &Settler) {
        // What comes a second time may be what ended the first worker. Written down, its starts are counted where no crash forgets them.
        if taken.iter().any(|taken| taken.entry.redelivered) {
            for Taken { entry, job } in taken {
                match self.fulfillment.write_down(&job.order).await {
                    Ok(()) => self.questions.settle(entry, "written_down", settler),
                    Err(error) => {
                        tracing::warn!(%error, request_id = job.request_id, trace_id = job.order.trace.as_ref().map(Trace::id), "could not write a redelivered job down; its asker must ask again");
                        self.questions.settle(entry, "unavailable", settler);
                    }
                }
            }
            return;
        }
        let orders: Arc<[NewOrder]> = taken.iter().map(|taken| taken.job.order.clone()).collect();
        match self.fulfill(orders, deadline(&taken)).await {
            Ok(outcomes) => {
                self.answer(taken.into_iter().zip(outcomes), settler).await;
            }
            Err(Failed::Unavailable) => {
                self.answer(taken.into_iter().map(|taken| (taken, FulfillOutcome::Unknown)), settler).await;
            }
            Err(Failed::Broken(_)) if taken.len() > 1 => {
                tracing::warn!(jobs = taken.len(), "a batch failed; taking its jobs one by one");
                for one in taken {
                    Box::pin(self.clone().work(vec![one], settler)).await;
                }
            }
            Err(Failed::Broken(reason)) => {
                for Taken { entry, job } in taken {
                    tracing::error!(
                        reason,
                        request_id = job.request_id,
                        trace_id = job.order.trace.as_ref().map(Trace::id),
                        "a job failed"
                    );
                    self.questions.reply(vec![reply(job, FulfillOutcome::Unknown)]).await;
                    self.questions.bury(entry, &reason, settler).await;
                }
            }
        }
    }

    /// Fulfills in a task of its own, so that a panic is an answer too. Tries again until the deadline while the database is away.
    async fn fulfill(&self, orders: Arc<[NewOrder]>, deadline: Instant) -> Result<Vec<FulfillOutcome>, Failed> {
        for attempt in 1.. {
            let (fulfillment, wanted) = (self.fulfillment.clone(), orders.clone());
            match tokio::spawn(async move { fulfillment.fulfill(&wanted).await }).await {
                Ok(Ok(outcomes)) => return Ok(outcomes),
                Ok(Err(error)) if error.is_unavailable() => {
                    let wait = backoff::exponential(Duration::from_millis(20), Duration::from_millis(500), attempt, rand::random());
                    if Instant::now() + wait >= deadline {
                        tracing::warn!(%error, jobs = orders.len(), "gave up on jobs whose askers have gone");
                        return Err(Failed::Unavailable);
                    }
                    tokio::time::sleep(wait).await;
                }
                Ok(Err(error)) => return Err(Failed::Broken(error.to_string())),
                Err(panicked) => return Err(Failed::Broken(panicked.to_string())),
            }
        }
        Err(Failed::Unavailable)
    }

    async fn answer(&self, decided: impl Iterator<Item = (Taken, FulfillOutcome)>, settler: &Settler) {
        let (mut replies, mut done) = (Vec::new(), Vec::new());
        for (Taken { entry, job }, outcome) in decided {
            done.push((entry, self.label(&outcome)));
            replies.push(reply(job, outcome));
        }
        reach("job.decided").await;
        self.questions.reply(replies).await;
        reach("job.replied").await;
        for (entry, label) in done {
            self.questions.settle(entry, label, settler);
        }
    }

    /// What an outcome counts as.
    fn label(&self, outcome: &FulfillOutcome) -> &'static str {
        match outcome {
            FulfillOutcome::Order { replayed: false, items, .. } => {
                self.metrics.license_keys_allocated_total.inc_by(items.iter().map(|item| item.license_keys.len() as u64).sum());
                "fulfilled"
            }
            FulfillOutcome::Order { replayed: true, .. } | FulfillOutcome::Stored { .. } => "replayed",
            FulfillOutcome::Processing { .. } => "processing",
            FulfillOutcome::ReferenceConflict | FulfillOutcome::IdempotencyConflict => "conflict",
            FulfillOutcome::OutOfStock { .. } => "out_of_stock",
            FulfillOutcome::UnknownProduct { .. } => "unknown_product",
            FulfillOutcome::Unknown => "unavailable",
        }
    }
}

/// What is sent to the asker of a job, and by which channel.
fn reply(job: FulfillJob, outcome: FulfillOutcome) -> (String, Reply) {
    (job.reply_to, Reply { v: JOB_VERSION, id: job.id, outcome })
}

enum Failed {
    /// The database is away, or too slow.
    Unavailable,
    /// The jobs themselves are at fault, or we are.
    Broken(String),
}

/// When the last asker of these has gone.
fn deadline(taken: &[Taken]) -> Instant {
    let left_ms = taken.iter().map(|taken| taken.job.ttl_ms.saturating_sub(taken.entry.age_ms)).max().unwrap_or(0);
    Instant::now() + Duration::from_millis(left_ms)
}
