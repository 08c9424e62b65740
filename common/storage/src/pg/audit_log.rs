//! Who has changed what about a store. An entry is written in the transaction of its change, by the function that makes the change, so that
//! the portal, the API and the command line cannot forget it. Never a secret, nor a URL that may hold one; never changed, never deleted.

use common::webhook_target::{Rules, Target};
use serde_json::Value;

use super::{GenericClient, StorageError, Transaction, unix_ms};

/// Who makes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// Somebody in the portal, by the account's e-mail address.
    Account(&'a str),
    /// The operator.
    CommandLine,
    /// A partner's program, with an API key.
    Api,
}

impl Actor<'_> {
    /// As it is kept. No e-mail address reads like the other two.
    pub fn as_str(&self) -> &str {
        match self {
            Actor::Account(email) => email,
            Actor::CommandLine => "command line",
            Actor::Api => "API",
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An API key was made.
    KeyCreated,
    /// An API key was made in place of another one.
    KeyReplaced,
    /// An API key was ended.
    KeyRevoked,
    /// An API key got other limits.
    KeyLimited,
    /// A webhook endpoint was made.
    WebhookCreated,
    /// A webhook endpoint is elsewhere, or is sent other events.
    WebhookChanged,
    /// A webhook endpoint is sent events again.
    WebhookEnabled,
    /// A webhook endpoint is sent nothing for now.
    WebhookDisabled,
    /// A webhook endpoint got another secret.
    WebhookSecretReplaced,
    /// A webhook endpoint was removed.
    WebhookRemoved,
    /// What becomes of license keys when money goes back was changed.
    StorePolicy,
    /// What the store says for tax was changed.
    StoreTax,
    /// Fulfilling orders that were paid elsewhere was allowed or forbidden.
    StoreLicensing,
    /// Where customers may be sent back to was changed.
    StoreReturnHosts,
    /// An order's license keys were taken back.
    OrderRevoked,
    /// A product was made.
    ProductCreated,
    /// A product's name, tax category or prices were changed.
    ProductChanged,
    /// License keys were taken in.
    StockImported,
    /// What the marketplace shows of a product was changed.
    ListingChanged,
    /// Somebody was let in, or was given another role.
    MemberInvited,
    /// Somebody was taken out.
    MemberRemoved,
}

impl What {
    /// All of them.
    pub const ALL: [What; 21] = [
        What::KeyCreated,
        What::KeyReplaced,
        What::KeyRevoked,
        What::KeyLimited,
        What::WebhookCreated,
        What::WebhookChanged,
        What::WebhookEnabled,
        What::WebhookDisabled,
        What::WebhookSecretReplaced,
        What::WebhookRemoved,
        What::StorePolicy,
        What::StoreTax,
        What::StoreLicensing,
        What::StoreReturnHosts,
        What::OrderRevoked,
        What::ProductCreated,
        What::ProductChanged,
        What::StockImported,
        What::ListingChanged,
        What::MemberInvited,
        What::MemberRemoved,
    ];

    /// As it is kept: its kind, a dot, and what was done.
    pub fn as_str(self) -> &'static str {
        match self {
            What::KeyCreated => "key.created",
            What::KeyReplaced => "key.replaced",
            What::KeyRevoked => "key.revoked",
            What::KeyLimited => "key.limited",
            What::WebhookCreated => "webhook.created",
            What::WebhookChanged => "webhook.changed",
            What::WebhookEnabled => "webhook.enabled",
            What::WebhookDisabled => "webhook.disabled",
            What::WebhookSecretReplaced => "webhook.secret_replaced",
            What::WebhookRemoved => "webhook.removed",
            What::StorePolicy => "store.policy",
            What::StoreTax => "store.tax",
            What::StoreLicensing => "store.licensing",
            What::StoreReturnHosts => "store.return_hosts",
            What::OrderRevoked => "order.revoked",
            What::ProductCreated => "product.created",
            What::ProductChanged => "product.changed",
            What::StockImported => "stock.imported",
            What::ListingChanged => "listing.changed",
            What::MemberInvited => "member.invited",
            What::MemberRemoved => "member.removed",
        }
    }

    /// What it was done to: the part before the dot.
    pub fn kind(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }
}

