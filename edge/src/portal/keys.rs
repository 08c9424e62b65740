//! A store's API keys: making one, which is shown once; replacing one with an overlap; and revoking one, with the moment since which every
//! edge refuses it. The rules are those of `worker key`; both go through the same storage.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use common::api_key::{ApiKey, Scope};
use common::clock::rfc3339;
use common::mode::Mode;
use common::name::NAME_MAX_CHARS;
use common::partner::Role;
use http::StatusCode;
use storage::pg::api_keys::{self, ApiKeySummary, NewApiKey};
use storage::revocations::Followed;

use super::Visitor;
use super::frame::{Frame, Note, minute};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::visit::Sources;
use crate::service::Call;

/// The most good keys of a store that the portal makes; the command line knows no bound.
const KEYS_MAX: usize = 100;
const DAY_S: f64 = 86_400.0;
const HOUR_S: f64 = 3_600.0;
/// What a key may live for, days; 0 is for ever.
const LIVES_DAYS: [(u32, &str); 5] = [(0, "Never"), (30, "In 30 days"), (90, "In 90 days"), (180, "In 180 days"), (365, "In a year")];
/// For how long a replaced key goes on, hours.
const OVERLAPS_HOURS: [(u32, &str); 4] = [(0, "at once"), (1, "in an hour"), (24, "in a day"), (168, "in a week")];

/// A key that was made in this moment.
#[derive(Debug)]
pub struct Made {
    /// `Test key “Shop”`
    title: String,
    key: String,
    /// A request that can be pasted; none where the key may not make checkout sessions.
    curl: Option<String>,
    /// When the key that it replaces ends; empty where it replaces none.
    replaces: String,
}

