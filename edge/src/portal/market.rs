//! What the marketplace shows of a store: which products, under which title and with which text, at the prices that the product has.

use askama::Template;
use common::cart::Sku;
use common::partner::Role;
use http::StatusCode;
use storage::pg::listings::{self, Shown};

use super::Visitor;
use super::frame::{Frame, Note};
use super::product::named;
use super::products::shown_prices;
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::visit::Sources;
use crate::query::Query;
use crate::service::Call;

/// Products on a page.
const PAGE: i64 = 50;
const TITLE_MAX_CHARS: usize = 100;
const TEXT_MAX_CHARS: usize = 500;

/// A product in the list.
#[derive(Debug)]
struct Listed {
    id: i64,
    sku: String,
    title: String,
    prices: String,
    is_listed: bool,
}

/// The list.
#[derive(Debug, Template)]
#[template(path = "portal/market.html")]
struct MarketPage {
    frame: Frame,
    products: Vec<Listed>,
    is_later: bool,
    next: Option<String>,
}

/// One product.
#[derive(Debug, Template)]
#[template(path = "portal/listing.html")]
struct ListingPage {
    frame: Frame,
    note: Option<Note>,
    may_change: bool,
    id: i64,
    sku: String,
    /// The product's own name, which is the title where there is no other.
    name: String,
    title: String,
    text: String,
    is_listed: bool,
    prices: Vec<String>,
    /// Where the marketplace shows it.
    address: String,
    title_max: usize,
    text_max: usize,
}

/// `GET /portal/stores/{slug}/market/?after=`
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let query = Query::parse(call.query, &["after"])?;
    let after = query.get("after").map(Sku::parse).transpose().map_err(|_| PageError::new(PageProblem::BadRequest))?;
    let pg = &edge.portal.pg;
    let read = in_time_of(pg, async {
        let client = pg.client().await?;
        Ok::<_, PageError>(listings::page(&*client, visitor.store.id, after.as_ref().map(Sku::as_str), PAGE + 1).await?)
    });
    let mut found = read.await?;
    let has_more = found.len() as i64 > PAGE;
    found.truncate(PAGE as usize);
    let slug = &visitor.store.slug;
    let next = found.last().filter(|_| has_more).map(|((last, _), _)| format!("/portal/stores/{slug}/market/?after={}", last.sku));
    let frame = Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "market");
    let listed = |((product, prices), shown): (storage::pg::products::Priced, Shown)| Listed {
        id: product.id,
        sku: product.sku.to_string(),
        title: shown.title.unwrap_or(product.name),
        prices: shown_prices(&frame, &prices).join(" · "),
        is_listed: shown.is_listed,
    };
    let page = MarketPage { products: found.into_iter().map(listed).collect(), is_later: after.is_some(), next, frame };
    visitor.visit.page(&page)
}

/// `GET /portal/stores/{slug}/market/{product_id}/`, also when a form has to be filled in again.
pub async fn show_listing(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, note: Option<Note>) -> Result<Answer, PageError> {
    let (product, prices) = named(edge, visitor, call).await?;
    let pg = &edge.portal.pg;
    let shown = in_time_of(pg, async { Ok::<_, PageError>(listings::shown(&*pg.client().await?, product.id).await?) }).await?;
    let frame = Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "market");
    let currency = prices.first().map(|(currency, _)| currency.as_str()).unwrap_or_default();
    let status = if note.as_ref().is_some_and(|note| note.tone == "wrong") { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let saved = if shown.is_listed { "Saved. The marketplace shows it." } else { "Saved. The marketplace does not show it." };
    let saved = (call.query == "saved").then(|| Note { tone: "good", text: saved.to_owned() });
    let page = ListingPage {
        note: note.or(saved),
        may_change: visitor.role >= Role::Developer,
        id: product.id,
        address: format!("/market/?q={}&currency={currency}", product.sku),
        sku: product.sku.to_string(),
        name: product.name,
        title: shown.title.unwrap_or_default(),
        text: shown.text.unwrap_or_default(),
        is_listed: shown.is_listed,
        prices: shown_prices(&frame, &prices),
        title_max: TITLE_MAX_CHARS,
        text_max: TEXT_MAX_CHARS,
        frame,
    };
    visitor.visit.page_with(status, &page, Sources::Own)
}

/// What a form says, on one line; none where it says nothing.
fn line(text: &str) -> Option<String> {
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

/// `POST /portal/stores/{slug}/market/{product_id}/`
pub async fn change(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let (product, _) = named(edge, visitor, call).await?;
    let (title, text) = (line(visitor.form.get("title")), line(visitor.form.get("text")));
    let fits = |text: &Option<String>, max: usize| {
        text.as_ref().is_none_or(|text| text.chars().count() <= max && !text.chars().any(char::is_control))
    };
    if !fits(&title, TITLE_MAX_CHARS) || !fits(&text, TEXT_MAX_CHARS) {
        let text = format!("A title has {TITLE_MAX_CHARS} characters at most, and a text {TEXT_MAX_CHARS}. Nothing was changed.");
        return show_listing(edge, visitor, call, Some(Note { tone: "wrong", text })).await;
    }
    let shown = Shown { is_listed: visitor.form.get("listed") == "on", title, text };
    let pg = &edge.portal.pg;
    in_time_of(pg, async { Ok::<_, PageError>(listings::change(pg, &product, &shown, visitor.actor()).await?) }).await?;
    // Whoever comes back from the marketplace comes to a page, and not to a form that is sent again.
    visitor.visit.see_other(&format!("/portal/stores/{}/market/{}/?saved", visitor.store.slug, product.id))
}
