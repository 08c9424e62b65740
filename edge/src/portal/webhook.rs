//! One webhook endpoint: where it is and what it asks for, its secret, whether it is sent anything, a test event, and what it was sent, page
//! by page. An endpoint of another store is as if it were not there.

use askama::Template;
use common::clock::day_begin_ms;
use common::ids::OrderId;
use common::partner::Role;
use common::webhook::ids::{DeliveryId, EndpointId};
use common::webhook::secret::WebhookSecret;
use http::StatusCode;
use storage::pg::webhook_attempts::{self, Delivery, Filter, RESENT_MAX, Span};
use storage::pg::webhook_endpoints::{self, Changes, Endpoint};
use uuid::Uuid;

use super::Visitor;
use super::frame::{Frame, Note, minute_of_ms};
use super::payments::{EventChoice, Made, State, event_choices, events_of, read_events, read_url, seal, state};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::api::webhooks::deliveries::STATUSES;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::visit::Sources;
use crate::query::Query;
use crate::service::Call;

/// Deliveries of one page.
const PAGE: usize = 25;
const DAY_MS: u64 = 86_400_000;

/// A delivery in the log.
#[derive(Debug)]
struct Listed {
    id: DeliveryId,
    event: String,
    order_id: String,
    status: String,
    attempts: u32,
    created: String,
    next: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/webhook.html")]
struct WebhookPage {
    frame: Frame,
    may_change: bool,
    note: Option<Note>,
    made: Option<Made>,
    id: EndpointId,
    url: String,
    is_test: bool,
    enabled: bool,
    state: State,
    asked: String,
    events: Vec<EventChoice>,
    /// Until when the secret before signs too; empty where none does.
    previous_until: String,
    created: String,
    statuses: [&'static str; 3],
    status: &'static str,
    deliveries: Vec<Listed>,
    older: Option<DeliveryId>,
    is_later_page: bool,
}

fn listed(delivery: &Delivery) -> Listed {
    Listed {
        id: DeliveryId(delivery.id),
        event: delivery.event.clone(),
        order_id: delivery.order_id.clone(),
        status: delivery.status.clone(),
        attempts: delivery.attempts,
        created: minute_of_ms(delivery.created_at_ms),
        next: delivery.next_attempt_at_ms.map(minute_of_ms).unwrap_or_default(),
    }
}

/// The endpoint that the path names, if it is this store's.
pub async fn named(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Endpoint, PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let EndpointId(id) = call.params.id.parse().map_err(|_| absent())?;
    let pg = &edge.portal.pg;
    let found = in_time_of(pg, async { Ok::<_, PageError>(webhook_endpoints::find(&*pg.client().await?, visitor.store.id, id).await?) });
    found.await?.ok_or_else(absent)
}

/// `GET /portal/stores/{slug}/webhooks/{webhook_id}/?status=&before=`
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    page(edge, visitor, endpoint, call.query, None, None).await
}

/// The page about an endpoint, also after something was done. What no link of ours says in `query` is as if it were not there.
pub async fn page(
    edge: &Edge,
    visitor: &Visitor<'_>,
    endpoint: Endpoint,
    query: &str,
    made: Option<Made>,
    note: Option<Note>,
) -> Result<Answer, PageError> {
    let query = Query::parse(query, &["status", "before"])?;
    let status = STATUSES.into_iter().find(|status| query.get("status") == Some(status));
    let before: Option<DeliveryId> = query.get("before").and_then(|id| id.parse().ok());
    let filter = Filter { status: status.map(str::to_owned), order_id: None, before: before.map(|id| id.0) };
    let pg = &edge.portal.pg;
    let mut deliveries = in_time_of(pg, async {
        let client = pg.client().await?;
        Ok::<_, PageError>(webhook_attempts::deliveries(&*client, endpoint.which(), &filter, PAGE as i64 + 1).await?)
    })
    .await?;
    let has_more = deliveries.len() > PAGE;
    deliveries.truncate(PAGE);
    let code = if note.as_ref().is_some_and(|note| note.tone == "wrong") { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let page = WebhookPage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "payments"),
        may_change: visitor.role >= Role::Developer,
        note,
        made,
        id: EndpointId(endpoint.id),
        is_test: !endpoint.mode.is_live(),
        enabled: endpoint.enabled,
        state: state(&endpoint),
        asked: events_of(&endpoint),
        events: event_choices(&endpoint.events),
        previous_until: endpoint.previous_secret_until_ms.map(minute_of_ms).unwrap_or_default(),
        created: minute_of_ms(endpoint.created_at_ms),
        url: endpoint.url,
        statuses: STATUSES,
        status: status.unwrap_or_default(),
        older: deliveries.last().filter(|_| has_more).map(|delivery| DeliveryId(delivery.id)),
        is_later_page: before.is_some(),
        deliveries: deliveries.iter().map(listed).collect(),
    };
    visitor.visit.page_with(code, &page, Sources::Own)
}

fn told(tone: &'static str, text: impl Into<String>) -> Option<Note> {
    Some(Note { tone, text: text.into() })
}

