//! What a store sells, a page at a time: prices, and how long the license keys in stock will last. And making a product, by the rules of
//! `worker product`.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use common::cart::Sku;
use common::ids::OrderId;
use common::license::Pattern;
use common::mode::Mode;
use common::money::{Currency, Minor};
use common::partner::Role;
use common::tax::Category;
use http::StatusCode;
use storage::pg::license_keys;
use storage::pg::order_items::{self, RecentSales};
use storage::pg::products::{self, Price, Priced, Product, Source};

use super::Visitor;
use super::frame::{Frame, Note};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::form::Form;
use crate::pages::visit::Sources;
use crate::query::Query;
use crate::service::Call;

/// Products on a page.
const PAGE: i64 = 50;
/// The most products of a store that the portal makes; the command line knows no bound.
const PRODUCTS_MAX: usize = 1_000;
/// The most prices of a product: more currencies than anybody sells in.
pub const PRICES_MAX: usize = 30;
const NAME_MAX_CHARS: usize = 100;
/// Up to here stock is counted in the list: what is above does not run out soon, and counting it would take longer than the page may.
const COUNTED_MAX: i64 = 500;
/// The orders, and the days, that tell how a product sells.
const RECENT_ORDERS_MAX: i64 = 500;
const RECENT_MS: u64 = 30 * 86_400_000;
const DAY_S: f64 = 86_400.0;

/// What a form has for each price: a currency and an amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    /// Three letters.
    pub currency: String,
    /// In major units.
    pub amount: String,
}

/// A product in the list.
#[derive(Debug)]
struct Listed {
    id: i64,
    sku: String,
    name: String,
    prices: String,
    stock: Option<Stock>,
}

/// How much of a product is in stock.
#[derive(Debug)]
pub struct Stock {
    /// `500`, or `more than 500`.
    pub level: String,
    /// `lasts 12 days`; empty where nothing is sold.
    pub lasts: String,
    /// `good`, `note` or `wrong`.
    pub tone: &'static str,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/products.html")]
struct ProductsPage {
    frame: Frame,
    note: Option<Note>,
    may_change: bool,
    mode: Mode,
    products: Vec<Listed>,
    is_later: bool,
    next: Option<String>,
    /// What was typed into the form, where it has to be typed again.
    typed: Form,
    prices: Vec<PriceRow>,
    categories: &'static [Category],
    default_pattern: &'static str,
}

/// What is known of a store's sales, and when that begins.
pub async fn recent_sales(
    edge: &Edge,
    client: &impl storage::pg::GenericClient,
    store_id: i64,
    mode: Mode,
) -> Result<RecentSales, PageError> {
    let since = OrderId::new(edge.clock.now().unix_ms.saturating_sub(RECENT_MS), 0);
    Ok(order_items::recent_sales(client, store_id, mode, &since, RECENT_ORDERS_MAX).await?)
}

/// How long `free` keys last, of which no more than `counted_max` were counted.
pub fn stock(free: i64, counted_max: i64, sales: &RecentSales, product_id: i64) -> Stock {
    let is_more = free > counted_max;
    let counted = free.min(counted_max);
    let level = format!("{}{}", if is_more { "more than " } else { "" }, grouped(counted));
    let sold = sales.pieces.get(&product_id).copied().unwrap_or(0);
    // The first day's sales say little of those to come; they are taken for a whole day's.
    let a_day = sold as f64 / (sales.window_s / DAY_S).max(1.0);
    let days = if sold > 0 { counted as f64 / a_day } else { f64::INFINITY };
    let tone = match days {
        _ if counted == 0 => "wrong",
        days if days < 3.0 && !is_more => "wrong",
        days if days < 14.0 && !is_more => "note",
        _ => "good",
    };
    let lasts = match days {
        _ if sold == 0 || counted == 0 => String::new(),
        days if days >= 365.0 => "lasts more than a year".to_owned(),
        days if is_more => format!("lasts more than {}", plural(days.floor(), "day")),
        days if days < 1.0 => format!("lasts about {}", plural((days * 24.0).ceil(), "hour")),
        days => format!("lasts about {}", plural(days.round(), "day")),
    };
    Stock { level, lasts, tone }
}

fn plural(count: f64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1.0 { "" } else { "s" })
}

