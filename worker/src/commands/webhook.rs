//! `worker webhook …`: where partners want to hear of events, as its operator sees it. A secret is printed once, when it is made, and
//! stored sealed. Nothing is delivered from here: rows are made due, and working workers find them.

mod delivery;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use common::clock::rfc3339;
use common::event::EventKind;
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use common::webhook::ENDPOINTS_MAX;
use common::webhook::ids::{DeliveryId, EndpointId};
use common::webhook::secret::WebhookSecret;
use common::webhook_target::{Rules, Target};
use serde::Serialize;
use storage::pg::audit_log::Actor;
use storage::pg::webhook_endpoints::{self, Changes, Endpoint, NewEndpoint, Which};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::context::Context;
use super::output::or_dash;
use super::{Failure, arguments};

/// The store and the mode that endpoints belong to.
#[derive(Debug, Args)]
pub struct Owner {
    /// Whose
    #[arg(long, value_parser = arguments::slug)]
    store: String,
    /// live or test
    #[arg(long, default_value = "live")]
    mode: Mode,
}

/// One endpoint.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    owner: Owner,
    /// The endpoint's id
    #[arg(value_name = "WEBHOOK")]
    id: EndpointId,
}

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Make an endpoint and show its secret, once
    Add {
        #[command(flatten)]
        owner: Owner,
        /// Where events are sent to
        #[arg(long)]
        url: String,
        /// An event to send; may be given several times; without it, all
        #[arg(long = "event", value_parser = PossibleValuesParser::new(EventKind::SUBSCRIBABLE.map(EventKind::as_str)))]
        events: Vec<String>,
    },
    /// List a store's endpoints
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Show an endpoint, or one of its deliveries with its attempts
    Show {
        #[command(flatten)]
        webhook: Named,
        /// The delivery's id
        delivery: Option<DeliveryId>,
    },
    /// Change where an endpoint is, or what it asks for
    Change {
        #[command(flatten)]
        webhook: Named,
        /// Where events are sent to
        #[arg(long, required_unless_present_any = ["events", "all_events"])]
        url: Option<String>,
        /// An event to send from now on, in place of those that were; may be given several times
        #[arg(long = "event", value_parser = PossibleValuesParser::new(EventKind::SUBSCRIBABLE.map(EventKind::as_str)))]
        events: Vec<String>,
        /// Send all events from now on
        #[arg(long, conflicts_with = "events")]
        all_events: bool,
    },
    /// Send an endpoint what has been kept for it, and what happens from now on
    Enable {
        #[command(flatten)]
        webhook: Named,
    },
    /// Keep what happens from now on
    Disable {
        #[command(flatten)]
        webhook: Named,
    },
    /// Give an endpoint another secret and show it, once; the one before signs beside it for a day
    Rotate {
        #[command(flatten)]
        webhook: Named,
        /// The secret before it is known to somebody who should not know it: it signs no longer
        #[arg(long)]
        revoke_previous: bool,
    },
    /// Remove an endpoint for good; what was to be sent to it is given up
    Remove {
        #[command(flatten)]
        webhook: Named,
    },
    /// Send a test event to an endpoint
    Test {
        #[command(flatten)]
        webhook: Named,
    },
    /// List an endpoint's deliveries, newest first
    Deliveries {
        #[command(flatten)]
        webhook: Named,
        #[command(flatten)]
        filter: delivery::FilterArguments,
    },
    /// Send deliveries again: one, or those of a span of time
    Resend {
        #[command(flatten)]
        webhook: Named,
        #[command(flatten)]
        what: delivery::ResendArguments,
    },
}

