//! Events: facts about an order, told to the partner in exactly this form. The first seven members are the documented payload, in the
//! documented order; the rest follow. An event never holds a license key.

use serde::Serialize;
use uuid::Uuid;

use crate::ids::OrderId;
use crate::job::NewOrder;
use crate::order::facts::News;
use crate::order::{Order, OrderStatus};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A new order, payment initiated.
    Created,
    /// Paid, and license keys allocated.
    Fulfilled,
    /// Money went back.
    Refunded,
    /// A dispute was opened or closed.
    Disputed,
    /// Nothing: a partner wants to see whether webhooks arrive. About no order that there is, and sent to one endpoint only.
    Test,
}

impl EventKind {
    /// What an endpoint can ask for.
    pub const SUBSCRIBABLE: [EventKind; 4] = [EventKind::Created, EventKind::Fulfilled, EventKind::Refunded, EventKind::Disputed];

    /// The kind of this public name, if an endpoint can ask for it.
    pub fn subscribable(name: &str) -> Option<Self> {
        Self::SUBSCRIBABLE.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The event's public name.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Created => "order.created",
            EventKind::Fulfilled => "order.fulfilled",
            EventKind::Refunded => "order.refunded",
            EventKind::Disputed => "order.disputed",
            EventKind::Test => "webhook.test",
        }
    }
}

/// An event's body. It has an e-mail address in it, so that there is no `Debug`.
#[derive(Clone, Serialize)]
pub struct EventBody<'a> {
    /// The event's name, see [`EventKind::as_str`].
    pub event: &'static str,
    /// The order it is about.
    pub order_id: &'a OrderId,
    /// The partner's name for it.
    pub external_reference: Option<&'a str>,
    /// Where the order stood when this happened.
    pub status: OrderStatus,
    /// Minor units.
    pub total_minor: Option<i64>,
    /// ISO 4217.
    pub currency: Option<&'a str>,
    /// Who bought.
    pub customer_email: &'a str,
    /// Names this event, the same for every endpoint and attempt.
    pub event_id: Uuid,
    /// RFC 3339.
    pub created_at: &'a str,
    /// 1 for the order's first event, and so on.
    pub sequence: i32,
    /// Live or test.
    pub livemode: bool,
    /// What went back of the money in all, minor units; of a refund alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded_minor: Option<i64>,
    /// Of a dispute alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispute: Option<DisputeBody<'a>>,
}

/// A dispute, as partners are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DisputeBody<'a> {
    /// Stripe's id.
    pub id: &'a str,
    /// `open`, `won` or `lost`.
    pub status: &'static str,
    /// Minor units of the order's currency.
    pub amount_minor: i64,
}

impl<'a> EventBody<'a> {
    /// What happens to an order that was paid elsewhere: it is created, and it is fulfilled.
    pub fn of_fulfillment(kind: EventKind, order: &'a NewOrder, event_id: Uuid, created_at: &'a str) -> Self {
        let (status, sequence) = if kind == EventKind::Created { (OrderStatus::Processing, 1) } else { (OrderStatus::Fulfilled, 2) };
        Self {
            event: kind.as_str(),
            order_id: &order.order_id,
            external_reference: Some(&order.request.external_reference),
            status,
            total_minor: order.request.total_minor,
            currency: order.request.currency.map(|currency| currency.as_str()),
            customer_email: &order.request.customer_email,
            event_id,
            created_at,
            sequence,
            livemode: order.mode.is_live(),
            refunded_minor: None,
            dispute: None,
        }
    }

    /// What happens to an order that stands where it stands, as its `sequence`th event.
    pub fn of_order(kind: EventKind, order: &'a Order, event_id: Uuid, created_at: &'a str, sequence: i32) -> Self {
        Self {
            event: kind.as_str(),
            order_id: &order.id,
            external_reference: order.external_reference.as_deref(),
            status: order.status,
            total_minor: order.total_minor,
            currency: order.currency.as_deref(),
            customer_email: &order.customer_email,
            event_id,
            created_at,
            sequence,
            livemode: order.mode.is_live(),
            refunded_minor: None,
            dispute: None,
        }
    }

    /// The same with a piece of news about its money.
    pub fn with_news(self, news: &'a News) -> Self {
        match news {
            News::Refunded { refunded_minor } => Self { refunded_minor: Some(*refunded_minor), ..self },
            News::Disputed { id, dispute } => {
                let (status, amount_minor) = (dispute.status.as_str(), dispute.amount_minor);
                Self { dispute: Some(DisputeBody { id, status, amount_minor }), ..self }
            }
        }
    }

    /// What a partner is sent to try an endpoint: like a fulfilled order, which there is not.
    pub fn of_test(order_id: &'a OrderId, live: bool, event_id: Uuid, created_at: &'a str) -> Self {
        Self {
            event: EventKind::Test.as_str(),
            order_id,
            external_reference: Some("webhook-test"),
            status: OrderStatus::Fulfilled,
            total_minor: Some(2_999),
            currency: Some("GBP"),
            customer_email: "customer@example.com",
            event_id,
            created_at,
            sequence: 1,
            livemode: live,
            refunded_minor: None,
            dispute: None,
        }
    }

    /// The bytes that are signed and sent.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers serialize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::facts::Dispute;
    use crate::stripe::DisputeStatus;

    #[test]
    fn the_documented_members_come_first_and_in_order() {
        let body = EventBody {
            event: EventKind::Fulfilled.as_str(),
            order_id: &OrderId::new(0, 0),
            external_reference: Some("your-ref-123"),
            status: OrderStatus::Fulfilled,
            total_minor: Some(2_999),
            currency: Some("GBP"),
            customer_email: "a@b.example",
            event_id: Uuid::nil(),
            created_at: "2026-03-02T12:00:00Z",
            sequence: 2,
            livemode: true,
            refunded_minor: None,
            dispute: None,
        };
        let expected = r#"{"event":"order.fulfilled","order_id":"ORD-000000000000000000","external_reference":"your-ref-123","status":"fulfilled","total_minor":2999,"currency":"GBP","customer_email":"a@b.example","event_id":"00000000-0000-0000-0000-000000000000","created_at":"2026-03-02T12:00:00Z","sequence":2,"livemode":true}"#;
        assert_eq!(body.to_json(), expected);
        let refunded = News::Refunded { refunded_minor: 1_000 };
        assert!(body.clone().with_news(&refunded).to_json().ends_with(r#""livemode":true,"refunded_minor":1000}"#));
        let dispute = Dispute { status: DisputeStatus::Lost, amount_minor: 2_999 };
        let disputed = News::Disputed { id: "dp_1".into(), dispute };
        let expected = r#""livemode":true,"dispute":{"id":"dp_1","status":"lost","amount_minor":2999}}"#;
        assert!(body.with_news(&disputed).to_json().ends_with(expected));
    }
}
