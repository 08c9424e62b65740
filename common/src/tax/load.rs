//! Reads the compiled-in tax files of `common/data/` into rows. It checks each line by itself; what the lines must be to each
//! other is the table's to check.

use std::collections::BTreeMap;

use super::{Category, Percent, Period, Stacking, TaxRate, TaxType, parse_date};
use crate::geo::{CountryCode, DataError, Subdivisions, data_lines, fields};

pub(super) const RATES: &str = include_str!("../../data/tax_rates.csv");
pub(super) const OVERRIDES: &str = include_str!("../../data/tax_overrides.csv");
const PRICE_DISPLAY: &str = include_str!("../../data/price_display.tsv");

/// The rows of a rates file.
pub(super) fn rates(file: &'static str, text: &'static str) -> Result<Vec<TaxRate>, DataError> {
    data_lines(text).map(|(line, row)| rate(row).map_err(|problem| DataError::in_line(file, line, problem))).collect()
}

/// Reads one line.
pub(super) fn rate(row: &str) -> Result<TaxRate, String> {
    let [country, subdivision, tax, category, percent, from, to, stacking, source, as_of, note] =
        fields(row, ',').ok_or("needs 11 columns, and no comma inside one")?;
    let date = |text: &str| parse_date(text).map_err(|error| format!("{text:?}: {error}"));
    let end = |text: &str| if text.is_empty() { Ok(None) } else { date(text).map(Some) };
    Ok(TaxRate {
        country: CountryCode::parse(country).map_err(|error| error.to_string())?,
        subdivision: (!subdivision.is_empty()).then(|| subdivision.to_owned()),
        tax: TaxType::parse(tax).ok_or_else(|| format!("{tax:?} is no kind of tax"))?,
        category: Category::parse(category).ok_or_else(|| format!("{category:?} is no category"))?,
        percent: Percent::parse(percent).map_err(|error| format!("{percent:?}: {error}"))?,
        period: Period::new(end(from)?, end(to)?).map_err(|error| error.to_string())?,
        stacking: Stacking::parse(stacking).ok_or_else(|| format!("{stacking:?} is neither alone nor added"))?,
        source: if note.is_empty() { source.to_owned() } else { format!("{source}; {note}") },
        as_of: date(as_of)?,
    })
}

/// Whether prices are shown with tax: what most countries do, and those that do otherwise.
#[derive(Debug, Clone)]
pub(super) struct PriceDisplay {
    elsewhere: bool,
    by_country: BTreeMap<CountryCode, bool>,
}

impl PriceDisplay {
    pub(super) fn load(geo: &Subdivisions) -> Result<Self, DataError> {
        Self::parse(PRICE_DISPLAY, geo)
    }

    fn parse(text: &'static str, geo: &Subdivisions) -> Result<Self, DataError> {
        let mut elsewhere = None;
        let mut by_country = BTreeMap::new();
        let mut last_line = 1;
        for (line, row) in data_lines(text) {
            last_line = line;
            let fail = |problem: &str| DataError::in_line("price_display.tsv", line, problem);
            let [country, include, reason] =
                fields(row, '\t').ok_or_else(|| fail("needs 3 columns: country, prices_include_tax, reason"))?;
            let include: bool = include.parse().map_err(|_| fail("prices_include_tax is true or false"))?;
            if reason.is_empty() {
                return Err(fail("the reason is missing"));
            }
            let before = if country == "*" {
                elsewhere.replace(include)
            } else {
                let country = CountryCode::parse(country).map_err(|error| fail(&error.to_string()))?;
                geo.list(country).map_err(|error| fail(&error.to_string()))?;
                by_country.insert(country, include)
            };
            if before.is_some() {
                return Err(fail("the country is there twice"));
            }
        }
        let elsewhere = elsewhere
            .ok_or_else(|| DataError::in_line("price_display.tsv", last_line, "the line for all other countries, *, is missing"))?;
        Ok(Self { elsewhere, by_country })
    }

    pub(super) fn include_tax(&self, country: CountryCode) -> bool {
        self.by_country.get(&country).copied().unwrap_or(self.elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_rows_say_where_and_what() {
        let error = |row: &'static str| rates("t.csv", row).unwrap_err().to_string();
        assert_eq!(error("h\n\n"), "t.csv line 2: needs 11 columns, and no comma inside one");
        assert_eq!(error("h\n# why\nGBR,,vat,standard,20,,,alone,s,2026-01-01,").split(": ").next(), Some("t.csv line 3"));
        assert_eq!(error("h\nGB,,tva,standard,20,,,alone,s,2026-01-01,"), "t.csv line 2: \"tva\" is no kind of tax");
        assert_eq!(error("h\nGB,,vat,low,20,,,alone,s,2026-01-01,"), "t.csv line 2: \"low\" is no category");
        assert_eq!(error("h\nGB,,vat,standard,20,,,beside,s,2026-01-01,"), "t.csv line 2: \"beside\" is neither alone nor added");
        assert!(error("h\nGB,,vat,standard,x,,,alone,s,2026-01-01,").contains("\"x\": rate must be a percentage"));
        assert!(error("h\nGB,,vat,standard,20,2026-02-30,,alone,s,2026-01-01,").contains("\"2026-02-30\": date must be"));
        assert!(error("h\nGB,,vat,standard,20,2026-02-01,2026-02-01,alone,s,2026-01-01,").contains("valid_to must be later"));
        assert!(error("h\nGB,,vat,standard,20,,,alone,s,,").contains("date must be"));
    }

    #[test]
    fn price_display_needs_a_line_for_the_rest() {
        let geo = Subdivisions::load().unwrap();
        let error = |text: &'static str| PriceDisplay::parse(text, &geo).unwrap_err().to_string();
        assert_eq!(error("h\nUS\tfalse\tlocal"), "price_display.tsv line 2: the line for all other countries, *, is missing");
        assert_eq!(error("h\n*\tyes\tr"), "price_display.tsv line 2: prices_include_tax is true or false");
        assert_eq!(error("h\n*\ttrue\t"), "price_display.tsv line 2: the reason is missing");
        assert_eq!(error("h\n*\ttrue\tr\n*\ttrue\tr"), "price_display.tsv line 3: the country is there twice");
    }
}
