//! `[worker]`: how many jobs the hands take at once, and how they stop. The reason of each default stands in `default.toml`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::reader::Section;

/// `[worker]`.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub admin_listen: SocketAddr,
    /// Batches in flight at once.
    pub batches_in_flight: usize,
    /// Jobs in one batch.
    pub batch_jobs_max: usize,
    /// License keys in one batch; at least the 1,000 a single order may have.
    pub batch_keys_max: usize,
    /// Starts of one job before it becomes a dead letter.
    pub job_starts_max: u16,
    /// Between two sweeps.
    pub sweep_interval: Duration,
    /// Until an order that nobody has paid is expired.
    pub unpaid_orders_expire: Duration,
    /// For running jobs to end at a stop.
    pub drain_timeout: Duration,
}

impl Worker {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        Self {
            admin_listen: from.socket("admin_listen"),
            batches_in_flight: from.number("batches_in_flight", 1..=64),
            batch_jobs_max: from.number("batch_jobs_max", 1..=1_024),
            batch_keys_max: from.number("batch_keys_max", 1_000..=100_000),
            job_starts_max: from.number("job_starts_max", 1..=100),
            sweep_interval: from.millis("sweep_interval_ms", 50..=60_000),
            unpaid_orders_expire: from.seconds("unpaid_orders_expire_s", 60..=31_536_000),
            drain_timeout: from.millis("drain_timeout_ms", 0..=600_000),
        }
    }
}
