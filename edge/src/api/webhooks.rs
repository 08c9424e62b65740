//! `/api/v1/stores/{slug}/webhooks/`: where a partner wants to hear of events, in the mode of its key. A secret is shown when it is made,
//! and never again. What was sent, and sending it again, is in `webhooks/deliveries.rs`.

pub mod deliveries;

use common::clock::rfc3339;
use common::json;
use common::webhook::ENDPOINTS_MAX;
use common::webhook::ids::EndpointId;
use common::webhook::request::{ChangeRequest, CreateRequest, RotateRequest};
use common::webhook::secret::WebhookSecret;
use http::StatusCode;
use serde::Serialize;
use storage::StorageError;
use storage::pg::audit_log::Actor;
use storage::pg::webhook_endpoints::{self, Changes, Endpoint, NewEndpoint, Which};
use uuid::Uuid;

use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{ApiError, Code};
use crate::gate::Caller;
use crate::service::Call;

#[derive(Serialize)]
struct EndpointDocument<'a> {
    id: EndpointId,
    url: &'a str,
    /// None means all.
    events: &'a [String],
    enabled: bool,
    disabled_reason: Option<&'a str>,
    failures: u32,
    failing_since: Option<String>,
    previous_secret_until: Option<String>,
    livemode: bool,
    created_at: String,
    updated_at: String,
    /// Only where it was made in this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

#[derive(Serialize)]
struct Page<'a> {
    data: Vec<EndpointDocument<'a>>,
}

fn document(endpoint: &Endpoint) -> EndpointDocument<'_> {
    EndpointDocument {
        id: EndpointId(endpoint.id),
        url: &endpoint.url,
        events: &endpoint.events,
        enabled: endpoint.enabled,
        disabled_reason: endpoint.disabled_reason.as_deref(),
        failures: endpoint.failures,
        failing_since: endpoint.failing_since_ms.map(rfc3339),
        previous_secret_until: endpoint.previous_secret_until_ms.map(rfc3339),
        livemode: endpoint.mode.is_live(),
        created_at: rfc3339(endpoint.created_at_ms),
        updated_at: rfc3339(endpoint.updated_at_ms),
        secret: None,
    }
}

fn with_secret(status: StatusCode, endpoint: &Endpoint, secret: &WebhookSecret) -> Answer {
    Answer::json(status, &EndpointDocument { secret: Some(secret.expose()), ..document(endpoint) })
}

/// The endpoint that the path names, in the caller's store and mode; whether it is there is for the database to say.
fn which(caller: &Caller, call: &Call<'_>) -> Result<Which, ApiError> {
    let EndpointId(id) = call.params.id.parse().map_err(|_| not_found(call))?;
    Ok(Which { store_id: caller.store.id, mode: caller.mode, id })
}

fn not_found(call: &Call<'_>) -> ApiError {
    ApiError::webhook_not_found(call.params.id)
}

/// `GET …/webhooks/`
pub async fn list(edge: &Edge, caller: &Caller) -> Result<Answer, ApiError> {
    in_time(edge, async {
        let client = edge.pg.client().await?;
        let found = webhook_endpoints::list(&*client, caller.store.id, caller.mode).await?;
        Ok(Answer::json(StatusCode::OK, &Page { data: found.iter().map(document).collect() }))
    })
    .await
}

/// `POST …/webhooks/`
pub async fn create(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let CreateRequest { url, events, secret } = CreateRequest::parse(&call.body, edge.knobs.webhook_rules)?;
    let secret = secret.unwrap_or_else(|| WebhookSecret::generate(&rand::random()));
    let which = Which { store_id: caller.store.id, mode: caller.mode, id: Uuid::now_v7() };
    let sealed_secret = seal(edge, which, &secret);
    let made = in_time(edge, async {
        let new = NewEndpoint { which, url: url.as_str(), events: &events, sealed_secret: &sealed_secret };
        Ok(webhook_endpoints::create(&edge.pg, &new, Actor::Api).await?)
    });
    let made = made.await.map_err(|error: ApiError| {
        error.or_unknown("It is not known whether the endpoint was made. Look at the list of endpoints before you send this again.")
    })?;
    let endpoint = made.ok_or_else(|| {
        let detail = format!("The store has {ENDPOINTS_MAX} webhook endpoints in this mode, and may have no more.");
        ApiError::new(Code::WebhookLimitReached, detail)
    })?;
    Ok(with_secret(StatusCode::CREATED, &endpoint, &secret))
}

