//! Words of the command line that are more than text. What is wrong with one is said before anything is opened.

use clap::ValueEnum;
use common::money::{Currency, Minor};
use common::name::MalformedName;
use common::tax::Category;

const SLUG_MAX_BYTES: usize = 63;

/// A store's name in URLs.
pub fn slug(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let well_formed = (1..=SLUG_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
    if well_formed && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("a slug is 1 to 63 of a-z, 0-9 and -, without - at either end")
    }
}

/// A name that people read.
pub fn name(text: &str) -> Result<String, MalformedName> {
    common::name::parse(text).map(str::to_owned)
}

/// `GBP=2999`: a currency and minor units.
pub fn price(text: &str) -> Result<(Currency, i64), String> {
    let (currency, amount) = text.split_once('=').ok_or("write a price as CURRENCY=MINOR_UNITS, such as GBP=2999 for 29.99")?;
    let currency = Currency::parse(currency).map_err(|error| error.to_string())?;
    // `parse` of integers also takes a sign.
    let minor = amount.parse().ok().filter(|_| amount.bytes().all(|b| b.is_ascii_digit())).and_then(|minor| Minor::new(minor).ok());
    let minor = minor.ok_or_else(|| format!("{amount:?} is no whole number of minor units: write 2999 for 29.99"))?;
    Ok((currency, minor.get()))
}

/// What a product is for tax.
pub fn tax_category(text: &str) -> Result<Category, &'static str> {
    Category::parse(text).ok_or("a tax category is standard, reduced, super_reduced or parking")
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_parts_of_a_url() {
        assert!(["a", "demo-store", "0", &"x".repeat(63)].iter().all(|text| slug(text).is_ok()));
        assert!(["", "-a", "a-", "A", "a_b", "a.b", "ä", &"x".repeat(64)].iter().all(|text| slug(text).is_err()));
    }

    #[test]
    fn prices_are_whole_minor_units() {
        assert_eq!(price("gbp=2999"), Ok((Currency::parse("GBP").unwrap(), 2999)));
        assert_eq!(price("JPY=0").unwrap().1, 0);
        for text in ["GBP", "GBP=", "GBP=29.99", "GBP=-1", "GBP=+1", "GBP= 1", "XXX=1", "GBP=1000000000000001", "GBP=99999999999999999999"]
        {
            assert!(price(text).is_err(), "{text}");
        }
    }
}
