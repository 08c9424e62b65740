//! `observe`: looks at the backlog every few seconds and puts it on the metrics page. Changes nothing.

use std::convert::Infallible;
use std::time::Duration;

use storage::pg::{license_keys, order_payments, orders, stripe_events, webhook_deliveries, webhook_endpoints};
use storage::queue::Watcher;
use storage::{Pg, StorageError};
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;
use crate::webhooks::Dispatcher;

const EVERY: Duration = Duration::from_secs(2);

/// What is not settled of the webhooks is counted row by row, and so less often: every so many looks.
const WEBHOOKS_EVERY: u32 = 5;

/// Stock changes slowly, as far as anybody could do something about it.
const STOCK_EVERY: u32 = 10;
const STOCK_DAYS: [u32; 3] = [1, 3, 7];

/// Looks until `stop`.
pub async fn run(
    pg: Pg,
    queues: Watcher,
    dispatcher: Dispatcher,
    metrics: WorkerMetrics,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut looks: u32 = 0;
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let pool = pg.pool_status();
        metrics.postgres_connections.set(pool.size as i64);
        metrics.postgres_waiting.set(pool.waiting as i64);
        metrics.postgres_wait_seconds_total.inc_by((pool.waited.as_secs_f64() - metrics.postgres_wait_seconds_total.get()).max(0.0));
        match queues.look().await {
            Ok(found) => {
                for (queue, backlog) in found {
                    metrics.queue_entries.with_label_values(&[queue]).set(i64::try_from(backlog.entries).unwrap_or(i64::MAX));
                    metrics.queue_oldest_seconds.with_label_values(&[queue]).set(backlog.oldest.as_secs() as i64);
                }
            }
            Err(error) => tracing::warn!(%error, "looking at the queues"),
        }
        let backlog: Result<(i64, f64), StorageError> = async { orders::processing_backlog(&*pg.client().await?).await }.await;
        match backlog {
            Ok((count, oldest_s)) => {
                metrics.orders_processing.set(count);
                metrics.orders_processing_oldest_seconds.set(oldest_s as i64);
            }
            Err(error) => tracing::warn!(%error, "looking at the backlog"),
        }
        let (in_flight, waiting) = dispatcher.load();
        metrics.webhook_in_flight.set(in_flight as i64);
        metrics.webhook_waiting.set(waiting as i64);
        if looks.is_multiple_of(WEBHOOKS_EVERY)
            && let Err(error) = look_at_webhooks(&pg, &metrics).await
        {
            tracing::warn!(%error, "looking at the webhooks");
        }
        if let Err(error) = look_at_payments(&pg, &metrics).await {
            tracing::warn!(%error, "looking at the payments");
        }
        if looks.is_multiple_of(STOCK_EVERY)
            && let Err(error) = look_at_stock(&pg, &metrics).await
        {
            tracing::warn!(%error, "looking at the stock");
        }
        looks = looks.wrapping_add(1);
    }
    Ok(())
}

async fn look_at_payments(pg: &Pg, metrics: &WorkerMetrics) -> Result<(), StorageError> {
    let client = pg.client().await?;
    let backlog = stripe_events::backlog(&*client).await?;
    metrics.stripe_events_waiting.set(backlog.waiting);
    metrics.stripe_events_waiting_oldest_seconds.set(backlog.waiting_oldest_s as i64);
    metrics.stripe_events_parked.set(backlog.parked);
    metrics.stripe_events_parked_oldest_seconds.set(backlog.parked_oldest_s as i64);
    let (awaiting, oldest) = order_payments::awaiting(&*client).await?;
    metrics.orders_awaiting_stock.set(awaiting);
    metrics.orders_awaiting_stock_oldest_seconds.set(oldest.as_secs() as i64);
    Ok(())
}

async fn look_at_webhooks(pg: &Pg, metrics: &WorkerMetrics) -> Result<(), StorageError> {
    let client = pg.client().await?;
    let backlog = webhook_deliveries::backlog(&*client).await?;
    metrics.webhook_pending.set(backlog.pending);
    metrics.webhook_kept.set(backlog.kept);
    metrics.webhook_oldest_pending_seconds.set(backlog.oldest_s as i64);
    metrics.webhook_due_oldest_seconds.set(backlog.due_s as i64);
    metrics.webhook_endpoints_disabled.set(webhook_endpoints::failed(&*client).await?);
    Ok(())
}

async fn look_at_stock(pg: &Pg, metrics: &WorkerMetrics) -> Result<(), StorageError> {
    let stocks = license_keys::stocks_of_recent_sales(&*pg.client().await?, STOCK_DAYS[2]).await?;
    let within = |days: u32| stocks.iter().filter(|stock| stock.free as f64 <= stock.sold_a_day * f64::from(days)).count() as i64;
    for days in STOCK_DAYS {
        metrics.products_running_out.with_label_values(&[&days.to_string()]).set(within(days));
    }
    metrics.products_sold_out.set(stocks.iter().filter(|stock| stock.free == 0).count() as i64);
    Ok(())
}
