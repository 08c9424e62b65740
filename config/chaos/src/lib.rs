//! The fault harness behind `cargo stack chaos`: partners call, things break, and in the end everything that a caller was told is compared
//! with what is in Postgres.
//!
//! The cast, in the order of a run: a [`plan`] is drawn from a seed; a [`fleet`] of real processes starts; [`load`] calls it at a steady
//! rate and writes every call into the [`ledger`]; the [`partner`] hears of the orders; [`run`] strikes and mends as planned and measures how the fleet heals; at rest [`truth`]
//! is read from Postgres and [`judge`] compares. A development tool: nothing of the platform depends on it.

pub mod fleet;
pub mod judge;
pub mod ledger;
pub mod load;
pub mod partner;
pub mod payer;
pub mod plan;
pub mod report;
pub mod run;
pub mod truth;
