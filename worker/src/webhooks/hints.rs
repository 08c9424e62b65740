//! The word that deliveries are due, said to all workers through the queue as soon as their events are committed.

use common::job::{DeliverJob, JOB_VERSION};
use storage::pg::events::Due;
use storage::queue::Producer;

/// Deliveries named in one job.
const DUE_MAX: usize = 128;

/// Says that deliveries are due. Cheap to clone.
#[derive(Clone)]
pub struct Hints(Producer);

impl Hints {
    /// Says it to this queue.
    pub fn new(producer: Producer) -> Self {
        Self(producer)
    }

    /// Says that these are due. Waits for nobody: what is not heard is found by the poll.
    pub fn send(&self, due: &[Due]) {
        for due in due.chunks(DUE_MAX) {
            let job = DeliverJob { v: JOB_VERSION, due: due.iter().map(|due| (due.id, due.endpoint_id)).collect() };
            let payload = serde_json::to_vec(&job).expect("numbers and ids serialize");
            let producer = self.0.clone();
            tokio::spawn(async move {
                if let Err(error) = producer.push(&payload).await {
                    tracing::debug!(%error, "telling that deliveries are due");
                }
            });
        }
    }
}
