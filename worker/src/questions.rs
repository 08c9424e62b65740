//! What all questions of edges have in common here: they are opened, answered, settled, and kept as dead letters when nobody can read
//! them. What a question means is its job's to know.

use std::time::Duration;

use common::backoff;
use common::job::{JOB_PLACE, JOB_VERSION, Outcome, Reply};
use common::seal::Sealer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use storage::crash_point::reach;
use storage::pg::dead_letters;
use storage::queue::Entry;
use storage::queue::settle::Settler;
use storage::replies::Replier;
use storage::{Pg, StorageError};

use crate::metrics::WorkerMetrics;

/// One kind of question.
pub struct Questions {
    /// The job's name.
    pub name: &'static str,
    /// For dead letters.
    pub pg: Pg,
    /// Opens questions.
    pub jobs: Sealer,
    /// Answers edges.
    pub replier: Replier,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

impl Questions {
    /// Counts that an entry was taken out of the queue.
    pub fn taken(&self, entry: &Entry) {
        self.metrics.queue_wait_seconds.with_label_values(&[self.name]).observe(entry.age_ms as f64 / 1_000.0);
        if entry.redelivered {
            self.metrics.redelivered_total.with_label_values(&[self.name]).inc();
        }
    }

    /// What an entry asks, or why nobody can tell.
    pub fn read<J: DeserializeOwned>(&self, entry: &Entry) -> Result<J, String> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u8,
        }
        let json = self.jobs.open(JOB_PLACE, &entry.payload).map_err(|error| error.to_string())?;
        let Versioned { v } = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        if v > JOB_VERSION {
            return Err(format!("version {v} is newer than this worker"));
        }
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }

    /// Answers, each on the channel of the edge that asked.
    pub async fn reply<O: Outcome>(&self, replies: Vec<(String, Reply<O>)>) {
        let count = replies.len();
        if let Err(error) = self.replier.send(replies).await {
            tracing::debug!(%error, replies = count, "replies did not get through; the edges will look for themselves");
        }
    }

    /// Keeps an entry that cannot be worked on as a dead letter. Tries until it is kept: it is the only trace there is.
    pub async fn bury(&self, entry: Entry, reason: &str, settler: &Settler) {
        tracing::error!(reason, entry = entry.id, "a job became a dead letter");
        reach("bury.begun").await;
        let id = dead_letters::id_of_entry(self.name, &entry.id, &entry.payload);
        for attempt in 1.. {
            let buried = async {
                let client = self.pg.client().await?;
                dead_letters::insert(&*client, id, self.name, reason, &entry.payload).await
            };
            let Err(error): Result<(), StorageError> = buried.await else { break };
            tracing::debug!(%error, "keeping a dead letter");
            tokio::time::sleep(backoff::exponential(Duration::from_millis(100), Duration::from_secs(5), attempt, rand::random())).await;
        }
        reach("bury.kept").await;
        self.metrics.dead_letters_total.with_label_values(&[self.name]).inc();
        self.settle(entry, "dead_letter", settler);
    }

    /// Says that an entry is done with.
    pub fn settle(&self, entry: Entry, outcome: &str, settler: &Settler) {
        self.metrics.jobs_total.with_label_values(&[self.name, outcome]).inc();
        settler.settle(entry.id);
    }
}
