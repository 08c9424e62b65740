//! `expire_orders`: gives up orders of the hosted cart that nobody has paid for long. Money that comes all the same still counts: an order
//! that is given up becomes what it would have been.

use std::sync::Arc;
use std::time::Duration;

use storage::pg::orders;
use storage::{Pg, StorageError};
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;
use crate::payments::Payments;

/// Orders given up in one step. More wait for the next sweep.
const STEP: i64 = 100;

/// What the job needs.
#[derive(Clone)]
pub struct ExpireOrders {
    /// Where orders are.
    pub pg: Pg,
    /// Knows what follows.
    pub payments: Arc<Payments>,
    /// How long an order may wait for its money.
    pub after: Duration,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

impl ExpireOrders {
    /// Looks each `interval`, until `stop`.
    pub async fn run(self, interval: Duration, stop: CancellationToken) -> Result<(), StorageError> {
        loop {
            match self.sweep().await {
                Ok(()) => {}
                // The health check tells the operator; the next sweep tries again.
                Err(error) if error.is_unavailable() => tracing::debug!(%error, "giving up unpaid orders"),
                Err(error) if error.is_forbidden() => tracing::error!(%error, "giving up unpaid orders"),
                Err(error) => return Err(error),
            }
            if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn sweep(&self) -> Result<(), StorageError> {
        let unpaid = { orders::unpaid(&*self.pg.client().await?, self.after, STEP).await? };
        for (mode, id) in unpaid {
            if self.payments.expire(mode, &id).await? {
                self.metrics.orders_expired_total.inc();
            }
        }
        Ok(())
    }
}