async fn apply(edge: &Edge, visitor: &Visitor<'_>, endpoint: &Endpoint, changes: &Changes, done: &str) -> Result<Answer, PageError> {
    let pg = &edge.portal.pg;
    let changed =
        in_time_of(pg, async { Ok::<_, PageError>(webhook_endpoints::change(pg, endpoint.which(), changes, visitor.actor()).await?) });
    let changed = changed.await?.ok_or_else(|| PageError::new(PageProblem::NotFound))?;
    page(edge, visitor, changed, "", None, told("good", done)).await
}

/// `POST /portal/stores/{slug}/webhooks/{webhook_id}/`
pub async fn change(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    let events = read_events(&visitor.form)?;
    let url = match read_url(edge, &visitor.form) {
        Ok(url) => url.as_str().to_owned(),
        Err(text) => return page(edge, visitor, endpoint, "", None, told("wrong", text)).await,
    };
    let events = match events {
        Ok(events) => events,
        Err(text) => return page(edge, visitor, endpoint, "", None, told("wrong", text)).await,
    };
    let changes = Changes { url: Some(url), events: Some(events), enabled: None };
    apply(edge, visitor, &endpoint, &changes, "The endpoint is changed.").await
}

/// `POST …/enable/` and `POST …/disable/`
pub async fn enable(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, enabled: bool) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    let done = match enabled {
        true => "The endpoint is enabled. What was kept for it is sent now.",
        false => "The endpoint is disabled. What happens from now on is kept for it.",
    };
    apply(edge, visitor, &endpoint, &Changes { enabled: Some(enabled), ..Changes::default() }, done).await
}

/// `POST …/rotate/`: the secret before signs beside the new one for a day, unless somebody knows it who should not.
pub async fn rotate(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    let is_known = !visitor.form.get("is_known").is_empty();
    let secret = WebhookSecret::generate(&rand::random());
    let sealed = seal(edge, endpoint.id, &secret);
    let pg = &edge.portal.pg;
    let rotated = in_time_of(pg, async {
        Ok::<_, PageError>(webhook_endpoints::rotate_alone(pg, endpoint.which(), &sealed, is_known, visitor.actor()).await?)
    });
    let rotated = rotated.await?.ok_or_else(|| PageError::new(PageProblem::NotFound))?;
    let made = Made { title: "The new secret".to_owned(), secret: secret.expose().to_owned() };
    page(edge, visitor, rotated, "", Some(made), None).await
}

/// `POST …/remove/`
pub async fn remove(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    let pg = &edge.portal.pg;
    in_time_of(pg, async { Ok::<_, PageError>(webhook_endpoints::remove(pg, endpoint.which(), visitor.actor()).await?) }).await?;
    let text = "The endpoint is removed. What was still to be sent to it is given up.";
    super::payments::show(edge, visitor, told("good", text), None).await
}

/// `POST …/test/`: leads to the delivery, which says what came of it.
pub async fn test(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    let (event_id, order_id) = (Uuid::now_v7(), OrderId::new(call.now.unix_ms, rand::random()));
    let pg = &edge.portal.pg;
    let sent = in_time_of(pg, async {
        let client = pg.client().await?;
        Ok::<_, PageError>(
            webhook_attempts::send_test(&*client, endpoint.which(), event_id, &order_id, call.now.unix_ms, call.trace).await?,
        )
    });
    let id = DeliveryId(sent.await?.ok_or_else(|| PageError::new(PageProblem::NotFound))?);
    let (slug, endpoint) = (&visitor.store.slug, EndpointId(endpoint.id));
    visitor.visit.see_other(&format!("/portal/stores/{slug}/webhooks/{endpoint}/deliveries/{id}/"))
}

/// `POST …/resend/`: the deliveries of some days, so many at once.
pub async fn resend(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let endpoint = named(edge, visitor, call).await?;
    let days = day_begin_ms(visitor.form.get("from")).zip(day_begin_ms(visitor.form.get("to")));
    let Some((from_ms, last_ms)) = days.filter(|(from, to)| from <= to) else {
        let text = "Choose the first and the last day, the first not after the last.";
        return page(edge, visitor, endpoint, "", None, told("wrong", text)).await;
    };
    let span = Span { from_ms, to_ms: last_ms + DAY_MS, all: !visitor.form.get("all").is_empty() };
    let pg = &edge.portal.pg;
    let resent = in_time_of(pg, async {
        let client = pg.client().await?;
        let (mut resent, mut after) = (0, 0);
        // Given-up ones stop being such as they are made due. All of them could be very many: then somebody asks again.
        for _ in 0..ROUNDS_MAX {
            let (now, next) = webhook_attempts::resend_span(&*client, endpoint.which(), span, after).await?;
            resent += now;
            match next {
                Some(next) => after = next,
                None => return Ok((resent, false)),
            }
        }
        Ok::<_, PageError>((resent, true))
    });
    let note = match resent.await? {
        (0, _) => told("note", "There was nothing to send again. What is under way, or comes within a minute by itself, stays as it is."),
        (1, false) => told("good", "One delivery is being sent again."),
        (resent, false) => told("good", format!("{resent} deliveries are being sent again.")),
        (resent, true) => {
            told("note", format!("{resent} deliveries are being sent again, and there are more. Choose fewer days for the rest."))
        }
    };
    page(edge, visitor, endpoint, "", None, note).await
}

/// Times [`RESENT_MAX`] that one form makes due.
const ROUNDS_MAX: i64 = 10_000 / RESENT_MAX;
