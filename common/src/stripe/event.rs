//! What an event of Stripe's says about an order. Of the many members of Stripe's objects only those are read that are used; whatever else
//! is there may be anything. An event that we have no use for has no fact. Documented at <https://docs.stripe.com/api/events/types>.

use serde::{Deserialize, Serialize};

use crate::ids::OrderId;
use crate::mode::Mode;
use crate::money::Currency;
use crate::stripe::amount::from_stripe;

/// The longest id of Stripe's that is taken.
pub(super) const ID_MAX: usize = 255;
/// The member of `metadata` that names our order.
pub const ORDER_ID: &str = "order_id";

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeEvent {
    /// Stripe's id of it: the same event comes again under the same.
    pub id: String,
    /// What Stripe calls it.
    pub kind: String,
    /// Live or test.
    pub mode: Mode,
    /// When Stripe made it, in Unix seconds.
    pub created_s: u64,
    /// What it says about an order, or why that cannot be used; nothing when we have no use for such events.
    pub fact: Option<Result<Fact, Unusable>>,
}

/// Something about the payment of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Which order.
    pub subject: Subject,
    /// What.
    pub happened: Happened,
}

/// What names the order: our own id, where Stripe was told it and tells it back, and the payment. One of them is there at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// From the metadata.
    pub order_id: Option<OrderId>,
    /// `pi_…`
    pub payment_intent: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// The money is there.
    Paid {
        /// Minor units.
        received_minor: i64,
        /// Their currency.
        currency: Currency,
    },
    /// Money went back.
    Refunded(Refund),
    /// A dispute, or an inquiry that may become one.
    Disputed(DisputeNews),
}

/// What went back of a charge until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// In all, minor units.
    pub refunded_minor: i64,
    /// Of so much.
    pub charged_minor: i64,
    /// Their currency.
    pub currency: Currency,
}

/// How a dispute stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeNews {
    /// `dp_…` or `du_…`
    pub id: String,
    /// As far as the event knows.
    pub status: DisputeStatus,
    /// Minor units.
    pub amount_minor: i64,
    /// Their currency.
    pub currency: Currency,
    /// The bank has taken the money, whatever the status says.
    pub funds_withdrawn: bool,
}

/// Where a dispute stands. Later ones come later in a dispute's life: an inquiry may become a dispute, and a dispute ends once. That a lost
/// one counts as later than a won one decides what nobody should see: license keys that were taken back are never usable again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// The bank asks; no money has moved.
    Inquiry,
    /// The bank has asked, and that was all.
    InquiryClosed,
    /// Money has moved, and it is not decided whose it is.
    Open,
    /// The money is ours.
    Won,
    /// It is not.
    Lost,
}

impl DisputeStatus {
    /// Reads what Stripe calls it. A word that we do not know is a dispute that is open: until a person has looked, nobody uses its keys.
    pub fn read(word: &str) -> Self {
        match word {
            "warning_needs_response" | "warning_under_review" => Self::Inquiry,
            "warning_closed" => Self::InquiryClosed,
            // Whoever gave the money back by himself has no dispute any more.
            "won" | "prevented" | "charge_refunded" => Self::Won,
            "lost" => Self::Lost,
            _ => Self::Open,
        }
    }

    /// The word in our own database and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inquiry => "inquiry",
            Self::InquiryClosed => "inquiry_closed",
            Self::Open => "open",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    /// Reads [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Inquiry, Self::InquiryClosed, Self::Open, Self::Won, Self::Lost].into_iter().find(|status| status.as_str() == text)
    }
}

/// Why a body is no event of Stripe's. Says nothing of what stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no event of Stripe's: {0}")]
pub struct NoEvent(String);

/// What is not as it is documented in an event that would be of use. A person has to look: Stripe would send the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(&'static str);

/// The events that mean something to us, as the public page lists them.
pub const KINDS: [&str; 7] = [
    "payment_intent.succeeded",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

#[derive(Deserialize)]
struct Envelope<'b> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    created: u64,
    #[serde(borrow)]
    data: Data<'b>,
}

#[derive(Deserialize)]
struct Data<'b> {
    #[serde(borrow)]
    object: &'b serde_json::value::RawValue,
}

