//! Store settings: where the store wants to hear of events, what becomes of license keys when money goes back, and what it says for tax.
//! The rules are those of `worker webhook` and `worker store`; all go through the same storage.

use askama::Template;
use common::event::EventKind;
use common::geo::CountryCode;
use common::mode::Mode;
use common::order::facts::Policy;
use common::partner::Role;
use common::return_hosts::{RETURN_HOSTS_MAX, ReturnHosts};
use common::webhook::ENDPOINTS_MAX;
use common::webhook::ids::EndpointId;
use common::webhook::secret::WebhookSecret;
use common::webhook_target::Target;
use http::StatusCode;
use storage::pg::stores::{self, TaxSettings};
use storage::pg::webhook_endpoints::{self, Endpoint, NewEndpoint, Which};
use uuid::Uuid;

use super::Visitor;
use super::frame::{Frame, Note};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::form::Form;
use crate::pages::visit::Sources;

/// The events that can be asked for, and what they say.
pub const EVENTS: [(EventKind, &str); 4] = [
    (EventKind::Created, "an order was made"),
    (EventKind::Fulfilled, "license keys were issued"),
    (EventKind::Refunded, "money went back"),
    (EventKind::Disputed, "a dispute began, went on or ended"),
];

/// A secret that was made in this moment.
#[derive(Debug)]
pub struct Made {
    /// What it is of.
    pub title: String,
    /// Shown once.
    pub secret: String,
}

/// An endpoint in the list.
#[derive(Debug)]
struct Listed {
    id: EndpointId,
    url: String,
    is_test: bool,
    events: String,
    state: State,
}

/// How an endpoint does.
#[derive(Debug, Clone)]
pub struct State {
    /// A class of the stylesheet.
    pub tone: &'static str,
    /// In a word.
    pub name: &'static str,
    /// In a sentence; empty where all is well.
    pub why: String,
}

/// How an endpoint does, in words.
pub fn state(endpoint: &Endpoint) -> State {
    match (&endpoint.disabled_reason, endpoint.failures) {
        (Some(reason), _) => {
            State { tone: "wrong", name: "disabled", why: format!("Nothing is sent: {reason}. What happens is kept for it.") }
        }
        (None, 0) => State { tone: "good", name: "enabled", why: String::new() },
        (None, failures) => {
            let why = format!("{failures} failed attempt{} since the last that went well.", if failures == 1 { "" } else { "s" });
            State { tone: "note", name: "failing", why }
        }
    }
}

/// What an endpoint asks for, in words.
pub fn events_of(endpoint: &Endpoint) -> String {
    if endpoint.events.is_empty() { "all".to_owned() } else { endpoint.events.join(", ") }
}

/// An event to choose.
#[derive(Debug)]
pub struct EventChoice {
    /// Its public name.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

/// All events, chosen as an endpoint has it; none means all.
pub fn event_choices(chosen: &[String]) -> Vec<EventChoice> {
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|other| other == name);
    let choice = |(kind, says): (EventKind, &'static str)| EventChoice { name: kind.as_str(), says, is_chosen: is_chosen(kind.as_str()) };
    EVENTS.map(choice).into()
}

/// What a form asks for: none means all, tomorrow's too. `Err` is for the partner to read.
pub fn read_events(form: &Form) -> Result<Result<Vec<String>, &'static str>, PageError> {
    let mut events: Vec<String> = form.beginning("event.").map(|(name, _)| name.to_owned()).collect();
    if events.iter().any(|name| EventKind::subscribable(name).is_none()) {
        return Err(PageError::new(PageProblem::BadRequest));
    }
    if events.is_empty() {
        return Ok(Err("Choose what to send: one event at least."));
    }
    if events.len() == EVENTS.len() {
        events.clear();
    }
    events.sort_unstable();
    Ok(Ok(events))
}

/// A URL by the rules of the installation. `Err` is for the partner to read.
pub fn read_url(edge: &Edge, form: &Form) -> Result<Target, String> {
    Target::parse(form.get("url"), edge.knobs.webhook_rules).map_err(|error| {
        let text = error.to_string();
        let mut letters = text.chars();
        letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
    })
}

/// The secret, sealed to where it is kept.
pub fn seal(edge: &Edge, id: Uuid, secret: &WebhookSecret) -> Vec<u8> {
    edge.webhook_secrets.seal(&webhook_endpoints::place(id), secret.expose().as_bytes())
}

