//! What travels through the queue and back. Both are versioned, so that an old edge and a new worker understand each other, and both
//! are sealed on the way: they hold e-mail addresses and license keys.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fulfill::{FulfillOutcome, FulfillRequest};
use crate::ids::OrderId;
use crate::mode::Mode;
use crate::stripe::ClientSecret;
use crate::tax::quote::{QuoteError, QuoteRequest, TaxQuote};
use crate::trace::Trace;

/// The version that this code writes. It reads all versions up to it.
pub const JOB_VERSION: u8 = 1;
/// The name of the job that fulfills: part of its queue's key, and a label.
pub const FULFILL_ORDER: &str = "fulfill_order";
/// What jobs are sealed to, by whoever asks and whoever works.
pub const JOB_PLACE: &[u8] = b"job";
/// The largest reply that is sent whole; above it the reply says only that the order stands, and the edge reads the database.
/// Redis cuts off subscribers that fall behind, and large messages make that likelier.
pub const REPLY_MAX_BYTES: usize = 16 * 1_024;

/// The question of an edge whose caller is on the line: fulfill this, and tell me at `reply_to`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FulfillJob {
    /// See [`JOB_VERSION`].
    pub v: u8,
    /// Names this question; the answer carries it.
    pub id: Uuid,
    /// The channel the asking edge listens to.
    pub reply_to: String,
    /// The caller's request id, for the logs.
    pub request_id: String,
    /// How long after it was queued the question is moot, in milliseconds. Measured by Redis' clock.
    pub ttl_ms: u64,
    /// The order as it will be if this question makes it.
    pub order: NewOrder,
}

/// An order that does not exist yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewOrder {
    /// The id it gets, unless the reference already has an order.
    pub order_id: OrderId,
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// What was asked for.
    pub request: FulfillRequest,
    /// The trace that the call belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// What came of a question, of a [`FulfillJob`] if nothing else is said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply<O = FulfillOutcome> {
    /// See [`JOB_VERSION`].
    pub v: u8,
    /// The job's id.
    pub id: Uuid,
    /// What came of it.
    pub outcome: O,
}

/// What a reply can say.
pub trait Outcome: Serialize + DeserializeOwned + Send {
    /// What is said where the whole is larger than [`REPLY_MAX_BYTES`]: less, where the rest can be looked up.
    fn in_short(self) -> Self;
}

impl Outcome for FulfillOutcome {
    fn in_short(self) -> Self {
        self.without_license_keys()
    }
}

/// The name of the job that computes taxes: part of its queue's key, and a label.
pub const COMPUTE_TAX: &str = "compute_tax";

/// The question of an edge whose customer is looking at the page: what tax is owed on this? Nothing is written down: whoever is told
/// nothing in time asks again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaxJob {
    /// See [`JOB_VERSION`].
    pub v: u8,
    /// Names this question; the answer carries it.
    pub id: Uuid,
    /// The channel the asking edge listens to.
    pub reply_to: String,
    /// The caller's request id, for the logs.
    pub request_id: String,
    /// How long after it was queued the question is moot, in milliseconds. Measured by Redis' clock.
    pub ttl_ms: u64,
    /// What is bought, and where.
    pub request: QuoteRequest,
}

/// What came of a [`TaxJob`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TaxOutcome {
    /// This is owed.
    Quoted {
        /// How much, and why.
        quote: Box<TaxQuote>,
    },
    /// The question has no answer. The same again has none either.
    Refused {
        /// Why.
        error: QuoteError,
    },
    /// Nobody knows right now.
    Unavailable,
}

impl Outcome for TaxOutcome {
    /// Nowhere else can a quote be read, and the largest, of 50 lines, has some 30 KiB.
    fn in_short(self) -> Self {
        self
    }
}

/// The name of the job that has Stripe make payments: part of its queue's key, and a label.
pub const CREATE_PAYMENT: &str = "create_payment";

/// The question of an edge whose customer wants to pay an order: by which payment of Stripe's? Asked again, it gets the same payment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PaymentJob {
    /// See [`JOB_VERSION`].
    pub v: u8,
    /// Names this question; the answer carries it.
    pub id: Uuid,
    /// The channel the asking edge listens to.
    pub reply_to: String,
    /// The caller's request id, for the logs.
    pub request_id: String,
    /// How long after it was queued the question is moot, in milliseconds. Measured by Redis' clock.
    pub ttl_ms: u64,
    /// Live or test.
    pub mode: Mode,
    /// What is paid.
    pub order_id: OrderId,
}

/// What came of a [`PaymentJob`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PaymentOutcome {
    /// The customer pays with this.
    Ready {
        /// For the customer's browser alone.
        client_secret: ClientSecret,
    },
    /// There is nothing left to pay: the money has come, or is on its way.
    Settled,
    /// Stripe does not take this payment, or we may not ask. The log says why.
    Refused,
    /// Nobody knows right now.
    Unavailable,
}

impl PaymentOutcome {
    /// As a label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Settled => "settled",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Outcome for PaymentOutcome {
    fn in_short(self) -> Self {
        self
    }
}

/// The name of the job that delivers webhooks: part of its queue's key, and a label.
pub const DELIVER_WEBHOOK: &str = "deliver_webhook";

/// The word that deliveries are due. A hint: the rows are the truth, and whoever hears nothing finds them a moment later. There is nothing
/// in it to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliverJob {
    /// See [`JOB_VERSION`].
    pub v: u8,
    /// Deliveries and the endpoints they go to.
    pub due: Vec<(i64, Uuid)>,
}