/// A change on its way into the log.
#[derive(Debug)]
pub struct Change<'a> {
    /// Whose.
    pub store_id: i64,
    /// Who makes it.
    pub actor: Actor<'a>,
    /// What is done.
    pub what: What,
    /// What it is done to, for people to read.
    pub object: &'a str,
    /// What was so before: a flat object of only what changes, without secrets; `Null` where there was nothing.
    pub before: Value,
    /// What is so from now on, likewise; `Null` where there is nothing any more.
    pub after: Value,
}

/// Writes a change down, in its own transaction.
pub async fn write(tx: &Transaction<'_>, change: &Change<'_>) -> Result<(), StorageError> {
    let Change { store_id, actor, what, object, before, after } = change;
    let some = |value: &Value| (!value.is_null()).then(|| value.clone());
    tx.execute(
        "insert into audit_log (store_id, actor, what, object, before, after) values ($1, $2, $3, $4, $5, $6)",
        &[store_id, &actor.as_str(), &what.as_str(), object, &some(before), &some(after)],
    )
    .await?;
    Ok(())
}

/// An entry as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Later ones are larger.
    pub id: i64,
    /// In Unix milliseconds.
    pub at_ms: u64,
    /// An account's e-mail address, `command line` or `API`.
    pub actor: String,
    /// What was done; none where a newer version did something that this one does not know of.
    pub what: Option<What>,
    /// What it was done to.
    pub object: String,
    /// What was so before; `Null` where there was nothing.
    pub before: Value,
    /// What has been so since; `Null` where there is nothing.
    pub after: Value,
}

/// A store's entries of one [`What::kind`], or of all, newest first, those before the entry `before` where one is given.
pub async fn of_store(
    client: &impl GenericClient,
    store_id: i64,
    kind: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>, StorageError> {
    let rows = client
        .query(
            "select id, at, actor, what, object, before, after from audit_log
             where store_id = $1 and id < coalesce($3::bigint, 9223372036854775807) and ($2::text is null or split_part(what, '.', 1) = $2)
             order by id desc limit $4",
            &[&store_id, &kind, &before, &limit],
        )
        .await?;
    let read = |row: &tokio_postgres::Row| Entry {
        id: row.get(0),
        at_ms: unix_ms(row.get(1)),
        actor: row.get(2),
        what: What::ALL.into_iter().find(|what| what.as_str() == row.get::<_, &str>(3)),
        object: row.get(4),
        before: row.get::<_, Option<Value>>(5).unwrap_or_default(),
        after: row.get::<_, Option<Value>>(6).unwrap_or_default(),
    };
    Ok(rows.iter().map(read).collect())
}

/// Where a URL leads, without its path: that may hold a partner's secret.
pub(super) fn origin(url: &str) -> String {
    let Ok(target) = Target::parse(url, Rules::Development) else { return "an address that cannot be read".to_owned() };
    let text = target.to_string();
    let usual = if target.is_https() { ":443" } else { ":80" };
    text.strip_suffix(usual).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_change_each_and_of_a_kind() {
        let names: std::collections::BTreeSet<&str> = What::ALL.iter().map(|what| what.as_str()).collect();
        assert_eq!(names.len(), What::ALL.len());
        assert!(
            What::ALL
                .iter()
                .all(|what| ["key", "webhook", "store", "order", "product", "stock", "listing", "member"].contains(&what.kind()))
        );
    }

    #[test]
    fn of_a_url_only_where_it_leads_is_told() {
        assert_eq!(origin("https://partner.example/hooks/s3cret?token=1"), "https://partner.example");
        assert_eq!(origin("http://127.0.0.1:9000/x"), "http://127.0.0.1:9000");
        assert!(!origin("partner.example/s3cret").contains("s3cret"));
    }
}