/// A key in the list.
#[derive(Debug)]
struct Listed {
    id: i64,
    name: String,
    hint: String,
    is_test: bool,
    scopes: String,
    created: String,
    expires: String,
    last_used: String,
    requests: String,
    /// `active`, `expired` or `revoked`.
    state: &'static str,
    /// When it ended, or will.
    state_at: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/keys.html")]
struct KeysPage {
    frame: Frame,
    may_change: bool,
    made: Option<Made>,
    note: Option<Note>,
    keys: Vec<Listed>,
    scopes: [&'static str; 3],
    lives: [(u32, &'static str); 5],
    overlaps: [(u32, &'static str); 4],
}

fn listed(key: ApiKeySummary, now_ms: u64) -> Listed {
    let is_over = key.expires_at.is_some_and(|at| at <= UNIX_EPOCH + Duration::from_millis(now_ms));
    let (state, ended) = match (key.revoked_at, is_over) {
        (Some(at), _) => ("revoked", Some(at)),
        (None, true) => ("expired", key.expires_at),
        (None, false) => ("active", None),
    };
    let limited = if key.limited_24h > 0 { format!(", {} of them refused with 429", key.limited_24h) } else { String::new() };
    Listed {
        id: key.id,
        name: key.name,
        hint: key.hint,
        is_test: !key.mode.is_live(),
        scopes: if key.scopes.is_empty() { "everything".to_owned() } else { key.scopes.join(", ") },
        created: minute(key.created_at),
        expires: key.expires_at.map_or_else(|| "never".to_owned(), minute),
        last_used: key.last_used_at.map_or_else(|| "never".to_owned(), minute),
        requests: format!("{} in 24 hours{limited}", key.requests_24h),
        state,
        state_at: ended.map(minute).unwrap_or_default(),
    }
}

/// `GET /portal/stores/{slug}/keys/`, also after something was done.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, made: Option<Made>, note: Option<Note>) -> Result<Answer, PageError> {
    let status = if note.as_ref().is_some_and(|note| note.tone == "wrong") { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let pg = &edge.portal.pg;
    let keys = in_time_of(pg, async { Ok::<_, PageError>(api_keys::of_store(&*pg.client().await?, visitor.store.id).await?) }).await?;
    let now_ms = edge.clock.now().unix_ms;
    let mut keys: Vec<Listed> = keys.into_iter().map(|key| listed(key, now_ms)).collect();
    // What opens doors first.
    keys.sort_by_key(|key| key.state != "active");
    let page = KeysPage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "keys"),
        may_change: visitor.role >= Role::Developer,
        made,
        note,
        keys,
        scopes: Scope::ALL.map(Scope::as_str),
        lives: LIVES_DAYS,
        overlaps: OVERLAPS_HOURS,
    };
    visitor.visit.page_with(status, &page, Sources::Own)
}

async fn wrong(edge: &Edge, visitor: &Visitor<'_>, text: String) -> Result<Answer, PageError> {
    show(edge, visitor, None, Some(Note { tone: "wrong", text })).await
}

/// `POST /portal/stores/{slug}/keys/`
pub async fn create(edge: &Edge, visitor: &Visitor<'_>) -> Result<Answer, PageError> {
    let bad = || PageError::new(PageProblem::BadRequest);
    let form = &visitor.form;
    let Ok(name) = common::name::parse(form.get("name")) else {
        return wrong(edge, visitor, format!("Give the key a name of 1 to {NAME_MAX_CHARS} characters.")).await;
    };
    let mode: Mode = form.get("mode").parse().map_err(|_| bad())?;
    let days: u32 = form.get("days").parse().map_err(|_| bad())?;
    if !LIVES_DAYS.iter().any(|(known, _)| *known == days) {
        return Err(bad());
    }
    let all: Vec<&str> = Scope::ALL.map(Scope::as_str).to_vec();
    let mut scopes: Vec<String> = form.beginning("scope.").map(|(name, _)| name.to_owned()).collect();
    if scopes.iter().any(|scope| !all.contains(&scope.as_str())) {
        return Err(bad());
    }
    if scopes.is_empty() {
        return wrong(edge, visitor, "Choose what the key may be used for: one of them at least.".to_owned()).await;
    }
    // All of today's is everything, tomorrow's too, as on the command line.
    if scopes.len() == all.len() {
        scopes.clear();
    }
    scopes.sort_unstable();
    let portal = &edge.portal;
    let key = ApiKey::generate(mode, rand::random);
    let (pepper_id, hash) = portal.hasher.hash(&key);
    let expires_in_s = (days > 0).then(|| f64::from(days) * DAY_S);
    let new = NewApiKey { store_id: visitor.store.id, mode, name, hint: key.hint(), pepper_id, hash, scopes: &scopes, expires_in_s };
    let is_made = in_time_of(&portal.pg, async {
        let known = { api_keys::of_store(&*portal.pg.client().await?, visitor.store.id).await? };
        if known.iter().filter(|key| key.revoked_at.is_none()).count() >= KEYS_MAX {
            return Ok(false);
        }
        api_keys::create(&portal.pg, &new, visitor.actor()).await?;
        Ok::<_, PageError>(true)
    })
    .await?;
    if !is_made {
        return wrong(edge, visitor, format!("This store has {KEYS_MAX} keys. Revoke one that is not used any more.")).await;
    }
    let may_checkout = scopes.is_empty() || scopes.iter().any(|scope| scope == Scope::Checkout.as_str());
    let curl = may_checkout.then(|| curl(edge, visitor, &key));
    let title = format!("Your new {mode} key “{name}”");
    show(edge, visitor, Some(Made { title, key: key.expose().to_owned(), curl, replaces: String::new() }), None).await
}

/// A request that makes a checkout session, of a product that the store has where it has one.
fn curl(edge: &Edge, visitor: &Visitor<'_>, key: &ApiKey) -> String {
    let (sku, currency) = visitor.store.example().unwrap_or(("YOUR-SKU", "USD"));
    let (base, slug, key) = (&edge.knobs.public_base_url, &visitor.store.slug, key.expose());
    format!(
        "curl -X POST {base}/api/v1/stores/{slug}/checkout/session/ \\\n  -H 'Authorization: Bearer {key}' \\\n  \
         -H 'Content-Type: application/json' \\\n  -d '{{\"cart\": {{\"{sku}\": 1}}, \"currency\": \"{currency}\"}}'"
    )
}

/// The key that the path names, if it is this store's: another store's is as if it were not there.
async fn named(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<api_keys::ApiKeyRow, PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let id: i64 = call.params.id.parse().map_err(|_| absent())?;
    let pg = &edge.portal.pg;
    let key = in_time_of(pg, async { Ok::<_, PageError>(api_keys::get(&*pg.client().await?, id).await?) }).await?;
    key.filter(|key| key.store_id == visitor.store.id).ok_or_else(absent)
}

/// `POST /portal/stores/{slug}/keys/{key_id}/roll/`
pub async fn roll(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let old = named(edge, visitor, call).await?;
    let hours: u32 = visitor.form.get("hours").parse().map_err(|_| PageError::new(PageProblem::BadRequest))?;
    let Some((_, when)) = OVERLAPS_HOURS.iter().find(|(known, _)| *known == hours) else {
        return Err(PageError::new(PageProblem::BadRequest));
    };
    let portal = &edge.portal;
    let key = ApiKey::generate(old.mode, rand::random);
    let (pepper_id, hash) = portal.hasher.hash(&key);
    let overlap_s = f64::from(hours) * HOUR_S;
    let rolled = in_time_of(&portal.pg, async {
        Ok::<_, PageError>(api_keys::roll(&portal.pg, old.id, key.hint(), pepper_id, hash, overlap_s, visitor.actor()).await?)
    });
    if rolled.await?.is_none() {
        return wrong(edge, visitor, "That key is revoked. Make a new one.".to_owned()).await;
    }
    let curl = old.scopes.allows(Scope::Checkout).then(|| curl(edge, visitor, &key));
    let replaces = format!("The key that it replaces ends {when}.");
    let title = format!("Your new {} key", old.mode);
    show(edge, visitor, Some(Made { title, key: key.expose().to_owned(), curl, replaces }), None).await
}

/// `POST /portal/stores/{slug}/keys/{key_id}/revoke/`
pub async fn revoke(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let key = named(edge, visitor, call).await?;
    let portal = &edge.portal;
    let revoked =
        in_time_of(&portal.pg, async { Ok::<_, PageError>(Box::pin(portal.revoker.revoke(&portal.pg, key.id, visitor.actor())).await?) })
            .await?;
    let revoked = revoked.ok_or_else(|| PageError::new(PageProblem::NotFound))?;
    if let Err(error) = &revoked.followed {
        tracing::warn!(request_id = call.request_id, %error, "which edges have followed a revocation is unknown");
    }
    show(edge, visitor, None, Some(told(revoked.followed.ok()))).await
}

/// What is known of the edges, in words.
fn told(followed: Option<Followed>) -> Note {
    let Some(followed) = followed else {
        let text = "The key is revoked, but whether every server refuses it already is not known. Revoke it again to see.";
        return Note { tone: "note", text: text.to_owned() };
    };
    let count = followed.edges.len();
    let late = followed.edges.iter().filter(|edge| edge.at.is_none()).count();
    let since = followed.edges.iter().filter_map(|edge| edge.at).max();
    let after_ms = followed.edges.iter().filter_map(|edge| edge.after).max().map_or(0, |after| after.as_millis());
    match since {
        Some(at) if late == 0 => {
            let at = rfc3339(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64));
            Note {
                tone: "good",
                text: format!("The key is revoked. Every server refuses it since {at}, {after_ms} ms after you revoked it."),
            }
        }
        _ if count == 0 => {
            Note { tone: "note", text: "The key is revoked. No server has reported; each refuses it as soon as it does.".to_owned() }
        }
        _ => Note {
            tone: "note",
            text: format!("The key is revoked, but {late} of {count} servers have not said so yet. Revoke it again to see."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::revocations::EdgeFollowed;

    #[test]
    fn a_revocation_is_good_only_when_every_edge_has_said_so() {
        let edge = |at: Option<u64>| EdgeFollowed {
            id: "e".into(),
            at: at.map(|s| UNIX_EPOCH + Duration::from_secs(s)),
            after: at.map(|_| Duration::from_millis(7)),
        };
        let tone = |edges| told(Some(Followed { edges, silent: Vec::new() })).tone;
        assert_eq!(tone(vec![edge(Some(1)), edge(Some(2))]), "good");
        assert_eq!(tone(vec![edge(Some(1)), edge(None)]), "note");
        assert_eq!((tone(Vec::new()), told(None).tone), ("note", "note"));
        let text = told(Some(Followed { edges: vec![edge(Some(1)), edge(Some(2))], silent: Vec::new() })).text;
        assert!(text.contains("1970-01-01T00:00:02Z, 7 ms"), "{text}");
    }
}
