//! Stripe's events, as they come in: whether they are Stripe's ([`signature`]), and what they mean for an order ([`event`]). Pure: who asks
//! brings the bytes, the secrets and the time.

pub mod event;
pub mod signature;

pub use event::{DisputeNews, DisputeStatus, Fact, Happened, NoEvent, Refund, StripeEvent, Subject, Unusable};
pub use signature::{SignatureError, SigningSecret, Verifier};
