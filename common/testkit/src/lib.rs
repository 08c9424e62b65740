//! What tests and the one-command stack stand on: real servers, started privately and gone without a trace.
//!
//! Development only. No production crate may depend on this one.

#[cfg(feature = "database")]
pub mod browser;
#[cfg(feature = "database")]
pub mod clock;
#[cfg(feature = "database")]
pub mod database;
pub mod faults;
pub mod health;
#[cfg(feature = "database")]
pub mod http;
pub mod process;
pub mod python;
#[cfg(feature = "database")]
pub mod receiver;
pub mod servers;
#[cfg(feature = "database")]
pub mod settings;
#[cfg(feature = "database")]
pub mod shop;
pub mod store_server;
#[cfg(feature = "database")]
pub mod stripe;
