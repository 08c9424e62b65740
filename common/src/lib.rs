//! The words and rules of the platform: what a key, a cart, a session token, an order and a bucket are, and how they behave.
//! Everything here is pure. Time, chance and secrets come in as arguments; there are no sockets, no files, no environment,
//! and only [`clock`] may ask what time it is.

pub mod geo;
pub mod money;
pub mod secret;
pub mod tax;
