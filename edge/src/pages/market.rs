//! The marketplace: listed products of all stores, and one cart over several of them. To the customer it is one cart; underneath it is one
//! for each store, as each store's part becomes an order and a payment of its own.

use askama::Template;
use common::cart::{Line, Sku};
use common::ids::CartId;
use common::mode::Mode;
use common::money::{Currency, Minor};
use storage::pg::carts::{self, NewCart};
use storage::pg::listings::{self, Listing};

use super::cart::{self, Lines};
use super::texts::fill;
use super::visit::{Frame, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;

const SHELF: usize = 24;
const SHELVES_MAX: usize = 1_000;
const WORDS_MAX: usize = 8;
const SEARCH_MAX_CHARS: usize = 100;

/// The address of the marketplace's cart.
pub const CART: &str = "/market/cart/";

/// A product on the shelf.
#[derive(Debug)]
pub struct Item {
    /// The store's name in URLs.
    pub slug: String,
    /// The partner's name for it.
    pub sku: String,
    /// The name people read.
    pub name: String,
    /// What the partner says of it; empty where it says nothing.
    pub text: String,
    /// `Sold by …`
    pub sold_by: String,
    /// What one piece costs.
    pub price: String,
    /// What the button is called for those who cannot see where it stands.
    pub add: String,
}

/// The shelf.
#[derive(Debug, Template)]
#[template(path = "market.html")]
pub struct MarketPage {
    /// What every page has.
    pub frame: Frame,
    /// What was searched for.
    pub search: String,
    /// The currencies there are, and whether each is chosen.
    pub currencies: Vec<(&'static str, bool)>,
    /// The chosen one.
    pub currency: &'static str,
    /// What was found.
    pub items: Vec<Item>,
    /// Where there is more.
    pub more: Option<String>,
    /// `Cart (2)`
    pub cart: String,
}

/// `GET /market/`
pub async fn show(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let query = Query::parse(call.query);
    let words: Vec<&str> = query.search.split_whitespace().take(WORDS_MAX).collect();
    let asked = in_time(edge, async {
        let client = edge.pg.client().await?;
        let currencies = listings::currencies(&*client).await?;
        let currency = query.currency.or_else(|| currencies.first().copied());
        let mine = carts::on_market(&*client, &visit.browser()).await?;
        let found = match currency {
            Some(currency) => listings::search(&*client, &words, currency, SHELF as i64 + 1, (query.shelf * SHELF) as i64).await?,
            None => Vec::new(),
        };
        Ok::<_, PageError>((currencies, currency, mine, found))
    });
    let (mut currencies, currency, mine, mut found) = asked.await?;
    let frame = visit.frame();
    let more = found.len() > SHELF && query.shelf < SHELVES_MAX;
    found.truncate(SHELF);
    // A currency that somebody asks for is shown as chosen, even if nothing has a price in it.
    currencies.extend(currency.filter(|currency| !currencies.contains(currency)));
    let items = currency.map(|currency| found.into_iter().map(|listing| item(&frame, listing, currency)).collect::<Result<_, _>>());
    let pieces: u64 = mine.iter().flat_map(|cart| &cart.lines).map(|line| u64::from(line.quantity)).sum();
    let page = MarketPage {
        items: items.transpose()?.unwrap_or_default(),
        more: more.then(|| query.next(currency)),
        cart: fill(frame.t.market_cart, &[("count", &pieces.to_string())]),
        search: query.search,
        currencies: currencies.into_iter().map(|other| (other.as_str(), Some(other) == currency)).collect(),
        currency: currency.map_or("", Currency::as_str),
        frame,
    };
    visit.page(&page)
}

fn item(frame: &Frame, listing: Listing, currency: Currency) -> Result<Item, PageError> {
    let price = Minor::new(listing.unit_minor).map_err(|_| PageError::new(PageProblem::Internal))?;
    Ok(Item {
        price: frame.locale.money(price, currency),
        sold_by: fill(frame.t.market_sold_by, &[("store", &listing.store)]),
        add: fill(frame.t.market_add_of, &[("product", &listing.name)]),
        slug: listing.slug,
        sku: listing.sku.to_string(),
        text: listing.text.unwrap_or_default(),
        name: listing.name,
    })
}

/// What the marketplace is asked for. Whatever makes no sense is as if it were not there.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    search: String,
    currency: Option<Currency>,
    shelf: usize,
}

impl Query {
    fn parse(query: &str) -> Self {
        let value = |wanted: &str| form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, value)| value);
        Self {
            search: value("q").unwrap_or_default().chars().filter(|c| !c.is_control()).take(SEARCH_MAX_CHARS).collect(),
            currency: value("currency").and_then(|code| Currency::parse(&code).ok()),
            shelf: value("shelf").and_then(|shelf| shelf.parse().ok()).unwrap_or(0).min(SHELVES_MAX),
        }
    }

    fn next(&self, currency: Option<Currency>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &self.search).append_pair("currency", currency.map_or("", Currency::as_str));
        format!("/market/?{}", query.append_pair("shelf", &(self.shelf + 1).to_string()).finish())
    }
}

