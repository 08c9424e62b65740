//! The third step of the checkout: what is bought, the tax on it, and what is to be paid; and from there, the order. The tax is a worker's
//! answer to a question that is asked each time the page is looked at; without an answer the page says so and offers to ask again, and shows
//! no total that it has guessed. Prices are read when the order is made, and from then on nothing of it changes.

use askama::Template;
use common::clock::utc_date;
use common::fulfill::FulfillRequest;
use common::geo::CountryCode;
use common::ids::OrderId;
use common::money::Minor;
use common::tax::Percent;
use common::tax::quote::{QuoteError, QuoteLine, QuoteRequest, TaxQuote};
use storage::StorageError;
use storage::pg::carts::{self, Cart, PricedLine};
use storage::pg::order_checkouts::{self, Checkout};
use storage::pg::order_items::Item;
use storage::pg::orders::{self, PendingOrder};

use super::cart::{self, Lines};
use super::payment;
use super::texts::fill;
use super::visit::{Frame, Sources, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::payments::Means;
use crate::service::Call;
use crate::snapshot::Store;
use crate::tax_quotes::NoQuote;

/// The field with the total that the customer has seen, minor units.
const SEEN_FIELD: &str = "total_minor";

/// What is to be paid, as text.
#[derive(Debug)]
pub struct Sums {
    /// Before tax; empty where the prices have the tax in them.
    pub net: String,
    /// Name and amount of each tax.
    pub taxes: Vec<(String, String)>,
    /// What is paid.
    pub total: String,
    /// The same in minor units: what the customer agrees to.
    pub total_minor: i64,
    /// Why there is no tax, where there is none.
    pub note: Option<&'static str>,
}

/// The order as it would be.
#[derive(Debug, Template)]
#[template(path = "check.html")]
pub struct CheckPage {
    /// What every page has.
    pub frame: Frame,
    /// What is bought.
    pub lines: Lines,
    /// What is paid; nothing while the tax is not known.
    pub sums: Option<Sums>,
    /// Who buys.
    pub email: String,
    /// Where.
    pub place: String,
    /// The step before.
    pub before: String,
    /// The way back to the shop.
    pub back: Option<String>,
    /// Whether the total is not the one that was agreed to.
    pub is_changed: bool,
    /// Whether a way to pay is set up.
    pub is_payable: bool,
}

impl CheckPage {
    /// What the button says. By it the customer orders, and must know so.
    fn button(&self, sums: &Sums) -> String {
        fill(self.frame.t.pay_place_order, &[("total", &sums.total)])
    }
}

/// A cart that can be bought, with what it costs now.
struct Quoted {
    country: CountryCode,
    email: String,
    priced: Vec<PricedLine>,
    lines: Lines,
    /// None while nobody can say.
    quote: Option<TaxQuote>,
}

/// Where a customer who wants to pay is to be.
enum Step {
    /// Here.
    Here(Box<Quoted>),
    /// Something is missing: at an earlier step.
    Earlier(String),
}

/// `GET /s/{slug}/cart/{cart_id}/pay/`
pub async fn show(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let cart = cart::mine(edge, visit, call, &store).await?;
    if let Some(order_id) = &cart.order_id {
        return payment::go_on(edge, visit, &store, cart.mode, order_id);
    }
    match quoted(edge, visit, call, &store, &cart).await? {
        Step::Here(quoted) => page(edge, visit, &store, &cart, *quoted, false),
        Step::Earlier(step) => visit.see_other(&step),
    }
}

/// `POST /s/{slug}/cart/{cart_id}/pay/`: the cart becomes an order, at the total that its customer has seen or not at all. Whatever a
/// browser sends beside that total is not looked at.
pub async fn place(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let form = visit.form(call)?;
    let cart = cart::mine(edge, visit, call, &store).await?;
    if let Some(order_id) = &cart.order_id {
        return payment::go_on(edge, visit, &store, cart.mode, order_id);
    }
    if *edge.payments.means(cart.mode) == Means::Nothing {
        return Err(PageError::new(PageProblem::NotPayable).with_back(cart.metadata("return_url_cancel").map(str::to_owned)));
    }
    let quoted = match quoted(edge, visit, call, &store, &cart).await? {
        Step::Here(quoted) => quoted,
        Step::Earlier(step) => return visit.see_other(&step),
    };
    let Some(quote) = quoted.quote.as_ref() else { return page(edge, visit, &store, &cart, *quoted, false) };
    let is_seen = form.get(SEEN_FIELD) == quote.gross_minor.get().to_string();
    let made = if is_seen { make(edge, visit, call, &cart, &quoted, quote).await? } else { Made::Changed };
    match made {
        Made::Order(order_id) => payment::go_on(edge, visit, &store, cart.mode, &order_id),
        Made::Changed => page(edge, visit, &store, &cart, *quoted, true),
    }
}

/// What came of wanting to make an order.
enum Made {
    /// The cart has become this one, now or in another tab.
    Order(OrderId),
    /// It is not the cart, or not the price, that the customer has seen.
    Changed,
}

/// Makes the order, unless anything is not any more as it was quoted.
async fn make(edge: &Edge, visit: &Visit, call: &Call<'_>, cart: &Cart, quoted: &Quoted, quote: &TaxQuote) -> Result<Made, PageError> {
    in_time(edge, async {
        let mut client = edge.pg.client().await?;
        let tx = client.transaction().await.map_err(StorageError::from)?;
        let locked = carts::get_for_update(&tx, cart.store_id, &cart.id).await?;
        let locked = locked.filter(|locked| locked.browser == visit.browser()).ok_or_else(|| PageError::new(PageProblem::NotFound))?;
        if let Some(order_id) = locked.order_id {
            return Ok(Made::Order(order_id));
        }
        let is_same = locked.lines == cart.lines && locked.details == cart.details && locked.metadata == cart.metadata;
        if !is_same || carts::priced(&tx, &locked).await? != quoted.priced {
            return Ok(Made::Changed);
        }
        let items = quoted.priced.iter().zip(0..).filter_map(|(line, number)| {
            let product_id = line.product.as_ref()?.id;
            let quantity = i32::try_from(line.quantity).ok()?;
            Some(Item { line: number, product_id, sku: line.sku.clone(), quantity, keys: Vec::new() })
        });
        let items: Vec<Item> = items.collect();
        let reference = locked.metadata("external_reference");
        let total_minor = quote.gross_minor.get();
        // What the same order would be if the partner had it fulfilled.
        let request = FulfillRequest {
            customer_email: quoted.email.clone(),
            items: locked.lines.clone(),
            external_reference: reference.unwrap_or_default().to_owned(),
            currency: Some(locked.currency),
            total_minor: Some(total_minor),
        };
        let id = OrderId::new(call.now.unix_ms, rand::random());
        let order = PendingOrder {
            id: &id,
            store_id: locked.store_id,
            mode: locked.mode,
            external_reference: reference,
            fingerprint: request.fingerprint(),
            currency: locked.currency,
            total_minor,
            customer_email: &quoted.email,
            items: &items,
            created_at_ms: call.now.unix_ms,
        };
        if orders::insert_pending(&tx, &order).await?.is_none() {
            let back = locked.metadata("return_url_cancel").map(str::to_owned);
            return Err(PageError::new(PageProblem::ReferenceUsed).with_back(back));
        }
        let checkout = Checkout { is_market: locked.market, tax_quote: quote.clone() };
        order_checkouts::insert(&tx, &id, &checkout).await?;
        carts::set_order(&tx, &locked.id, &id).await?;
        tx.commit().await.map_err(StorageError::from)?;
        edge.metrics.orders_placed_total.with_label_values(&[if locked.market { "market" } else { "cart" }]).inc();
        Ok(Made::Order(id))
    })
    .await
}

/// What the cart costs now, if it can be bought as it is.
async fn quoted(edge: &Edge, visit: &Visit, call: &Call<'_>, store: &Store, cart: &Cart) -> Result<Step, PageError> {
    let before = || cart::address(store, &cart.id, "details/");
    let Some((country, email)) = who(cart) else { return Ok(Step::Earlier(before())) };
    let priced = in_time(edge, async { Ok::<_, PageError>(carts::priced(&*edge.pg.client().await?, cart).await?) }).await?;
    let lines = Lines::of(visit, cart, &priced)?;
    if priced.is_empty() || !lines.all_sold {
        return Ok(Step::Earlier(cart::address(store, &cart.id, "")));
    }
    let request = request(store, cart, country, &priced, call)?;
    let quote = match edge.tax_quotes.quote(&request, call.request_id).await {
        Ok(quote) => Some(quote),
        Err(NoQuote::Unavailable) => None,
        // The place is not one any more, or must be told more exactly.
        Err(NoQuote::Refused(
            QuoteError::UnknownCountry { .. } | QuoteError::UnknownSubdivision { .. } | QuoteError::SubdivisionRequired { .. },
        )) => return Ok(Step::Earlier(before())),
        Err(NoQuote::Refused(error)) => {
            tracing::error!(request_id = call.request_id, %error, "a cart has no tax");
            return Err(PageError::new(PageProblem::Internal));
        }
    };
    Ok(Step::Here(Box::new(Quoted { country, email, priced, lines, quote })))
}

fn page(edge: &Edge, visit: &Visit, store: &Store, cart: &Cart, quoted: Quoted, is_changed: bool) -> Result<Answer, PageError> {
    let frame = cart::frame(visit, store, cart, 3);
    let Quoted { country, email, lines, quote, .. } = quoted;
    let page = CheckPage {
        sums: quote.as_ref().map(|quote| sums(&frame, quote)),
        frame,
        lines,
        email,
        place: place_name(edge, cart, country),
        before: cart::address(store, &cart.id, "details/"),
        back: cart.metadata("return_url_cancel").map(str::to_owned),
        is_changed,
        is_payable: *edge.payments.means(cart.mode) != Means::Nothing,
    };
    match (&page.sums, is_changed) {
        (Some(_), false) => visit.page(&page),
        (Some(_), true) => visit.page_with(PageProblem::ReferenceUsed.status(), &page, Sources::Own),
        (None, _) => visit.page_with(PageProblem::Unavailable.status(), &page, Sources::Own),
    }
}

/// Where the customer is and how to reach them, once they have said so.
fn who(cart: &Cart) -> Option<(CountryCode, String)> {
    let country = CountryCode::parse(cart.details.country.as_deref()?).ok()?;
    Some((country, cart.details.email.clone()?))
}

fn request(store: &Store, cart: &Cart, country: CountryCode, priced: &[PricedLine], call: &Call<'_>) -> Result<QuoteRequest, PageError> {
    let too_much = |_| PageError::new(PageProblem::BadRequest);
    let mut lines = Vec::with_capacity(priced.len());
    for PricedLine { sku, quantity, product } in priced {
        let Some(product) = product else { continue };
        let amount_minor = Minor::new(product.unit_minor).and_then(|unit| unit.checked_mul(*quantity)).map_err(too_much)?;
        lines.push(QuoteLine { sku: sku.clone(), quantity: *quantity, amount_minor, category: product.tax_category });
    }
    Ok(QuoteRequest {
        lines,
        currency: cart.currency,
        country,
        subdivision: cart.details.subdivision.clone(),
        prices_include_tax: store.tax.prices_include_tax,
        seller_country: store.tax.country,
        vat_id: cart.details.vat_id.clone(),
        date: utc_date(call.now.unix_ms),
    })
}

fn sums(frame: &Frame, quote: &TaxQuote) -> Sums {
    let money = |minor: Minor| frame.locale.money(minor, quote.currency);
    let percent = |ppm: u32| Percent::from_ppm(ppm).map_or_else(|_| String::new(), |percent| frame.locale.percent(&percent.to_string()));
    let charged = quote.rates.iter().filter(|_| !quote.reverse_charged);
    let taxes: Vec<_> = charged.map(|rate| (format!("{} {}", rate.name, percent(rate.rate_ppm)), money(rate.tax_minor))).collect();
    let note = match (quote.reverse_charged, taxes.is_empty()) {
        (true, _) => Some(frame.t.pay_reverse_charge),
        (false, true) => Some(frame.t.pay_no_tax),
        (false, false) => None,
    };
    let included = quote.prices_include_tax && !quote.reverse_charged;
    let name = |name: String| if included { fill(frame.t.pay_included, &[("tax", &name)]) } else { name };
    Sums {
        net: if included { String::new() } else { money(quote.net_minor) },
        taxes: taxes.into_iter().map(|(tax, amount)| (name(tax), amount)).collect(),
        total: money(quote.gross_minor),
        total_minor: quote.gross_minor.get(),
        note,
    }
}

fn place_name(edge: &Edge, cart: &Cart, country: CountryCode) -> String {
    let Ok(found) = edge.geo.list(country) else { return country.to_string() };
    let subdivision = cart.details.subdivision.as_deref().and_then(|code| found.find(code));
    let place = subdivision.map_or_else(|| found.name.to_owned(), |subdivision| format!("{}, {}", subdivision.name, found.name));
    cart.details.vat_id.as_ref().map_or_else(|| place.clone(), |vat_id| format!("{place} · {vat_id}"))
}
