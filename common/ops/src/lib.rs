//! How every binary lives and dies: logs, metrics, health, the admin listener,
//! supervised tasks and shutdown.
//!
//! It knows no word of the business and opens no connection to anything: a binary
//! hands it names, and says through [`health::Check`] how its dependencies are.
//!
//! A whole life:
//!
//! ```no_run
//! # use std::{convert::Infallible, time::Duration};
//! use ops::admin::AdminServer;
//! use ops::health::{Health, Need};
//! use ops::metrics::Metrics;
//! use ops::tasks::{Backoff, Drain, Tasks};
//! use ops::{log, shutdown};
//!
//! # #[tokio::main] async fn main() -> anyhow::Result<()> {
//! log::init(log::Format::Json, "info")?;
//! let metrics = Metrics::new("demo", &[("version", env!("CARGO_PKG_VERSION"))])?;
//! log::install_panic_hook(metrics.panics_total());
//! let asked_to_stop = shutdown::on_signals()?;
//!
//! let health = Health::new(&metrics);
//! health.spawn_heartbeat();
//! let admin = AdminServer::start("127.0.0.1:9100".parse()?, metrics.clone(), health.clone())?;
//!
//! let tasks = Tasks::new(&asked_to_stop, &metrics);
//! let source = health.check("source", Need::Required);
//! tasks.spawn_supervised("reader", Backoff::default(), move |token| {
//!     let source = source.clone();
//!     async move {
//!         source.ok();
//!         token.cancelled().await;
//!         Ok::<_, Infallible>(())
//!     }
//! });
//!
//! asked_to_stop.cancelled().await;
//! health.set_draining();
//! if let Drain::TimedOut { names } = tasks.drain(Duration::from_secs(25)).await {
//!     tracing::warn!(?names, "these tasks did not end in time");
//! }
//! admin.shutdown();
//! # Ok(()) }
//! ```

pub mod admin;
pub mod descriptors;
pub mod health;
pub mod log;
pub mod metrics;
mod own_thread;
mod service_manager;
pub mod shutdown;
pub mod tasks;

/// The metrics library, for the [`metrics!`] macro and for whoever reads a registry.
pub use prometheus;
