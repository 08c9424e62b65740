//! Countries and their subdivisions (states, provinces, regions): ISO 3166-1 and ISO 3166-2, as an address drop-down needs them.
//! The data is compiled in from `common/data/` and read once at start; after that every answer is a look-up.
//! It knows codes and names only: no addresses, no tax (that is [`crate::tax`]).

mod country;
mod sort_key;

use std::collections::BTreeMap;

use serde::Serialize;

pub use country::{CountryCode, MalformedCountry};
use sort_key::sort_key;

const COUNTRIES: &str = include_str!("../data/countries.tsv");
const SUBDIVISIONS: &str = include_str!("../data/subdivisions.tsv");

/// One subdivision of a country. Serializes as `{"code", "name"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Subdivision {
    /// The ISO 3166-2 code without its country: 1 to 3 of `A-Z 0-9`. `CA` is California when the country is `US`.
    pub code: &'static str,
    /// The name as ISO 3166-2 writes it, with its accents.
    pub name: &'static str,
}

/// A country and its subdivisions. Serializes as `{"country", "subdivisions"}`, the body of the public endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountrySubdivisions {
    /// The ISO 3166-1 alpha-2 code.
    pub country: CountryCode,
    /// The usual English name, for a drop-down of countries. Not in the body.
    #[serde(skip)]
    pub name: &'static str,
    /// Sorted by name: accents and case do not count, so that Å stands with A. Empty for a country without subdivisions.
    pub subdivisions: Vec<Subdivision>,
}

impl CountrySubdivisions {
    /// The subdivision with this code, in any case.
    pub fn find(&self, code: &str) -> Option<&Subdivision> {
        self.subdivisions.iter().find(|subdivision| subdivision.code.eq_ignore_ascii_case(code))
    }
}

/// All countries with their subdivisions. Load it once and share it.
#[derive(Debug, Clone)]
pub struct Subdivisions(BTreeMap<CountryCode, CountrySubdivisions>);

impl Subdivisions {
    /// Reads the compiled-in tables: 249 countries, 5,046 subdivisions. Fails only when the vendored files are damaged.
    pub fn load() -> Result<Self, DataError> {
        Self::parse(COUNTRIES, SUBDIVISIONS)
    }

    fn parse(countries: &'static str, subdivisions: &'static str) -> Result<Self, DataError> {
        let mut map = BTreeMap::new();
        for (line, row) in data_lines(countries) {
            let fail = |problem: &str| DataError::in_line("countries.tsv", line, problem);
            let [code, name] = fields(row, '\t').ok_or_else(|| fail("needs 2 columns: code, name"))?;
            let country = CountryCode::parse(code).map_err(|error| fail(&error.to_string()))?;
            if name.is_empty() {
                return Err(fail("the name is empty"));
            }
            if map.insert(country, CountrySubdivisions { country, name, subdivisions: Vec::new() }).is_some() {
                return Err(fail("the country is there twice"));
            }
        }
        for (line, row) in data_lines(subdivisions) {
            let fail = |problem: &str| DataError::in_line("subdivisions.tsv", line, problem);
            let [country, code, name, _kind, _parent] =
                fields(row, '\t').ok_or_else(|| fail("needs 5 columns: country, code, name, type, parent"))?;
            let country = CountryCode::parse(country).map_err(|error| fail(&error.to_string()))?;
            let of_country = map.get_mut(&country).ok_or_else(|| fail("the country is not in countries.tsv"))?;
            if !(1..=3).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
                return Err(fail("the code is not 1 to 3 of A-Z and 0-9"));
            }
            if name.trim() != name || name.is_empty() {
                return Err(fail("the name is empty or has white space around it"));
            }
            if of_country.find(code).is_some() {
                return Err(fail("the code is there twice"));
            }
            of_country.subdivisions.push(Subdivision { code, name });
        }
        for country in map.values_mut() {
            country.subdivisions.sort_by_cached_key(|subdivision| (sort_key(subdivision.name), subdivision.name, subdivision.code));
        }
        Ok(Self(map))
    }

    /// The subdivisions of one country. An empty list is an answer; a code that ISO 3166-1 does not assign is an error.
    pub fn list(&self, country: CountryCode) -> Result<&CountrySubdivisions, UnknownCountry> {
        self.0.get(&country).ok_or(UnknownCountry { country })
    }

    /// Every country, in the order of its code.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &CountrySubdivisions> {
        self.0.values()
    }
}

/// A well-formed code that belongs to no country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{country} is not a country of ISO 3166-1: use its two-letter code, such as GB")]
pub struct UnknownCountry {
    /// The code that was asked for.
    pub country: CountryCode,
}

/// Compiled-in reference data, or rows laid over it, that cannot be used: where, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct DataError {
    place: String,
    problem: String,
}

impl DataError {
    /// A problem with one line of a compiled-in file.
    pub(crate) fn in_line(file: &str, line: usize, problem: impl Into<String>) -> Self {
        Self { place: format!("{file} line {line}"), problem: problem.into() }
    }

    /// A problem with a row, wherever it came from.
    pub(crate) fn in_row(row: &impl std::fmt::Display, problem: impl Into<String>) -> Self {
        Self { place: row.to_string(), problem: problem.into() }
    }
}

/// The lines below the header with their numbers, counted from 1. Lines that start with `#` are remarks.
pub(crate) fn data_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().skip(1).map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.starts_with('#'))
}

/// Exactly `N` fields of a line. The files quote nothing, so a separator inside a field shows as a wrong count.
pub(crate) fn fields<const N: usize>(line: &str, separator: char) -> Option<[&str; N]> {
    line.split(separator).collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests;