/// `POST /market/`: one piece of a listed product into the cart.
pub async fn add(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let form = visit.form(call)?;
    let bad = || PageError::new(PageProblem::BadRequest);
    let store = edge.snapshot.store(form.get("store")).ok_or_else(bad)?;
    let sku = Sku::parse(form.get("sku")).map_err(|_| bad())?;
    let currency = Currency::parse(form.get("currency")).map_err(|_| bad())?;
    let has_price = store.catalogue.get(&sku).is_some_and(|prices| prices.iter().any(|(other, _)| *other == currency));
    let new = NewCart {
        id: CartId::new(rand::random()),
        store_id: store.id,
        mode: Mode::Live,
        session_id: None,
        browser: visit.browser(),
        currency,
        locale: None,
        metadata: Vec::new(),
        lines: vec![Line { sku: sku.clone(), quantity: 1 }],
        email: None,
    };
    in_time(edge, async {
        // In a block of its own, so that the connection is back before the next one is asked for.
        let is_listed = { listings::is_listed(&*edge.pg.client().await?, store.id, &sku).await? };
        if !is_listed || !has_price {
            return Err(bad());
        }
        Ok(carts::add_on_market(&edge.pg, &new).await?)
    })
    .await?;
    visit.see_other(CART)
}

/// One store's part of the cart.
#[derive(Debug)]
pub struct Part {
    /// `Sold by …`
    pub sold_by: String,
    /// Where its forms go.
    pub address: String,
    /// Its id, which tells its forms from the others'.
    pub id: String,
    /// What is bought.
    pub lines: Lines,
    /// The next step.
    pub next: String,
    /// What the way there is called.
    pub check_out: String,
}

/// The cart over several stores.
#[derive(Debug, Template)]
#[template(path = "market_cart.html")]
pub struct MarketCartPage {
    /// What every page has.
    pub frame: Frame,
    /// By store.
    pub parts: Vec<Part>,
}

/// `GET /market/cart/`
pub async fn show_cart(edge: &Edge, visit: &Visit) -> Result<Answer, PageError> {
    let priced = in_time(edge, async {
        let client = edge.pg.client().await?;
        let mut priced = Vec::new();
        for cart in carts::on_market(&*client, &visit.browser()).await? {
            let lines = carts::priced(&*client, &cart).await?;
            priced.push((cart, lines));
        }
        Ok::<_, PageError>(priced)
    });
    let frame = visit.frame();
    let mut parts = Vec::new();
    for (cart, priced) in priced.await?.into_iter().filter(|(cart, _)| !cart.lines.is_empty()) {
        let Some(store) = edge.snapshot.store_by_id(cart.store_id) else { continue };
        parts.push(Part {
            sold_by: fill(frame.t.market_sold_by, &[("store", &store.name)]),
            address: cart::address(&store, &cart.id, ""),
            id: cart.id.to_string(),
            lines: Lines::of(visit, &cart, &priced)?,
            next: cart::address(&store, &cart.id, "details/"),
            check_out: fill(frame.t.market_checkout, &[("store", &store.name)]),
        });
    }
    visit.page(&MarketCartPage { frame, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_in_a_query_is_as_if_it_were_not_there() {
        let query = Query::parse("q=+red%00+shoes&currency=gbp&shelf=2&x=1");
        assert_eq!((query.search.as_str(), query.currency.map(Currency::as_str), query.shelf), (" red shoes", Some("GBP"), 2));
        assert_eq!(query.next(query.currency), "/market/?q=+red+shoes&currency=GBP&shelf=3");
        let query = Query::parse("currency=zzz&shelf=-1");
        assert_eq!(query, Query { search: String::new(), currency: None, shelf: 0 });
        assert_eq!(Query::parse(&format!("q={}&shelf=99999999", "x".repeat(500))).search.len(), SEARCH_MAX_CHARS);
    }
}
