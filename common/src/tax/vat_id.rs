//! VAT identification numbers: what they look like, country by country, and one way to write them. Well-formed says nothing about
//! whether the number was ever given out: no checksum is computed and nobody is asked.
//!
//! Shapes: the European Commission's table for VIES (question 11, "VAT identification number structure"), which has Northern Ireland
//! too; for Great Britain HMRC's "VAT number format"; for Switzerland art. 6 of the ordinance on the business identification number
//! (UIDV); for Norway Skatteetaten's "organisasjonsnummer" with `MVA` behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::geo::CountryCode;

/// The longest text that is looked at.
pub const VAT_ID_MAX_BYTES: usize = 32;

/// Country, prefix, and the shapes of what follows: `d` a digit, `l` a letter, `x` a letter or a digit, `s` the same or `+` or `*`,
/// anything else itself.
const SHAPES: [(&str, &str, &[&str]); 32] = [
    ("AT", "AT", &["Udddddddd"]),
    ("BE", "BE", &["dddddddddd"]),
    ("BG", "BG", &["ddddddddd", "dddddddddd"]),
    // With or without the suffix that says that the number is one of value added tax; it comes in three languages.
    ("CH", "CHE", &["ddddddddd", "dddddddddMWST", "dddddddddTVA", "dddddddddIVA"]),
    ("CY", "CY", &["ddddddddl"]),
    ("CZ", "CZ", &["dddddddd", "ddddddddd", "dddddddddd"]),
    ("DE", "DE", &["ddddddddd"]),
    ("DK", "DK", &["dddddddd"]),
    ("EE", "EE", &["ddddddddd"]),
    ("ES", "ES", &["ldddddddx", "ddddddddl"]),
    ("FI", "FI", &["dddddddd"]),
    ("FR", "FR", &["xxddddddddd"]),
    ("GB", "GB", &["ddddddddd", "dddddddddddd", "GDddd", "HAddd"]),
    ("GB", "XI", &["ddddddddd", "dddddddddddd", "GDddd", "HAddd"]),
    ("GR", "EL", &["ddddddddd"]),
    // Not the Commission's prefix, but the country's code, and often written.
    ("GR", "GR", &["ddddddddd"]),
    ("HR", "HR", &["ddddddddddd"]),
    ("HU", "HU", &["dddddddd"]),
    ("IE", "IE", &["dsdddddl", "dddddddll"]),
    ("IT", "IT", &["ddddddddddd"]),
    ("LT", "LT", &["ddddddddd", "dddddddddddd"]),
    ("LU", "LU", &["dddddddd"]),
    ("LV", "LV", &["ddddddddddd"]),
    ("MT", "MT", &["dddddddd"]),
    ("NL", "NL", &["dddddddddBdd"]),
    ("NO", "NO", &["dddddddddMVA"]),
    ("PL", "PL", &["dddddddddd"]),
    ("PT", "PT", &["ddddddddd"]),
    ("RO", "RO", &["dd", "ddd", "dddd", "ddddd", "dddddd", "ddddddd", "dddddddd", "ddddddddd", "dddddddddd"]),
    ("SE", "SE", &["dddddddddddd"]),
    ("SI", "SI", &["dddddddd"]),
    ("SK", "SK", &["dddddddddd"]),
];

/// A well-formed VAT id, written without spaces, in upper case, with its prefix: `DE123456789`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VatId(String);

