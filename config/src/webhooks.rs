//! `[webhooks]`: how long a partner's server is waited for, and how many at once. The reason of each default stands in `default.toml`.

use std::path::PathBuf;
use std::time::Duration;

use crate::reader::Section;

/// `[webhooks]`.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// For a new connection to a partner's server: its name looked up, TLS included.
    pub connect_timeout: Duration,
    /// For one attempt as a whole.
    pub timeout: Duration,
    /// Attempts under way at once, of one worker.
    pub in_flight_max: usize,
    /// Of these, to one endpoint.
    pub in_flight_per_endpoint_max: usize,
    /// Of these, to one host and port, whoever has endpoints there.
    pub in_flight_per_destination_max: usize,
    /// PEM authorities to trust instead of the system's. Not opened here.
    pub tls_ca_file: Option<PathBuf>,
}

impl Webhooks {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let connect_timeout = from.millis("connect_timeout_ms", 10..=60_000);
        let timeout = from.millis("timeout_ms", 100..=15_000);
        from.relate("connect_timeout_ms", "must not be more than", "timeout_ms", connect_timeout <= timeout);
        let in_flight_max = from.number("in_flight_max", 1..=65_536);
        let in_flight_per_endpoint_max = from.number("in_flight_per_endpoint_max", 1..=1_024);
        let in_flight_per_destination_max = from.number("in_flight_per_destination_max", 1..=65_536);
        from.relate(
            "in_flight_per_endpoint_max",
            "must not be more than",
            "in_flight_per_destination_max",
            in_flight_per_endpoint_max <= in_flight_per_destination_max,
        );
        Self {
            connect_timeout,
            timeout,
            in_flight_max,
            in_flight_per_endpoint_max,
            in_flight_per_destination_max,
            tls_ca_file: from.path("tls_ca_file"),
        }
    }
}
