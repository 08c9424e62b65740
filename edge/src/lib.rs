//! The gateway: HTTP in front, memory behind it, questions to the workers for what memory cannot answer. No SQL and no Redis command is
//! spelled out here; that is what `storage` is for.

pub mod address_buckets;
pub mod answer;
pub mod api;
pub mod asking;
pub mod body;
pub mod client_address;
pub mod developers;
pub mod edge;
pub mod error;
pub mod follow;
pub mod fulfillment;
pub mod gate;
pub mod metrics;
pub mod pages;
pub mod payments;
pub mod portal;
pub mod query;
pub mod quotas;
pub mod router;
pub mod runner;
pub mod server;
pub mod service;
pub mod snapshot;
pub mod stripe;
pub mod tax_quotes;
pub mod usage;
