//! `deliver_webhook`: the word that deliveries are due, as soon as their events are committed. Each job is settled at once, whatever comes
//! of it: what it names are rows, and [`super::poll_webhooks`] finds those that nobody took.

use std::sync::Arc;

use common::job::{DELIVER_WEBHOOK, DeliverJob, JOB_VERSION};
use storage::queue::backend::Batch;
use storage::queue::settle::Settler;
use uuid::Uuid;

use crate::metrics::WorkerMetrics;
use crate::webhooks::Dispatcher;

/// The job's name: part of the queue's key, and a label.
pub const NAME: &str = DELIVER_WEBHOOK;

/// What the job needs.
pub struct DeliverWebhook {
    /// Delivers.
    pub dispatcher: Dispatcher,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

impl DeliverWebhook {
    /// Begins the deliveries of a batch and settles its jobs.
    pub async fn run(self: Arc<Self>, batch: Batch, settler: Settler) {
        let mut due: Vec<(i64, Uuid)> = Vec::with_capacity(batch.len());
        let mut jobs = Vec::with_capacity(batch.len());
        for entry in batch {
            // Nothing is lost with what cannot be read, nor with what was given to another worker before.
            let outcome = match serde_json::from_slice::<DeliverJob>(&entry.payload) {
                Ok(job) if job.v <= JOB_VERSION => {
                    due.extend(job.due);
                    "told"
                }
                Ok(_) => "newer",
                Err(error) => {
                    tracing::warn!(%error, "a word about deliveries cannot be read; the poll finds them");
                    "unreadable"
                }
            };
            jobs.push((entry.id, outcome));
        }
        if let Err(error) = self.dispatcher.deliver(&due).await {
            tracing::debug!(%error, deliveries = due.len(), "claiming deliveries; the poll finds them");
        }
        for (id, outcome) in jobs {
            self.metrics.jobs_total.with_label_values(&[NAME, outcome]).inc();
            settler.settle(id);
        }
    }
}
