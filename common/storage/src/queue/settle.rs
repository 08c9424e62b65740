//! Takes done entries out of the stream, many at a time, acknowledged and deleted in one transaction. Tries until Redis lets it.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{StreamsInterface, TransactionInterface};
use fred::types::Value;
use tokio::sync::mpsc;

use super::{GROUP, InFlight, QueueName};
use crate::crash_point::reach;

const BATCH_MAX: usize = 512;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Settles entries.
#[derive(Debug, Clone)]
pub struct Settler(mpsc::UnboundedSender<String>);

impl Settler {
    /// Says that an entry is done with, whatever came of it. How many can wait here is bounded by how many were handed out.
    pub fn settle(&self, id: String) {
        // The receiving task lives as long as the reader; after it there is nothing left to settle for.
        let _ = self.0.send(id);
    }
}

pub(super) fn start(client: Client, queue: QueueName, in_flight: InFlight) -> (Settler, tokio::task::JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let mut ids: Vec<String> = Vec::with_capacity(BATCH_MAX);
        while receiver.recv_many(&mut ids, BATCH_MAX).await > 0 {
            reach("settle.begun").await;
            let mut backoff = BACKOFF_MIN;
            while let Err(error) = settle(&client, &queue, &ids).await {
                tracing::debug!(%error, queue = queue.job(), "settling entries");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            reach("settle.done").await;
            in_flight.remove(&ids);
            ids.clear();
        }
    });
    (Settler(sender), task)
}

async fn settle(client: &Client, queue: &QueueName, ids: &[String]) -> Result<(), Error> {
    // Both commands are kept here until the last line sends them: before it nothing has happened.
    let transaction = client.multi();
    let _queued: Value = transaction.xack(queue.key(), GROUP, ids.to_vec()).await?;
    let _queued: Value = transaction.xdel(queue.key(), ids.to_vec()).await?;
    let _done: Value = transaction.exec(true).await?;
    Ok(())
}