/// The members of a payment intent, a charge or a dispute.
#[derive(Deserialize)]
struct Object {
    id: String,
    currency: String,
    amount: i64,
    #[serde(default)]
    amount_received: Option<i64>,
    #[serde(default)]
    amount_refunded: Option<i64>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    payment_intent: Option<Reference>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// Stripe's objects name each other, or carry each other whole where somebody asked for that.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Whole { id: String },
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    order_id: Option<String>,
}

impl StripeEvent {
    /// Reads an event's body.
    pub fn read(body: &[u8]) -> Result<Self, NoEvent> {
        let malformed = |error: serde_json::Error| NoEvent(place(&error));
        let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(malformed)?;
        if !is_id(&envelope.id) || envelope.kind.len() > ID_MAX {
            return Err(NoEvent("its id must be 1 to 255 visible ASCII characters".to_owned()));
        }
        let fact = KINDS.contains(&envelope.kind.as_str()).then(|| {
            let object = serde_json::from_str(envelope.data.object.get());
            let object = object.map_err(|_| "a member that is needed is missing, or is not of its documented type");
            object.and_then(|object| Fact::read(&envelope.kind, object)).map_err(Unusable)
        });
        let mode = if envelope.livemode { Mode::Live } else { Mode::Test };
        Ok(Self { id: envelope.id, kind: envelope.kind, mode, created_s: envelope.created, fact })
    }
}

impl Fact {
    fn read(kind: &str, object: Object) -> Result<Self, &'static str> {
        let currency = Currency::parse(&object.currency).map_err(|_| "the currency is none that we know")?;
        let is_payment = kind == "payment_intent.succeeded";
        let amount = |amount: i64| from_stripe(amount, currency).ok_or("an amount is out of bounds");
        let payment_intent = match (is_payment, object.payment_intent) {
            (true, _) => Some(object.id.clone()),
            (false, Some(Reference::Id(id) | Reference::Whole { id })) => Some(id),
            (false, None) => None,
        };
        if ![Some(&object.id), payment_intent.as_ref()].into_iter().flatten().all(|id| is_id(id)) {
            return Err("an id must be 1 to 255 visible ASCII characters");
        }
        // What stands there may be for somebody else's eyes: only an id of ours is one.
        let order_id = object.metadata.and_then(|metadata| OrderId::parse(&metadata.order_id?).ok());
        let happened = match kind {
            "payment_intent.succeeded" => {
                // It succeeded, so all of it is there unless something else is said.
                Happened::Paid { received_minor: amount(object.amount_received.unwrap_or(object.amount))?, currency }
            }
            "charge.refunded" => Happened::Refunded(Refund {
                refunded_minor: amount(object.amount_refunded.ok_or("amount_refunded is missing")?)?,
                charged_minor: amount(object.amount)?,
                currency,
            }),
            _ => Happened::Disputed(DisputeNews {
                status: DisputeStatus::read(object.status.as_deref().ok_or("status is missing")?),
                amount_minor: amount(object.amount)?,
                currency,
                funds_withdrawn: kind == "charge.dispute.funds_withdrawn",
                id: object.id,
            }),
        };
        if order_id.is_none() && payment_intent.is_none() {
            return Err("neither a payment_intent nor an order_id in the metadata says which order it is about");
        }
        Ok(Self { subject: Subject { order_id, payment_intent }, happened })
    }
}

