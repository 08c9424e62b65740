//! What a quote is asked for, and why there may be none. It travels from an edge to a worker; amounts and places are checked when it is
//! quoted, since only then is there a table to check them with.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::super::day;
use crate::cart::{LINES_MAX, Sku};
use crate::geo::{CountryCode, UnknownCountry};
use crate::money::{AmountError, Currency, MINOR_MAX, Minor};
use crate::tax::{Category, TaxLookupError};

/// What is bought, by whom and from whom, as far as tax minds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteRequest {
    /// 1 to [`LINES_MAX`] lines.
    pub lines: Vec<QuoteLine>,
    /// Of all amounts.
    pub currency: Currency,
    /// Where the customer is.
    pub country: CountryCode,
    /// The ISO 3166-2 code without the country, in any case. Needed where there are rates by subdivision.
    pub subdivision: Option<String>,
    /// Whether the amounts have the tax in them; `None` is as usual in the customer's country.
    pub prices_include_tax: Option<bool>,
    /// Where the store is, if it has said so. Without it no tax is reversed.
    pub seller_country: Option<CountryCode>,
    /// What a business gave as its VAT id.
    pub vat_id: Option<String>,
    /// The day whose rates hold.
    #[serde(with = "day")]
    pub date: Date,
}

/// One line of a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteLine {
    /// What is bought.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
    /// The price of all of them together.
    pub amount_minor: Minor,
    /// The product's.
    pub category: Category,
}

impl QuoteRequest {
    pub(super) fn check(&self) -> Result<(), QuoteError> {
        if (1..=LINES_MAX).contains(&self.lines.len()) { Ok(()) } else { Err(QuoteError::Lines) }
    }
}

/// Why there is no quote. Asking the same again brings the same answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum QuoteError {
    /// No lines, or too many.
    #[error("a quote has 1 to {LINES_MAX} lines")]
    Lines,
    /// A code that belongs to no country.
    #[error("{country} is not a country of ISO 3166-1: use its two-letter code, such as GB")]
    UnknownCountry {
        /// The code asked for.
        country: CountryCode,
    },
    /// A code that belongs to no subdivision of the country.
    #[error("{country} has no such subdivision: use a code of ISO 3166-2 without the country, such as CA for US-CA")]
    UnknownSubdivision {
        /// The country asked for.
        country: CountryCode,
    },
    /// The country has rates by subdivision, and none was given.
    #[error("taxes of {country} depend on the state or province: say which")]
    SubdivisionRequired {
        /// The country asked for.
        country: CountryCode,
    },
    /// A sum that no amount can hold.
    #[error("the amounts are too large: an order with its tax may come to {MINOR_MAX} minor units")]
    Amount,
    /// Rates that add up to more than the price.
    #[error("the tax rates of {country} add up to more than 100 %: an operator must correct them with `worker tax import`")]
    RatesTooHigh {
        /// The country asked for.
        country: CountryCode,
    },
}

impl From<TaxLookupError> for QuoteError {
    fn from(error: TaxLookupError) -> Self {
        match error {
            TaxLookupError::UnknownCountry(error) => error.into(),
            TaxLookupError::UnknownSubdivision { country } => Self::UnknownSubdivision { country },
        }
    }
}

impl From<AmountError> for QuoteError {
    fn from(_: AmountError) -> Self {
        Self::Amount
    }
}

impl From<UnknownCountry> for QuoteError {
    fn from(error: UnknownCountry) -> Self {
        Self::UnknownCountry { country: error.country }
    }
}
