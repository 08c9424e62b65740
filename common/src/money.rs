//! Money: a currency and whole minor units (pence, cents, yen). Integers only, every sum checked; no floating point, no exchange,
//! no rounding. What a currency is called and how many digits its minor unit has comes from ISO 4217.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The largest amount in minor units: 10^15. Far above any order, and exact in every JSON reader (below 2^53).
pub const MINOR_MAX: i64 = 1_000_000_000_000_000;

/// A currency one can pay in: in force in ISO 4217, no fund, metal, unit of account or test code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Reads exactly three ASCII letters, in any case.
    pub fn parse(text: &str) -> Result<Self, CurrencyError> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| CurrencyError::Malformed)?;
        if !letters.iter().all(u8::is_ascii_alphabetic) {
            return Err(CurrencyError::Malformed);
        }
        let upper = letters.map(|letter| letter.to_ascii_uppercase());
        let code = std::str::from_utf8(&upper).map_err(|_| CurrencyError::Malformed)?;
        let currency = iso_currency::Currency::from_code(code).ok_or_else(|| CurrencyError::Unknown { code: code.to_owned() })?;
        // ISO 4217 lists VES beside VED, and trade in Venezuela is in VES.
        if let Some(successor) = currency.is_superseded().filter(|_| currency != iso_currency::Currency::VES) {
            return Err(CurrencyError::Superseded { code: currency.code(), successor: successor.code() });
        }
        if currency.is_special() || currency.is_fund() || currency.exponent().is_none() {
            return Err(CurrencyError::NotPayable { code: currency.code() });
        }
        Ok(Self(currency))
    }

    /// The three letters in upper case.
    pub fn as_str(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal digits the minor unit has: 2 for GBP, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u32 {
        // `parse` lets no currency without an exponent through.
        self.0.exponent().map_or(0, u32::from)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        Self::parse(text)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Code;
        impl Visitor<'_> for Code {
            type Value = Currency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a three-letter ISO 4217 code, such as \"GBP\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Currency, E> {
                Currency::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Code)
    }
}

/// Why a text is no currency to pay in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CurrencyError {
    /// Not three letters.
    #[error("currency must be a three-letter ISO 4217 code, such as GBP")]
    Malformed,
    /// Three letters that ISO 4217 does not assign.
    #[error("{code} is not a currency of ISO 4217: use a code such as GBP")]
    Unknown {
        /// The three letters in upper case.
        code: String,
    },
    /// A currency that another one has replaced.
    #[error("{code} is no longer in use: use {successor}")]
    Superseded {
        /// The old code.
        code: &'static str,
        /// The code that took its place.
        successor: &'static str,
    },
    /// A fund, a metal, a unit of account, the test code or "no currency".
    #[error("{code} is not a currency one can pay in: use a code such as GBP")]
    NotPayable {
        /// The code.
        code: &'static str,
    },
}

/// An amount in whole minor units of some currency, 0 to [`MINOR_MAX`]. The currency stands beside it, not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Minor(i64);

impl Minor {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, [`MINOR_MAX`].
    pub const MAX: Self = Self(MINOR_MAX);

    /// An amount from its minor units.
    pub fn new(minor: i64) -> Result<Self, AmountError> {
        if (0..=MINOR_MAX).contains(&minor) { Ok(Self(minor)) } else { Err(AmountError) }
    }

    /// The minor units.
    pub fn get(self) -> i64 {
        self.0
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, AmountError> {
        // Two amounts of at most 10^15 cannot overflow.
        Self::new(self.0 + other.0)
    }

    /// The difference. Fails when it would be below zero.
    pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        Self::new(self.0 - other.0)
    }

    /// The amount `quantity` times.
    pub fn checked_mul(self, quantity: u32) -> Result<Self, AmountError> {
        self.0.checked_mul(i64::from(quantity)).ok_or(AmountError).and_then(Self::new)
    }

    /// Reads what people write in major units: `29.99`, `29.9` and `29` in GBP, `2999` in JPY. A point, no more digits behind it than the
    /// currency has, no sign and nothing that parts thousands: what could be meant in two ways is refused.
    pub fn of_decimal(text: &str, currency: Currency) -> Result<Self, AmountError> {
        let (major, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = currency.exponent() as usize;
        let is_number = |part: &str| (1..=16).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(major) || !is_number(fraction) || (text.contains('.') && fraction.len() > digits) {
            return Err(AmountError);
        }
        let fraction = if digits == 0 { String::new() } else { format!("{fraction:0<digits$}") };
        format!("{major}{fraction}").parse().map_err(|_| AmountError).and_then(Self::new)
    }

    /// The amount in major units for people to read, without the currency's sign: 2999 is `29.99` in GBP and `2999` in JPY.
    pub fn decimal(self, currency: Currency) -> String {
        let scale = 10_i64.pow(currency.exponent());
        let major = self.0 / scale;
        match currency.exponent() as usize {
            0 => major.to_string(),
            digits => format!("{major}.{:0digits$}", self.0 % scale),
        }
    }
}

impl<'de> Deserialize<'de> for Minor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Units;
        impl Visitor<'_> for Units {
            type Value = Minor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of minor units, such as 2999 for 29.99")
            }

            fn visit_i64<E: de::Error>(self, minor: i64) -> Result<Minor, E> {
                Minor::new(minor).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, minor: u64) -> Result<Minor, E> {
                i64::try_from(minor).map_err(|_| AmountError).and_then(Minor::new).map_err(E::custom)
            }
        }
        deserializer.deserialize_i64(Units)
    }
}