/// `12,345`
pub fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `GET /portal/stores/{slug}/products/?mode=&after=`, also after a form that has to be filled in again.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, wrong: Option<(String, Form)>) -> Result<Answer, PageError> {
    let bad = || PageError::new(PageProblem::BadRequest);
    let query = Query::parse(call.query, &["mode", "after"])?;
    let mode = query.get("mode").map_or(Ok(Mode::Live), str::parse).map_err(|_| bad())?;
    let after = query.get("after").map(Sku::parse).transpose().map_err(|_| bad())?;
    let pg = &edge.portal.pg;
    let store_id = visitor.store.id;
    let read = in_time_of(pg, async {
        let client = pg.client().await?;
        let found = products::page(&*client, store_id, after.as_ref().map(Sku::as_str), PAGE + 1).await?;
        let pooled: Vec<i64> = found.iter().filter(|(product, _)| product.source == Source::Pool).map(|(product, _)| product.id).collect();
        let free = license_keys::count_free_of(&*client, &pooled, mode, COUNTED_MAX + 1).await?;
        let sales = if pooled.is_empty() { RecentSales::default() } else { recent_sales(edge, &*client, store_id, mode).await? };
        Ok::<_, PageError>((found, free, sales))
    });
    let (mut found, free, sales) = read.await?;
    let has_more = found.len() as i64 > PAGE;
    found.truncate(PAGE as usize);
    let slug = &visitor.store.slug;
    let next = found.last().filter(|_| has_more).map(|(last, _)| format!("/portal/stores/{slug}/products/?mode={mode}&after={}", last.sku));
    let frame = Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "products");
    let (status, note, typed) = match wrong {
        Some((text, form)) => (StatusCode::BAD_REQUEST, Some(Note { tone: "wrong", text }), form),
        None => (StatusCode::OK, None, Form::default()),
    };
    let mut prices = price_rows(&typed);
    prices.resize(prices.len().max(2), PriceRow { currency: String::new(), amount: String::new() });
    let page = ProductsPage {
        note,
        may_change: visitor.role >= Role::Developer,
        mode,
        products: found.iter().map(|priced| listed(&frame, priced, &free, &sales)).collect(),
        is_later: after.is_some(),
        next,
        typed,
        prices,
        categories: Category::ALL,
        default_pattern: Pattern::DEFAULT,
        frame,
    };
    visitor.visit.page_with(status, &page, Sources::Own)
}

fn listed(frame: &Frame, (product, prices): &Priced, free: &HashMap<i64, i64>, sales: &RecentSales) -> Listed {
    Listed {
        id: product.id,
        sku: product.sku.to_string(),
        name: product.name.clone(),
        prices: shown_prices(frame, prices).join(" · "),
        stock: free.get(&product.id).map(|&free| stock(free, COUNTED_MAX, sales, product.id)),
    }
}

/// Prices for people.
pub fn shown_prices(frame: &Frame, prices: &[Price]) -> Vec<String> {
    let shown = |&(currency, minor): &Price| Minor::new(minor).map(|minor| frame.base.locale.money(minor, currency)).ok();
    prices.iter().filter_map(shown).collect()
}

/// The rows of a form's prices, as they were typed.
pub fn price_rows(form: &Form) -> Vec<PriceRow> {
    let row = |index: usize| PriceRow {
        currency: form.get(&format!("currency.{index}")).to_owned(),
        amount: form.get(&format!("amount.{index}")).to_owned(),
    };
    let mut rows: Vec<PriceRow> = (0..PRICES_MAX).map(row).collect();
    while rows.last().is_some_and(|row| row.currency.is_empty() && row.amount.is_empty()) {
        rows.pop();
    }
    rows
}

/// The prices that a form says: one at least, each currency once. A row without an amount is none. `Err` is for people.
pub fn read_prices(form: &Form) -> Result<Vec<Price>, String> {
    let mut seen = BTreeSet::new();
    let mut prices = Vec::new();
    for row in price_rows(form).into_iter().filter(|row| !row.amount.is_empty()) {
        let currency = Currency::parse(&row.currency).map_err(|error| format!("The price {}: {error}.", row.amount))?;
        let minor = Minor::of_decimal(&row.amount, currency).map_err(|_| {
            let sample = Minor::new(2_999).map(|minor| minor.decimal(currency)).unwrap_or_default();
            format!("The price in {currency}: write an amount such as {sample}, without a sign or anything between thousands.")
        })?;
        if !seen.insert(currency) {
            return Err(format!("{currency} has two prices. Give each currency one."));
        }
        prices.push((currency, minor.get()));
    }
    if prices.is_empty() {
        return Err("A product needs a price in one currency at least.".to_owned());
    }
    Ok(prices)
}

/// A name that people read. `Err` is for people.
pub fn read_name(form: &Form) -> Result<&str, String> {
    let name = form.get("name");
    let is_name = (1..=NAME_MAX_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if is_name { Ok(name) } else { Err(format!("Give the product a name of 1 to {NAME_MAX_CHARS} characters.")) }
}

/// What a form says of a product that is to be made.
struct New<'f> {
    sku: Sku,
    name: &'f str,
    source: Source,
    prices: Vec<Price>,
    tax_category: Category,
}

