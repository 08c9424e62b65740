//! The tax of an order: each line multiplied by the rates of the [`TaxTable`], in integers, and rounded in one place. A quote carries
//! the rates that made it, so that an order can be explained years later. It asks nobody and knows no clock: the day comes in.
//!
//! The rules, each in one function below:
//! - **Rounding** (`share`): per line and tax, half a minor unit and more upwards, never below zero. Every tax is computed on the
//!   line's price without any tax, also Quebec's. What a line's customer pays is net plus the parts, exactly.
//! - **Inclusive prices**: the price stays what it is. Each tax is its share of it, and net is what is left.
//! - **Category** (`owed`): a product's category has its own rate where the country publishes exactly one; otherwise the standard
//!   rate. Of several reduced rates none is more likely to be right, and too little tax is the seller's debt. An operator who knows
//!   which one is meant lays it over the others.
//! - **Place**: where the country has rates by subdivision, the subdivision must be known. Nothing is guessed.
//! - **Reverse charge** (`reverse_charge`): a business in another country than the seller owes the tax itself.

mod request;
mod reverse_charge;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Category, TaxLookupError, TaxRate, TaxTable, TaxType, day};
use crate::geo::CountryCode;
use crate::money::{AmountError, Currency, Minor};

pub use request::{QuoteError, QuoteLine, QuoteRequest};
use reverse_charge::{Business, reverse_charge};

/// Parts per million in a whole.
const WHOLE_PPM: u32 = 1_000_000;

/// What is owed, and why. Kept with the order as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxQuote {
    /// Of all amounts.
    pub currency: Currency,
    /// Where the customer is.
    pub country: CountryCode,
    /// The ISO 3166-2 code without the country, in upper case.
    pub subdivision: Option<String>,
    /// The day whose rates these are.
    #[serde(with = "day")]
    pub date: Date,
    /// Whether the lines' prices had the tax in them.
    pub prices_include_tax: bool,
    /// The customer is a business that owes the tax itself: none is charged here. An invoice must say so.
    pub reverse_charged: bool,
    /// The customer's VAT id, well-formed, when it made the difference.
    pub vat_id: Option<String>,
    /// In the order of the request.
    pub lines: Vec<QuotedLine>,
    /// Of all lines, without tax.
    pub net_minor: Minor,
    /// Of all lines.
    pub tax_minor: Minor,
    /// What the customer pays.
    pub gross_minor: Minor,
    /// The rates that made this quote, each once, with what it brought. When reverse charged: those that would have.
    pub rates: Vec<AppliedRate>,
    /// What the customer or the partner should know.
    pub notices: Vec<Notice>,
}

/// One line with its tax. `net_minor` and the parts add up to `gross_minor`, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotedLine {
    /// What is bought.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// The product's.
    pub category: Category,
    /// Without tax.
    pub net_minor: Minor,
    /// The sum of the parts.
    pub tax_minor: Minor,
    /// What the customer pays for this line.
    pub gross_minor: Minor,
    /// One for each tax.
    pub parts: Vec<TaxPart>,
}

/// One tax on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxPart {
    /// The name people read: `VAT`, `VAT (reduced)`.
    pub name: String,
    /// The kind of tax.
    pub tax_type: TaxType,
    /// Whose tax it is.
    pub country: CountryCode,
    /// The same, where it is a subdivision's.
    pub subdivision: Option<String>,
    /// Parts per million of the price without tax.
    pub rate_ppm: u32,
    /// How much.
    pub tax_minor: Minor,
}

/// A rate of a quote, as the table had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRate {
    /// The name people read.
    pub name: String,
    /// The kind of tax.
    pub tax_type: TaxType,
    /// What it applies to.
    pub category: Category,
    /// Whose tax it is.
    pub country: CountryCode,
    /// The same, where it is a subdivision's.
    pub subdivision: Option<String>,
    /// Parts per million of the price without tax.
    pub rate_ppm: u32,
    /// Its first day, when that is known.
    #[serde(with = "day::optional")]
    pub valid_from: Option<Date>,
    /// The first day on which it no longer holds, when that is known.
    #[serde(with = "day::optional")]
    pub valid_to: Option<Date>,
    /// Who says so.
    pub source: String,
    /// When the source was last known to be right.
    #[serde(with = "day")]
    pub as_of: Date,
    /// What it brought, of all lines.
    pub tax_minor: Minor,
}

/// Something about a quote that its sums do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// No tax is known for the place.
    NoTaxKnown,
    /// A product is in a category that has several rates here: the standard rate was charged.
    AmbiguousCategory,
    /// The VAT id is not well-formed: tax was charged as to a consumer.
    VatIdMalformed,
    /// The VAT id is another country's than the customer's: tax was charged as to a consumer.
    VatIdOfOtherCountry,
    /// Tax is not reversed for businesses of this country: it was charged.
    VatIdNotUsedHere,
    /// Seller and business are in the same country: tax was charged.
    DomesticBusiness,
    /// The store has not said where it is, so that nobody knows whether the tax is the business's to pay: it was charged.
    SellerCountryUnknown,
}

/// The one rounding: what `ppm` parts per million of the price without tax come to, when `amount` is `base_ppm` parts of that price.
/// Half a minor unit and more goes up.
fn share(amount: Minor, ppm: u32, base_ppm: u32) -> Result<Minor, AmountError> {
    let (amount, ppm, base) = (i128::from(amount.get()), i128::from(ppm), i128::from(base_ppm));
    let rounded = (2 * amount * ppm + base) / (2 * base);
    i64::try_from(rounded).map_err(|_| AmountError).and_then(Minor::new)
}