fn seal(edge: &Edge, which: Which, secret: &WebhookSecret) -> Vec<u8> {
    edge.webhook_secrets.seal(&webhook_endpoints::place(which.id), secret.expose().as_bytes())
}

/// `GET …/webhooks/{webhook_id}/`
pub async fn get(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    in_time(edge, async {
        let client = edge.pg.client().await?;
        let endpoint = webhook_endpoints::get(&*client, which).await?.ok_or_else(|| not_found(call))?;
        Ok(Answer::json(StatusCode::OK, &document(&endpoint)))
    })
    .await
}

/// `PATCH …/webhooks/{webhook_id}/`
pub async fn change(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    let ChangeRequest { url, events, enabled } = ChangeRequest::parse(&call.body, edge.knobs.webhook_rules)?;
    let changes = Changes { url: url.map(|url| url.as_str().to_owned()), events, enabled };
    in_time(edge, async {
        let endpoint = webhook_endpoints::change(&edge.pg, which, &changes, Actor::Api).await?.ok_or_else(|| not_found(call))?;
        Ok(Answer::json(StatusCode::OK, &document(&endpoint)))
    })
    .await
}

/// `DELETE …/webhooks/{webhook_id}/`
pub async fn delete(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    in_time(edge, async {
        let is_removed = webhook_endpoints::remove(&edge.pg, which, Actor::Api).await?;
        if is_removed { Ok(Answer::new(StatusCode::NO_CONTENT, "")) } else { Err(not_found(call)) }
    })
    .await
}

/// `POST …/webhooks/{webhook_id}/rotate-secret/`. With a secret of the caller's own, twice is once: else the secret that partners' servers
/// still know would be lost the second time.
pub async fn rotate(edge: &Edge, caller: &Caller, call: &Call<'_>) -> Result<Answer, ApiError> {
    let which = which(caller, call)?;
    let RotateRequest { secret: own, revoke_previous } = RotateRequest::parse(&call.body)?;
    let is_own = own.is_some();
    let secret = own.unwrap_or_else(|| WebhookSecret::generate(&rand::random()));
    let rotated = in_time(edge, async {
        let mut client = edge.pg.client().await?;
        let tx = client.transaction().await.map_err(StorageError::from)?;
        let before = webhook_endpoints::sealed_secret_for_update(&tx, which).await?.ok_or_else(|| not_found(call))?;
        // One that cannot be opened is replaced, which puts it right.
        let before = edge.webhook_secrets.open(&webhook_endpoints::place(which.id), &before).ok();
        let is_known = before.is_some_and(|before| before.as_slice() == secret.expose().as_bytes());
        let endpoint = if is_own && is_known && !revoke_previous {
            webhook_endpoints::get(&tx, which).await?
        } else {
            webhook_endpoints::rotate(&tx, which, &seal(edge, which, &secret), revoke_previous, Actor::Api).await?
        };
        tx.commit().await.map_err(StorageError::from)?;
        endpoint.ok_or_else(|| not_found(call))
    });
    let endpoint = rotated.await.map_err(|error| {
        error.or_unknown(
            "It is not known whether the secret was replaced: the endpoint's previous_secret_until tells. A request that names its secret \
             can be sent again.",
        )
    })?;
    Ok(with_secret(StatusCode::OK, &endpoint, &secret))
}

/// Refuses a body where none is needed: none, or an empty object.
fn no_body(call: &Call<'_>) -> Result<(), ApiError> {
    if !call.body.is_empty() {
        let mut errors = json::FieldErrors::default();
        json::parse(&call.body)?.into_members("body", &mut errors).finish("", &mut errors);
        errors.into_result(Some(()))?;
    }
    Ok(())
}