pub(super) fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where reading failed: serde_json's own words may repeat what stands there.
fn place(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "a member that is needed is missing, or is not of its documented type" } else { "it is not JSON" };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::money::MINOR_MAX;

    fn event(kind: &str, object: Value) -> StripeEvent {
        let event = json!({"id": "evt_1", "object": "event", "api_version": "2026-09-30", "type": kind, "livemode": false, "created": 17,
                           "data": {"object": object, "previous_attributes": {}}, "pending_webhooks": 1});
        StripeEvent::read(event.to_string().as_bytes()).unwrap()
    }

    fn fact(kind: &str, object: Value) -> Fact {
        event(kind, object).fact.unwrap().unwrap()
    }

    const ORDER: &str = "ORD-1M83JGQX8Z7NEDGYN6";

    #[test]
    fn a_payment() {
        let object = json!({"id": "pi_1", "object": "payment_intent", "amount": 2999, "amount_received": 2999, "currency": "gbp",
                            "status": "succeeded", "metadata": {"order_id": ORDER, "other": "x"}, "charges": {"data": [1, 2]}});
        let read = event("payment_intent.succeeded", object.clone());
        assert_eq!((read.id.as_str(), read.mode, read.created_s), ("evt_1", Mode::Test, 17));
        let fact = read.fact.unwrap().unwrap();
        assert_eq!(fact.subject, Subject { order_id: OrderId::parse(ORDER).ok(), payment_intent: Some("pi_1".into()) });
        assert_eq!(fact.happened, Happened::Paid { received_minor: 2999, currency: Currency::parse("GBP").unwrap() });
        for (member, value) in [
            ("amount_received", json!(-1)),
            ("amount_received", json!(29.99)),
            ("amount_received", json!(MINOR_MAX + 1)),
            ("currency", json!("quid")),
            ("id", json!("")),
            ("id", json!("pi 1")),
            ("id", json!(1)),
            ("metadata", json!("x")),
        ] {
            let mut bad = object.clone();
            bad[member] = value;
            assert!(event("payment_intent.succeeded", bad).fact.unwrap().is_err(), "{member}");
        }
    }

    #[test]
    fn a_refund_says_how_much_in_all() {
        let object =
            json!({"id": "ch_1", "amount": 2999, "amount_refunded": 1000, "currency": "gbp", "payment_intent": "pi_1", "metadata": {}});
        let Fact { subject, happened } = fact("charge.refunded", object.clone());
        assert_eq!(subject, Subject { order_id: None, payment_intent: Some("pi_1".into()) });
        let currency = Currency::parse("GBP").unwrap();
        assert_eq!(happened, Happened::Refunded(Refund { refunded_minor: 1000, charged_minor: 2999, currency }));
        let mut nobodys = object;
        nobodys["payment_intent"] = Value::Null;
        assert!(event("charge.refunded", nobodys.clone()).fact.unwrap().is_err());
        nobodys["metadata"] = json!({"order_id": ORDER});
        assert_eq!(fact("charge.refunded", nobodys).subject.order_id, OrderId::parse(ORDER).ok());
    }

    #[test]
    fn a_dispute_stands_somewhere() {
        for (kind, word, status, withdrawn) in [
            ("created", "warning_needs_response", DisputeStatus::Inquiry, false),
            ("created", "needs_response", DisputeStatus::Open, false),
            ("updated", "under_review", DisputeStatus::Open, false),
            ("updated", "a_word_of_tomorrow", DisputeStatus::Open, false),
            ("closed", "won", DisputeStatus::Won, false),
            ("closed", "lost", DisputeStatus::Lost, false),
            ("closed", "warning_closed", DisputeStatus::InquiryClosed, false),
            ("funds_withdrawn", "needs_response", DisputeStatus::Open, true),
            ("funds_reinstated", "won", DisputeStatus::Won, false),
        ] {
            let object = json!({"id": "dp_1", "amount": 2999, "currency": "gbp", "payment_intent": {"id": "pi_1", "object": "payment_intent"},
                                "charge": "ch_1", "status": word, "metadata": {}});
            let Fact { subject, happened } = fact(&format!("charge.dispute.{kind}"), object);
            assert_eq!(subject.payment_intent.as_deref(), Some("pi_1"));
            let Happened::Disputed(news) = happened else { panic!("{kind}") };
            assert_eq!((news.id.as_str(), news.status, news.funds_withdrawn, news.amount_minor), ("dp_1", status, withdrawn, 2999));
            assert_eq!(DisputeStatus::parse(status.as_str()), Some(status));
        }
    }

    #[test]
    fn what_we_have_no_use_for_may_be_anything() {
        for kind in ["customer.created", "payment_intent.created", "charge.dispute.created.v2", "x"] {
            assert_eq!(event(kind, json!({"anything": [1]})).fact, None);
        }
    }

    #[test]
    fn what_is_no_event_is_told_without_repeating_it() {
        for body in [
            &b"canary"[..],
            b"",
            b"{}",
            b"[]",
            br#"{"id":"evt_canary","type":"x","livemode":"canary","created":1,"data":{"object":{}}}"#,
            br#"{"id":"","type":"x","livemode":true,"created":1,"data":{"object":{}}}"#,
            b"\xff\xfe",
        ] {
            let error = StripeEvent::read(body).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
