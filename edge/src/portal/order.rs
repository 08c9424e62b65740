//! One order: what it is, and what has happened to it, in the order in which it did. Its license keys are shown by their ends alone, enough
//! to find the one that a customer asks about: the whole of them is their buyer's. Revoking is the API's.

use std::time::SystemTime;

use askama::Template;
use common::ids::OrderId;
use common::money::{Currency, Minor};
use common::order::{Order, OrderStatus, Revocation};
use common::partner::Role;
use http::StatusCode;
use serde::Deserialize;
use storage::pg::order_items::{self, Item};
use storage::pg::orders;
use storage::pg::orders::history::{self, History};
use storage::pg::orders::search::by_id;

use super::Visitor;
use super::frame::{Frame, Note, minute, minute_of_ms};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::receipt;
use crate::pages::visit::Sources;
use crate::service::Call;

/// License keys of one item that are shown; the others are counted.
const KEYS_SHOWN: usize = 50;
/// Characters of a license key that are shown, and never more than a quarter of it.
const KEY_END_CHARS: usize = 4;

/// An item.
#[derive(Debug)]
struct Line {
    sku: String,
    quantity: i32,
    /// The ends of its license keys.
    keys: Vec<String>,
    more_keys: usize,
}

/// Something that happened.
#[derive(Debug)]
struct Fact {
    at: String,
    /// `good`, `note`, `wrong`, or nothing for what is neither.
    tone: &'static str,
    title: String,
    detail: String,
    /// Who was told, and whether that went well.
    told: Vec<Told>,
}

/// An event that was sent, or is to be.
#[derive(Debug)]
struct Told {
    event: String,
    host: String,
    status: String,
    attempts: i32,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/order.html")]
struct OrderPage {
    frame: Frame,
    note: Option<Note>,
    order: Order,
    total: String,
    created: String,
    lines: Vec<Line>,
    payment_intent: Option<String>,
    facts: Vec<Fact>,
    may_revoke: bool,
}

/// The order that the path names, if it is this store's: another store's is as if it were not there.
fn named(call: &Call<'_>) -> Result<OrderId, PageError> {
    OrderId::parse(call.params.id).map_err(|_| PageError::new(PageProblem::NotFound))
}

/// `GET /portal/stores/{slug}/orders/{order_id}/`, also after something was done.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, note: Option<Note>) -> Result<Answer, PageError> {
    let id = named(call)?;
    let pg = &edge.portal.pg;
    let read = in_time_of(pg, async {
        let client = pg.client().await?;
        let order = by_id(&*client, visitor.store.id, &id).await?.ok_or_else(|| PageError::new(PageProblem::NotFound))?;
        let items = order_items::of_orders(&*client, std::slice::from_ref(&id)).await?.remove(id.as_str()).unwrap_or_default();
        let history = history::of_order(&*client, &order).await?;
        Ok::<_, PageError>((order, items, history))
    });
    let (order, items, history) = read.await?;
    let frame = Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "orders");
    let status = if note.as_ref().is_some_and(|note| note.tone == "wrong") { StatusCode::CONFLICT } else { StatusCode::OK };
    let page = OrderPage {
        note,
        total: receipt::total(&frame.base, &order),
        created: minute_of_ms(order.created_at_ms),
        lines: items.iter().map(|item| line(edge, &order, item)).collect::<Result<_, _>>()?,
        facts: facts(&frame, &order, &items, &history),
        payment_intent: history.payment.and_then(|payment| payment.payment_intent),
        may_revoke: visitor.role >= Role::Developer && order.status.revocation() == Revocation::Revokes,
        order,
        frame,
    };
    visitor.visit.page_with(status, &page, Sources::Own)
}

fn line(edge: &Edge, order: &Order, item: &Item) -> Result<Line, PageError> {
    let shown = item.keys.iter().take(KEYS_SHOWN);
    let end = |key| Ok::<_, PageError>(end(order_items::open(&edge.licenses, order.store_id, item.product_id, key)?.expose()));
    Ok(Line {
        sku: item.sku.to_string(),
        quantity: item.quantity,
        keys: shown.map(end).collect::<Result<_, _>>()?,
        more_keys: item.keys.len().saturating_sub(KEYS_SHOWN),
    })
}

/// `…7Q2F`
fn end(key: &str) -> String {
    let count = key.chars().count();
    let shown = KEY_END_CHARS.min(count / 4);
    format!("…{}", key.chars().skip(count - shown).collect::<String>())
}

/// What an event told beyond its kind.
#[derive(Debug, Default, Deserialize)]
struct Body {
    refunded_minor: Option<i64>,
    dispute: Option<Dispute>,
}

#[derive(Debug, Deserialize)]
struct Dispute {
    id: String,
    status: String,
    amount_minor: i64,
}

