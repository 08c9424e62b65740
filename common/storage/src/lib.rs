//! The only door to Postgres and Redis. Postgres is the truth: one file per table, the SQL above the function that runs it. Redis only
//! carries: jobs to the workers, answers and revocations to the edges; all of it may be lost at any moment without losing a promise.
//! No HTTP in here, and no business decisions.

pub mod crash_point;
pub mod pg;
pub mod queue;
pub mod redis;
pub mod replies;
pub mod revocations;
pub mod stock;

pub use pg::{Pg, StorageError};
