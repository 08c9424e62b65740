//! `poll_webhooks`: finds deliveries that are due, which is what guarantees them: retries, what nobody was told of, and what a worker left
//! behind. Looks again at once while there is more than there was room for.

use std::time::Duration;

use storage::pg::webhook_deliveries;
use storage::{Pg, StorageError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::webhooks::Dispatcher;

/// The job's name, as a label.
pub const NAME: &str = "poll_webhooks";
/// The most deliveries claimed at once.
const CLAIM_MAX: usize = 500;
/// While there is more, the least time between two looks: attempts end one by one, and room for several is worth a look.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks at what is not urgent.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Rows changed in one step of it.
const STEP_ROWS: i64 = 1_000;

/// Polls until `stop`, each `interval` and as long as something is left.
pub async fn run(pg: Pg, dispatcher: Dispatcher, interval: Duration, stop: CancellationToken) -> Result<(), StorageError> {
    let mut tended = None;
    loop {
        let polled = async {
            if tended.is_none_or(|at: Instant| at.elapsed() >= TEND_EVERY) {
                tended = Some(Instant::now());
                tend(&pg).await?;
            }
            dispatcher.poll(CLAIM_MAX).await
        };
        let found = match polled.await {
            Ok(found) => found > 0,
            // The health check tells the operator; the next poll tries again.
            Err(error) if error.is_unavailable() => {
                tracing::debug!(%error, "polling deliveries");
                false
            }
            Err(error) if error.is_forbidden() => {
                tracing::error!(%error, "polling deliveries");
                false
            }
            Err(error) => return Err(error),
        };
        let more = async {
            // Where nothing was found, nothing is due, or there is no room for it.
            if !found {
                dispatcher.room().await;
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = more => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

async fn tend(pg: &Pg) -> Result<(), StorageError> {
    let client = pg.client().await?;
    webhook_deliveries::release_waiting(&*client).await?;
    webhook_deliveries::replay(&*client, STEP_ROWS).await?;
    webhook_deliveries::give_up_removed(&*client, STEP_ROWS).await?;
    Ok(())
}
