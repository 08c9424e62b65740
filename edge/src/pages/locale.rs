//! Which language a page speaks, and how that language writes money and dates. Four languages, and the regions of them whose numbers look
//! different; what follows CLDR 48 is a small table here, because its whole data would be larger than all the rest of the edge.

use common::clock::utc_date;
use common::money::{Currency, Minor};

/// A language that pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `en`
    English,
    /// `de`
    German,
    /// `fr`
    French,
    /// `es`
    Spanish,
}

/// A language and, where it was named, a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locale {
    /// What the page speaks.
    pub language: Language,
    region: Option<[u8; 2]>,
}

/// The languages that a browser names are read this far.
const ACCEPT_LANGUAGE_MAX_BYTES: usize = 256;
const NBSP: char = '\u{a0}';
const NARROW_NBSP: char = '\u{202f}';

impl Locale {
    /// English, without a region.
    pub const DEFAULT: Self = Self { language: Language::English, region: None };

    /// The locale of a BCP 47 tag, if it is of a language that we speak.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let mut subtags = tag.split('-');
        let language = match subtags.next()?.to_ascii_lowercase().as_str() {
            "en" => Language::English,
            "de" => Language::German,
            "fr" => Language::French,
            "es" => Language::Spanish,
            _ => return None,
        };
        let is_region = |subtag: &&str| subtag.len() == 2 && subtag.bytes().all(|b| b.is_ascii_alphabetic());
        let region = subtags.find(is_region).map(|region| region.to_ascii_uppercase());
        Some(Self { language, region: region.and_then(|region| region.as_bytes().try_into().ok()) })
    }

    /// What a browser likes best of what we speak.
    pub fn of_accept_language(header: &str) -> Option<Self> {
        let header = header.get(..ACCEPT_LANGUAGE_MAX_BYTES.min(header.len()))?;
        let mut best: Option<(Self, u32)> = None;
        for entry in header.split(',') {
            let (tag, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0_f32), |quality| quality.parse().ok());
            let thousandths = quality.filter(|quality| (0.0..=1.0).contains(quality)).map_or(0, |quality| (quality * 1_000.0) as u32);
            let Some(locale) = Self::of_tag(tag.trim()) else { continue };
            // The first of equals.
            if thousandths > best.map_or(0, |(_, best)| best) {
                best = Some((locale, thousandths));
            }
        }
        best.map(|(locale, _)| locale)
    }

    /// The tag for `lang` attributes.
    pub fn tag(&self) -> &'static str {
        match self.language {
            Language::English => "en",
            Language::German => "de",
            Language::French => "fr",
            Language::Spanish => "es",
        }
    }

    /// The tag with its region, as a cart keeps it.
    pub fn full_tag(&self) -> String {
        match &self.region {
            Some(region) => format!("{}-{}", self.tag(), String::from_utf8_lossy(region)),
            None => self.tag().to_owned(),
        }
    }

    fn is_in(&self, regions: &[&[u8; 2]]) -> bool {
        self.region.is_some_and(|region| regions.contains(&&region))
    }

    /// An amount as people write it: `£1,234.50`, `1.234,50 £`, `CHF 1’234.50`.
    pub fn money(&self, minor: Minor, currency: Currency) -> String {
        let decimal = minor.decimal(currency);
        let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
        let swiss = self.is_in(&[b"CH", b"LI"]);
        let american = self.is_in(&[b"MX", b"US", b"PR", b"GT", b"HN", b"NI", b"SV", b"DO", b"PA", b"PE"]);
        // What parts the thousands, what parts the fraction, the fewest digits that are parted, and whether the symbol stands in front.
        let (group, point, grouped_from, in_front) = match self.language {
            Language::English => (',', '.', 4, true),
            Language::German if swiss => ('’', '.', 4, true),
            Language::German => ('.', ',', 4, false),
            Language::French if swiss => (NARROW_NBSP, '.', 4, false),
            Language::French => (NARROW_NBSP, ',', 4, false),
            Language::Spanish if american => (',', '.', 4, true),
            Language::Spanish => ('.', ',', 5, false),
        };
        let mut number = String::with_capacity(32);
        for (index, digit) in whole.chars().enumerate() {
            let left = whole.len() - index;
            if index > 0 && left.is_multiple_of(3) && whole.len() >= grouped_from {
                number.push(group);
            }
            number.push(digit);
        }
        if !fraction.is_empty() {
            number.push(point);
            number.push_str(fraction);
        }
        let symbol = self.symbol(currency);
        match in_front {
            // A symbol touches its number; letters do not.
            true if symbol.ends_with(|c: char| c.is_ascii_alphabetic()) || self.language == Language::German => {
                format!("{symbol}{NBSP}{number}")
            }
            true => format!("{symbol}{number}"),
            false => format!("{number}{NBSP}{symbol}"),
        }
    }

    /// A currency's symbol where it is in no doubt, and its code otherwise.
    fn symbol(&self, currency: Currency) -> &'static str {
        let home = self.language == Language::English && self.region.is_none();
        match currency.as_str() {
            "EUR" => "€",
            "GBP" => "£",
            "INR" => "₹",
            "KRW" => "₩",
            "JPY" if self.language != Language::French => "¥",
            "USD" if home || self.is_in(&[b"US", b"PR"]) => "$",
            "USD" if self.language == Language::French => "$US",
            "USD" if self.language == Language::German => "$",
            "USD" => "US$",
            "CAD" if self.language == Language::English => {
                if self.is_in(&[b"CA"]) {
                    "$"
                } else {
                    "CA$"
                }
            }
            "AUD" if self.language == Language::English => {
                if self.is_in(&[b"AU"]) {
                    "$"
                } else {
                    "A$"
                }
            }
            _ => currency.as_str(),
        }
    }

    /// A percentage such as `20 %`, from text with a point.
    pub fn percent(&self, decimal: &str) -> String {
        let short = if decimal.contains('.') { decimal.trim_end_matches('0').trim_end_matches('.') } else { decimal };
        match self.language {
            Language::English => format!("{short}%"),
            _ => format!("{}{NBSP}%", short.replace('.', ",")),
        }
    }

    /// A day in UTC, from Unix milliseconds: `23 November 2026`.
    pub fn date(&self, unix_ms: u64) -> String {
        let day = utc_date(unix_ms);
        let month = usize::try_from(day.month() - 1).unwrap_or(0);
        let (number, year) = (day.day(), day.year());
        match self.language {
            Language::English if self.is_in(&[b"US"]) => format!("{} {number}, {year}", MONTHS[0][month]),
            Language::English => format!("{number} {} {year}", MONTHS[0][month]),
            Language::German => format!("{number}. {} {year}", MONTHS[1][month]),
            Language::French => format!("{number}{} {} {year}", if number == 1 { "er" } else { "" }, MONTHS[2][month]),
            Language::Spanish => format!("{number} de {} de {year}", MONTHS[3][month]),
        }
    }
}

