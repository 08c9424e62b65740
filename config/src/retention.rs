//! `[retention]`: how long rows are kept that have served, and how gently they go. The reason of each default stands in `default.toml`.

use std::time::Duration;

use crate::reader::Section;

/// `[retention]`.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Between two rounds through everything that grows old.
    pub interval: Duration,
    /// Rows in one step, which is one transaction.
    pub step_rows: u32,
    /// Between two steps.
    pub step_pause: Duration,
    /// Age of a change of the feed.
    pub changes: Duration,
    /// Silence of an edge.
    pub edges: Duration,
    /// Age of an order whose idempotency key is forgotten.
    pub idempotency_keys: Duration,
    /// Age of a dead letter.
    pub dead_letters: Duration,
    /// Age of a delivery that is done with, and of its attempts.
    pub webhook_deliveries: Duration,
    /// Age of an event of Stripe's that is done with.
    pub stripe_events: Duration,
    /// Age of an event of Stripe's whose order never came.
    pub parked_stripe_events: Duration,
    /// Age of a cart.
    pub carts: Duration,
    /// Age of a session of the portal, from when it would have been over at the latest.
    pub portal_sessions: Duration,
    /// Age of a minute of an API key's use.
    pub api_key_usage: Duration,
}

impl Retention {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        Self {
            interval: from.seconds("interval_s", 1..=86_400),
            step_rows: from.number("step_rows", 1..=10_000),
            step_pause: from.millis("step_pause_ms", 0..=60_000),
            changes: from.days("changes_days", 1..=365),
            edges: from.days("edges_days", 1..=365),
            idempotency_keys: from.days("idempotency_keys_days", 30..=3_650),
            dead_letters: from.days("dead_letters_days", 1..=3_650),
            webhook_deliveries: from.days("webhook_deliveries_days", 5..=3_650),
            stripe_events: from.days("stripe_events_days", 4..=3_650),
            parked_stripe_events: from.days("parked_stripe_events_days", 4..=3_650),
            carts: from.days("carts_days", 2..=365),
            portal_sessions: from.days("portal_sessions_days", 1..=365),
            api_key_usage: from.days("api_key_usage_days", 1..=3_650),
        }
    }
}
