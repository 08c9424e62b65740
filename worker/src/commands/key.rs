//! `worker key …`: API keys. A key is printed once, when it is made, and never stored.

use clap::builder::PossibleValuesParser;
use clap::{Subcommand, value_parser};
use common::api_key::{ApiKey, ApiKeyHasher, Scope};
use common::clock::rfc3339;
use common::mode::Mode;
use serde::Serialize;
use storage::pg::api_keys::{self, ApiKeyRow, ApiKeySummary, NewApiKey};
use storage::pg::audit_log::Actor;

use super::context::Context;
use super::limit::Limits;
use super::output::{or_dash, time};
use super::{Failure, arguments, revocation};

const DAY_S: f64 = 86_400.0;
const HOUR_S: f64 = 3_600.0;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and show it, once
    Create {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// The name people read
        #[arg(long, value_parser = arguments::name)]
        name: String,
        /// live or test
        #[arg(long, default_value = "live")]
        mode: Mode,
        /// What it may be used for; may be given several times; without it, everything
        #[arg(long = "scope", value_parser = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)))]
        scopes: Vec<String>,
        /// Refuse it from so many days on
        #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..=3_650))]
        expires_in_days: Option<u32>,
    },
    /// List a store's keys
    List {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
    /// Make a key in place of another one and show it, once
    Roll {
        /// The old key's id
        #[arg(value_parser = value_parser!(i64).range(1..))]
        id: i64,
        /// For how many hours the old key still works
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = value_parser!(u32).range(0..=8_760))]
        overlap_hours: u32,
    },
    /// End a key for good, and wait until every edge refuses it
    Revoke {
        /// The key's id
        #[arg(value_parser = value_parser!(i64).range(1..))]
        id: i64,
    },
}

impl KeyCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create { store, name, mode, mut scopes, expires_in_days } => {
                scopes.sort_unstable();
                scopes.dedup();
                create(context, &store, &name, mode, &scopes, expires_in_days).await
            }
            Self::List { store } => list(context, &store).await,
            Self::Roll { id, overlap_hours } => roll(context, id, overlap_hours).await,
            Self::Revoke { id } => revocation::revoke(context, id).await,
        }
    }
}

/// A key in clear, on its way to whoever asked for it.
#[derive(Serialize)]
struct Shown<'a> {
    id: i64,
    key: &'a str,
    hint: &'a str,
    mode: Mode,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<Replaced>,
}

#[derive(Serialize)]
struct Replaced {
    id: i64,
    expires_at: Option<String>,
}

impl Shown<'_> {
    fn text(&self) -> String {
        let mut text = format!("API key {}, {}:\n\n  {}\n\n", self.id, self.mode, self.key);
        text += "Copy it now: only a hash is kept, and it cannot be shown again.\n";
        if let Some(at) = &self.expires_at {
            text += &format!("It ends at {at}.\n");
        }
        if let Some(Replaced { id, expires_at: Some(at) }) = &self.replaces {
            text += &format!("API key {id}, which it replaces, ends at {at}.\n");
        }
        text
    }
}

fn expiry(row: &ApiKeyRow) -> Option<String> {
    row.expires_at_ms.map(rfc3339)
}

async fn create(context: &Context, slug: &str, name: &str, mode: Mode, scopes: &[String], days: Option<u32>) -> Result<(), Failure> {
    let store = context.store(slug).await?;
    let hasher = ApiKeyHasher::new(&context.settings.secrets.api_key_pepper);
    let key = ApiKey::generate(mode, rand::random);
    let (pepper_id, hash) = hasher.hash(&key);
    let expires_in_s = days.map(|days| f64::from(days) * DAY_S);
    let new = NewApiKey { store_id: store.id, mode, name, hint: key.hint(), pepper_id, hash, scopes, expires_in_s };
    let id = api_keys::create(&context.pg, &new, Actor::CommandLine).await?;
    let expires_at = expiry(&context.key(id).await?);
    let shown = Shown { id, key: key.expose(), hint: key.hint(), mode, expires_at, replaces: None };
    context.output.show(&shown, || shown.text())
}

async fn roll(context: &Context, id: i64, overlap_hours: u32) -> Result<(), Failure> {
    let old = context.key(id).await?;
    let revoked = || Failure::other(format!("API key {id} is revoked: make a new one with `worker key create`"));
    if old.revoked {
        return Err(revoked());
    }
    let hasher = ApiKeyHasher::new(&context.settings.secrets.api_key_pepper);
    let key = ApiKey::generate(old.mode, rand::random);
    let (pepper_id, hash) = hasher.hash(&key);
    let overlap_s = f64::from(overlap_hours) * HOUR_S;
    let new_id = api_keys::roll(&context.pg, id, key.hint(), pepper_id, hash, overlap_s, Actor::CommandLine).await?;
    // It can have been revoked in between.
    let new_id = new_id.ok_or_else(revoked)?;
    let replaces = Some(Replaced { id, expires_at: expiry(&context.key(id).await?) });
    let shown = Shown { id: new_id, key: key.expose(), hint: key.hint(), mode: old.mode, expires_at: None, replaces };
    context.output.show(&shown, || shown.text())
}

#[derive(Serialize)]
struct Listed {
    id: i64,
    hint: String,
    name: String,
    mode: Mode,
    scopes: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
    requests_24h: i64,
    limited_24h: i64,
    limits: Limits,
}

impl From<ApiKeySummary> for Listed {
    fn from(key: ApiKeySummary) -> Self {
        Self {
            id: key.id,
            hint: key.hint,
            name: key.name,
            mode: key.mode,
            scopes: key.scopes,
            created_at: time(key.created_at),
            expires_at: key.expires_at.map(time),
            revoked_at: key.revoked_at.map(time),
            last_used_at: key.last_used_at.map(time),
            requests_24h: key.requests_24h,
            limited_24h: key.limited_24h,
            limits: key.quotas.into(),
        }
    }
}

async fn list(context: &Context, slug: &str) -> Result<(), Failure> {
    let store = context.store(slug).await?;
    let keys: Vec<Listed> = api_keys::of_store(&*context.client().await?, store.id).await?.into_iter().map(Listed::from).collect();
    let titles =
        ["ID", "HINT", "NAME", "MODE", "SCOPES", "CREATED", "EXPIRES", "REVOKED", "LAST USED", "24 H", "OF THESE 429", "OWN LIMITS"];
    context.output.list(&keys, titles, |key| {
        [
            key.id.to_string(),
            key.hint.clone(),
            key.name.clone(),
            key.mode.to_string(),
            if key.scopes.is_empty() { "all".to_owned() } else { key.scopes.join(",") },
            key.created_at.clone(),
            or_dash(key.expires_at.as_ref()),
            or_dash(key.revoked_at.as_ref()),
            or_dash(key.last_used_at.as_ref()),
            key.requests_24h.to_string(),
            key.limited_24h.to_string(),
            key.limits.in_short(),
        ]
    })
}
