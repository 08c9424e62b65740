//! `observe`: looks at the backlog every few seconds and puts it on the metrics page. Changes nothing.

use std::convert::Infallible;
use std::time::Duration;

use storage::pg::{order_payments, orders, stripe_events, webhook_deliveries, webhook_endpoints};
use storage::queue::Producer;
use storage::{Pg, StorageError};
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;
use crate::webhooks::Dispatcher;

const EVERY: Duration = Duration::from_secs(2);

/// What is not settled of the webhooks is counted row by row, and so less often: every so many looks.
const WEBHOOKS_EVERY: u32 = 5;

/// Looks until `stop`.
pub async fn run(
    pg: Pg,
    queue: Producer,
    dispatcher: Dispatcher,
    metrics: WorkerMetrics,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut looks: u32 = 0;
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
        let (in_flight, waiting) = dispatcher.load();
        metrics.webhook_in_flight.set(in_flight as i64);
        metrics.webhook_waiting.set(waiting as i64);
        if looks.is_multiple_of(WEBHOOKS_EVERY)
            && let Err(error) = look_at_webhooks(&pg, &metrics).await
        {
            tracing::debug!(%error, "looking at the webhooks");
        }
        if let Err(error) = look_at_payments(&pg, &metrics).await {
            tracing::debug!(%error, "looking at the payments");
        }
        looks = looks.wrapping_add(1);
    }
    Ok(())
}

async fn look_at_payments(pg: &Pg, metrics: &WorkerMetrics) -> Result<(), StorageError> {
    let client = pg.client().await?;
    let backlog = stripe_events::backlog(&**client).await?;
    metrics.stripe_events_waiting.set(backlog.waiting);
    metrics.stripe_events_waiting_oldest_seconds.set(backlog.waiting_oldest_s as i64);
    metrics.stripe_events_parked.set(backlog.parked);
    metrics.stripe_events_parked_oldest_seconds.set(backlog.parked_oldest_s as i64);
    let (awaiting, oldest) = order_payments::awaiting(&**client).await?;
    metrics.orders_awaiting_stock.set(awaiting);
    metrics.orders_awaiting_stock_oldest_seconds.set(oldest.as_secs() as i64);
    Ok(())
}

async fn look_at_webhooks(pg: &Pg, metrics: &WorkerMetrics) -> Result<(), StorageError> {
    let client = pg.client().await?;
    let backlog = webhook_deliveries::backlog(&**client).await?;
    metrics.webhook_pending.set(backlog.pending);
    metrics.webhook_kept.set(backlog.kept);
    metrics.webhook_oldest_pending_seconds.set(backlog.oldest_s as i64);
    metrics.webhook_endpoints_disabled.set(webhook_endpoints::failed(&**client).await?);
    Ok(())
}
