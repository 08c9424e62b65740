//! The second step of the checkout: who buys, and where tax is due. Works without scripts: a country that taxes by state asks for the state
//! when the form comes back; with scripts the drop-down fills itself.

use askama::Template;
use common::clock::utc_date;
use common::fulfill::is_email;
use common::geo::CountryCode;
use storage::pg::carts::{self, Details};

use super::cart;
use super::form::Form;
use super::payment;
use super::visit::{Frame, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::PageError;
use crate::service::Call;

/// A choice of a drop-down.
#[derive(Debug, Clone)]
pub struct Choice {
    /// What the form sends.
    pub value: String,
    /// What people read.
    pub name: &'static str,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

/// What is wrong with each field.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// No address.
    pub email: bool,
    /// No country.
    pub country: bool,
    /// No subdivision where one is needed.
    pub subdivision: bool,
    /// No VAT number.
    pub vat_id: bool,
}

impl Wrong {
    /// Whether anything is.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// The form.
#[derive(Debug, Template)]
#[template(path = "details.html")]
pub struct DetailsPage {
    /// What every page has.
    pub frame: Frame,
    /// As typed.
    pub email: String,
    /// As typed.
    pub vat_id: String,
    /// All countries.
    pub countries: Vec<Choice>,
    /// The chosen country's subdivisions, where its tax depends on them.
    pub subdivisions: Vec<Choice>,
    /// The countries whose tax depends on the subdivision, for the script; separated by blanks.
    pub by_subdivision: String,
    /// What is wrong.
    pub wrong: Wrong,
    /// The step before.
    pub before: String,
}

/// `GET /s/{slug}/cart/{cart_id}/details/`
pub async fn show(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let cart = cart::mine(edge, visit, call, &store).await?;
    if let Some(order_id) = &cart.order_id {
        return payment::go_on(edge, visit, &store, cart.mode, order_id);
    }
    let before = cart::address(&store, &cart.id, "");
    let typed = Typed::of_details(&cart.details);
    visit.page(&page(edge, call, cart::frame(visit, &store, &cart, 2), &typed, Wrong::default(), before))
}

/// `POST /s/{slug}/cart/{cart_id}/details/`
pub async fn save(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let form = visit.form(call)?;
    let cart = cart::mine(edge, visit, call, &store).await?;
    if let Some(order_id) = &cart.order_id {
        return payment::go_on(edge, visit, &store, cart.mode, order_id);
    }
    let typed = Typed::of_form(&form);
    match typed.check(edge, call) {
        Err(wrong) => {
            let before = cart::address(&store, &cart.id, "");
            visit.page(&page(edge, call, cart::frame(visit, &store, &cart, 2), &typed, wrong, before))
        }
        Ok(details) => {
            in_time(edge, async { Ok::<_, PageError>(carts::set_details(&*edge.pg.client().await?, &cart, &details).await?) }).await?;
            visit.see_other(&cart::address(&store, &cart.id, "pay/"))
        }
    }
}

/// What somebody typed, whatever it is.
#[derive(Debug)]
struct Typed {
    email: String,
    country: String,
    subdivision: String,
    vat_id: String,
}

impl Typed {
    fn of_form(form: &Form) -> Self {
        let text = |name| form.get(name).to_owned();
        Self { email: text("email"), country: text("country"), subdivision: text("subdivision"), vat_id: text("vat_id") }
    }

    fn of_details(details: &Details) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let Details { email, country, subdivision, vat_id } = details;
        Self { email: text(email), country: text(country), subdivision: text(subdivision), vat_id: text(vat_id) }
    }

    /// The details, or what is wrong with them.
    fn check(&self, edge: &Edge, call: &Call<'_>) -> Result<Details, Wrong> {
        let mut wrong = Wrong { email: !is_email(&self.email), ..Wrong::default() };
        let country = CountryCode::parse(&self.country).ok().and_then(|code| edge.geo.list(code).ok());
        wrong.country = country.is_none();
        let subdivision = match country {
            Some(country) if is_by_subdivision(edge, call, country.country) => {
                let found = country.find(&self.subdivision).map(|subdivision| subdivision.code.to_owned());
                wrong.subdivision = found.is_none();
                found
            }
            // Of another country, from a drop-down that was not refreshed.
            _ => None,
        };
        let vat_id: String = self.vat_id.chars().filter(|c| !" .-".contains(*c)).collect::<String>().to_ascii_uppercase();
        wrong.vat_id = !vat_id.is_empty() && !is_vat_id(&vat_id);
        if wrong.any() {
            return Err(wrong);
        }
        let country = country.map(|country| country.country.to_string());
        Ok(Details { email: Some(self.email.clone()), country, subdivision, vat_id: Some(vat_id).filter(|id| !id.is_empty()) })
    }
}

/// Whether a text has the shape that all VAT numbers share. Whether it is well-formed in its country is for the tax quote to say.
fn is_vat_id(text: &str) -> bool {
    let (letters, rest) = text.split_at_checked(2).unwrap_or_default();
    letters.bytes().all(|b| b.is_ascii_uppercase()) && (2..=13).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a country's tax depends on the subdivision today.
fn is_by_subdivision(edge: &Edge, call: &Call<'_>, country: CountryCode) -> bool {
    // Without a table nobody is asked for more; whoever computes the tax will say if it takes that.
    let Some(table) = edge.taxes.table() else { return false };
    let rates = table.rates(country, None, utc_date(call.now.unix_ms));
    rates.is_ok_and(|rates| rates.rates.iter().any(|rate| rate.subdivision.is_some()))
}

fn page(edge: &Edge, call: &Call<'_>, frame: Frame, typed: &Typed, wrong: Wrong, before: String) -> DetailsPage {
    let chosen = CountryCode::parse(&typed.country).ok().filter(|country| is_by_subdivision(edge, call, *country));
    let mut countries: Vec<Choice> = edge
        .geo
        .iter()
        .map(|country| Choice {
            value: country.country.to_string(),
            name: country.name,
            is_chosen: country.country.as_str() == typed.country,
        })
        .collect();
    countries.sort_unstable_by(|a, b| a.name.cmp(b.name));
    let subdivisions = chosen.and_then(|country| edge.geo.list(country).ok()).map(|country| {
        let choice = |subdivision: &common::geo::Subdivision| Choice {
            value: subdivision.code.to_owned(),
            name: subdivision.name,
            is_chosen: subdivision.code == typed.subdivision,
        };
        country.subdivisions.iter().map(choice).collect()
    });
    let by_subdivision: Vec<String> = edge
        .geo
        .iter()
        .filter(|country| is_by_subdivision(edge, call, country.country))
        .map(|country| country.country.to_string())
        .collect();
    DetailsPage {
        frame,
        email: typed.email.clone(),
        vat_id: typed.vat_id.clone(),
        countries,
        subdivisions: subdivisions.unwrap_or_default(),
        by_subdivision: by_subdivision.join(" "),
        wrong,
        before,
    }
}