impl<'f> New<'f> {
    fn read(form: &'f Form) -> Result<Self, String> {
        let sku = Sku::parse(form.get("sku")).map_err(|error| format!("The SKU: {error}."))?;
        let source = match form.get("source") {
            "pool" => Source::Pool,
            "generator" => Source::Generator(Pattern::parse(form.get("pattern")).map_err(|error| format!("The pattern: {error}."))?),
            _ => return Err("Choose where its license keys come from.".to_owned()),
        };
        let tax_category = Category::parse(form.get("tax_category")).ok_or("Choose a tax category.")?;
        Ok(Self { sku, name: read_name(form)?, source, prices: read_prices(form)?, tax_category })
    }
}

/// `POST /portal/stores/{slug}/products/`: makes one, and goes to its page.
pub async fn create(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let typed = || visitor.form.clone();
    let new = match New::read(&visitor.form) {
        Ok(new) => new,
        Err(text) => return show(edge, visitor, call, Some((text, typed()))).await,
    };
    if visitor.store.catalogue.len() >= PRODUCTS_MAX {
        let text = format!("This store has {PRODUCTS_MAX} products. The operator of this installation can make more.");
        return show(edge, visitor, call, Some((text, typed()))).await;
    }
    let pg = &edge.portal.pg;
    let made = in_time_of(pg, async {
        let New { sku, name, source, prices, tax_category } = &new;
        match products::create_in(pg, visitor.store.id, sku, name, source, prices, *tax_category, visitor.actor()).await {
            Ok(product) => Ok::<Option<Product>, PageError>(Some(product)),
            Err(error) if error.is_unique_violation() => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    match made.await? {
        Some(product) => visitor.visit.see_other(&format!("/portal/stores/{}/products/{}/?made", visitor.store.slug, product.id)),
        None => show(edge, visitor, call, Some((format!("The store has a product {} already.", new.sku), typed()))).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn prices_are_read_in_their_currencies_and_each_once() {
        let gbp = Currency::parse("GBP").unwrap();
        let jpy = Currency::parse("JPY").unwrap();
        let read = |text: &str| read_prices(&form(text));
        assert_eq!(
            read("currency.0=gbp&amount.0=29.99&currency.1=&amount.1=&currency.2=JPY&amount.2=500"),
            Ok(vec![(gbp, 2_999), (jpy, 500)])
        );
        assert_eq!(read("currency.0=GBP&amount.0=&currency.1=JPY&amount.1=1"), Ok(vec![(jpy, 1)]), "no amount, no price");
        for (text, said) in [
            ("", "one currency at least"),
            ("currency.0=GBP&amount.0=1&currency.1=gbp&amount.1=2", "two prices"),
            ("currency.0=GBP&amount.0=1,50", "such as 29.99"),
            ("currency.0=JPY&amount.0=1.5", "such as 2999"),
            ("currency.0=&amount.0=1", "three-letter"),
            ("currency.0=XXX&amount.0=1", "XXX"),
        ] {
            assert!(read(text).unwrap_err().contains(said), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn stock_lasts_as_long_as_it_sold_of_late() {
        let sales = |pieces: i64, days: f64| RecentSales { pieces: HashMap::from([(1, pieces)]), window_s: days * DAY_S };
        let shown = |free, sold, days| {
            let Stock { level, lasts, tone } = stock(free, 1_000, &sales(sold, days), 1);
            (level, lasts, tone)
        };
        let is = |level: &str, lasts: &str, tone| (level.to_owned(), lasts.to_owned(), tone);
        assert_eq!(shown(100, 50, 10.0), is("100", "lasts about 20 days", "good"));
        assert_eq!(shown(10, 50, 10.0), is("10", "lasts about 2 days", "wrong"));
        assert_eq!(shown(2, 50, 10.0), is("2", "lasts about 10 hours", "wrong"));
        assert_eq!(shown(60, 50, 10.0), is("60", "lasts about 12 days", "note"));
        assert_eq!(shown(1_001, 1_000, 10.0), is("more than 1,000", "lasts more than 10 days", "good"));
        assert_eq!(shown(1_000, 1, 10.0), is("1,000", "lasts more than a year", "good"));
        assert_eq!(shown(0, 10, 1.0), is("0", "", "wrong"));
        assert_eq!(shown(5, 0, 0.0), is("5", "", "good"));
        assert_eq!(shown(10, 10, 0.01), is("10", "lasts about 1 day", "wrong"), "an hour's sales are taken for a day's");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