impl VatId {
    /// Reads the id of a business in `country`. Spaces, dots, hyphens and lower case are forgiven; the prefix must be there.
    pub fn parse(text: &str, country: CountryCode) -> Result<Self, VatIdError> {
        if text.len() > VAT_ID_MAX_BYTES {
            return Err(VatIdError::Malformed);
        }
        let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '.' | '-')).map(|c| c.to_ascii_uppercase()).collect();
        let of = |code: &str| country.as_str() == code;
        if !SHAPES.iter().any(|(code, ..)| of(code)) {
            return Err(VatIdError::NotUsed { country });
        }
        let fits = |prefix: &str, shapes: &[&str]| {
            plain.strip_prefix(prefix).filter(|rest| shapes.iter().any(|shape| matches_shape(rest, shape))).map(str::to_owned)
        };
        let found = SHAPES.iter().find_map(|(code, prefix, shapes)| Some((*code, *prefix, fits(prefix, shapes)?)));
        match found {
            Some((code, ..)) if !of(code) => Err(VatIdError::OtherCountry { country }),
            Some(("GR", _, rest)) => Ok(Self(format!("EL{rest}"))),
            Some((_, prefix, rest)) => Ok(Self(format!("{prefix}{rest}"))),
            None => Err(VatIdError::Malformed),
        }
    }

    /// The id as it is written on an invoice.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn matches_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, class): (u8, u8)| match class {
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_uppercase(),
        b'x' => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
        b's' => byte.is_ascii_digit() || byte.is_ascii_uppercase() || byte == b'+' || byte == b'*',
        itself => byte == itself,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// Why a text is no VAT id of a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VatIdError {
    /// No country's ids look like that.
    #[error("a VAT id has its country's two letters in front, such as DE123456789")]
    Malformed,
    /// It looks like another country's.
    #[error("the VAT id is not one of {country}")]
    OtherCountry {
        /// The country it should be of.
        country: CountryCode,
    },
    /// No VAT ids of this country are known here.
    #[error("VAT ids of {country} are not used")]
    NotUsed {
        /// The country it should be of.
        country: CountryCode,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, country: &str) -> Result<String, VatIdError> {
        VatId::parse(text, CountryCode::parse(country).unwrap()).map(|id| id.0)
    }

    #[test]
    fn every_country_s_own_shape_is_read_and_written_in_one_way() {
        for (country, text, plain) in [
            ("AT", "ATU12345678", "ATU12345678"),
            ("BE", "be 0123.456.789", "BE0123456789"),
            ("BG", "BG123456789", "BG123456789"),
            ("CH", "CHE-123.456.788 MWST", "CHE123456788MWST"),
            ("CH", "CHE-123.456.788", "CHE123456788"),
            ("CY", "CY12345678X", "CY12345678X"),
            ("CZ", "CZ1234567890", "CZ1234567890"),
            ("DE", " de 123 456 789", "DE123456789"),
            ("DK", "DK 12 34 56 78", "DK12345678"),
            ("EE", "EE123456789", "EE123456789"),
            ("ES", "ESX1234567X", "ESX1234567X"),
            ("ES", "ESB12345678", "ESB12345678"),
            ("ES", "ES12345678Z", "ES12345678Z"),
            ("FI", "FI12345678", "FI12345678"),
            ("FR", "FR XX 123456789", "FRXX123456789"),
            ("GB", "GB 123 4567 89", "GB123456789"),
            ("GB", "GBGD123", "GBGD123"),
            ("GB", "XI123456789", "XI123456789"),
            ("GR", "EL123456789", "EL123456789"),
            ("GR", "gr123456789", "EL123456789"),
            ("HR", "HR12345678901", "HR12345678901"),
            ("HU", "HU12345678", "HU12345678"),
            ("IE", "IE1S23456L", "IE1S23456L"),
            ("IE", "IE1+23456L", "IE1+23456L"),
            ("IE", "IE1234567WA", "IE1234567WA"),
            ("IT", "IT12345678901", "IT12345678901"),
            ("LT", "LT123456789012", "LT123456789012"),
            ("LU", "LU12345678", "LU12345678"),
            ("LV", "LV12345678901", "LV12345678901"),
            ("MT", "MT12345678", "MT12345678"),
            ("NL", "NL123456789B01", "NL123456789B01"),
            ("NO", "NO 123 456 789 MVA", "NO123456789MVA"),
            ("PL", "PL1234567890", "PL1234567890"),
            ("PT", "PT123456789", "PT123456789"),
            ("RO", "RO12", "RO12"),
            ("RO", "RO1234567890", "RO1234567890"),
            ("SE", "SE123456789001", "SE123456789001"),
            ("SI", "SI12345678", "SI12345678"),
            ("SK", "SK1234567890", "SK1234567890"),
        ] {
            assert_eq!(parse(text, country).as_deref(), Ok(plain), "{text}");
            assert_eq!(parse(plain, country).as_deref(), Ok(plain), "once more");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for (country, text) in [
            ("DE", ""),
            ("DE", "DE"),
            ("DE", "123456789"),
            ("DE", "DE12345678"),
            ("DE", "DE1234567890"),
            ("DE", "DE12345678X"),
            ("DE", "DE١٢٣٤٥٦٧٨٩"),
            ("DE", "DE123456789\n"),
            ("AT", "AT12345678"),
            ("ES", "ES123456789"),
            ("NL", "NL123456789A01"),
            ("NO", "NO123456789"),
            ("CH", "CHE123456788XYZ"),
            ("RO", "RO1"),
            ("RO", "RO12345678901"),
        ] {
            assert_eq!(parse(text, country), Err(VatIdError::Malformed), "{text:?}");
        }
        assert_eq!(parse(&format!("DE123456789{}", " ".repeat(32)), "DE"), Err(VatIdError::Malformed), "too long to be looked at");
        let country = CountryCode::parse("FR").unwrap();
        assert_eq!(parse("DE123456789", "FR"), Err(VatIdError::OtherCountry { country }));
        let country = CountryCode::parse("US").unwrap();
        assert_eq!(parse("DE123456789", "US"), Err(VatIdError::NotUsed { country }));
    }
}
