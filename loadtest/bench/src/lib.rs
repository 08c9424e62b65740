//! What measures the platform: every claim of speed is a command, `cargo stack bench`, and this is what it runs.
//!
//! The rules that make its figures fair:
//! - The real thing is measured: the release binaries of edge and worker, with the default configuration and everything on. Only limits are
//!   raised, so that nothing is refused.
//! - Whatever it is compared with gets the same work, in the same run, on the same cores, in rounds that alternate. What counts is the
//!   median over rounds of the *ratio*, since the absolute figures belong to the machine. The smallest and largest round are always shown.
//! - Every answer is looked at. One that is not what it should be, or is missing, makes the whole run invalid: an error, not a figure.
//! - What is measured is not what measures: where single requests are counted, the load has a core of its own. Where the whole machine is,
//!   it shares the machine with the load, and that is said.
//!
//! Nothing here is needed in production, and no production crate may depend on it.

pub mod baseline;
pub mod cores;
pub mod cpu_time;
pub mod load;
pub mod machine;
pub mod orders;
pub mod parts;
pub mod peers;
pub mod report;
pub mod spread;
pub mod system;
