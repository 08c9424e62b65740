//! Every knob once. `default.toml` is the manual and the bottom layer, a file and the environment lie above it, and the
//! result is typed and checked before anything opens. All that is wrong is told at once. The crate opens no file but the
//! configuration file and the files of secrets, and reads the process environment in [`Settings::from_process`] only.
//!
//! A new knob is a line with its reason in `default.toml`, and a field with its reader in the section's file.

mod dsn;
mod edge;
mod http;
mod layers;
mod limits;
mod log;
mod portal;
mod problems;
mod reader;
mod retention;
mod secrets;
mod stores;
mod stripe;
mod suggest;
mod webhooks;
mod worker;

use std::path::Path;

pub use dsn::Dsn;
pub use edge::{Edge, TlsFiles};
pub use http::Http;
pub use layers::DEFAULT_TOML;
pub use limits::Limits;
pub use log::{Log, LogFormat};
pub use portal::Portal;
pub use problems::{Problem, Problems};
pub use retention::Retention;
pub use secrets::Secrets;
pub use stores::{Postgres, PostgresTls, Queue, Redis};
pub use stripe::Stripe;
pub use webhooks::Webhooks;
pub use worker::Worker;

use layers::Layers;
use reader::Reader;

/// The code a process ends with when its configuration is wrong (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIG: u8 = 78;

/// Whether real customers are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Return URLs and webhook endpoints must be https, and secrets stay out of the configuration file.
    Production,
    /// One's own machine: http and loopback are allowed.
    Development,
}

/// The whole configuration, checked. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Production or development.
    pub mode: Mode,
    /// What customers see of us.
    pub http: Http,
    /// The gateway.
    pub edge: Edge,
    /// The hands behind it.
    pub worker: Worker,
    /// What partners' servers are told.
    pub webhooks: Webhooks,
    /// Whose events come in.
    pub stripe: Stripe,
    /// The truth.
    pub postgres: Postgres,
    /// The carrier.
    pub redis: Redis,
    /// The queue inside Redis.
    pub queue: Queue,
    /// Quotas of partners and addresses.
    pub limits: Limits,
    /// Where partners run their stores.
    pub portal: Portal,
    /// How long rows are kept that have served.
    pub retention: Retention,
    /// What signs, seals and digests.
    pub secrets: Secrets,
    /// What is logged, and how.
    pub log: Log,
    redacted: String,
}

impl Settings {
    /// Lays `file` (if given, it must be there) and `environment` over the defaults and checks the result. Variables that
    /// do not begin with `ANONYMOUSPAY_` are ignored. Fails with everything that is wrong.
    pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Problems> {
        let (layers, problems) = Layers::gather(file, environment);
        let mut reader = Reader::new(layers, problems);
        // The first word stands in for one that is wrong, and development finds no fault that would be there by that alone.
        let mode = reader.section("").word("mode", &[("development", Mode::Development), ("production", Mode::Production)]);
        let http = Http::read(reader.section("http"));
        let edge = Edge::read(reader.section("edge"));
        let worker = Worker::read(reader.section("worker"));
        let webhooks = Webhooks::read(reader.section("webhooks"));
        let stripe = Stripe::read(reader.section("stripe"), mode);
        let postgres = Postgres::read(reader.section("postgres"), mode);
        let redis = Redis::read(reader.section("redis"));
        let queue = Queue::read(reader.section("queue"));
        let limits = Limits::read(reader.section("limits"));
        let portal = Portal::read(reader.section("portal"));
        let retention = Retention::read(reader.section("retention"));
        let secrets = Secrets::read(reader.section("secrets"), mode);
        let log = Log::read(reader.section("log"));
        let redacted = reader.shown();
        match (postgres, redis, secrets) {
            (Some(postgres), Some(redis), Some(secrets)) if reader.problems.is_empty() => Ok(Self {
                mode,
                http,
                edge,
                worker,
                webhooks,
                stripe,
                postgres,
                redis,
                queue,
                limits,
                portal,
                retention,
                secrets,
                log,
                redacted,
            }),
            _ => Err(Problems(reader.problems)),
        }
    }

    /// [`Settings::load`] with the environment of this process.
    pub fn from_process(file: Option<&Path>) -> Result<Self, Problems> {
        let lossy = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        };
        Self::load(file, std::env::vars_os().map(lossy))
    }

    /// The effective configuration as TOML, each value with where it came from; `***` stands for secrets and passwords.
    pub fn redacted_toml(&self) -> &str {
        &self.redacted
    }
}