/// All that is known, oldest first.
fn facts(frame: &Frame, order: &Order, items: &[Item], history: &History) -> Vec<Fact> {
    let amount = |minor: i64| amount(frame, order, minor);
    let mut facts: Vec<(SystemTime, Fact)> = Vec::new();
    let fact = |at: SystemTime, tone, title: &str, detail: String| {
        (at, Fact { at: minute(at), tone, title: title.to_owned(), detail, told: Vec::new() })
    };
    let at_ms = |unix_ms| SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms);
    if let Some(paid_at) = history.payment.as_ref().and_then(|payment| payment.paid_at) {
        facts.push(fact(paid_at, "good", "Paid", String::new()));
    }
    for event in &history.events {
        // What a version before told in another form is told by its kind alone.
        let body: Body = serde_json::from_str(&event.body).unwrap_or_default();
        let at = event.created_at;
        let keys: usize = items.iter().map(|item| item.keys.len()).sum();
        let mut made = match (event.kind.as_str(), &body.dispute, body.refunded_minor) {
            ("order.created", ..) => fact(at, "", "Order made", String::new()),
            ("order.fulfilled", ..) => fact(at, "good", "License keys issued", plural(keys, "license key")),
            ("order.refunded", _, Some(minor)) => fact(at, "note", "Refunded", format!("{} in all", amount(minor))),
            ("order.disputed", Some(dispute), _) => {
                let tone = if dispute.status == "won" { "good" } else { "wrong" };
                fact(at, tone, &format!("Dispute {}", dispute.status), format!("{}, {}", amount(dispute.amount_minor), dispute.id))
            }
            (kind, ..) => fact(at, "", kind, String::new()),
        };
        made.1.told =
            history.deliveries.iter().filter(|delivery| delivery.event_id == event.id).map(|delivery| told(event, delivery)).collect();
        facts.push(made);
    }
    // What no event tells is known by the order itself, which has not changed since.
    let ended = match order.status {
        OrderStatus::Revoked => Some(("wrong", "Revoked", "The license keys may not be used any more.".to_owned())),
        OrderStatus::Expired => Some(("note", "Expired", "Nobody has paid it.".to_owned())),
        OrderStatus::Failed => {
            Some(("wrong", "Failed", order.failure.as_ref().map(|failure| failure.code.replace('_', " ")).unwrap_or_default()))
        }
        OrderStatus::AwaitingStock => Some(("wrong", "Waits for license keys", "Import some: it is filled by itself.".to_owned())),
        _ => None,
    };
    if let Some((tone, title, detail)) = ended {
        facts.push(fact(at_ms(order.updated_at_ms), tone, title, detail));
    }
    facts.sort_by_key(|(at, _)| *at);
    facts.into_iter().map(|(_, fact)| fact).collect()
}

fn told(event: &history::Event, delivery: &history::Delivery) -> Told {
    // The path may have a token in it.
    let host = delivery.url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default().to_owned();
    Told { event: event.kind.clone(), host, status: delivery.status.clone(), attempts: delivery.attempts }
}

fn amount(frame: &Frame, order: &Order, minor: i64) -> String {
    let currency = order.currency.as_deref().and_then(|code| Currency::parse(code).ok());
    let money = currency.zip(Minor::new(minor).ok()).map(|(currency, minor)| frame.base.locale.money(minor, currency));
    money.unwrap_or_else(|| format!("{minor} minor units"))
}

/// `1 license key`, `2 license keys`
fn plural(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `POST /portal/stores/{slug}/orders/{order_id}/revoke/`
pub async fn revoke(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let id = named(call)?;
    let pg = &edge.portal.pg;
    let absent = || PageError::new(PageProblem::NotFound);
    let revoked = in_time_of(pg, async {
        let order = { by_id(&*pg.client().await?, visitor.store.id, &id).await?.ok_or_else(absent)? };
        orders::revoke(pg, visitor.store.id, order.mode, &id, visitor.actor()).await?.ok_or_else(absent)
    });
    let note = match revoked.await? {
        (Revocation::Revokes, _) => Note {
            tone: "good",
            text: "The order is revoked. Its license keys may not be used any more, and are not sold again.".to_owned(),
        },
        (Revocation::AlreadyRevoked, _) => Note { tone: "note", text: "The order was revoked before.".to_owned() },
        (Revocation::Refused, status) => {
            let text = format!("The order is {}. Only orders whose license keys are with the customer can be revoked.", spaced(status));
            Note { tone: "wrong", text }
        }
    };
    show(edge, visitor, call, Some(note)).await
}

fn spaced(status: OrderStatus) -> String {
    status.as_str().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_license_key_its_end_is_shown_and_of_a_short_one_next_to_nothing() {
        assert_eq!(end("AAAAA-BBBBB-CCCCC-D7Q2F"), "…7Q2F");
        assert_eq!(end("ABCDEFGH"), "…GH");
        assert_eq!(end("ABC"), "…");
        assert_eq!(end("äöüäöüäö"), "…äö");
    }

    #[test]
    fn of_an_address_its_host_is_shown() {
        let event =
            history::Event { id: uuid::Uuid::nil(), kind: "order.created".into(), body: String::new(), created_at: SystemTime::UNIX_EPOCH };
        for (url, host) in
            [("https://shop.example/hook?token=secret", "shop.example"), ("https://u:p@shop.example:8443", "shop.example:8443")]
        {
            let delivery = history::Delivery { event_id: event.id, url: url.into(), status: "delivered".into(), attempts: 1 };
            assert_eq!(told(&event, &delivery).host, host);
        }
    }
}