/// The rates of a category in one place.
struct Owed<'a> {
    rates: Vec<&'a TaxRate>,
    /// Some tax has several rates of this category, and the standard one stands in.
    ambiguous: bool,
}

/// What is owed on a product of `category`: of each tax that stands as standard, the one rate of the category, or else the standard one.
fn owed<'a>(table: &'a TaxTable, request: &QuoteRequest, category: Category) -> Result<Owed<'a>, TaxLookupError> {
    let of = |category| table.owed(request.country, request.subdivision.as_deref(), category, request.date);
    let mut rates = of(Category::Standard)?;
    let mut ambiguous = false;
    if category != Category::Standard {
        let own = of(category)?;
        for rate in &mut rates {
            match own.iter().filter(|own| own.tax == rate.tax).collect::<Vec<_>>()[..] {
                [] => {}
                [only] => *rate = only,
                _ => ambiguous = true,
            }
        }
    }
    Ok(Owed { rates, ambiguous })
}

impl TaxTable {
    /// The tax of an order on a day.
    pub fn quote(&self, request: &QuoteRequest) -> Result<TaxQuote, QuoteError> {
        request.check()?;
        let subdivision = request.subdivision.as_deref().map(|text| self.subdivision(request.country, text)).transpose()?;
        if subdivision.is_none() && self.depends_on_subdivision(request.country, request.date)? {
            return Err(QuoteError::SubdivisionRequired { country: request.country });
        }
        let (business, notice) = reverse_charge(request);
        let mut quote = TaxQuote {
            currency: request.currency,
            country: request.country,
            subdivision: subdivision.map(str::to_owned),
            date: request.date,
            prices_include_tax: request.prices_include_tax.unwrap_or_else(|| self.prices_include_tax(request.country)),
            reverse_charged: business.is_some(),
            vat_id: business.map(|Business { vat_id }| vat_id.as_str().to_owned()),
            lines: Vec::with_capacity(request.lines.len()),
            net_minor: Minor::ZERO,
            tax_minor: Minor::ZERO,
            gross_minor: Minor::ZERO,
            rates: Vec::new(),
            notices: notice.into_iter().collect(),
        };
        for line in &request.lines {
            let Owed { rates, ambiguous } = owed(self, request, line.category)?;
            quote.add(line, &rates)?;
            if ambiguous {
                quote.notice(Notice::AmbiguousCategory);
            }
            if rates.is_empty() {
                quote.notice(Notice::NoTaxKnown);
            }
        }
        Ok(quote)
    }
}

impl TaxQuote {
    fn add(&mut self, line: &QuoteLine, rates: &[&TaxRate]) -> Result<(), QuoteError> {
        let ppm = |rate: &TaxRate| rate.percent.ppm();
        let total_ppm: u32 = rates.iter().map(|rate| ppm(rate)).sum();
        // Up to here no rounding can make the parts of a price more than the price. No place on earth comes near it.
        if total_ppm > WHOLE_PPM {
            return Err(QuoteError::RatesTooHigh { country: self.country });
        }
        let base_ppm = if self.prices_include_tax { WHOLE_PPM + total_ppm } else { WHOLE_PPM };
        let taxes: Vec<Minor> = rates.iter().map(|rate| share(line.amount_minor, ppm(rate), base_ppm)).collect::<Result<_, _>>()?;
        let computed = taxes.iter().try_fold(Minor::ZERO, |sum, tax| sum.checked_add(*tax))?;
        let net = if self.prices_include_tax { line.amount_minor.checked_sub(computed)? } else { line.amount_minor };
        let charged = if self.reverse_charged { vec![Minor::ZERO; taxes.len()] } else { taxes };
        let parts = rates.iter().zip(&charged).filter(|_| !self.reverse_charged).map(|(rate, tax)| part(rate, *tax)).collect();
        let tax = if self.reverse_charged { Minor::ZERO } else { computed };
        let gross = net.checked_add(tax)?;
        self.net_minor = self.net_minor.checked_add(net)?;
        self.tax_minor = self.tax_minor.checked_add(tax)?;
        self.gross_minor = self.gross_minor.checked_add(gross)?;
        for (rate, tax) in rates.iter().zip(charged) {
            self.note(rate, tax)?;
        }
        self.lines.push(QuotedLine {
            sku: line.sku.as_str().to_owned(),
            quantity: line.quantity,
            category: line.category,
            net_minor: net,
            tax_minor: tax,
            gross_minor: gross,
            parts,
        });
        Ok(())
    }

    /// Adds what a rate has brought.
    fn note(&mut self, rate: &TaxRate, tax: Minor) -> Result<(), AmountError> {
        let same = |applied: &AppliedRate| {
            (applied.tax_type, applied.category, &applied.subdivision) == (rate.tax, rate.category, &rate.subdivision)
        };
        if let Some(applied) = self.rates.iter_mut().find(|applied| same(applied)) {
            applied.tax_minor = applied.tax_minor.checked_add(tax)?;
            return Ok(());
        }
        self.rates.push(AppliedRate {
            name: rate.name(),
            tax_type: rate.tax,
            category: rate.category,
            country: rate.country,
            subdivision: rate.subdivision.clone(),
            rate_ppm: rate.percent.ppm(),
            valid_from: rate.period.from(),
            valid_to: rate.period.to(),
            source: rate.source.clone(),
            as_of: rate.as_of,
            tax_minor: tax,
        });
        Ok(())
    }

    fn notice(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}

fn part(rate: &TaxRate, tax_minor: Minor) -> TaxPart {
    TaxPart {
        name: rate.name(),
        tax_type: rate.tax,
        country: rate.country,
        subdivision: rate.subdivision.clone(),
        rate_ppm: rate.percent.ppm(),
        tax_minor,
    }
}
