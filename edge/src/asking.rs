//! Putting a question to the workers: sealed, into its queue, with the channel on which the edge hears the answer. What to do without one
//! is for whoever asks.

use std::time::Duration;

use common::job::{JOB_PLACE, Outcome};
use common::seal::Sealer;
use serde::Serialize;
use storage::crash_point::reach;
use storage::queue::Producer;
use storage::replies::{Inbox, Waiter};
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
