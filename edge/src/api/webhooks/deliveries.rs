//! `…/webhooks/{webhook_id}/deliveries/`: what an endpoint was sent and what it answered, a test event, and sending things again. Who
//! delivers is a worker; here rows are made due.

use common::clock::rfc3339;
use common::ids::OrderId;
use common::json;
use common::webhook::ids::{DeliveryId, EndpointId};
use common::webhook::request::ResendRequest;
use http::StatusCode;
use serde::Serialize;
use storage::pg::Client;
use storage::pg::webhook_attempts::{self, Attempt, Delivery, Filter, Span};
use storage::pg::webhook_endpoints::{self, Which};
use uuid::Uuid;

use super::{no_body, not_found, which};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::query::Query;
use crate::service::Call;

/// Where a delivery can stand.
pub(crate) const STATUSES: [&str; 3] = ["pending", "delivered", "exhausted"];

#[derive(Serialize)]
struct DeliveryDocument<'a> {
    id: DeliveryId,
    webhook_id: EndpointId,
    event_id: Uuid,
    event: &'a str,
    order_id: &'a str,
    status: &'a str,
    attempts_made: u32,
    next_attempt_at: Option<String>,
    created_at: String,
    settled_at: Option<String>,
    /// What is signed and sent, to the byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptDocument<'a>>>,
}

#[derive(Serialize)]
struct AttemptDocument<'a> {
    attempt: u32,
    started_at: String,
    duration_ms: u32,
    status: Option<u16>,
    error: Option<&'a str>,
    /// The beginning of the answer's body, as text as far as it is text.
    answer: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
struct Page<'a> {
    data: Vec<DeliveryDocument<'a>>,
    has_more: bool,
}

#[derive(Serialize)]
struct Resent {
    resent: u64,
    next_cursor: Option<DeliveryId>,
}

fn document(delivery: &Delivery) -> DeliveryDocument<'_> {
    DeliveryDocument {
        id: DeliveryId(delivery.id),
        webhook_id: EndpointId(delivery.endpoint_id),
        event_id: delivery.event_id,
        event: &delivery.event,
        order_id: &delivery.order_id,
        status: &delivery.status,
        attempts_made: delivery.attempts,
        next_attempt_at: delivery.next_attempt_at_ms.map(rfc3339),
        created_at: rfc3339(delivery.created_at_ms),
        settled_at: delivery.settled_at_ms.map(rfc3339),
        body: None,
        attempts: None,
    }
}

fn attempt(attempt: &Attempt) -> AttemptDocument<'_> {
    AttemptDocument {
        attempt: attempt.attempt,
        started_at: rfc3339(attempt.started_at_ms),
        duration_ms: attempt.duration_ms,
        status: attempt.status,
        error: attempt.error.as_deref(),
        answer: String::from_utf8_lossy(&attempt.answer),
    }
}

/// Deliveries outlive their endpoint, and are reached through it alone.
async fn check_endpoint(client: &Client, which: Which, call: &Call<'_>) -> Result<(), ApiError> {
    webhook_endpoints::get(&**client, which).await?.map(drop).ok_or_else(|| not_found(call))
}

fn delivery_id(call: &Call<'_>) -> Result<DeliveryId, ApiError> {
    call.params.delivery_id.parse().map_err(|_| ApiError::delivery_not_found(call.params.delivery_id))
}

/// One delivery and its body.
async fn find(client: &Client, which: Which, id: DeliveryId) -> Result<(Delivery, String), ApiError> {
    let found = webhook_attempts::delivery(&**client, which, id.0).await?;
    found.ok_or_else(|| ApiError::delivery_not_found(&id.to_string()))
}