const MONTHS: [[&str; 12]; 4] = [
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
    ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"],
    ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"],
    ["enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_favorite_that_we_speak() {
        let chosen = |header: &str| Locale::of_accept_language(header).map(|locale| locale.full_tag());
        for (header, tag) in [
            ("de-CH,de;q=0.9,en;q=0.8", Some("de-CH")),
            ("nl, fr;q=0.5, en;q=0.7", Some("en")),
            ("pt-BR", None),
            ("es-419,es;q=0.9", Some("es")),
            ("en;q=0, de;q=0.1", Some("de")),
            ("", None),
            (";;;,q=1,,de;q=x", None),
        ] {
            assert_eq!(chosen(header).as_deref(), tag, "{header}");
        }
        assert_eq!(chosen(&"é".repeat(300)), None);
    }

    #[test]
    fn money_as_each_language_writes_it() {
        let shown = |tag: &str, minor: i64, currency: &str| {
            let currency = Currency::parse(currency).unwrap();
            Locale::of_tag(tag).unwrap().money(Minor::new(minor).unwrap(), currency).replace(NBSP, "_").replace(NARROW_NBSP, "'")
        };
        for (tag, minor, currency, text) in [
            ("en", 123_450, "GBP", "£1,234.50"),
            ("en", 999, "USD", "$9.99"),
            ("en-GB", 999, "USD", "US$9.99"),
            ("en", 123_456_789, "CHF", "CHF_1,234,567.89"),
            ("en", 1_234, "JPY", "¥1,234"),
            ("de", 123_450, "EUR", "1.234,50_€"),
            ("de-CH", 123_450, "CHF", "CHF_1’234.50"),
            ("fr", 123_450, "EUR", "1'234,50_€"),
            ("es", 123_450, "EUR", "1234,50_€"),
            ("es", 1_234_550, "EUR", "12.345,50_€"),
            ("es-MX", 123_450, "MXN", "MXN_1,234.50"),
            ("fr", 1_005, "KWD", "1,005_KWD"),
            ("en", 5, "EUR", "€0.05"),
        ] {
            assert_eq!(shown(tag, minor, currency), text, "{tag}");
        }
    }

    #[test]
    fn dates_and_percentages() {
        let at = 1_772_452_800_000;
        let shown = |tag: &str| Locale::of_tag(tag).unwrap().date(at);
        assert_eq!(
            ["en", "en-US", "de", "fr", "es"].map(shown),
            ["2 March 2026", "March 2, 2026", "2. März 2026", "2 mars 2026", "2 de marzo de 2026"]
        );
        let percent = |tag: &str, text: &str| Locale::of_tag(tag).unwrap().percent(text).replace(NBSP, "_");
        assert_eq!(
            [percent("en", "20.00"), percent("de", "8.10"), percent("fr", "0"), percent("en", "100")],
            ["20%", "8,1_%", "0_%", "100%"]
        );
    }
}
