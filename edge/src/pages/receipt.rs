//! The receipt: how an order stands and, while they are usable, its license keys. It is reached by a signed link that only the buyer is
//! given; the order's id alone opens nothing. While something is still to come the page looks again by itself, without a script.

use askama::Template;
use common::ids::OrderId;
use common::mode::Mode;
use common::order::{Order, OrderStatus};
use storage::pg::{carts, order_items, orders, products};

use super::cart;
use super::market;
use super::payment;
use super::texts::{Texts, fill};
use super::visit::{Frame, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;
use crate::snapshot::Store;

/// Seconds between two looks at an order that is paid or about to be.
const SOON_S: u32 = 4;
/// The same while the shop has no stock.
const LATER_S: u32 = 60;

/// The license keys of one product.
#[derive(Debug)]
pub struct Keys {
    /// `License keys for …`
    pub title: String,
    /// The keys.
    pub keys: Vec<String>,
}

/// The receipt.
#[derive(Debug, Template)]
#[template(path = "receipt.html")]
pub struct ReceiptPage {
    /// What every page has.
    pub frame: Frame,
    /// `Order ORD-…`
    pub title: String,
    /// How the order stands.
    pub status: &'static str,
    /// How that is meant: `good`, `note` or `wrong`.
    pub tone: &'static str,
    /// `Bought on … at …`
    pub bought: String,
    /// What was paid; empty where nobody said.
    pub total: String,
    /// By product.
    pub products: Vec<Keys>,
    /// The way to the payment, while there is something to pay.
    pub pay: Option<String>,
    /// The way back to the shop.
    pub back: Option<String>,
    /// The rest of a cart over several stores.
    pub next: Option<&'static str>,
}

/// The address of an order's receipt.
pub fn address(edge: &Edge, store: &Store, mode: Mode, order_id: &OrderId) -> String {
    format!("/s/{}/receipt/{}/", store.slug, edge.receipts.sign(mode, order_id))
}

/// `GET /s/{slug}/receipt/{link}/`
pub async fn show(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let absent = || PageError::new(PageProblem::NotFound);
    let (mode, id) = edge.receipts.verify(call.params.id).ok_or_else(absent)?;
    // Stripe sends customers back with its payment's secret in the URL, which is no place for one.
    if !call.query.is_empty() {
        return visit.see_other(&address(edge, &store, mode, &id));
    }
    let read = in_time(edge, async {
        let client = edge.pg.client().await?;
        let order = orders::get(&*client, store.id, mode, &id).await?.ok_or_else(absent)?;
        let items = order_items::of_orders(&*client, std::slice::from_ref(&id)).await?.remove(id.as_str()).unwrap_or_default();
        let sold = order_items::reveal(&edge.licenses, &order, &items)?;
        let wanted: Vec<(i64, &str)> = sold.iter().map(|item| (store.id, item.sku.as_str())).collect();
        let named = products::find(&*client, &wanted).await?;
        let cart = carts::of_order(&*client, &id).await?;
        let more = cart.as_ref().is_some_and(|cart| cart.market) && !carts::on_market(&*client, &visit.browser()).await?.is_empty();
        Ok::<_, PageError>((order, sold, named, cart, more))
    });
    let (order, sold, named, cart, more) = read.await?;
    visit.speak(cart.as_ref().and_then(|cart| cart.locale.as_deref()));
    let (status, tone, refresh_s) = standing(visit.frame().t, order.status);
    let frame = Frame { store: store.name.clone(), is_test: mode == Mode::Test, refresh_s, step: 0, ..visit.frame() };
    let name = |sku: &str| named.iter().find(|product| product.sku.as_str() == sku).map_or(sku.to_owned(), |product| product.name.clone());
    let keys = sold.iter().filter(|item| !item.license_keys.is_empty()).map(|item| Keys {
        title: fill(frame.t.receipt_keys_of, &[("product", &name(item.sku.as_str()))]),
        keys: item.license_keys.iter().map(|key| key.expose().to_owned()).collect(),
    });
    let bought = [("date", frame.locale.date(order.created_at_ms)), ("store", store.name.clone())];
    let page = ReceiptPage {
        title: fill(frame.t.receipt_title, &[("order", order.id.as_str())]),
        status,
        tone,
        bought: fill(frame.t.receipt_bought_at, &bought.each_ref().map(|(name, value)| (*name, value.as_str()))),
        total: total(&frame, &order),
        products: keys.collect(),
        pay: (order.status == OrderStatus::Pending).then(|| payment::address(edge, &store, mode, &order.id)),
        back: cart.as_ref().and_then(|cart| cart.metadata("return_url_success")).and_then(|url| back(url, &order.id)),
        next: more.then_some(market::CART),
        frame,
    };
    visit.page(&page)
}

/// How an order stands, in words; how that is meant; and after how many seconds there may be news.
fn standing(t: &'static Texts, status: OrderStatus) -> (&'static str, &'static str, Option<u32>) {
    match status {
        OrderStatus::Pending => (t.receipt_waiting, "note", Some(SOON_S)),
        OrderStatus::Processing => (t.receipt_processing, "note", Some(SOON_S)),
        OrderStatus::AwaitingStock => (t.receipt_awaiting_stock, "note", Some(LATER_S)),
        OrderStatus::Fulfilled => (t.receipt_fulfilled, "good", None),
        OrderStatus::PartiallyRefunded => (t.receipt_partially_refunded, "note", None),
        OrderStatus::Refunded => (t.receipt_refunded, "note", None),
        OrderStatus::Disputed => (t.receipt_disputed, "note", None),
        OrderStatus::Failed | OrderStatus::Revoked | OrderStatus::Expired => (t.receipt_ended, "wrong", None),
    }
}

/// What was or is to be paid, as text; empty where nobody said.
pub(crate) fn total(frame: &Frame, order: &Order) -> String {
    let currency = order.currency.as_deref().and_then(|code| common::money::Currency::parse(code).ok());
    let minor = order.total_minor.and_then(|minor| common::money::Minor::new(minor).ok());
    minor.zip(currency).map(|(minor, currency)| frame.locale.money(minor, currency)).unwrap_or_default()
}

/// Where the shop wants its customer to go, with the order's id where the shop asked for it. Its session was signed with a URL that begins
/// with its scheme and host, and the id has no character that could end either.
fn back(url: &str, id: &OrderId) -> Option<String> {
    let is_web = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
    is_web.then(|| url.replace("{ORDER_ID}", id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_told_and_only_what_is_unfinished_looks_again() {
        for status in OrderStatus::ALL {
            let (text, tone, refresh_s) = standing(Frame::sample().t, status);
            assert!(!text.is_empty() && ["good", "note", "wrong"].contains(&tone));
            assert_eq!(refresh_s.is_some(), matches!(status, OrderStatus::Pending | OrderStatus::Processing | OrderStatus::AwaitingStock));
        }
    }

    #[test]
    fn the_way_back_is_a_web_address_with_the_orders_id_in_it() {
        let id = OrderId::new(1, 2);
        assert_eq!(
            back("https://shop.example/done?o={ORDER_ID}&x={ORDER_ID}", &id),
            Some(format!("https://shop.example/done?o={id}&x={id}"))
        );
        assert_eq!(back("http://localhost/", &id).as_deref(), Some("http://localhost/"));
        for not in ["javascript:alert(1)", "//shop.example/", "/done", "data:text/html,x", " https://shop.example/", ""] {
            assert_eq!(back(not, &id), None, "{not}");
        }
    }
}
