//! `POST /api/v1/stores/{slug}/licensing/fulfill/`: an order that was paid elsewhere gets its license keys.

use common::fulfill::{FulfillOutcome, FulfillRequest};
use common::ids::OrderId;
use common::job::NewOrder;
use common::order::{OrderStatus, SoldItem};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use serde::Serialize;

use crate::answer::Answer;
use crate::api::{idempotency, orders};
use crate::edge::Edge;
use crate::error::{ApiError, Code};
use crate::gate::Caller;
use crate::service::Call;

#[derive(Serialize)]
struct Fulfilled<'a> {
    order_id: &'a OrderId,
    status: OrderStatus,
    items: &'a [SoldItem],
}

#[derive(Serialize)]
struct Accepted<'a> {
    order_id: &'a OrderId,
    status: OrderStatus,
}

/// Fulfills an order, or says what stands in the way.
pub async fn fulfill(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let idempotency_key = idempotency::key(call.headers)?.map(str::to_owned);
    if !caller.store.licensing {
        return Err(ApiError::plain(Code::StoreNotLicensing));
    }
    let request = FulfillRequest::parse(&call.body)?;
    if let Some(item) = request.items.iter().find(|item| !caller.store.catalogue.contains_key(&item.sku)) {
        return Err(ApiError::product_not_found(&item.sku));
    }
    let order_id = OrderId::new(call.now.unix_ms, rand::random());
    let order = NewOrder { order_id, store_id: caller.store.id, mode: caller.mode, idempotency_key, request, trace: call.trace.cloned() };
    let outcome = edge.fulfillment.fulfill(order, call.request_id).await?;
    answer(edge, caller, outcome).await
}

async fn answer(edge: &Edge, caller: &Caller, outcome: FulfillOutcome) -> Result<Answer, ApiError> {
    match outcome {
        FulfillOutcome::Order { order_id, status, items, replayed } => Ok(created(&order_id, status, &items, replayed)),
        FulfillOutcome::Stored { order_id, replayed } => {
            let (order, _, sold) = orders::read(edge, caller, &order_id).await?;
            Ok(created(&order.id, order.status, &sold, replayed))
        }
        FulfillOutcome::Processing { order_id } => {
            let location = format!("/api/v1/stores/{}/orders/{order_id}/", caller.store.slug);
            let location = HeaderValue::try_from(location).map_err(|_| ApiError::plain(Code::Internal))?;
            let accepted = Accepted { order_id: &order_id, status: OrderStatus::Processing };
            Ok(Answer::json(StatusCode::ACCEPTED, &accepted).with(LOCATION, location))
        }
        FulfillOutcome::ReferenceConflict => Err(ApiError::plain(Code::ExternalReferenceConflict)),
        FulfillOutcome::IdempotencyConflict => Err(ApiError::plain(Code::IdempotencyConflict)),
        FulfillOutcome::OutOfStock { shortages } => Err(ApiError::out_of_stock(shortages)),
        FulfillOutcome::UnknownProduct { sku } => Err(ApiError::product_not_found(&sku)),
        FulfillOutcome::Unknown => Err(ApiError::plain(Code::Unavailable)),
    }
}

fn created(order_id: &OrderId, status: OrderStatus, items: &[SoldItem], replayed: bool) -> Answer {
    let answer = Answer::json(StatusCode::CREATED, &Fulfilled { order_id, status, items });
    if replayed { answer.with(idempotency::REPLAYED, HeaderValue::from_static("true")) } else { answer }
}
