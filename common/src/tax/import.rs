//! A file of rates that an operator wants to lay on top: the columns of `common/data/`, one rate a line. Either all of it can be used, or
//! everything that is wrong with it is told at once; and what a table becomes is told as lines that go and lines that come.

use serde::Serialize;

use super::{Category, TaxRate, TaxTable, load};
use crate::geo::data_lines;

/// The first line of every file.
pub const HEADER: &str = "country,subdivision,tax,category,rate_percent,valid_from,valid_to,stacking,source,as_of,note";
/// The most rates in one file: a few for each state and country there is.
pub const ROWS_MAX: usize = 2_000;
/// The longest line.
const LINE_MAX_BYTES: usize = 1_000;

/// A line that cannot be used, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadLine {
    /// Which.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl TaxTable {
    /// Reads a file, and lays it on top. Returns its rates and the table with them.
    pub fn import(&self, text: &str) -> Result<(Vec<TaxRate>, TaxTable), Vec<BadLine>> {
        // Programs for tables like to put a mark in front that nobody sees.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let header = text.lines().next().unwrap_or_default();
        if header != HEADER {
            return Err(vec![BadLine { line: 1, reason: format!("must be the names of the columns: {HEADER}") }]);
        }
        let mut good: Vec<(usize, TaxRate)> = Vec::new();
        let mut bad = Vec::new();
        for (line, row) in data_lines(text).filter(|(_, row)| !row.trim().is_empty()) {
            if good.len() == ROWS_MAX {
                bad.push(BadLine { line, reason: format!("a file may have {ROWS_MAX} rates: import the rest as another file") });
                break;
            }
            match self.read(row) {
                Ok(rate) => good.push((line, rate)),
                Err(reason) => bad.push(BadLine { line, reason }),
            }
        }
        bad.extend(contradictions(&good));
        if good.is_empty() && bad.is_empty() {
            bad.push(BadLine { line: 1, reason: "there is no rate below the names of the columns".to_owned() });
        }
        if !bad.is_empty() {
            bad.sort_by_key(|bad| bad.line);
            return Err(bad);
        }
        let last = good.last().map_or(1, |(line, _)| *line);
        let rates: Vec<TaxRate> = good.into_iter().map(|(_, rate)| rate).collect();
        match self.with_overrides(rates.clone()) {
            Ok(table) => Ok((rates, table)),
            Err(error) => Err(vec![BadLine { line: last, reason: error.to_string() }]),
        }
    }

    fn read(&self, row: &str) -> Result<TaxRate, String> {
        if row.len() > LINE_MAX_BYTES || row.chars().any(char::is_control) {
            return Err(format!("must have at most {LINE_MAX_BYTES} bytes, and no control characters"));
        }
        let rate = load::rate(row)?;
        // Kosovo has rates without having an ISO code.
        if self.geo.list(rate.country).is_err() && !self.rates.contains_key(&rate.country) {
            return Err(format!("{} is not a country of ISO 3166-1", rate.country));
        }
        self.check(&rate).map_err(|error| error.to_string())?;
        Ok(rate)
    }
}

/// Lines that cannot both be true: two standard rates of one tax at one place on one day, or the same rate twice.
fn contradictions(rows: &[(usize, TaxRate)]) -> Vec<BadLine> {
    let mut bad = Vec::new();
    for (index, (line, rate)) in rows.iter().enumerate() {
        let rival = rows[..index].iter().find(|(_, other)| {
            let alternatives = rate.category != Category::Standard && rate.percent != other.percent;
            rate.same_kind(other) && rate.period.overlaps(other.period) && !alternatives
        });
        if let Some((first, _)) = rival {
            bad.push(BadLine { line: *line, reason: format!("{rate}: in force at the same time as line {first}") });
        }
    }
    bad
}

/// What makes one table of another.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What no longer holds.
    pub removed: Vec<String>,
    /// What holds now.
    pub added: Vec<String>,
}

