//! `observe`: looks at the backlog every few seconds and puts it on the metrics page. Changes nothing.

use std::convert::Infallible;
use std::time::Duration;

use storage::pg::orders;
use storage::queue::Producer;
use storage::{Pg, StorageError};
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;

const EVERY: Duration = Duration::from_secs(2);

/// Looks until `stop`.
pub async fn run(pg: Pg, queue: Producer, metrics: WorkerMetrics, stop: CancellationToken) -> Result<(), Infallible> {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let pool = pg.pool_status();
        metrics.postgres_connections.set(pool.size as i64);
        metrics.postgres_waiting.set(pool.waiting as i64);
        match queue.depth().await {
            Ok(depth) => metrics.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX)),
            Err(error) => tracing::debug!(%error, "looking at the queue"),
        }
        let backlog: Result<(i64, f64), StorageError> = async { orders::processing_backlog(&**pg.client().await?).await }.await;
        match backlog {
            Ok((count, oldest_s)) => {
                metrics.orders_processing.set(count);
                metrics.orders_processing_oldest_seconds.set(oldest_s as i64);
            }
            Err(error) => tracing::debug!(%error, "looking at the backlog"),
        }
    }
    Ok(())
}