/// `GET …/deliveries/?status=&order_id=&limit=&starting_after=`
pub async fn list(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    let (filter, limit) = filter(call)?;
    in_time(edge, async {
        let client = edge.pg.client().await?;
        check_endpoint(&client, which, call).await?;
        let mut found = webhook_attempts::deliveries(&*client, which, &filter, limit + 1).await?;
        let has_more = found.len() as i64 > limit;
        found.truncate(limit as usize);
        Ok(Answer::json(StatusCode::OK, &Page { data: found.iter().map(document).collect(), has_more }))
    })
    .await
}

fn filter(call: &Call<'_>) -> Result<(Filter, i64), ApiError> {
    let query = Query::parse(call.query, &["status", "order_id", "limit", "starting_after"])?;
    let mut errors = json::FieldErrors::default();
    let limit = query.limit(&mut errors);
    let status = query.get("status").map(str::to_owned);
    if status.as_ref().is_some_and(|status| !STATUSES.contains(&status.as_str())) {
        errors.add("status", format!("must be one of {}", STATUSES.join(", ")));
    }
    let order_id = query.get("order_id").map(OrderId::parse).transpose().unwrap_or_else(|error| {
        errors.add("order_id", error.to_string());
        None
    });
    let before = query.get("starting_after").map(str::parse::<DeliveryId>).transpose().unwrap_or_else(|error| {
        errors.add("starting_after", error.to_string());
        None
    });
    let filter = Filter { status, order_id: order_id.map(String::from), before: before.map(|id| id.0) };
    Ok(errors.into_result(limit.map(|limit| (filter, limit)))?)
}

/// `GET …/deliveries/{delivery_id}/`
pub async fn get(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    let id = delivery_id(call)?;
    in_time(edge, async {
        let client = edge.pg.client().await?;
        check_endpoint(&client, which, call).await?;
        let (delivery, body) = find(&client, which, id).await?;
        let attempts = webhook_attempts::of_delivery(&*client, id.0).await?;
        let attempts = Some(attempts.iter().map(attempt).collect());
        Ok(Answer::json(StatusCode::OK, &DeliveryDocument { body: Some(&body), attempts, ..document(&delivery) }))
    })
    .await
}

/// `POST …/webhooks/{webhook_id}/test/`: a test event for this endpoint alone.
pub async fn test(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    no_body(call)?;
    let (event_id, order_id) = (Uuid::now_v7(), OrderId::new(call.now.unix_ms, rand::random()));
    in_time(edge, async {
        let client = edge.pg.client().await?;
        let id = webhook_attempts::send_test(&*client, which, event_id, &order_id, call.now.unix_ms, call.trace).await?;
        let (delivery, _) = find(&client, which, DeliveryId(id.ok_or_else(|| not_found(call))?)).await?;
        Ok(Answer::json(StatusCode::ACCEPTED, &document(&delivery)))
    })
    .await
}

/// `POST …/deliveries/{delivery_id}/resend/`: what is under way already, or is about to be, stays as it is.
pub async fn resend(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    let id = delivery_id(call)?;
    no_body(call)?;
    in_time(edge, async {
        let client = edge.pg.client().await?;
        check_endpoint(&client, which, call).await?;
        // Whether it is this store's delivery, before anything is done to it.
        find(&client, which, id).await?;
        webhook_attempts::resend(&*client, which.id, &[id.0]).await?;
        let (delivery, _) = find(&client, which, id).await?;
        Ok(Answer::json(StatusCode::ACCEPTED, &document(&delivery)))
    })
    .await
}

/// `POST …/webhooks/{webhook_id}/resend/`: the deliveries of a span of time, so many at once.
pub async fn resend_between(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    let ResendRequest { from_ms, to_ms, all, after } = ResendRequest::parse(&call.body)?;
    in_time(edge, async {
        let client = edge.pg.client().await?;
        check_endpoint(&client, which, call).await?;
        let after = after.map_or(0, |id| id.0);
        let (resent, next) = webhook_attempts::resend_span(&*client, which, Span { from_ms, to_ms, all }, after).await?;
        Ok(Answer::json(StatusCode::OK, &Resent { resent, next_cursor: next.map(DeliveryId) }))
    })
    .await
}
