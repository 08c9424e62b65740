//! `[postgres]`, `[redis]` and `[queue]`: where data lives and how long we wait for it. Nothing is connected here.

use std::path::PathBuf;
use std::time::Duration;

use crate::Mode;
use crate::dsn::{Dsn, is_local};
use crate::reader::Section;

/// `[postgres]`.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Where and who; it never says `sslmode`.
    pub url: Dsn,
    /// Whether TLS is spoken.
    pub tls: PostgresTls,
    /// PEM authorities to trust instead of the system's. Not opened here.
    pub tls_ca_file: Option<PathBuf>,
    /// Pooled connections of one process.
    pub connections_max: usize,
    /// For a new connection, TLS and login included.
    pub connect_timeout: Duration,
    /// For a free connection of the pool.
    pub checkout_timeout: Duration,
    /// For one statement, on the server.
    pub statement_timeout: Duration,
}

/// How far the way to Postgres is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresTls {
    /// No TLS.
    Disable,
    /// TLS only; certificate and host name are checked.
    VerifyFull,
}

impl Postgres {
    pub(crate) fn read(mut from: Section<'_>, mode: Mode) -> Option<Self> {
        let url = from.dsn("url", &["postgres", "postgresql"]);
        let tls = from.word("tls", &[("disable", PostgresTls::Disable), ("verify-full", PostgresTls::VerifyFull)]);
        let tls_ca_file = from.path("tls_ca_file");
        from.relate("tls_ca_file", "has no use with", "tls", tls_ca_file.is_none() || tls == PostgresTls::VerifyFull);
        let connections_max = from.number("connections_max", 1..=1_000);
        let connect_timeout = from.millis("connect_timeout_ms", 10..=60_000);
        let checkout_timeout = from.millis("checkout_timeout_ms", 10..=60_000);
        let statement_timeout = from.millis("statement_timeout_ms", 100..=600_000);
        let url = url?;
        check_way(&mut from, &url, tls, mode);
        Some(Self { url, tls, tls_ca_file, connections_max, connect_timeout, checkout_timeout, statement_timeout })
    }
}

/// Whether the URL and the TLS knob go together.
fn check_way(from: &mut Section<'_>, url: &Dsn, tls: PostgresTls, mode: Mode) {
    if url.parameter("sslmode").is_some() {
        from.contradiction(&["url", "tls"], "says sslmode, which postgres.tls decides; take it out of the URL".into());
    }
    let far = url.hosts().iter().find(|host| !is_local(host));
    let socket = url.hosts().iter().find(|host| host.starts_with('/'));
    match (tls, far, socket) {
        (PostgresTls::Disable, Some(host), _) if mode == Mode::Production => {
            let message = format!(
                "is \"disable\", which production allows for loopback and Unix sockets only, and postgres.url names {host:?}; \
                 expected \"verify-full\""
            );
            from.contradiction(&["tls", "url"], message);
        }
        (PostgresTls::VerifyFull, _, Some(path)) => {
            let message = format!(
                "is \"verify-full\", and postgres.url names the Unix socket {path:?}, on which there is no TLS; expected \"disable\""
            );
            from.contradiction(&["tls", "url"], message);
        }
        _ => {}
    }
}

/// `[redis]`.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where and who; `rediss` means TLS.
    pub url: Dsn,
    /// For a new connection, TLS and login included.
    pub connect_timeout: Duration,
    /// For one command.
    pub command_timeout: Duration,
}

impl Redis {
    pub(crate) fn read(mut from: Section<'_>) -> Option<Self> {
        let url = from.dsn("url", &["redis", "rediss"]);
        let connect_timeout = from.millis("connect_timeout_ms", 10..=60_000);
        let command_timeout = from.millis("command_timeout_ms", 10..=60_000);
        Some(Self { url: url?, connect_timeout, command_timeout })
    }
}

/// `[queue]`.
#[derive(Debug, Clone)]
pub struct Queue {
    /// What our keys and channels begin with: 1 to 16 of `a-z 0-9 -`.
    pub prefix: String,
    /// Without renewal for so long, a job is another worker's.
    pub pickup_idle: Duration,
    /// Between two renewals of a running job. Less than half of `pickup_idle`.
    pub renew: Duration,
    /// Jobs in the queue beyond which the edge sheds.
    pub depth_max: u64,
}

impl Queue {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let of_prefix = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_prefix = |text: &str| (1..=16).contains(&text.len()) && text.bytes().all(of_prefix);
        let queue = Self {
            prefix: from.text("prefix", "1 to 16 of a-z, 0-9 and -", is_prefix),
            pickup_idle: from.millis("pickup_idle_ms", 100..=600_000),
            renew: from.millis("renew_ms", 10..=300_000),
            depth_max: from.number("depth_max", 1..=10_000_000),
        };
        from.relate("renew_ms", "must be less than half of", "pickup_idle_ms", queue.renew * 2 < queue.pickup_idle);
        queue
    }
}
