//! The payment that Stripe makes for an order: what it is asked for, and what it answers. One order has one, however often it is asked for:
//! the order's id is the idempotency key. Documented at <https://docs.stripe.com/api/payment_intents>.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::amount::{NotChargeable, to_stripe};
use super::event::{ID_MAX, ORDER_ID, is_id};
use crate::ids::OrderId;
use crate::money::Currency;

/// The version of Stripe's interface that this code was written to.
pub const STRIPE_VERSION: &str = "2024-06-20";
/// What payments are made at, and read from.
pub const PATH: &str = "/v1/payment_intents";

/// What lets a customer's browser pay, and see how the payment stands. `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// Takes one as Stripe gives it: 1 to 255 visible ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        is_id(text).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text, for the customer's own page.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(***)")
    }
}

impl Serialize for ClientSecret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for ClientSecret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("this is no client secret of Stripe's"))
    }
}

/// The form that asks for an order's payment, as a body of `application/x-www-form-urlencoded`.
pub fn request(order_id: &OrderId, total_minor: i64, currency: Currency) -> Result<String, NotChargeable> {
    let amount = to_stripe(total_minor, currency)?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("amount", &amount.to_string());
    form.append_pair("currency", &currency.as_str().to_ascii_lowercase());
    form.append_pair(&format!("metadata[{ORDER_ID}]"), order_id.as_str());
    Ok(form.finish())
}

/// A payment of Stripe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentIntent {
    /// `pi_…`
    pub id: String,
    /// For the customer's browser.
    pub client_secret: ClientSecret,
    /// What can be done with it.
    pub standing: Standing,
}

/// What can be done with a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can be paid.
    Open,
    /// It is paid, or about to be.
    Settled,
    /// It can never be paid any more.
    Canceled,
}

/// An answer of Stripe's that is no payment of this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Stripe's answer {0}")]
pub struct NoPayment(&'static str);

impl PaymentIntent {
    /// Reads an answer. What it says of the order must be what was asked for: anything else would take the wrong money.
    pub fn read(body: &[u8], order_id: &OrderId, total_minor: i64, currency: Currency) -> Result<Self, NoPayment> {
        #[derive(Deserialize)]
        struct Answer {
            id: String,
            client_secret: ClientSecret,
            status: String,
            amount: i64,
            currency: String,
            #[serde(default)]
            metadata: std::collections::BTreeMap<String, String>,
        }
        let answer: Answer = serde_json::from_slice(body).map_err(|_| NoPayment("is no payment intent as it is documented"))?;
        if !is_id(&answer.id) || answer.id.contains(['/', '?', '#', '%']) || answer.id.len() > ID_MAX {
            return Err(NoPayment("has an id that is none"));
        }
        let is_ours = answer.metadata.get(ORDER_ID).map(String::as_str) == Some(order_id.as_str());
        let fits = to_stripe(total_minor, currency) == Ok(answer.amount) && answer.currency.eq_ignore_ascii_case(currency.as_str());
        if !is_ours || !fits {
            return Err(NoPayment("is about another order, amount or currency"));
        }
        let standing = match answer.status.as_str() {
            "succeeded" | "processing" | "requires_capture" => Standing::Settled,
            "canceled" => Standing::Canceled,
            _ => Standing::Open,
        };
        Ok(Self { id: answer.id, client_secret: answer.client_secret, standing })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn order() -> OrderId {
        OrderId::parse("ORD-1M83JGQX8Z7NEDGYN6").unwrap()
    }

    fn gbp() -> Currency {
        Currency::parse("GBP").unwrap()
    }

    fn read(answer: &Value) -> Result<PaymentIntent, NoPayment> {
        PaymentIntent::read(answer.to_string().as_bytes(), &order(), 2999, gbp())
    }

    fn answer() -> Value {
        json!({"id": "pi_1", "client_secret": "pi_1_secret_2", "status": "requires_payment_method", "amount": 2999, "currency": "gbp",
               "metadata": {"order_id": order().as_str()}, "anything": [1]})
    }

    #[test]
    fn a_payment_is_asked_for_by_amount_currency_and_order() {
        assert_eq!(request(&order(), 2999, gbp()).unwrap(), "amount=2999&currency=gbp&metadata%5Border_id%5D=ORD-1M83JGQX8Z7NEDGYN6");
        assert!(request(&order(), 5123, Currency::parse("KWD").unwrap()).is_err());
    }

    #[test]
    fn how_it_stands() {
        let intent = read(&answer()).unwrap();
        assert_eq!((intent.id.as_str(), intent.standing, intent.client_secret.expose()), ("pi_1", Standing::Open, "pi_1_secret_2"));
        assert_eq!(format!("{:?}", intent.client_secret), "ClientSecret(***)");
        for (status, standing) in [
            ("requires_action", Standing::Open),
            ("processing", Standing::Settled),
            ("succeeded", Standing::Settled),
            ("canceled", Standing::Canceled),
        ] {
            let mut answer = answer();
            answer["status"] = status.into();
            assert_eq!(read(&answer).unwrap().standing, standing, "{status}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        for (member, value) in [
            ("id", json!("pi_1/../x")),
            ("id", json!("")),
            ("client_secret", json!("a b")),
            ("amount", json!(2998)),
            ("currency", json!("usd")),
            ("metadata", json!({})),
            ("metadata", json!({"order_id": "ORD-1M83JGQX8Z7NEDGYN7"})),
            ("status", Value::Null),
        ] {
            let mut answer = answer();
            answer[member] = value;
            assert!(read(&answer).is_err(), "{member}");
        }
    }
}
