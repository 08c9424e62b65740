//! `[limits]`: how many requests a minute each quota admits. Each is also the burst that a rested quota has.

use crate::reader::Section;

/// `[limits]`, all in requests a minute.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Checkout sessions, per API key.
    pub checkout: u32,
    /// Licensing fulfill, per API key.
    pub licensing: u32,
    /// All other keyed routes together, per API key.
    pub api: u32,
    /// Subdivisions, per address.
    pub geo: u32,
    /// Tax rates, per address.
    pub tax: u32,
    /// Failing keys and unknown paths, per address.
    pub anonymous: u32,
    /// Hosted pages, per address.
    pub pages: u32,
}

impl Limits {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let mut quota = |knob| from.number(knob, 1..=1_000_000);
        Self {
            checkout: quota("checkout"),
            licensing: quota("licensing"),
            api: quota("api"),
            geo: quota("geo"),
            tax: quota("tax"),
            anonymous: quota("anonymous"),
            pages: quota("pages"),
        }
    }
}
