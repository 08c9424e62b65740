//! The harness as a whole, on real servers and processes.

mod short;
