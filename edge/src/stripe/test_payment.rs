//! The test payment of a development system without keys of Stripe's: an event as Stripe would send it, signed as Stripe would sign it, and
//! taken in as any other. What follows is the whole way of a payment.

use common::clock::Now;
use common::mode::Mode;
use common::order::Order;
use common::stripe::amount::to_stripe;
use common::stripe::event::ORDER_ID;
use serde_json::json;

use super::receive;
use crate::edge::Edge;
use crate::error::{ApiError, Code};

/// Pays an order. Once more changes nothing: it is the same event.
pub async fn pay(edge: &Edge, order: &Order, now: Now, request_id: &str) -> Result<(), ApiError> {
    let internal = |reason: String| {
        tracing::error!(order_id = %order.id, request_id, reason, "no test payment");
        ApiError::plain(Code::Internal)
    };
    let currency = order.currency.as_deref().and_then(|code| common::money::Currency::parse(code).ok());
    let (Some(total_minor), Some(currency)) = (order.total_minor, currency) else {
        return Err(internal("the order has no total".into()));
    };
    let amount = to_stripe(total_minor, currency).map_err(|error| internal(error.to_string()))?;
    let event = json!({
        "id": format!("evt_test_{}", order.id),
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": now.unix_s(),
        "livemode": order.mode == Mode::Live,
        "data": {"object": {
            "id": format!("pi_test_{}", order.id),
            "object": "payment_intent",
            "amount": amount,
            "amount_received": amount,
            "currency": currency.as_str().to_ascii_lowercase(),
            "status": "succeeded",
            "metadata": {ORDER_ID: order.id.as_str()},
        }},
    });
    let body = event.to_string();
    let signer = match order.mode {
        Mode::Live => &edge.stripe.live,
        Mode::Test => &edge.stripe.test,
    };
    let signature = signer.sign(body.as_bytes(), now.unix_s()).ok_or_else(|| internal("no signing secret".into()))?;
    receive(edge, signature.as_bytes(), body.as_bytes(), now.unix_s(), request_id).await.map(|_| ())
}
