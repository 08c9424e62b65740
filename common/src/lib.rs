//! The words and rules of the platform: what a key, a cart, a session token, an order and a bucket are, and how they behave.
//! Everything here is pure. Time, chance and secrets come in as arguments; there are no sockets, no files, no environment,
//! and only [`clock`] may ask what time it is.

pub mod api_key;
pub mod backoff;
pub mod cart;
pub mod clock;
pub mod event;
pub mod fulfill;
pub mod geo;
pub mod ids;
pub mod job;
pub mod json;
pub mod license;
pub mod limits;
pub mod mac;
pub mod mode;
pub mod money;
pub mod name;
pub mod order;
pub mod partner;
pub mod receipt;
pub mod return_hosts;
pub mod seal;
pub mod secret;
pub mod session;
pub mod stripe;
pub mod tax;
pub mod trace;
pub mod webhook;
pub mod webhook_target;
