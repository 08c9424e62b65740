//! How every binary lives and dies: logs, metrics, health, the admin listener,
//! supervised tasks and shutdown.
//!
//! It knows no word of the business and opens no connection to anything: a binary
//! hands it names, and says through [`health::Check`] how its dependencies are.
//! `examples/service.rs` is a whole life in one screen.

pub mod admin;
pub mod health;
pub mod log;
pub mod metrics;
mod own_thread;
pub mod shutdown;
pub mod tasks;

/// The metrics library, for the [`metrics!`] macro and for whoever reads a registry.
pub use prometheus;
