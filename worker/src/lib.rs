//! The hands: jobs that edges hand over, sweeps that make sure, and the operator's commands. No SQL and no Redis command is spelled out
//! here; that is what `storage` is for.

pub mod allocation;
pub mod commands;
pub mod fulfillment;
pub mod jobs;
pub mod metrics;
pub mod outgoing;
pub mod payments;
pub mod questions;
pub mod runner;
pub mod stripe_api;
pub mod webhooks;
