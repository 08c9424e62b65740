//! One delivery: what was sent, signed how, what each attempt was answered, and sending it again. The customer's address in the body is the
//! store's own customer's, so that whoever may see the store may see it.

use askama::Template;
use common::partner::Role;
use common::webhook::ids::{DeliveryId, EndpointId};
use common::webhook::secret::{WebhookSecret, WebhookSigner};
use common::webhook::{AGENT, SIGNATURE};
use storage::pg::webhook_attempts::{self, Attempt, Delivery};
use storage::pg::webhook_endpoints;

use super::frame::{Frame, Note, minute_of_ms};
use super::{Visitor, webhook};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;

/// An attempt, in words.
#[derive(Debug)]
struct Told {
    number: u32,
    at: String,
    duration_ms: u32,
    is_good: bool,
    /// The status, or why there is none.
    outcome: String,
    answer: String,
}

fn told(attempt: &Attempt) -> Told {
    Told {
        number: attempt.attempt,
        at: minute_of_ms(attempt.started_at_ms),
        duration_ms: attempt.duration_ms,
        is_good: attempt.status.is_some_and(|status| (200..300).contains(&status)),
        outcome: attempt.status.map_or_else(|| attempt.error.clone().unwrap_or_default(), |status| status.to_string()),
        // Anything may be in it.
        answer: String::from_utf8_lossy(&attempt.answer).chars().map(|c| if c.is_control() && c != '\n' { '�' } else { c }).collect(),
    }
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/delivery.html")]
struct DeliveryPage {
    frame: Frame,
    may_change: bool,
    note: Option<Note>,
    endpoint: EndpointId,
    url: String,
    id: DeliveryId,
    event: String,
    event_id: String,
    order_id: String,
    /// Whether the order is one that can be looked at.
    is_test_event: bool,
    status: String,
    created: String,
    next: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    attempts: Vec<Told>,
}

/// What a delivery's head says, in so far as it is the same for every attempt. The signature is that of the secret as it is now.
fn headers(edge: &Edge, sealed: Option<&[u8]>, endpoint: EndpointId, delivery: &Delivery, body: &str) -> Vec<(&'static str, String)> {
    let opened = sealed.and_then(|sealed| edge.webhook_secrets.open(&webhook_endpoints::place(endpoint.0), sealed).ok());
    let secret = opened.and_then(|text| WebhookSecret::parse(std::str::from_utf8(&text).ok()?).ok());
    let signature = secret.map(|secret| WebhookSigner::new(&secret).sign(body.as_bytes()));
    let mut headers = vec![("content-type", "application/json".to_owned()), ("user-agent", AGENT.to_owned())];
    headers.extend(signature.map(|signature| (SIGNATURE, signature)));
    headers.push(("webhook-id", delivery.event_id.to_string()));
    headers
}

fn delivery_id(call: &Call<'_>) -> Result<DeliveryId, PageError> {
    call.params.delivery_id.parse().map_err(|_| PageError::new(PageProblem::NotFound))
}

/// `GET /portal/stores/{slug}/webhooks/{webhook_id}/deliveries/{delivery_id}/`, also after something was done.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, note: Option<Note>) -> Result<Answer, PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let endpoint = webhook::named(edge, visitor, call).await?;
    let id = delivery_id(call)?;
    let pg = &edge.portal.pg;
    let (delivery, body, attempts, sealed) = in_time_of(pg, async {
        let client = pg.client().await?;
        let (delivery, body) = webhook_attempts::delivery(&*client, endpoint.which(), id.0).await?.ok_or_else(absent)?;
        let attempts = webhook_attempts::of_delivery(&*client, id.0).await?;
        let sealed = webhook_endpoints::sealed_secret(&*client, endpoint.which()).await?;
        Ok::<_, PageError>((delivery, body, attempts, sealed))
    })
    .await?;
    let endpoint_id = EndpointId(endpoint.id);
    let headers = headers(edge, sealed.as_deref(), endpoint_id, &delivery, &body);
    let page = DeliveryPage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "payments"),
        may_change: visitor.role >= Role::Developer,
        note,
        endpoint: endpoint_id,
        url: endpoint.url,
        id,
        is_test_event: delivery.event == common::event::EventKind::Test.as_str(),
        event: delivery.event,
        event_id: delivery.event_id.to_string(),
        order_id: delivery.order_id,
        status: delivery.status,
        created: minute_of_ms(delivery.created_at_ms),
        next: delivery.next_attempt_at_ms.map(minute_of_ms).unwrap_or_default(),
        headers,
        body,
        attempts: attempts.iter().rev().map(told).collect(),
    };
    visitor.visit.page(&page)
}

/// `POST …/deliveries/{delivery_id}/resend/`
pub async fn resend(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = webhook::named(edge, visitor, call).await?;
    let id = delivery_id(call)?;
    let pg = &edge.portal.pg;
    let resent = in_time_of(pg, async {
        let client = pg.client().await?;
        // Whether it is this store's, before anything is done to it.
        let found = webhook_attempts::delivery(&*client, endpoint.which(), id.0).await?;
        found.ok_or_else(|| PageError::new(PageProblem::NotFound))?;
        Ok::<_, PageError>(webhook_attempts::resend(&*client, endpoint.id, &[id.0]).await?)
    });
    let note = match resent.await? {
        0 => Note { tone: "note", text: "It is under way already, or comes within a minute by itself.".to_owned() },
        _ => Note { tone: "good", text: "It is being sent again.".to_owned() },
    };
    show(edge, visitor, call, Some(note)).await
}
