//! One row of the tax table and its words: the percentage as an exact integer, the kind of tax, its category, how it stands
//! beside country-wide rates. It holds what was published and computes no amounts.

use std::cmp::Ordering;
use std::fmt;

use jiff::civil::Date;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::Period;
use crate::geo::CountryCode;

/// A percentage from 0 to 100 with up to four decimals, kept as parts per million: exact, and fit for integer arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// No percent.
    pub const ZERO: Self = Self(0);
    const HUNDRED: u32 = 1_000_000;

    /// Reads a decimal such as `6.625`: no sign, no exponent, at most four digits behind the point.
    pub fn parse(text: &str) -> Result<Self, PercentError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 3) || !digits(decimals, 4) {
            return Err(PercentError);
        }
        let ppm = format!("{whole}{decimals:0<4}").parse().map_err(|_| PercentError)?;
        Self::from_ppm(ppm)
    }

    /// From parts per million: 200,000 is 20 %.
    pub fn from_ppm(ppm: u32) -> Result<Self, PercentError> {
        if ppm <= Self::HUNDRED { Ok(Self(ppm)) } else { Err(PercentError) }
    }

    /// Parts per million.
    pub fn ppm(self) -> u32 {
        self.0
    }
}

/// As many decimals as the rate needs, two at least: `20.00`, `6.625`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 10_000, format!("{:04}", self.0 % 10_000));
        let (kept, rest) = decimals.split_at(2);
        write!(f, "{whole}.{kept}{}", rest.trim_end_matches('0'))
    }
}

/// Not a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rate must be a percentage from 0 to 100 with at most four decimals, such as 6.625")]
pub struct PercentError;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $human:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Reads the word that files, bodies and tables use.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The word that files, bodies and tables use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The name people read.
            pub fn human(self) -> &'static str {
                match self { $(Self::$variant => $human,)+ }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Self::parse(&word).ok_or_else(|| D::Error::unknown_variant(&word, &[$($word,)+]))
            }
        }
    };
}

words! {
    /// The kind of tax. The order is that of display.
    TaxType {
        /// Value added tax.
        Vat = "vat", "VAT";
        /// Goods and services tax.
        Gst = "gst", "GST";
        /// Canada's harmonized sales tax, federal and provincial in one.
        Hst = "hst", "HST";
        /// A Canadian province's sales tax.
        Pst = "pst", "PST";
        /// Quebec's sales tax.
        Qst = "qst", "QST";
        /// A sales tax.
        SalesTax = "sales_tax", "Sales tax";
        /// Japan's consumption tax.
        ConsumptionTax = "consumption_tax", "Consumption tax";
        /// No tax at all: only in overrides, where it takes rows away; never in an answer.
        None = "none", "No tax";
    }
}

words! {
    /// What a rate applies to. The order is that of display.
    Category {
        /// Everything that has no rate of its own.
        Standard = "standard", "standard";
        /// Goods and services that the country favors, such as food or books.
        Reduced = "reduced", "reduced";
        /// The same, below the usual minimum of 5 %.
        SuperReduced = "super_reduced", "super-reduced";
        /// A transitional rate between reduced and standard.
        Parking = "parking", "parking";
    }
}

words! {
    /// How a subdivision's rate stands beside the country-wide ones of its category.
    Stacking {
        /// It is the whole tax: country-wide rates do not come on top.
        Alone = "alone", "instead of country-wide rates";
        /// It comes on top of the country-wide rates.
        Added = "added", "on top of country-wide rates";
    }
}

/// One published rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxRate {
    /// Where it holds.
    pub country: CountryCode,
    /// The ISO 3166-2 code without the country, in upper case; `None` for the whole country.
    pub subdivision: Option<String>,
    /// The kind of tax.
    pub tax: TaxType,
    /// What it applies to.
    pub category: Category,
    /// How much.
    pub percent: Percent,
    /// When. An open start means that it is unknown: the row says what held on `as_of`, and stands in for earlier days.
    pub period: Period,
    /// How it stands beside country-wide rates.
    pub stacking: Stacking,
    /// Who says so, and with what reservation.
    pub source: String,
    /// When the source was last known to be right.
    pub as_of: Date,
}