/// An amount below zero or above [`MINOR_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("amount must be a whole number of minor units from 0 to {MINOR_MAX}")]
pub struct AmountError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them_and_never_guessed() {
        let read = |text: &str, code: &str| Minor::of_decimal(text, Currency::parse(code).unwrap()).map(Minor::get).ok();
        for (text, code, minor) in [
            ("29.99", "GBP", 2_999),
            ("29.9", "GBP", 2_990),
            ("29", "GBP", 2_900),
            ("0", "JPY", 0),
            ("2999", "JPY", 2_999),
            ("1.005", "KWD", 1_005),
        ] {
            assert_eq!(read(text, code), Some(minor), "{text} {code}");
        }
        for (text, code) in [
            ("", "GBP"),
            (".5", "GBP"),
            ("5.", "GBP"),
            ("1,5", "GBP"),
            ("1.234", "GBP"),
            ("1.5", "JPY"),
            ("-1", "GBP"),
            ("+1", "GBP"),
            (" 1", "GBP"),
            ("1e3", "GBP"),
            ("10000000000000.01", "GBP"),
            ("99999999999999999999", "GBP"),
            ("٣", "GBP"),
        ] {
            assert_eq!(read(text, code), None, "{text} {code}");
        }
    }

    #[test]
    fn any_case_in_upper_case_out() {
        for text in ["GBP", "gbp", "gBp"] {
            assert_eq!(Currency::parse(text).unwrap().as_str(), "GBP");
        }
        let currency: Currency = serde_json::from_str(r#""eu\u0072""#).unwrap();
        assert_eq!(serde_json::to_string(&currency).unwrap(), r#""EUR""#);
    }

    #[test]
    fn exponents_are_those_of_iso_4217() {
        for (code, exponent) in [("GBP", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("BHD", 3), ("ISK", 0), ("VND", 0), ("XOF", 0), ("XCD", 2)]
        {
            assert_eq!(Currency::parse(code).unwrap().exponent(), exponent, "{code}");
        }
    }

    #[test]
    fn only_currencies_one_can_pay_in() {
        for text in ["", "GB", "GBPX", "G1P", "£", "¤", "GB ", "G\u{df}"] {
            assert_eq!(Currency::parse(text), Err(CurrencyError::Malformed), "{text:?}");
        }
        assert_eq!(Currency::parse("zzz"), Err(CurrencyError::Unknown { code: "ZZZ".into() }));
        for code in ["XXX", "XTS", "XAU", "XAG", "XDR", "XSU", "XUA", "XAD", "CHE", "CLF", "USN", "UYI"] {
            assert_eq!(Currency::parse(code), Err(CurrencyError::NotPayable { code }));
        }
        assert_eq!(Currency::parse("hrk").unwrap_err().to_string(), "HRK is no longer in use: use EUR");
        for code in ["XOF", "XAF", "XPF", "XCD", "XCG", "VES", "VED", "ZWG"] {
            assert_eq!(Currency::parse(code).unwrap().as_str(), code);
        }
    }

    #[test]
    fn amounts_stay_within_bounds() {
        assert_eq!(Minor::new(-1), Err(AmountError));
        assert_eq!(Minor::new(MINOR_MAX + 1), Err(AmountError));
        let one = Minor::new(1).unwrap();
        assert_eq!(Minor::MAX.checked_add(one), Err(AmountError));
        assert_eq!(Minor::MAX.checked_sub(Minor::MAX), Ok(Minor::ZERO));
        assert_eq!(Minor::ZERO.checked_sub(one), Err(AmountError));
        assert_eq!(Minor::MAX.checked_mul(u32::MAX), Err(AmountError));
        assert_eq!(Minor::MAX.checked_mul(1), Ok(Minor::MAX));
        assert_eq!(Minor::new(2999).unwrap().checked_mul(3).unwrap().get(), 8997);
    }

    #[test]
    fn json_amounts_are_integers() {
        let read = |text: &str| serde_json::from_str::<Minor>(text).map(Minor::get).map_err(|e| e.to_string());
        assert_eq!(read("2999"), Ok(2999));
        assert_eq!(read("1000000000000000"), Ok(MINOR_MAX));
        for text in ["-1", "1000000000000001", "9223372036854775808", "18446744073709551615"] {
            assert!(read(text).unwrap_err().contains("whole number of minor units from 0 to 1000000000000000"), "{text}");
        }
        for text in ["29.99", "\"2999\"", "null", "1e3"] {
            assert!(read(text).unwrap_err().contains("such as 2999 for 29.99"), "{text}");
        }
    }

    #[test]
    fn decimals_follow_the_currency() {
        let shown = |minor: i64, code: &str| Minor::new(minor).unwrap().decimal(Currency::parse(code).unwrap());
        assert_eq!(shown(2999, "GBP"), "29.99");
        assert_eq!(shown(5, "GBP"), "0.05");
        assert_eq!(shown(2999, "JPY"), "2999");
        assert_eq!(shown(1005, "KWD"), "1.005");
    }
}
