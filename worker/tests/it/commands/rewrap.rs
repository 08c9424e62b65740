//! Replacing secrets.