impl TaxRate {
    /// The name people read, with the category unless it is the standard one: `VAT`, `VAT (reduced)`.
    pub fn name(&self) -> String {
        match self.category {
            Category::Standard => self.tax.human().to_owned(),
            other => format!("{} ({})", self.tax.human(), other.human()),
        }
    }

    /// Same place, tax and category.
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        self.country == other.country && self.subdivision == other.subdivision && self.tax == other.tax && self.category == other.category
    }

    /// Whether this row says what is owed where `other` did: of the same category, or that there is nothing at all.
    pub(super) fn speaks_of_place_of(&self, other: &Self) -> bool {
        let of_all = self.tax == TaxType::None && self.subdivision.is_none();
        self.country == other.country
            && (of_all || self.subdivision == other.subdivision)
            && (self.tax == TaxType::None || self.category == other.category)
    }

    /// What is left of this row below `over`: itself when it is of another kind, else its days outside of `over`'s.
    pub(super) fn outside(self, over: &Self) -> Vec<Self> {
        let whole_country = over.subdivision.is_none() || over.subdivision == self.subdivision;
        let replaced = self.same_kind(over) || (over.tax == TaxType::None && over.country == self.country && whole_country);
        if !replaced {
            return vec![self];
        }
        self.period.without(over.period).map(|period| Self { period, ..self.clone() }).collect()
    }

    /// Country-wide first, then by subdivision, tax, category, higher rates first, and by start.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let key = |rate: &Self| (rate.tax, rate.category, std::cmp::Reverse(rate.percent), rate.period.from());
        self.subdivision.cmp(&other.subdivision).then_with(|| key(self).cmp(&key(other)))
    }
}

impl fmt::Display for TaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.subdivision.as_deref().map(|code| format!("-{code}")).unwrap_or_default();
        write!(f, "{}{place} {} {} {}", self.country, self.tax.as_str(), self.category.as_str(), self.percent)
    }
}

/// A row of the public endpoint's body.
impl Serialize for TaxRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("TaxRate", 8)?;
        row.serialize_field("name", &self.name())?;
        row.serialize_field("tax_type", self.tax.as_str())?;
        row.serialize_field("category", self.category.as_str())?;
        row.serialize_field("subdivision", &self.subdivision)?;
        row.serialize_field("rate_percent", &self.percent.to_string())?;
        row.serialize_field("rate_ppm", &self.percent.ppm())?;
        row.serialize_field("valid_from", &self.period.from().map(|date| date.to_string()))?;
        row.serialize_field("source", &self.source)?;
        row.end()
    }
}

/// A day as `YYYY-MM-DD`.
pub(super) fn serialize_date<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        for (text, ppm, shown) in [
            ("20", 200_000, "20.00"),
            ("6.625", 66_250, "6.625"),
            ("0.9", 9_000, "0.90"),
            ("9.975", 99_750, "9.975"),
            ("1.05", 10_500, "1.05"),
        ] {
            let percent = Percent::parse(text).unwrap();
            assert_eq!((percent.ppm(), percent.to_string().as_str()), (ppm, shown));
        }
        assert_eq!(Percent::parse("100").unwrap().to_string(), "100.00");
        assert_eq!(Percent::parse("0.0001").unwrap().to_string(), "0.0001");
        for ppm in (0..=1_000_000).step_by(7) {
            let percent = Percent::from_ppm(ppm).unwrap();
            assert_eq!(Percent::parse(&percent.to_string()), Ok(percent));
        }
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in ["", ".", "5.", ".5", "-1", "+1", "1e1", "100.0001", "101", "1000", "6.62505", "6,5", " 5", "٥", "1.2.3"] {
            assert_eq!(Percent::parse(text), Err(PercentError), "{text:?}");
        }
        assert_eq!(Percent::from_ppm(1_000_001), Err(PercentError));
    }
}
