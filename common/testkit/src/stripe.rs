//! Stripe's events, signed as Stripe signs them, with as much in them as is read.

use anyhow::Result;
use common::ids::OrderId;
use common::stripe::{SigningSecret, Verifier};
use http::Method;
use serde_json::{Value, json};

use crate::http::{Client, Response};

/// Where Stripe sends them.
pub const PATH: &str = "/stripe/webhook/";
/// When all of these were made, in Unix seconds.
const CREATED_S: u64 = 1_772_452_800;

/// Whose payment an event is about.
#[derive(Debug, Clone)]
pub struct Payment<'p> {
    /// `pi_…`
    pub id: &'p str,
    /// Live or test.
    pub livemode: bool,
    /// As Stripe counts.
    pub amount: i64,
    /// In lower case.
    pub currency: &'p str,
}

impl Payment<'_> {
    /// An event about something of this payment's mode.
    pub fn event(&self, id: &str, kind: &str, object: Value) -> Value {
        json!({"id": id, "object": "event", "type": kind, "livemode": self.livemode, "created": CREATED_S, "data": {"object": object}})
    }

    /// All of it was paid, for this order.
    pub fn succeeded(&self, id: &str, order: &OrderId) -> Value {
        let object = json!({"id": self.id, "object": "payment_intent", "amount": self.amount, "amount_received": self.amount,
                            "currency": self.currency, "status": "succeeded", "metadata": {"order_id": order}});
        self.event(id, "payment_intent.succeeded", object)
    }

    /// So much of it went back in all. Names the payment alone.
    pub fn refunded(&self, id: &str, refunded: i64) -> Value {
        let object = json!({"id": format!("ch_{}", self.id), "amount": self.amount, "amount_refunded": refunded,
                            "currency": self.currency, "payment_intent": self.id, "metadata": {}});
        self.event(id, "charge.refunded", object)
    }

    /// What happened to its only dispute, such as `closed`, and how that stands. Names the payment alone.
    pub fn disputed(&self, id: &str, what: &str, status: &str) -> Value {
        let object = json!({"id": format!("dp_{}", self.id), "amount": self.amount, "currency": self.currency, "status": status,
                            "payment_intent": self.id, "charge": format!("ch_{}", self.id), "metadata": {}});
        self.event(id, &format!("charge.dispute.{what}"), object)
    }
}

/// The `Stripe-Signature` of a body, now.
pub fn signature(secret: &str, body: &str) -> String {
    let unix_s = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let secret = SigningSecret::parse(secret).expect("a signing secret");
    Verifier::new(&[secret]).sign(body.as_bytes(), unix_s).expect("a verifier with a secret signs")
}

/// Sends an event as Stripe does.
pub async fn tell(client: &Client, secret: &str, event: &Value) -> Result<Response> {
    let body = event.to_string();
    let signature = signature(secret, &body);
    client.send(Method::POST, PATH, &[("content-type", "application/json"), ("stripe-signature", &signature)], body).await
}
