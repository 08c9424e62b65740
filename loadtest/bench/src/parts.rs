//! What can be measured, each part by itself.

pub mod checkout;
pub mod follow;
pub mod fulfill;
pub mod latency;
pub mod memory;
pub mod peers;
pub mod portal;
pub mod queue;
pub mod start;
pub mod stripe;
pub mod webhooks;

use std::path::PathBuf;

use crate::system::Programs;

/// What all parts are told.
pub struct Plan<'a> {
    /// What is measured.
    pub programs: Programs,
    /// Rounds of each comparison.
    pub rounds: usize,
    /// Small numbers, which show that it works and little more.
    pub quick: bool,
    /// Where logs go.
    pub folder: PathBuf,
    /// To start the stack with.
    pub cargo: PathBuf,
    /// Told of the long steps.
    pub progress: &'a dyn Fn(&str),
}

impl Plan<'_> {
    /// `full`, or `quick` when that was asked for.
    pub fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    fn say(&self, line: impl AsRef<str>) {
        (self.progress)(line.as_ref());
    }
}
