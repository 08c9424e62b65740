//! The third step of the checkout: what is bought, the tax on it, and what is to be paid. The tax is a worker's answer to a question that is
//! asked each time the page is looked at; without an answer the page says so and offers to ask again, and shows no total that it has guessed.

use askama::Template;
use common::clock::utc_date;
use common::geo::CountryCode;
use common::money::Minor;
use common::tax::Percent;
use common::tax::quote::{QuoteError, QuoteLine, QuoteRequest, TaxQuote};
use storage::pg::carts::{self, Cart, PricedLine};

use super::cart::{self, Lines};
use super::texts::fill;
use super::visit::{Frame, Sources, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;
use crate::snapshot::Store;
use crate::tax_quotes::NoQuote;

/// What is to be paid, as text.
#[derive(Debug)]
pub struct Sums {
    /// Before tax; empty where the prices have the tax in them.
    pub net: String,
    /// Name and amount of each tax.
    pub taxes: Vec<(String, String)>,
    /// What is paid.
    pub total: String,
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
}

/// `GET /s/{slug}/cart/{cart_id}/pay/`
pub async fn show(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let cart = cart::mine(edge, visit, call, &store).await?;
    let before = cart::address(&store, &cart.id, "details/");
    let Some((country, email)) = who(&cart) else { return visit.see_other(&before) };
    let priced = in_time(edge, async { Ok::<_, PageError>(carts::priced(&**edge.pg.client().await?, &cart).await?) }).await?;
    let lines = Lines::of(visit, &cart, &priced)?;
    if priced.is_empty() || !lines.all_sold {
        return visit.see_other(&cart::address(&store, &cart.id, ""));
    }
    let request = request(&store, &cart, country, &priced, call)?;
    let quote = match edge.tax_quotes.quote(&request, call.request_id).await {
        Ok(quote) => Some(quote),
        Err(NoQuote::Unavailable) => None,
        // The place is not one any more, or must be told more exactly.
        Err(NoQuote::Refused(
            QuoteError::UnknownCountry { .. } | QuoteError::UnknownSubdivision { .. } | QuoteError::SubdivisionRequired { .. },
        )) => return visit.see_other(&before),
        Err(NoQuote::Refused(error)) => {
            tracing::error!(request_id = call.request_id, %error, "a cart has no tax");
            return Err(PageError::new(PageProblem::Internal));
        }
    };
    let frame = cart::frame(visit, &store, &cart, 3);
    let page = CheckPage {
        sums: quote.as_ref().map(|quote| sums(&frame, quote)),
        frame,
        lines,
        email,
        place: place(edge, &cart, country),
        before,
        back: cart.metadata("return_url_cancel").map(str::to_owned),
    };
    match page.sums {
        Some(_) => visit.page(&page),
        None => visit.page_with(PageProblem::Unavailable.status(), &page, Sources::Own),
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
        note,
    }
}

fn place(edge: &Edge, cart: &Cart, country: CountryCode) -> String {
    let Ok(found) = edge.geo.list(country) else { return country.to_string() };
    let subdivision = cart.details.subdivision.as_deref().and_then(|code| found.find(code));
    let place = subdivision.map_or_else(|| found.name.to_owned(), |subdivision| format!("{}, {}", subdivision.name, found.name));
    cart.details.vat_id.as_ref().map_or_else(|| place.clone(), |vat_id| format!("{place} · {vat_id}"))
}
