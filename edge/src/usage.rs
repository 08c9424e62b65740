//! Reports how much each key is used, once a minute. What could not be reported is added to the next report.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use storage::pg::usage::{self, Usage};
use storage::{Pg, StorageError};
use tokio_util::sync::CancellationToken;

use crate::metrics::EdgeMetrics;
use crate::snapshot::Snapshot;

/// The most keys in one statement.
const KEYS_MAX: usize = 5_000;

/// Reports until `stop`, and once more then.
pub async fn run(
    snapshot: Arc<Snapshot>,
    pg: Pg,
    metrics: EdgeMetrics,
    every: Duration,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut unreported: HashMap<i64, Usage> = HashMap::new();
    loop {
        let stopping = stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none();
        for usage in snapshot.take_usage() {
            let sum = unreported.entry(usage.key_id).or_insert(Usage { requests: 0, limited: 0, ..usage });
            sum.requests += usage.requests;
            sum.limited += usage.limited;
            sum.last_used_s = sum.last_used_s.max(usage.last_used_s);
        }
        if let Err(error) = report(&pg, &mut unreported).await {
            metrics.usage_failures_total.inc();
            tracing::debug!(%error, keys = unreported.len(), "usage could not be reported; it is kept for the next time");
        }
        if stopping {
            return Ok(());
        }
    }
}

async fn report(pg: &Pg, unreported: &mut HashMap<i64, Usage>) -> Result<(), StorageError> {
    while !unreported.is_empty() {
        let part: Vec<Usage> = unreported.values().take(KEYS_MAX).copied().collect();
        usage::add(&*pg.client().await?, &part).await?;
        for usage in part {
            unreported.remove(&usage.key_id);
        }
    }
    Ok(())
}
