//! One product: its name, prices and tax category, and the stock of its license keys where they are imported.

use askama::Template;
use common::mode::Mode;
use common::money::Minor;
use common::partner::Role;
use common::tax::Category;
use http::StatusCode;
use storage::pg::license_keys;
use storage::pg::products::{self, Priced, Product, Source};
use storage::stock::Report;

use super::Visitor;
use super::frame::{Frame, Note};
use super::products::{PRICES_MAX, PriceRow, Stock, price_rows, read_name, read_prices, recent_sales, stock};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::assets;
use crate::pages::visit::Sources;
use crate::service::Call;

/// Up to here stock is counted: walking over more would take longer than the page may.
const COUNTED_MAX: i64 = 10_000;
/// Rows for prices that there are not yet.
const MORE_PRICES: usize = 2;

/// What was done before the page is shown.
#[derive(Debug, Default)]
pub struct Done {
    /// What is told of it.
    pub note: Option<Note>,
    /// What came of an import.
    pub report: Option<Report>,
    /// Whether a form has to be filled in again.
    pub is_wrong: bool,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/product.html")]
struct ProductPage {
    frame: Frame,
    import_script: &'static str,
    note: Option<Note>,
    report: Option<Report>,
    may_change: bool,
    product: Product,
    name: String,
    /// The pattern of keys that are made when sold.
    pattern: Option<String>,
    /// The stock of each mode; none of a product that has no stock.
    stocks: Vec<(Mode, Stock)>,
    prices: Vec<PriceRow>,
    categories: &'static [Category],
    tax_category: Category,
}

/// The product that the path names, if it is this store's: another store's is as if it were not there.
pub async fn named(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Priced, PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let id: i64 = call.params.id.parse().map_err(|_| absent())?;
    let pg = &edge.portal.pg;
    let found = in_time_of(pg, async { Ok::<_, PageError>(products::get(&*pg.client().await?, visitor.store.id, id).await?) });
    found.await?.ok_or_else(absent)
}

/// `GET /portal/stores/{slug}/products/{product_id}/`, also after something was done.
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>, done: Done) -> Result<Answer, PageError> {
    let (product, prices) = named(edge, visitor, call).await?;
    let pg = &edge.portal.pg;
    let stocks = in_time_of(pg, async {
        let mut stocks = Vec::new();
        if product.source == Source::Pool {
            let client = pg.client().await?;
            for mode in [Mode::Live, Mode::Test] {
                let free = license_keys::count_free(&*client, product.id, mode, COUNTED_MAX + 1).await?;
                let sales = recent_sales(edge, &*client, visitor.store.id, mode).await?;
                stocks.push((mode, stock(free, COUNTED_MAX, &sales, product.id)));
            }
        }
        Ok::<_, PageError>(stocks)
    });
    let stocks = stocks.await?;
    let form = Some(&visitor.form).filter(|_| done.is_wrong);
    let mut rows = form.map_or_else(|| prices.iter().filter_map(row).collect(), price_rows);
    let room = (rows.len() + MORE_PRICES).min(PRICES_MAX);
    rows.resize(room, PriceRow { currency: String::new(), amount: String::new() });
    let told = match call.query {
        "made" => Some("The product is made. Checkouts know it in a moment."),
        "saved" => Some("Saved. Checkouts know it in a moment; orders that are made keep the prices they were made with."),
        _ => None,
    };
    let told = told.map(|text| Note { tone: "good", text: text.to_owned() });
    let page = ProductPage {
        frame: Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "products"),
        import_script: &assets::IMPORT_SCRIPT.path,
        note: done.note.or(told),
        report: done.report,
        may_change: visitor.role >= Role::Developer,
        name: form.map_or_else(|| product.name.clone(), |form| form.get("name").to_owned()),
        pattern: if let Source::Generator(pattern) = &product.source { Some(pattern.as_str().to_owned()) } else { None },
        stocks,
        prices: rows,
        categories: Category::ALL,
        tax_category: form.and_then(|form| Category::parse(form.get("tax_category"))).unwrap_or(product.tax_category),
        product,
    };
    let status = if page.note.as_ref().is_some_and(|note| note.tone == "wrong") { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    visitor.visit.page_with(status, &page, Sources::Own)
}

fn row(&(currency, minor): &products::Price) -> Option<PriceRow> {
    Some(PriceRow { currency: currency.to_string(), amount: Minor::new(minor).ok()?.decimal(currency) })
}

/// `POST /portal/stores/{slug}/products/{product_id}/`
pub async fn change(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let (product, _) = named(edge, visitor, call).await?;
    let form = &visitor.form;
    let tax_category = Category::parse(form.get("tax_category")).ok_or_else(|| PageError::new(PageProblem::BadRequest))?;
    let (name, prices) = match read_name(form).and_then(|name| Ok((name, read_prices(form)?))) {
        Ok(read) => read,
        Err(text) => {
            let done = Done { note: Some(Note { tone: "wrong", text }), report: None, is_wrong: true };
            return show(edge, visitor, call, done).await;
        }
    };
    let pg = &edge.portal.pg;
    in_time_of(pg, async { Ok::<_, PageError>(products::change(pg, &product, name, tax_category, &prices, visitor.actor()).await?) })
        .await?;
    visitor.visit.see_other(&format!("/portal/stores/{}/products/{}/?saved", visitor.store.slug, product.id))
}
