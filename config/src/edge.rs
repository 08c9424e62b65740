//! `[edge]`: the gateway's doors, bounds and deadlines. The reason of each default stands in `default.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::reader::Section;

/// More networks than any operator names, few enough to try one by one.
const PROXIES_MAX: usize = 256;

/// `[edge]`.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Where partners, customers and Stripe connect.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub admin_listen: SocketAddr,
    /// TLS on `listen`, or plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Serving threads; 0 means one per core.
    pub threads: usize,
    /// Open connections in all, as far as the limit of open files has room for them.
    pub connections_max: usize,
    /// Open connections from one address (IPv6: /64).
    pub connections_per_address_max: usize,
    /// From accepted to the first byte.
    pub first_byte_timeout: Duration,
    /// From a head's first byte to its last; of a connection's first head, from the connection's beginning.
    pub head_timeout: Duration,
    /// For a whole request body.
    pub body_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// Without progress while an answer is written; 4 KiB are a second's progress.
    pub write_timeout: Duration,
    /// Bytes of a request body.
    pub body_max_bytes: usize,
    /// Bytes of a request head, request line included.
    pub head_max_bytes: usize,
    /// Header fields of a request.
    pub head_fields_max: usize,
    /// Bytes of the request target.
    pub uri_max_bytes: usize,
    /// Open streams of one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Peers whose `X-Forwarded-For` / `Forwarded` is believed; host bits are zero, an address is a network of one.
    pub trusted_proxies: Vec<IpNet>,
    /// Between two looks at the change feed.
    pub snapshot_poll: Duration,
    /// Between two writes of keys' last use.
    pub usage_flush: Duration,
    /// Life of a checkout session whose request names none: 1800 to 86400 s.
    pub session_lifetime: Duration,
    /// Wait for a worker until the edge writes the order itself. Less than `fulfill_deadline`.
    pub fulfill_fallback: Duration,
    /// Until a fulfill request is answered in any case.
    pub fulfill_deadline: Duration,
    /// Until a question for a tax quote is given up.
    pub tax_deadline: Duration,
    /// Until a question for a payment is given up.
    pub payment_deadline: Duration,
    /// Fulfill requests waiting at once, and as many questions for tax quotes and for payments.
    pub waiters_max: usize,
    /// From "not ready" to the end of accepting at a stop.
    pub drain_delay: Duration,
    /// For open requests to end at a stop.
    pub drain_timeout: Duration,
    /// For idle connections at a stop, until they are closed.
    pub drain_idle: Duration,
    /// Addresses whose quotas are remembered at once.
    pub bucket_addresses_max: usize,
}

/// A certificate and its key, both PEM. Not opened here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

impl Edge {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let edge = Self {
            listen: from.socket("listen"),
            admin_listen: from.socket("admin_listen"),
            tls: tls(&mut from),
            threads: from.number("threads", 0..=1_024),
            connections_max: from.number("connections_max", 1..=1_000_000),
            connections_per_address_max: from.number("connections_per_address_max", 1..=1_000_000),
            first_byte_timeout: from.millis("first_byte_timeout_ms", 100..=600_000),
            head_timeout: from.millis("head_timeout_ms", 100..=600_000),
            body_timeout: from.millis("body_timeout_ms", 100..=600_000),
            idle_timeout: from.millis("idle_timeout_ms", 100..=3_600_000),
            write_timeout: from.millis("write_timeout_ms", 100..=600_000),
            body_max_bytes: from.number("body_max_bytes", 1_024..=1_048_576),
            head_max_bytes: from.number("head_max_bytes", 8_192..=262_144),
            head_fields_max: from.number("head_fields_max", 16..=1_024),
            uri_max_bytes: from.number("uri_max_bytes", 1_024..=65_535),
            http2_streams_max: from.number("http2_streams_max", 1..=10_000),
            trusted_proxies: from.networks("trusted_proxies", PROXIES_MAX),
            snapshot_poll: from.millis("snapshot_poll_ms", 50..=60_000),
            usage_flush: from.seconds("usage_flush_s", 1..=3_600),
            session_lifetime: from.seconds("session_lifetime_s", 1_800..=86_400),
            fulfill_fallback: from.millis("fulfill_fallback_ms", 1..=60_000),
            fulfill_deadline: from.millis("fulfill_deadline_ms", 2..=120_000),
            tax_deadline: from.millis("tax_deadline_ms", 10..=30_000),
            payment_deadline: from.millis("payment_deadline_ms", 10..=60_000),
            waiters_max: from.number("waiters_max", 1..=1_000_000),
            drain_delay: from.millis("drain_delay_ms", 0..=600_000),
            drain_timeout: from.millis("drain_timeout_ms", 0..=600_000),
            drain_idle: from.millis("drain_idle_ms", 0..=600_000),
            bucket_addresses_max: from.number("bucket_addresses_max", 1_000..=100_000_000),
        };
        edge.check(&mut from);
        edge
    }

    fn check(&self, from: &mut Section<'_>) {
        let apart = self.listen != self.admin_listen || self.listen.port() == 0;
        from.relate("admin_listen", "must differ from", "listen", apart);
        let fits = self.connections_per_address_max <= self.connections_max;
        from.relate("connections_per_address_max", "must not be more than", "connections_max", fits);
        // The target is part of the head: a larger bound could never be reached.
        let fits = self.uri_max_bytes < self.head_max_bytes;
        from.relate("uri_max_bytes", "must be less than", "head_max_bytes", fits);
        let before = self.fulfill_fallback < self.fulfill_deadline;
        from.relate("fulfill_fallback_ms", "must be less than", "fulfill_deadline_ms", before);
        let fits = self.drain_idle <= self.drain_timeout;
        from.relate("drain_idle_ms", "must not be more than", "drain_timeout_ms", fits);
    }
}

fn tls(from: &mut Section<'_>) -> Option<TlsFiles> {
    let (certificate, key) = (from.path("tls_certificate_file"), from.path("tls_key_file"));
    let together = certificate.is_some() == key.is_some();
    from.relate("tls_certificate_file", "must be set or empty together with", "tls_key_file", together);
    Some(TlsFiles { certificate: certificate?, key: key? })
}
