//! The tax table: which rates are published for a country and its subdivisions on a day. For display before checkout, not tax
//! advice. A table is layers: the compiled-in rates, the compiled-in corrections, then whatever an operator lays on top.
//! It states rates; multiplying and rounding them is the work of [`quote`], not done here. Today's date comes in as an argument.

mod day;
pub mod import;
mod load;
mod period;
pub mod quote;
mod rate;
mod vat_id;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::geo::{CountryCode, DataError, Subdivisions, UnknownCountry};
pub use period::{EmptyPeriod, Period};
pub use rate::{Category, Percent, PercentError, Stacking, TaxRate, TaxType};
pub use vat_id::{VatId, VatIdError};

/// The sentence that goes wherever rates are shown.
pub const DISPLAY_NOTICE: &str = "For display before checkout, not tax advice.";

/// All published rates, ready for look-ups. Laying operators' rows on top gives a new table.
#[derive(Debug, Clone)]
pub struct TaxTable {
    geo: Arc<Subdivisions>,
    rates: BTreeMap<CountryCode, Vec<TaxRate>>,
    /// What was laid on top of what, as it came.
    layers: Vec<Vec<TaxRate>>,
    prices: load::PriceDisplay,
    as_of: Date,
}

/// The rates of one country on one day. Serializes as the body of the public endpoint.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CountryRates<'a> {
    /// The country asked for.
    pub country: CountryCode,
    /// Whether consumers there are shown prices with the tax in them.
    pub prices_include_tax: bool,
    /// When the shown rows were last known to be right: their latest date, or the whole table's when there are none.
    #[serde(serialize_with = "rate::serialize_date")]
    pub as_of: Date,
    /// Country-wide rates first, then by subdivision. Empty when no tax is known.
    pub rates: Vec<&'a TaxRate>,
}

impl TaxTable {
    /// Builds the table from the compiled-in files. Fails only when these are damaged or contradict each other.
    pub fn load(geo: Arc<Subdivisions>) -> Result<Self, DataError> {
        let base = load::rates("tax_rates.csv", load::RATES)?;
        let corrections = load::rates("tax_overrides.csv", load::OVERRIDES)?;
        let prices = load::PriceDisplay::load(&geo)?;
        // `with_overrides` sets the date to the latest of the rows.
        Self { geo, rates: BTreeMap::new(), layers: Vec::new(), prices, as_of: Date::MIN }.with_overrides(base)?.with_overrides(corrections)
    }

    /// The table with `rows` on top. During its period a row replaces every row below it of the same country, subdivision, tax and
    /// category; outside of it the row below stays in force. A [`TaxType::None`] row replaces all rows of its country, or of its
    /// subdivision where it names one. Rows of one call never replace each other, so a country can have several reduced rates.
    pub fn with_overrides(&self, rows: Vec<TaxRate>) -> Result<Self, DataError> {
        let mut rates = self.rates.clone();
        let mut as_of = self.as_of;
        let mut layers = self.layers.clone();
        layers.push(rows.clone());
        for row in &rows {
            self.check(row)?;
            as_of = as_of.max(row.as_of);
            if let Some(below) = rates.get_mut(&row.country) {
                *below = below.drain(..).flat_map(|lower| lower.outside(row)).collect();
            }
        }
        for row in rows {
            if row.tax != TaxType::None {
                rates.entry(row.country).or_default().push(row);
            }
        }
        for of_country in rates.values_mut() {
            of_country.sort_by(TaxRate::order);
            no_two_standard_rates(of_country)?;
        }
        Ok(Self { geo: Arc::clone(&self.geo), rates, layers, prices: self.prices.clone(), as_of })
    }

