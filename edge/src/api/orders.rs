//! `/api/v1/stores/{slug}/orders/`: reading orders, and taking their license keys back.

use common::cart;
use common::clock::rfc3339;
use common::fulfill::Shortage;
use common::ids::OrderId;
use common::json;
use common::license::LicenseKey;
use common::order::{Order, OrderStatus, Revocation, SoldItem};
use http::StatusCode;
use serde::Serialize;
use storage::crash_point::reach;
use storage::pg::audit_log::Actor;
use storage::pg::order_items::{self, Item};
use storage::pg::orders::{self, Filter};

use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::query::Query;
use crate::service::Call;

#[derive(Serialize)]
struct OrderDocument<'a> {
    order_id: &'a OrderId,
    status: OrderStatus,
    external_reference: Option<&'a str>,
    total_minor: Option<i64>,
    currency: Option<&'a str>,
    customer_email: &'a str,
    livemode: bool,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemDocument<'a>>>,
}

#[derive(Serialize)]
struct FailureDocument<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "<[Shortage]>::is_empty")]
    shortages: &'a [Shortage],
}

#[derive(Serialize)]
struct ItemDocument<'a> {
    sku: &'a str,
    quantity: i32,
    license_keys: &'a [LicenseKey],
}

#[derive(Serialize)]
struct Page<'a> {
    data: Vec<OrderDocument<'a>>,
    has_more: bool,
}

fn document(order: &Order) -> OrderDocument<'_> {
    OrderDocument {
        order_id: &order.id,
        status: order.status,
        external_reference: order.external_reference.as_deref(),
        total_minor: order.total_minor,
        currency: order.currency.as_deref(),
        customer_email: &order.customer_email,
        livemode: order.mode.is_live(),
        created_at: rfc3339(order.created_at_ms),
        updated_at: rfc3339(order.updated_at_ms),
        error: order.failure.as_ref().map(|failure| FailureDocument { code: &failure.code, shortages: &failure.shortages }),
        items: None,
    }
}

fn whole_document<'a>(order: &'a Order, items: &'a [Item], sold: &'a [SoldItem]) -> OrderDocument<'a> {
    let item = |(item, sold): (&'a Item, &'a SoldItem)| ItemDocument {
        sku: sold.sku.as_str(),
        quantity: item.quantity,
        license_keys: &sold.license_keys,
    };
    OrderDocument { items: Some(items.iter().zip(sold).map(item).collect()), ..document(order) }
}

/// One order of the caller's, what it sold, and its license keys while they are usable.
pub async fn read(edge: &Edge, caller: &Caller, id: &OrderId) -> Result<(Order, Vec<Item>, Vec<SoldItem>), ApiError> {
    let client = edge.pg.client().await?;
    let order = orders::get(&*client, caller.store.id, caller.mode, id).await?;
    let order = order.ok_or_else(|| ApiError::order_not_found(id.as_str()))?;
    reach("read.order_found").await;
    let items = order_items::of_orders(&*client, std::slice::from_ref(id)).await?.remove(id.as_str()).unwrap_or_default();
    let sold = order_items::reveal(&edge.licenses, &order, &items)?;
    Ok((order, items, sold))
}

fn order_id(call: &Call<'_>) -> Result<OrderId, ApiError> {
    OrderId::parse(call.params.id).map_err(|_| ApiError::order_not_found(call.params.id))
}

/// `GET …/orders/{order_id}/`
pub async fn get(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let id = order_id(call)?;
    in_time(edge, async {
        let (order, items, sold) = read(edge, caller, &id).await?;
        Ok(Answer::json(StatusCode::OK, &whole_document(&order, &items, &sold)))
    })
    .await
}

/// `GET …/orders/?external_reference=&status=&limit=&starting_after=`
pub async fn list(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let (filter, limit) = filter(call)?;
    in_time(edge, async {
        let client = edge.pg.client().await?;
        let mut found = orders::list(&*client, caller.store.id, caller.mode, &filter, limit + 1).await?;
        let has_more = found.len() as i64 > limit;
        found.truncate(limit as usize);
        Ok(Answer::json(StatusCode::OK, &Page { data: found.iter().map(document).collect(), has_more }))
    })
    .await
}

fn filter(call: &Call<'_>) -> Result<(Filter, i64), ApiError> {
    let query = Query::parse(call.query, &["external_reference", "status", "limit", "starting_after"])?;
    let mut errors = json::FieldErrors::default();
    let limit = query.limit(&mut errors);
    let status = query.get("status").map(str::parse::<OrderStatus>).transpose().unwrap_or_else(|error| {
        errors.add("status", error.to_string());
        None
    });
    let starting_after = query.get("starting_after").map(OrderId::parse).transpose().unwrap_or_else(|error| {
        errors.add("starting_after", error.to_string());
        None
    });
    let external_reference = query.get("external_reference").map(str::to_owned);
    if let Some(reference) = &external_reference {
        cart::check_external_reference("external_reference", reference, &mut errors);
    }
    Ok(errors.into_result(limit.map(|limit| (Filter { external_reference, status, starting_after }, limit)))?)
}

/// `POST …/orders/{order_id}/revoke/`: the license keys become unusable for good and never return to the stock. Twice is once.
pub async fn revoke(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let id = order_id(call)?;
    if !call.body.is_empty() {
        let mut errors = json::FieldErrors::default();
        json::parse(&call.body)?.into_members("body", &mut errors).finish("", &mut errors);
        errors.into_result(Some(()))?;
    }
    in_time(edge, async {
        let revoked = orders::revoke(&edge.pg, caller.store.id, caller.mode, &id, Actor::Api).await?;
        match revoked.ok_or_else(|| ApiError::order_not_found(id.as_str()))? {
            (Revocation::Refused, status) => return Err(ApiError::not_revocable(status)),
            (Revocation::AlreadyRevoked | Revocation::Revokes, _) => {}
        }
        let (order, items, sold) = read(edge, caller, &id).await?;
        Ok(Answer::json(StatusCode::OK, &whole_document(&order, &items, &sold)))
    })
    .await
}
