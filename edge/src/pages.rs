//! Pages that people read.

pub mod errors;
