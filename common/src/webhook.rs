//! Webhooks as partners see them: which secrets there are, how a delivery is signed, and when it is tried again. Who delivers, and
//! where to, is decided elsewhere.

pub mod ids;
pub mod request;
pub mod schedule;
pub mod secret;

/// Who delivers, as the `User-Agent` of a delivery.
pub const AGENT: &str = concat!("AnonymousPay-Webhooks/", env!("CARGO_PKG_VERSION"));
/// The header with the signature of the body.
pub const SIGNATURE: &str = "x-anonymouspay-signature";
/// The same under the secret before, for a day after a rotation.
pub const SIGNATURE_PREVIOUS: &str = "x-anonymouspay-signature-previous";

/// Endpoints of one store and mode.
pub const ENDPOINTS_MAX: usize = 5;
/// What is kept of an answer's body, in bytes.
pub const ANSWER_KEPT_BYTES: usize = 2_048;
/// For how long both secrets sign after a rotation, in hours.
pub const ROTATION_HOURS: u32 = 24;
/// For how long the next event of an order waits for the one before it, in seconds.
pub const ORDER_WAIT_S: u32 = 60;
/// An endpoint is disabled when it has not taken anything for so long, in hours,
pub const DISABLE_AFTER_HOURS: u32 = 72;
/// and has failed so often meanwhile.
pub const DISABLE_AFTER_FAILURES: u32 = 20;
