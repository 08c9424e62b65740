//! `POST /api/v1/stores/{slug}/checkout/session/`: a cart becomes a signed session. Everything is in memory; nobody is asked.

use common::cart::SessionRequest;
use common::clock::rfc3339;
use common::session::Claims;
use http::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::api::idempotency;
use crate::edge::Edge;
use crate::error::{ApiError, Code};
use crate::gate::Caller;
use crate::service::Call;
use crate::snapshot::Store;

/// Makes a session.
pub fn create(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let idempotency_key = idempotency::key(call.headers)?;
    let request = SessionRequest::parse(&call.body, edge.knobs.https_only)?;
    caller.store.return_hosts.check(&request.metadata)?;
    check_catalogue(&caller.store, &request)?;
    let id = match idempotency_key {
        Some(key) => request.derived_id(caller.store.id, caller.mode.is_live(), key),
        None => rand::random(),
    };
    let issued_at_s = call.now.unix_s();
    let expires_at_s = issued_at_s + request.expires_in.map_or(edge.knobs.session_lifetime_s, u64::from);
    let claims = Claims {
        store_id: caller.store.id,
        mode: caller.mode,
        cart: request.cart,
        currency: request.currency,
        locale: request.locale,
        metadata: request.metadata,
        issued_at_s,
        expires_at_s,
        id: Uuid::from_bytes(id),
    };
    let token = edge.signer.sign(&claims).map_err(|error| ApiError::new(Code::SessionTooLarge, format!("{error}.")))?;
    let expires_at = rfc3339(expires_at_s * 1_000);
    // Put together by hand: none of these has a character that JSON would escape, and looking for one in a long token, twice, would cost
    // more than all the rest of the answer.
    let base_url = &edge.knobs.public_base_url;
    let parts = [
        r#"{"token":""#,
        &token,
        r#"","checkout_url":""#,
        base_url,
        "/s/",
        &caller.store.slug,
        "/cart/?token=",
        &token,
        r#"","expires_at":""#,
        &expires_at,
        r#""}"#,
    ];
    Ok(Answer::json_text(StatusCode::CREATED, parts.concat()))
}

/// Every SKU must be one of the store's, with a price in the currency.
fn check_catalogue(store: &Store, request: &SessionRequest) -> Result<(), ApiError> {
    for line in &request.cart {
        let prices = store.catalogue.get(&line.sku).ok_or_else(|| ApiError::product_not_found(&line.sku))?;
        if !prices.iter().any(|(currency, _)| *currency == request.currency) {
            let detail = format!("{} has no price in {}.", line.sku, request.currency.as_str());
            return Err(ApiError::new(Code::PriceNotAvailable, detail));
        }
    }
    Ok(())
}
