//! What is Stripe's: its events, as they come in: whether they are Stripe's ([`signature`]), and what they mean for an order ([`event`]);
//! the payments that we ask it for ([`payment_intent`]); and how it writes amounts ([`amount`]). Pure: who asks brings the bytes, the secrets
//! and the time.

pub mod amount;
pub mod event;
pub mod payment_intent;
pub mod signature;

pub use event::{DisputeNews, DisputeStatus, Fact, Happened, NoEvent, Refund, StripeEvent, Subject, Unusable};
pub use payment_intent::{ClientSecret, PaymentIntent};
pub use signature::{SignatureError, SigningSecret, Verifier};
