//! What has happened to one order, as far as rows know it: its payment, its disputes, its events, and what became of telling them.

use std::time::SystemTime;

use common::order::Order;
use uuid::Uuid;

use crate::pg::{GenericClient, StorageError};

/// All of it.
#[derive(Debug, Default)]
pub struct History {
    /// Its payment; none of an order that was paid elsewhere and of which Stripe has said nothing.
    pub payment: Option<Payment>,
    /// Its events, oldest first.
    pub events: Vec<Event>,
    /// Their deliveries, in the order of the events.
    pub deliveries: Vec<Delivery>,
}

/// What is known of a payment.
#[derive(Debug)]
pub struct Payment {
    /// Stripe's name for it.
    pub payment_intent: Option<String>,
    /// When it was made.
    pub paid_at: Option<SystemTime>,
}

/// Something that was told.
pub struct Event {
    /// Names it.
    pub id: Uuid,
    /// Its public name, such as `order.created`.
    pub kind: String,
    /// What was told, as JSON.
    pub body: String,
    /// When.
    pub created_at: SystemTime,
}

// The body has an e-mail address in it.
impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event({} {})", self.kind, self.id)
    }
}

/// An event on its way to an endpoint.
pub struct Delivery {
    /// The event.
    pub event_id: Uuid,
    /// Where to.
    pub url: String,
    /// `pending`, `delivered` or `exhausted`.
    pub status: String,
    /// Attempts that were begun.
    pub attempts: i32,
}

// The URL may have a token in it.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Delivery({} of {})", self.status, self.event_id)
    }
}

/// What has happened to an order.
pub async fn of_order(client: &impl GenericClient, order: &Order) -> Result<History, StorageError> {
    let id = order.id.as_str();
    let payment = client.query_opt("select payment_intent, paid_at from order_payments where order_id = $1", &[&id]).await?;
    let events = client.query("select id, kind, body, created_at from events where order_id = $1 order by sequence", &[&id]).await?;
    // A delivery is born with its event, in one transaction and so at one time: that finds it by an index, among however many others.
    let deliveries = client
        .query(
            "select d.event_id, w.url, d.status, d.attempts
             from events e join webhook_endpoints w on w.store_id = $2 and w.live = $3
                  join webhook_deliveries d on d.endpoint_id = w.id and d.created_at = e.created_at and d.event_id = e.id
             where e.order_id = $1 order by e.sequence, w.created_at, w.id",
            &[&id, &order.store_id, &order.mode.is_live()],
        )
        .await?;
    Ok(History {
        payment: payment.map(|row| Payment { payment_intent: row.get(0), paid_at: row.get(1) }),
        events: events.iter().map(|row| Event { id: row.get(0), kind: row.get(1), body: row.get(2), created_at: row.get(3) }).collect(),
        deliveries: deliveries
            .iter()
            .map(|row| Delivery { event_id: row.get(0), url: row.get(1), status: row.get(2), attempts: row.get(3) })
            .collect(),
    })
}
