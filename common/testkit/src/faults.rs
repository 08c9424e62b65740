//! What a fault harness hurts the system with: a network that loses and delays, a disk that is full, a clock that is wrong.
//!
//! Processes are hurt through [`crate::process`], servers through [`crate::servers`]. Nothing here knows what the system is or judges how it took it.

pub mod clock;
pub mod disk;
pub mod proxy;