/// A country to choose.
#[derive(Debug)]
struct Country {
    code: String,
    name: &'static str,
    is_chosen: bool,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/payments.html")]
struct PaymentsPage {
    frame: Frame,
    may_change: bool,
    is_owner: bool,
    note: Option<Note>,
    /// What was typed, where it could not be taken.
    url: String,
    endpoints: Vec<Listed>,
    endpoints_max: usize,
    events: Vec<EventChoice>,
    policy: Policy,
    prices: &'static str,
    countries: Vec<Country>,
    country: String,
    /// One a line; what was typed, where it could not be taken.
    hosts: String,
    hosts_max: usize,
}

fn countries(edge: &Edge, chosen: Option<CountryCode>) -> Vec<Country> {
    let mut countries: Vec<Country> = edge
        .geo
        .iter()
        .map(|known| Country { code: known.country.to_string(), name: known.name, is_chosen: chosen == Some(known.country) })
        .collect();
    countries.sort_unstable_by(|a, b| a.name.cmp(b.name));
    countries
}

/// `GET /portal/stores/{slug}/payments/`, also after something was done. `typed` is a URL that could not be taken.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, note: Option<Note>, typed: Option<&str>) -> Result<Answer, PageError> {
    shown(edge, visitor, note, typed.unwrap_or_default(), None).await
}

/// The page with a URL, or hosts, that could not be taken.
async fn shown(edge: &Edge, visitor: &Visitor<'_>, note: Option<Note>, url: &str, hosts: Option<&str>) -> Result<Answer, PageError> {
    let pg = &edge.portal.pg;
    let (store, endpoints) = in_time_of(pg, async {
        let client = pg.client().await?;
        let store = stores::get(&*client, visitor.store.id).await?.ok_or_else(|| PageError::new(PageProblem::NotFound))?;
        let mut endpoints = webhook_endpoints::list(&*client, store.id, Mode::Live).await?;
        endpoints.extend(webhook_endpoints::list(&*client, store.id, Mode::Test).await?);
        Ok::<_, PageError>((store, endpoints))
    })
    .await?;
    let listed = |endpoint: &Endpoint| Listed {
        id: EndpointId(endpoint.id),
        url: endpoint.url.clone(),
        is_test: !endpoint.mode.is_live(),
        events: events_of(endpoint),
        state: state(endpoint),
    };
    let countries = countries(edge, store.tax.country);
    let status = if note.as_ref().is_some_and(|note| note.tone == "wrong") { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let page = PaymentsPage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "payments"),
        may_change: visitor.role >= Role::Developer,
        is_owner: visitor.role >= Role::Owner,
        note,
        url: url.to_owned(),
        endpoints: endpoints.iter().map(listed).collect(),
        endpoints_max: ENDPOINTS_MAX,
        events: event_choices(&[]),
        policy: store.policy,
        prices: match store.tax.prices_include_tax {
            None => "usual",
            Some(true) => "include",
            Some(false) => "exclude",
        },
        hosts: hosts.map_or_else(|| store.return_hosts.as_slice().join("\n"), str::to_owned),
        hosts_max: RETURN_HOSTS_MAX,
        country: countries.iter().find(|country| country.is_chosen).map_or_else(|| "none".to_owned(), |country| country.name.to_owned()),
        countries,
    };
    visitor.visit.page_with(status, &page, Sources::Own)
}

async fn wrong(edge: &Edge, visitor: &Visitor<'_>, text: String) -> Result<Answer, PageError> {
    show(edge, visitor, Some(Note { tone: "wrong", text }), Some(visitor.form.get("url"))).await
}

async fn good(edge: &Edge, visitor: &Visitor<'_>, text: &str) -> Result<Answer, PageError> {
    show(edge, visitor, Some(Note { tone: "good", text: text.to_owned() }), None).await
}