impl WebhookCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let to = |enabled| Changes { enabled: Some(enabled), ..Changes::default() };
        match self {
            Self::Add { owner, url, events } => add(context, &owner, &url, distinct(events)).await,
            Self::List { owner } => list(context, &owner).await,
            Self::Show { webhook, delivery: None } => {
                let (endpoint, _) = webhook.find(context).await?;
                let shown = Shown::from(&endpoint);
                context.output.show(&shown, || shown.text())
            }
            Self::Show { webhook, delivery: Some(id) } => delivery::show(context, &webhook, id).await,
            Self::Change { webhook, url, events, all_events } => {
                let url = url.map(|url| checked(context, &url)).transpose()?.map(|url| url.as_str().to_owned());
                let events = (all_events || !events.is_empty()).then(|| distinct(events));
                change(context, &webhook, &Changes { url, events, enabled: None }).await
            }
            Self::Enable { webhook } => change(context, &webhook, &to(true)).await,
            Self::Disable { webhook } => change(context, &webhook, &to(false)).await,
            Self::Rotate { webhook, revoke_previous } => rotate(context, &webhook, revoke_previous).await,
            Self::Remove { webhook } => remove(context, &webhook).await,
            Self::Test { webhook } => delivery::test(context, &webhook).await,
            Self::Deliveries { webhook, filter } => delivery::list(context, &webhook, filter).await,
            Self::Resend { webhook, what } => delivery::resend(context, &webhook, what).await,
        }
    }
}

impl Named {
    async fn which(&self, context: &Context) -> Result<Which, Failure> {
        let store = context.store(&self.owner.store).await?;
        Ok(Which { store_id: store.id, mode: self.owner.mode, id: self.id.0 })
    }

    async fn find(&self, context: &Context) -> Result<(Endpoint, Which), Failure> {
        let which = self.which(context).await?;
        let endpoint = webhook_endpoints::get(&*context.client().await?, which).await?;
        Ok((endpoint.ok_or_else(|| self.not_there())?, which))
    }

    fn not_there(&self) -> Failure {
        let Owner { store, mode } = &self.owner;
        let list = format!("`worker webhook list --store {store} --mode {mode}`");
        Failure::other(format!("store {store:?} has no webhook endpoint {} in mode {mode}: {list} shows all", self.id))
    }
}

/// An event that is asked for twice is asked for once.
fn distinct(mut events: Vec<String>) -> Vec<String> {
    events.sort_unstable();
    events.dedup();
    events
}

/// An endpoint as it is told; the secret only where it was made in this moment.
#[derive(Serialize)]
struct Shown<'a> {
    id: EndpointId,
    mode: Mode,
    url: &'a str,
    /// None means all.
    events: &'a [String],
    enabled: bool,
    disabled_reason: Option<&'a str>,
    failures: u32,
    failing_since: Option<String>,
    previous_secret_until: Option<String>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> From<&'a Endpoint> for Shown<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        Self {
            id: EndpointId(endpoint.id),
            mode: endpoint.mode,
            url: &endpoint.url,
            events: &endpoint.events,
            enabled: endpoint.enabled,
            disabled_reason: endpoint.disabled_reason.as_deref(),
            failures: endpoint.failures,
            failing_since: endpoint.failing_since_ms.map(rfc3339),
            previous_secret_until: endpoint.previous_secret_until_ms.map(rfc3339),
            created_at: rfc3339(endpoint.created_at_ms),
            updated_at: rfc3339(endpoint.updated_at_ms),
            secret: None,
        }
    }
}

impl Shown<'_> {
    fn events(&self) -> String {
        if self.events.is_empty() { "all".to_owned() } else { self.events.join(",") }
    }

    fn state(&self) -> String {
        self.disabled_reason.map_or_else(|| "enabled".to_owned(), |reason| format!("disabled: {reason}"))
    }

    fn text(&self) -> String {
        let mut text = format!("webhook endpoint {}, {}\n\n", self.id, self.mode);
        if let Some(secret) = self.secret {
            text += &format!("  {secret}\n\nCopy this secret now: it is stored sealed, and cannot be shown again.\n\n");
        }
        for (what, value) in [
            ("url", self.url.to_owned()),
            ("events", self.events()),
            ("state", self.state()),
            ("failures", self.failures.to_string()),
            ("failing since", or_dash(self.failing_since.as_ref())),
            ("previous secret until", or_dash(self.previous_secret_until.as_ref())),
            ("created", self.created_at.clone()),
            ("updated", self.updated_at.clone()),
        ] {
            text += &format!("{what:<22} {value}\n");
        }
        text
    }
}

