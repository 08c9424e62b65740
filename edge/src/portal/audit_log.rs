//! The audit log of a store: who has changed what, newest first. Entries are written where the changes are made, in storage; here they
//! become sentences.

use askama::Template;
use serde_json::Value;
use storage::pg::audit_log::{self, Entry, What};

use super::Visitor;
use super::frame::{Frame, minute_of_ms};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::PageError;
use crate::query::Query;
use crate::service::Call;

/// Entries of one page.
const PAGE: usize = 50;
/// What the filter offers: the kind, and its name.
const KINDS: [(&str, &str); 8] = [
    ("key", "API keys"),
    ("webhook", "Webhook endpoints"),
    ("store", "Store settings"),
    ("order", "Orders"),
    ("product", "Products"),
    ("stock", "Stock"),
    ("listing", "Marketplace"),
    ("member", "People"),
];

/// An entry, in words.
#[derive(Debug)]
struct Told {
    at: String,
    actor: String,
    /// What they did, with what it was done to behind it.
    sentence: &'static str,
    object: String,
    differences: Vec<Difference>,
}

/// One value that is not what it was; empty where there is none.
#[derive(Debug, PartialEq)]
struct Difference {
    name: String,
    before: String,
    after: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/audit_log.html")]
struct AuditLogPage {
    frame: Frame,
    kinds: [(&'static str, &'static str); 8],
    /// The one that is filtered by; empty for none.
    kind: &'static str,
    entries: Vec<Told>,
    /// Where the next page begins.
    older: Option<i64>,
    /// Whether this is not the newest page.
    is_later_page: bool,
}

fn sentence(what: Option<What>) -> &'static str {
    match what {
        Some(What::KeyCreated) => "made the API key",
        Some(What::KeyReplaced) => "replaced the API key",
        Some(What::KeyRevoked) => "revoked the API key",
        Some(What::KeyLimited) => "changed the limits of the API key",
        Some(What::WebhookCreated) => "added the webhook endpoint",
        Some(What::WebhookChanged) => "changed the webhook endpoint",
        Some(What::WebhookEnabled) => "enabled the webhook endpoint",
        Some(What::WebhookDisabled) => "disabled the webhook endpoint",
        Some(What::WebhookSecretReplaced) => "replaced the secret of the webhook endpoint",
        Some(What::WebhookRemoved) => "removed the webhook endpoint",
        Some(What::StorePolicy) => "changed the refund and dispute policy of",
        Some(What::StoreTax) => "changed the tax settings of",
        Some(What::StoreLicensing) => "changed whether orders that were paid elsewhere are fulfilled for",
        Some(What::StoreReturnHosts) => "changed where customers may be sent back to from",
        Some(What::OrderRevoked) => "revoked the order",
        Some(What::ProductCreated) => "made the product",
        Some(What::ProductChanged) => "changed the product",
        Some(What::StockImported) => "imported license keys of",
        Some(What::ListingChanged) => "changed what the marketplace shows of",
        Some(What::MemberInvited) => "invited",
        Some(What::MemberRemoved) => "took out of the store:",
        // While versions replace each other.
        None => "changed",
    }
}

/// A value as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "all".to_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn differences(entry: &Entry) -> Vec<Difference> {
    let nothing = serde_json::Map::new();
    let (before, after) = (entry.before.as_object().unwrap_or(&nothing), entry.after.as_object().unwrap_or(&nothing));
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let different = names.filter(|name| before.get(*name) != after.get(*name));
    let side = |map: &serde_json::Map<String, Value>, name: &str| map.get(name).map(text).unwrap_or_default();
    different.map(|name| Difference { name: name.replace('_', " "), before: side(before, name), after: side(after, name) }).collect()
}

fn told(entry: &Entry) -> Told {
    Told {
        at: minute_of_ms(entry.at_ms),
        actor: match entry.actor.as_str() {
            "command line" => "The operator".to_owned(),
            "API" => "A program, by the API,".to_owned(),
            email => email.to_owned(),
        },
        sentence: sentence(entry.what),
        object: entry.object.clone(),
        differences: differences(entry),
    }
}

/// `GET /portal/stores/{slug}/audit-log/?kind=&before=`. What no link of ours says is as if it were not there.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let query = Query::parse(call.query, &["kind", "before"])?;
    let kind = KINDS.iter().map(|(kind, _)| *kind).find(|kind| query.get("kind") == Some(kind));
    let before: Option<i64> = query.get("before").and_then(|id| id.parse().ok());
    let pg = &edge.portal.pg;
    let mut entries = in_time_of(pg, async {
        let client = pg.client().await?;
        Ok::<_, PageError>(audit_log::of_store(&*client, visitor.store.id, kind, before, PAGE as i64 + 1).await?)
    })
    .await?;
    let has_more = entries.len() > PAGE;
    entries.truncate(PAGE);
    let page = AuditLogPage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "audit-log"),
        kinds: KINDS,
        kind: kind.unwrap_or_default(),
        older: entries.last().filter(|_| has_more).map(|entry| entry.id),
        is_later_page: before.is_some(),
        entries: entries.iter().map(told).collect(),
    };
    visitor.visit.page(&page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stayed_is_not_told_and_what_came_or_went_is() {
        let entry = Entry {
            id: 1,
            at_ms: 0,
            actor: "command line".into(),
            what: Some(What::StoreTax),
            object: "Demo".into(),
            before: json!({ "country": null, "prices_include_tax": true, "gone": "x" }),
            after: json!({ "country": "GB", "prices_include_tax": true, "came": [] }),
        };
        let row = |name: &str, before: &str, after: &str| Difference { name: name.into(), before: before.into(), after: after.into() };
        let mut found = differences(&entry);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found, [row("came", "", "all"), row("country", "none", "GB"), row("gone", "x", "")]);
        assert_eq!(told(&entry).actor, "The operator");
        assert!(differences(&Entry { before: Value::Null, after: Value::Null, ..entry }).is_empty());
    }

    #[test]
    fn every_kind_can_be_filtered_by() {
        assert!(What::ALL.iter().all(|what| KINDS.iter().any(|(kind, _)| *kind == what.kind())));
    }
}
