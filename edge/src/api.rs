//! The API, one file for each resource. Handlers speak the platform's words; `error.rs` makes status codes of them.

pub mod checkout_session;
pub mod database;
pub mod fulfill;
pub mod idempotency;
pub mod openapi;
pub mod orders;
pub mod subdivisions;
pub mod tax_rates;
pub mod webhooks;
