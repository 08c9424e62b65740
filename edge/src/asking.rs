//! Putting a question to the workers: sealed, into its queue, with the channel on which the edge hears the answer. What to do without one
//! is for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::job::{JOB_PLACE, Outcome};
use common::seal::Sealer;
use ops::prometheus::Histogram;
use serde::Serialize;
use storage::crash_point::reach;
use storage::queue::Producer;
use storage::replies::{Inbox, Waiter};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

/// One kind of question and its queue.
pub struct Asking {
    /// Carries questions.
    pub queue: Producer,
    /// Brings answers.
    pub inbox: Inbox,
    /// Seals questions.
    pub jobs: Sealer,
}

impl Asking {
    /// Begins to wait for the answer to a question that is still to be put.
    pub fn wait<O: Outcome>(&self) -> Waiter<O> {
        self.inbox.wait_for_outcome(Uuid::now_v7())
    }

    /// The channel that the answer must be sent to.
    pub fn reply_to(&self) -> String {
        self.inbox.channel().to_owned()
    }

    /// Whether a question would be carried, and an answer heard, just now.
    pub fn is_connected(&self) -> bool {
        self.queue.is_connected() && self.inbox.is_connected()
    }

    /// Puts the question into the queue. `false` when it certainly will not be answered.
    pub async fn put(&self, job: &impl Serialize, request_id: &str, within: Duration) -> bool {
        if !self.is_connected() {
            return false;
        }
        let Ok(json) = serde_json::to_vec(job) else { return false };
        reach("ask.sealed").await;
        let pushed = tokio::time::timeout(within, self.queue.push(&self.jobs.seal(JOB_PLACE, &json))).await;
        match pushed {
            Ok(Ok(())) => {
                reach("ask.pushed").await;
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, request_id, "the queue did not take a job");
                false
            }
            Err(_) => false,
        }
    }
}

/// Puts questions whose askers can do nothing but wait: so many at once, and no longer than there is patience for.
pub struct Asker {
    /// Puts the question.
    pub asking: Asking,
    /// Room for this many to wait.
    pub waiters: Semaphore,
    /// How long replies took.
    pub reply_seconds: Histogram,
    /// Entries in the queue, as last seen.
    pub depth: AtomicU64,
    /// Beyond so many entries in the queue nobody is asked.
    pub depth_max: u64,
    /// How long to wait.
    pub deadline: Duration,
}

/// Why there is no answer. Asking again in a moment is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Too many are waiting.
    Shed,
    /// The question could not be put.
    NotAsked,
    /// Nobody answered in time.
    Late,
}

impl NoAnswer {
    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shed => "shed",
            Self::NotAsked => "not_asked",
            Self::Late => "no_answer",
        }
    }
}

/// What every question carries beside what is asked.
#[derive(Debug, Clone)]
pub struct Slip {
    /// Names the question.
    pub id: Uuid,
    /// Where the answer is awaited.
    pub reply_to: String,
    /// How long it is awaited, in milliseconds.
    pub ttl_ms: u64,
}

impl Asker {
    /// Puts the question that `job` makes of its slip, and waits. Takes [`Asker::deadline`] at most, and no time at all while Redis is away.
    pub async fn ask<O: Outcome, J: Serialize>(&self, request_id: &str, job: impl FnOnce(Slip) -> J) -> Result<O, NoAnswer> {
        let crowded = self.depth.load(Ordering::Relaxed) > self.depth_max;
        let Some(_room) = self.waiters.try_acquire().ok().filter(|_| !crowded) else { return Err(NoAnswer::Shed) };
        let asked = Instant::now();
        let mut waiter: Waiter<O> = self.asking.wait();
        let slip = Slip { id: waiter.id(), reply_to: self.asking.reply_to(), ttl_ms: self.deadline.as_millis() as u64 };
        if !self.asking.put(&job(slip), request_id, self.deadline).await {
            return Err(NoAnswer::NotAsked);
        }
        let reply = tokio::time::timeout_at(asked + self.deadline, waiter.reply()).await.map_err(|_| NoAnswer::Late)?;
        self.reply_seconds.observe(asked.elapsed().as_secs_f64());
        Ok(reply.outcome)
    }
}