    /// Every rate in force on `date`. With a subdivision only what is owed there: its own rates, and the country-wide ones that
    /// they do not stand in for.
    pub fn rates(&self, country: CountryCode, subdivision: Option<&str>, date: Date) -> Result<CountryRates<'_>, TaxLookupError> {
        let all = self.in_force(country, date)?;
        let rates: Vec<&TaxRate> = match subdivision {
            None => all.collect(),
            Some(text) => owed_in(all, Some(self.subdivision(country, text)?)),
        };
        Ok(CountryRates {
            country,
            prices_include_tax: self.prices.include_tax(country),
            as_of: rates.iter().map(|rate| rate.as_of).max().unwrap_or(self.as_of),
            rates,
        })
    }

    /// The rates of one category owed on a sale to that place on that day, to be added up. Without a subdivision only country-wide
    /// rates count. A tax has at most one `standard` rate here; in other categories several rows of one tax are alternatives.
    pub fn owed(
        &self,
        country: CountryCode,
        subdivision: Option<&str>,
        category: Category,
        date: Date,
    ) -> Result<Vec<&TaxRate>, TaxLookupError> {
        let code = subdivision.map(|text| self.subdivision(country, text)).transpose()?;
        Ok(owed_in(self.in_force(country, date)?.filter(|rate| rate.category == category), code))
    }

    /// Whether what is owed in a country depends on the state or province there, on that day.
    pub fn depends_on_subdivision(&self, country: CountryCode, date: Date) -> Result<bool, UnknownCountry> {
        Ok(self.in_force(country, date)?.any(|rate| rate.subdivision.is_some()))
    }

    /// Every rate of every day, by country, as the layers leave it.
    pub fn all(&self) -> impl Iterator<Item = &TaxRate> {
        self.rates.values().flatten()
    }

    /// When the oldest of the rates in force was last known to be right: the beginning of that day, in Unix seconds.
    pub fn oldest_as_of_s(&self, date: Date) -> Option<i64> {
        let day = self.all().filter(|rate| rate.period.contains(date)).map(|rate| rate.as_of).min()?;
        day.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp().as_second())
    }

    /// The rows whose end has come by `date` without any row of their layer, or of one above it, saying what holds since. There may be a row
    /// below that is in force again; but whoever laid one on top of it did so because it was wrong.
    pub fn ended(&self, date: Date) -> impl Iterator<Item = &TaxRate> {
        self.layers.iter().enumerate().flat_map(move |(at, layer)| {
            let is_said = move |row: &TaxRate| {
                self.layers[at..].iter().flatten().any(|other| other.period.contains(date) && other.speaks_of_place_of(row))
            };
            layer.iter().filter(move |row| row.period.to().is_some_and(|end| end <= date) && !is_said(row))
        })
    }

    /// Whether consumers of the country are shown prices with the tax in them.
    pub fn prices_include_tax(&self, country: CountryCode) -> bool {
        self.prices.include_tax(country)
    }

    fn in_force(&self, country: CountryCode, date: Date) -> Result<impl Iterator<Item = &TaxRate>, UnknownCountry> {
        let rates = match self.rates.get(&country) {
            Some(rates) => rates.as_slice(),
            // Kosovo has rates without having an ISO code, so the table is asked before the list of countries.
            None => self.geo.list(country).map(|_| [].as_slice())?,
        };
        Ok(rates.iter().filter(move |rate| rate.period.contains(date)))
    }

    fn subdivision(&self, country: CountryCode, text: &str) -> Result<&'static str, TaxLookupError> {
        let found = self.geo.list(country).ok().and_then(|of_country| of_country.find(text));
        found.map(|subdivision| subdivision.code).ok_or(TaxLookupError::UnknownSubdivision { country })
    }

    fn check(&self, row: &TaxRate) -> Result<(), DataError> {
        let fail = |problem: &str| Err(DataError::in_row(row, problem));
        if row.source.trim().is_empty() {
            return fail("the source is missing");
        }
        if row.tax == TaxType::None && row.percent != Percent::ZERO {
            return fail("no tax has a rate of 0");
        }
        match &row.subdivision {
            Some(code) if self.subdivision(row.country, code) != Ok(code.as_str()) => fail("the subdivision is not one of ISO 3166-2"),
            None if row.stacking == Stacking::Added => fail("a country-wide rate has nothing to be added to"),
            _ => Ok(()),
        }
    }
}

/// What is owed in one place: its own rows, and those country-wide rows whose category no `alone` row of its own covers.
fn owed_in<'a>(rates: impl Iterator<Item = &'a TaxRate>, subdivision: Option<&str>) -> Vec<&'a TaxRate> {
    let here: Vec<&TaxRate> = rates.filter(|rate| rate.subdivision.is_none() || rate.subdivision.as_deref() == subdivision).collect();
    let covered =
        |category| here.iter().any(|rate| rate.subdivision.is_some() && rate.stacking == Stacking::Alone && rate.category == category);
    here.iter().filter(|rate| rate.subdivision.is_some() || !covered(rate.category)).copied().collect()
}

/// A sum of rates is only right when no tax has two standard rates at once.
fn no_two_standard_rates(of_country: &[TaxRate]) -> Result<(), DataError> {
    for (index, row) in of_country.iter().enumerate() {
        let rival = of_country[index + 1..]
            .iter()
            .find(|other| row.category == Category::Standard && row.same_kind(other) && row.period.overlaps(other.period));
        if let Some(rival) = rival {
            return Err(DataError::in_row(row, format!("in force at the same time as {rival}")));
        }
    }
    Ok(())
}

/// Reads a day written as `YYYY-MM-DD`, and nothing looser.
pub fn parse_date(text: &str) -> Result<Date, DateError> {
    let shape = text.len() == 10 && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
    if shape { text.parse().map_err(|_| DateError) } else { Err(DateError) }
}

/// Not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("date must be a day of the calendar written YYYY-MM-DD, such as 2026-01-31")]
pub struct DateError;

/// Why there is no answer about a place. Both are "not found", unlike a malformed code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaxLookupError {
    /// A code that belongs to no country.
    #[error(transparent)]
    UnknownCountry(#[from] UnknownCountry),
    /// A code that belongs to no subdivision of the country.
    #[error("{country} has no such subdivision: use a code of ISO 3166-2 without the country, such as CA for US-CA")]
    UnknownSubdivision {
        /// The country asked for.
        country: CountryCode,
    },
}

#[cfg(test)]
mod tests;