impl Difference {
    /// From `before` to `after`, each in the order of its table.
    pub fn between(before: &TaxTable, after: &TaxTable) -> Self {
        let lines = |table: &TaxTable| table.all().map(described).collect::<Vec<_>>();
        let (before, after) = (lines(before), lines(after));
        // Two rows of one table never read the same: they would be in force at the same time.
        let (had, has) = (before.iter().collect::<std::collections::HashSet<_>>(), after.iter().collect::<std::collections::HashSet<_>>());
        Self {
            removed: before.iter().filter(|line| !has.contains(line)).cloned().collect(),
            added: after.iter().filter(|line| !had.contains(line)).cloned().collect(),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// `GB vat standard 20.00 from 2011-01-04, HMRC, as of 2026-11-20`.
fn described(rate: &TaxRate) -> String {
    let from = rate.period.from().map(|day| format!(" from {day}")).unwrap_or_default();
    let to = rate.period.to().map(|day| format!(" until before {day}")).unwrap_or_default();
    let stacking = if rate.subdivision.is_some() { format!(" {}", rate.stacking.human()) } else { String::new() };
    format!("{rate}{from}{to}{stacking}, {}, as of {}", rate.source, rate.as_of)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::geo::Subdivisions;

    fn table() -> TaxTable {
        TaxTable::load(Arc::new(Subdivisions::load().unwrap())).unwrap()
    }

    fn file(rows: &[&str]) -> String {
        format!("{HEADER}\n{}", rows.join("\n"))
    }

    #[test]
    fn a_file_becomes_a_layer_and_the_difference_says_which() {
        let (before, text) = (table(), file(&["# why", "", "GB,,vat,standard,17.5,2027-01-01,2028-01-01,alone,HMRC,2026-11-20,budget"]));
        let (rates, after) = before.import(&text).unwrap();
        assert_eq!(rates.len(), 1);
        let difference = Difference::between(&before, &after);
        assert_eq!(difference.removed, ["GB vat standard 20.00, eu-vat-rates-data 2026.9.29 (MIT), as of 2026-09-29"]);
        assert_eq!(
            difference.added,
            [
                "GB vat standard 20.00 until before 2027-01-01, eu-vat-rates-data 2026.9.29 (MIT), as of 2026-09-29",
                "GB vat standard 20.00 from 2028-01-01, eu-vat-rates-data 2026.9.29 (MIT), as of 2026-09-29",
                "GB vat standard 17.50 from 2027-01-01 until before 2028-01-01, HMRC; budget, as of 2026-11-20",
            ]
        );
        assert!(Difference::between(&after, &after).is_empty());
        // As spreadsheets write it.
        let windows = format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"));
        assert_eq!(before.import(&windows).unwrap().0, rates);
    }

    #[test]
    fn every_bad_line_is_told_at_once_with_its_number() {
        let text = file(&[
            "GB,,vat,standard,17.5,,,alone,HMRC,2026-11-20,",
            "GB,,vat,standard,18,2027-01-01,,alone,HMRC,2026-11-20,",
            "ZZ,,vat,standard,18,,,alone,HMRC,2026-11-20,",
            "US,ZZ,sales_tax,standard,5,,,alone,state,2026-11-20,",
            "# a remark",
            "GB,,vat,standard,lots,,,alone,HMRC,2026-11-20,",
            "FR,,vat,reduced,5.5,,,alone,CGI,2026-11-20,",
            "FR,,vat,reduced,10,,,alone,CGI,2026-11-20,",
            "FR,,vat,reduced,5.5,,,alone,CGI,2026-11-20,",
            "FR,,vat",
        ]);
        let bad = table().import(&text).unwrap_err();
        let starts: Vec<String> = bad.iter().map(|bad| bad.to_string().split(':').take(2).collect::<Vec<_>>().join(":")).collect();
        assert_eq!(
            starts,
            [
                "line 3: GB vat standard 18.00",
                "line 4: ZZ is not a country of ISO 3166-1",
                "line 5: US-ZZ vat standard 5.00".replace("vat", "sales_tax").as_str(),
                "line 7: \"lots\"",
                "line 10: FR vat reduced 5.50",
                "line 11: needs 11 columns, and no comma inside one",
            ]
        );
        assert!(bad[0].reason.ends_with("in force at the same time as line 2"));
    }

    #[test]
    fn files_have_a_header_rates_and_an_end() {
        let lines = |text: &str| table().import(text).unwrap_err().iter().map(|bad| bad.line).collect::<Vec<_>>();
        assert_eq!(lines(""), [1]);
        assert_eq!(lines("GB,,vat,standard,17.5,,,alone,HMRC,2026-11-20,"), [1]);
        assert_eq!(lines(&file(&[])), [1]);
        assert_eq!(lines(&file(&["GB,,vat,standard,17.5,,,alone,\u{1b}[2J,2026-11-20,"])), [2]);
        assert_eq!(lines(&file(&[&format!("GB,,vat,standard,17.5,,,alone,{},2026-11-20,", "x".repeat(1_000))])), [2]);
        let many: Vec<String> =
            (0..=ROWS_MAX).map(|n| format!("GB,,vat,reduced,{}.{:04},,,alone,s,2026-11-20,", n / 100, n % 100)).collect();
        let rows: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(lines(&file(&rows)), [ROWS_MAX + 2]);
        assert!(table().import(&file(&rows[..ROWS_MAX])).is_ok());
    }
}