fn checked(context: &Context, url: &str) -> Result<Target, Failure> {
    let rules = if context.settings.mode == config::Mode::Production { Rules::Production } else { Rules::Development };
    Target::parse(url, rules).map_err(|error| Failure::usage(format!("--url: {error}")))
}

fn new_secret() -> WebhookSecret {
    WebhookSecret::generate(&Zeroizing::new(rand::random()))
}

fn seal(context: &Context, id: Uuid, secret: &WebhookSecret) -> Vec<u8> {
    let sealer = Sealer::new(&context.settings.secrets.sealing, Purpose::WebhookSecret, rand::random());
    sealer.seal(&webhook_endpoints::place(id), secret.expose().as_bytes())
}

async fn add(context: &Context, owner: &Owner, url: &str, events: Vec<String>) -> Result<(), Failure> {
    let url = checked(context, url)?;
    let store = context.store(&owner.store).await?;
    let which = Which { store_id: store.id, mode: owner.mode, id: Uuid::now_v7() };
    let secret = new_secret();
    let sealed = seal(context, which.id, &secret);
    let new = NewEndpoint { which, url: url.as_str(), events: &events, sealed_secret: &sealed };
    let endpoint = webhook_endpoints::create(&context.pg, &new, Actor::CommandLine).await?.ok_or_else(|| {
        let Owner { store, mode } = owner;
        Failure::other(format!("store {store:?} has {ENDPOINTS_MAX} webhook endpoints in mode {mode}, and may have no more: remove one"))
    })?;
    let shown = Shown { secret: Some(secret.expose()), ..Shown::from(&endpoint) };
    context.output.show(&shown, || shown.text())
}

async fn list(context: &Context, owner: &Owner) -> Result<(), Failure> {
    let store = context.store(&owner.store).await?;
    let found = webhook_endpoints::list(&*context.client().await?, store.id, owner.mode).await?;
    let shown: Vec<Shown<'_>> = found.iter().map(Shown::from).collect();
    context.output.list(&shown, ["WEBHOOK", "URL", "EVENTS", "STATE", "FAILURES", "FAILING SINCE", "CREATED"], |endpoint| {
        [
            endpoint.id.to_string(),
            endpoint.url.to_owned(),
            endpoint.events(),
            endpoint.state(),
            endpoint.failures.to_string(),
            or_dash(endpoint.failing_since.as_ref()),
            endpoint.created_at.clone(),
        ]
    })
}

async fn change(context: &Context, webhook: &Named, changes: &Changes) -> Result<(), Failure> {
    let which = webhook.which(context).await?;
    let endpoint = webhook_endpoints::change(&context.pg, which, changes, Actor::CommandLine).await?;
    let endpoint = endpoint.ok_or_else(|| webhook.not_there())?;
    let shown = Shown::from(&endpoint);
    context.output.show(&shown, || shown.text())
}

async fn rotate(context: &Context, webhook: &Named, revoke_previous: bool) -> Result<(), Failure> {
    let which = webhook.which(context).await?;
    let secret = new_secret();
    let sealed = seal(context, which.id, &secret);
    let endpoint = webhook_endpoints::rotate_alone(&context.pg, which, &sealed, revoke_previous, Actor::CommandLine).await?;
    let endpoint = endpoint.ok_or_else(|| webhook.not_there())?;
    let shown = Shown { secret: Some(secret.expose()), ..Shown::from(&endpoint) };
    context.output.show(&shown, || shown.text())
}

async fn remove(context: &Context, webhook: &Named) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Removed {
        removed: EndpointId,
    }
    let which = webhook.which(context).await?;
    if !webhook_endpoints::remove(&context.pg, which, Actor::CommandLine).await? {
        return Err(webhook.not_there());
    }
    context.output.show(&Removed { removed: webhook.id }, || format!("webhook endpoint {} is removed", webhook.id))
}