/// `POST /portal/stores/{slug}/webhooks/`
pub async fn create_webhook(edge: &Edge, visitor: &Visitor<'_>) -> Result<Answer, PageError> {
    let mode: Mode = visitor.form.get("mode").parse().map_err(|_| PageError::new(PageProblem::BadRequest))?;
    let events = read_events(&visitor.form)?;
    let url = match read_url(edge, &visitor.form) {
        Ok(url) => url,
        Err(text) => return wrong(edge, visitor, text).await,
    };
    let events = match events {
        Ok(events) => events,
        Err(text) => return wrong(edge, visitor, text.to_owned()).await,
    };
    let secret = WebhookSecret::generate(&rand::random());
    let which = Which { store_id: visitor.store.id, mode, id: Uuid::now_v7() };
    let sealed_secret = seal(edge, which.id, &secret);
    let new = NewEndpoint { which, url: url.as_str(), events: &events, sealed_secret: &sealed_secret };
    let pg = &edge.portal.pg;
    let made = in_time_of(pg, async { Ok::<_, PageError>(webhook_endpoints::create(pg, &new, visitor.actor()).await?) }).await?;
    let Some(endpoint) = made else {
        let text = format!("The store has {ENDPOINTS_MAX} {mode} endpoints, and may have no more. Remove one that is not used.");
        return wrong(edge, visitor, text).await;
    };
    let made = Made { title: format!("The secret of your new {mode} endpoint"), secret: secret.expose().to_owned() };
    super::webhook::page(edge, visitor, endpoint, "", Some(made), None).await
}

/// `POST /portal/stores/{slug}/payments/policy/`
pub async fn set_policy(edge: &Edge, visitor: &Visitor<'_>) -> Result<Answer, PageError> {
    let choice = |name: &str, yes: &str| match visitor.form.get(name) {
        said if said == yes => Ok(true),
        "keep" => Ok(false),
        _ => Err(PageError::new(PageProblem::BadRequest)),
    };
    let policy =
        Policy { revoke_when_refunded: choice("when_refunded", "revoke")?, suspend_while_disputed: choice("while_disputed", "suspend")? };
    let pg = &edge.portal.pg;
    in_time_of(pg, async { Ok::<_, PageError>(stores::set_policy(pg, visitor.store.id, policy, visitor.actor()).await?) }).await?;
    good(edge, visitor, "The policy is saved. It holds for what becomes known of payments from now on.").await
}

/// `POST /portal/stores/{slug}/payments/tax/`
pub async fn set_tax(edge: &Edge, visitor: &Visitor<'_>) -> Result<Answer, PageError> {
    let bad = || PageError::new(PageProblem::BadRequest);
    let country = match visitor.form.get("country") {
        "" => None,
        code => {
            let code = CountryCode::parse(code).map_err(|_| bad())?;
            edge.geo.list(code).map_err(|_| bad())?;
            Some(code)
        }
    };
    let prices_include_tax = match visitor.form.get("prices") {
        "usual" => None,
        "include" => Some(true),
        "exclude" => Some(false),
        _ => return Err(bad()),
    };
    let pg = &edge.portal.pg;
    let tax = TaxSettings { country, prices_include_tax };
    in_time_of(pg, async { Ok::<_, PageError>(stores::set_tax(pg, visitor.store.id, tax, visitor.actor()).await?) }).await?;
    good(edge, visitor, "The tax settings are saved. Every server follows within a second.").await
}

/// `POST /portal/stores/{slug}/payments/return-hosts/`
pub async fn set_return_hosts(edge: &Edge, visitor: &Visitor<'_>) -> Result<Answer, PageError> {
    let typed = visitor.form.get("hosts");
    let hosts = match ReturnHosts::parse(typed) {
        Ok(hosts) => hosts,
        Err(error) => {
            let note = Note { tone: "wrong", text: format!("Nothing is changed: {error}.") };
            return shown(edge, visitor, Some(note), "", Some(typed)).await;
        }
    };
    let pg = &edge.portal.pg;
    in_time_of(pg, async { Ok::<_, PageError>(stores::set_return_hosts(pg, visitor.store.id, &hosts, visitor.actor()).await?) }).await?;
    good(edge, visitor, "The hosts are saved. They hold for new sessions, on every server within a second.").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_can_be_chosen_and_all_of_them_are_none() {
        assert_eq!(EVENTS.map(|(kind, _)| kind), EventKind::SUBSCRIBABLE);
        assert!(event_choices(&[]).iter().all(|choice| choice.is_chosen));
        let one = event_choices(&["order.refunded".to_owned()]);
        assert_eq!(one.iter().filter(|choice| choice.is_chosen).map(|choice| choice.name).collect::<Vec<_>>(), ["order.refunded"]);
        let form = |body: &str| Form::parse(body.as_bytes()).unwrap();
        let all = EVENTS.map(|(kind, _)| format!("event.{}=on", kind.as_str())).join("&");
        assert_eq!(read_events(&form(&all)).unwrap(), Ok(Vec::new()));
        assert!(read_events(&form("")).unwrap().is_err() && read_events(&form("event.webhook.test=on")).is_err());
    }
}
