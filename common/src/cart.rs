//! What is bought: SKUs, quantities and the body that asks for a checkout session. Reading a body checks everything that can be known
//! without the store's catalogue, and reports all of it at once.

pub mod link;

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::json::{self, FieldErrors, Json};
use crate::money::Currency;

/// The most lines a cart or an order may have.
pub const LINES_MAX: usize = 50;
/// The most of one SKU in a cart.
pub const QUANTITY_MAX: i64 = 1_000;
/// The longest SKU, in bytes.
pub const SKU_MAX_BYTES: usize = 64;
/// The most pairs of a partner's own in `metadata`.
pub const METADATA_PAIRS_MAX: usize = 20;
/// The most bytes of names and values together in `metadata`.
pub const METADATA_MAX_BYTES: usize = 2_048;
/// The longest external reference, in characters.
pub const EXTERNAL_REFERENCE_MAX_CHARS: usize = 255;
/// The longest locale, in bytes: room for any registered language tag.
pub const LOCALE_MAX_BYTES: usize = 35;
/// How long a checkout session may live, in seconds.
pub const SESSION_LIFETIME_S: std::ops::RangeInclusive<i64> = 1_800..=86_400;

/// A stock-keeping unit: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

impl Sku {
    /// Reads a SKU.
    pub fn parse(text: &str) -> Result<Self, MalformedSku> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > SKU_MAX_BYTES || !text.bytes().all(allowed) {
            return Err(MalformedSku);
        }
        Ok(Self(text.to_owned()))
    }

    /// The SKU as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Sku {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sku {
    type Error = MalformedSku;

    fn try_from(text: String) -> Result<Self, MalformedSku> {
        Self::parse(&text)
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> String {
        sku.0
    }
}

/// Something that cannot be a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SKU is 1 to {SKU_MAX_BYTES} of A-Z, a-z, 0-9, '.', '_' and '-'")]
pub struct MalformedSku;

/// One SKU and how many of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub sku: Sku,
    /// How many, 1 or more.
    pub quantity: u32,
}

/// A request for a checkout session, well-formed and normalized. The catalogue has not been asked yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionRequest {
    /// 1 to [`LINES_MAX`] lines, sorted by SKU, each SKU once.
    pub cart: Vec<Line>,
    /// What to pay in.
    pub currency: Currency,
    /// BCP 47 language tag for the hosted pages.
    pub locale: Option<String>,
    /// What the partner wants to see again, sorted by name: `external_reference`, the return URLs, and pairs of its own.
    pub metadata: Vec<(String, String)>,
    /// How long the session lives, in seconds, when the partner says so.
    pub expires_in: Option<u32>,
}

impl SessionRequest {
    /// Reads a body. `https_only` refuses return URLs over plain http.
    pub fn parse(body: &[u8], https_only: bool) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let mut members = json::parse(body)?.into_members("body", &mut errors);
        if !errors.as_slice().is_empty() {
            return Err(errors);
        }
        let cart = members.require("", "cart", &mut errors).and_then(|cart| read_cart(cart, &mut errors));
        let currency = members.require("", "currency", &mut errors).and_then(|value| read_currency(value, &mut errors));
        let locale = members.take("locale").and_then(|value| read_locale(value, &mut errors));
        let metadata = members.take("metadata").map(|value| read_metadata(value, https_only, &mut errors)).unwrap_or_default();
        let expires_in = members.take("expires_in").and_then(|value| value.into_integer("expires_in", SESSION_LIFETIME_S, &mut errors));
        members.finish("", &mut errors);
        let request = cart.zip(currency).map(|(cart, currency)| Self {
            cart,
            currency,
            locale,
            metadata,
            expires_in: expires_in.and_then(|seconds| u32::try_from(seconds).ok()),
        });
        errors.into_result(request)
    }

    /// An id that two requests share exactly when they are the same one sent twice: same store, mode, `Idempotency-Key` and content.
    pub fn derived_id(&self, store_id: i64, live: bool, idempotency_key: &str) -> [u8; 16] {
        let content = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::new()
            .chain_update(b"checkout session\0")
            .chain_update(store_id.to_be_bytes())
            .chain_update([u8::from(live)])
            .chain_update((idempotency_key.len() as u64).to_be_bytes())
            .chain_update(idempotency_key)
            .chain_update(content)
            .finalize();
        std::array::from_fn(|index| digest[index])
    }
}

fn read_cart(value: Json<'_>, errors: &mut FieldErrors) -> Option<Vec<Line>> {
    let Json::Object(members) = value else {
        errors.add("cart", format!("must be an object of SKU: quantity, not {}", value.kind()));
        return None;
    };
    if members.is_empty() || members.len() > LINES_MAX {
        errors.add("cart", format!("must have 1 to {LINES_MAX} lines, and has {}", members.len()));
        return None;
    }
    let mut lines = Vec::with_capacity(members.len());
    for (name, value) in members {
        let path = || format!("cart.{}", name.chars().filter(|c| !c.is_control()).take(SKU_MAX_BYTES).collect::<String>());
        match Sku::parse(&name) {
            Ok(sku) => {
                // The path is only spelled out when there is something to say about it.
                let quantity = match value {
                    Json::Integer(quantity @ 1..=1_000) => Some(quantity as u32),
                    other => other.into_integer(&path(), 1..=QUANTITY_MAX, errors).and_then(|quantity| u32::try_from(quantity).ok()),
                };
                lines.extend(quantity.map(|quantity| Line { sku, quantity }));
            }
            Err(error) => errors.add(path(), error.to_string()),
        }
    }
    lines.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
    Some(lines)
}

/// A currency code, or a complaint.
pub(crate) fn read_currency(value: Json<'_>, errors: &mut FieldErrors) -> Option<Currency> {
    let text = value.into_string("currency", errors)?;
    Currency::parse(&text).map_err(|error| errors.add("currency", error.to_string())).ok()
}

fn read_locale(value: Json<'_>, errors: &mut FieldErrors) -> Option<String> {
    let text = value.into_string("locale", errors)?;
    let mut subtags = text.split('-');
    let language = subtags.next().is_some_and(|tag| (2..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !language || !rest || text.len() > LOCALE_MAX_BYTES {
        errors.add("locale", "must be a BCP 47 language tag such as en or pt-BR");
        return None;
    }
    Some(text.into_owned())
}

fn read_metadata(value: Json<'_>, https_only: bool, errors: &mut FieldErrors) -> Vec<(String, String)> {
    let Json::Object(members) = value else {
        errors.add("metadata", format!("must be an object of strings, not {}", value.kind()));
        return Vec::new();
    };
    let (mut pairs, mut own, mut bytes) = (Vec::with_capacity(members.len().min(METADATA_PAIRS_MAX + 3)), 0, 0);
    for (name, value) in members {
        let path = format!("metadata.{}", name.chars().filter(|c| !c.is_control()).take(64).collect::<String>());
        let Some(text) = (if value == Json::Null { None } else { value.into_string(&path, errors) }) else { continue };
        bytes += name.len() + text.len();
        match &*name {
            "external_reference" => check_external_reference(&path, &text, errors),
            "return_url_success" | "return_url_cancel" => check_return_url(&path, &text, https_only, errors),
            _ => {
                own += 1;
                if !(1..=64).contains(&name.chars().count()) || name.chars().chain(text.chars()).any(|c| c.is_control() && c != '\n') {
                    errors.add(path, "needs a name of 1 to 64 characters, and no control characters");
                }
            }
        }
        pairs.push((name.into_owned(), text.into_owned()));
    }
    if own > METADATA_PAIRS_MAX {
        errors.add("metadata", format!("may have {METADATA_PAIRS_MAX} pairs of your own, and has {own}"));
    }
    if bytes > METADATA_MAX_BYTES {
        errors.add("metadata", format!("may have {METADATA_MAX_BYTES} bytes of names and values, and has {bytes}"));
    }
    pairs.sort_unstable();
    pairs
}

/// Complains about a reference that is empty, too long or has control characters.
pub fn check_external_reference(path: &str, text: &str, errors: &mut FieldErrors) {
    let chars = text.chars().count();
    if chars == 0 || chars > EXTERNAL_REFERENCE_MAX_CHARS || text.chars().any(char::is_control) {
        errors.add(path, format!("must have 1 to {EXTERNAL_REFERENCE_MAX_CHARS} characters, none of them control characters"));
    }
}

fn check_return_url(path: &str, text: &str, https_only: bool, errors: &mut FieldErrors) {
    // The raw text is checked too: a URL parser forgives white space and backslashes that a browser would read differently.
    let absolute = text.split_once(':').is_some_and(|(_, rest)| rest.starts_with("//"));
    let plain = absolute && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let url = Url::parse(text).ok().filter(|url| plain && url.has_host() && url.username().is_empty() && url.password().is_none());
    match url.as_ref().map(Url::scheme) {
        Some("https") => {}
        Some("http") if !https_only => {}
        Some("http") => errors.add(path, "must be an https URL"),
        _ => errors.add(path, "must be an absolute http or https URL without user name, spaces or backslashes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<SessionRequest, String> {
        SessionRequest::parse(body.as_bytes(), true).map_err(|errors| errors.to_string())
    }

    fn error(body: &str) -> String {
        parse(body).unwrap_err()
    }

    #[test]
    fn reads_the_documented_body() {
        let request = parse(
            r#"{"cart": {"PRODUCT-SKU-2": 2, "PRODUCT-SKU-1": 1}, "currency": "gbp", "locale": "en", "metadata": {
                "external_reference": "your-order-123", "return_url_success": "https://your-site.com/success",
                "return_url_cancel": "https://your-site.com/cancel"}}"#,
        )
        .unwrap();
        assert_eq!(request.currency.as_str(), "GBP");
        let lines: Vec<_> = request.cart.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
        assert_eq!(lines, [("PRODUCT-SKU-1", 1), ("PRODUCT-SKU-2", 2)]);
        assert_eq!(request.metadata[0], ("external_reference".to_owned(), "your-order-123".to_owned()));
    }

    #[test]
    fn says_everything_that_is_wrong_at_once() {
        let errors = SessionRequest::parse(br#"{"cart": {"A B": 1, "C": 0, "D": "1"}, "locale": 7, "colour": 1}"#, true).unwrap_err();
        let fields: Vec<_> = errors.as_slice().iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["cart.A B", "cart.C", "cart.D", "currency", "locale", "colour"]);
    }

    #[test]
    fn every_bound_and_one_beyond_it() {
        let cart = |lines: usize| (0..lines).map(|n| format!("\"S{n}\":1")).collect::<Vec<_>>().join(",");
        let body = |cart: &str| format!(r#"{{"cart":{{{cart}}},"currency":"GBP"}}"#);
        assert!(parse(&body(&cart(LINES_MAX))).is_ok());
        assert!(error(&body(&cart(LINES_MAX + 1))).contains("1 to 50 lines"));
        assert!(error(&body("")).contains("1 to 50 lines"));
        for (quantity, good) in [("1", true), ("1000", true), ("0", false), ("1001", false), ("-1", false), ("1.5", false), ("1e2", false)]
        {
            assert_eq!(parse(&body(&format!("\"A\":{quantity}"))).is_ok(), good, "{quantity}");
        }
        for (len, good) in [(1, true), (64, true), (65, false)] {
            assert_eq!(parse(&body(&format!("\"{}\":1", "x".repeat(len)))).is_ok(), good, "{len}");
        }
        let with = |member: &str| format!(r#"{{"cart":{{"A":1}},"currency":"GBP",{member}}}"#);
        for (seconds, good) in [(1_800, true), (86_400, true), (1_799, false), (86_401, false)] {
            assert_eq!(parse(&with(&format!("\"expires_in\":{seconds}"))).is_ok(), good, "{seconds}");
        }
        let reference = |len: usize| with(&format!(r#""metadata":{{"external_reference":"{}"}}"#, "é".repeat(len)));
        assert!(parse(&reference(255)).is_ok());
        assert!(error(&reference(256)).contains("1 to 255"));
        let pairs = |count: usize| (0..count).map(|n| format!("\"k{n}\":\"v\"")).collect::<Vec<_>>().join(",");
        assert!(parse(&with(&format!("\"metadata\":{{{},\"external_reference\":\"x\"}}", pairs(20)))).is_ok());
        assert!(error(&with(&format!("\"metadata\":{{{}}}", pairs(21)))).contains("20 pairs"));
        assert!(parse(&with(&format!(r#""metadata":{{"k":"{}"}}"#, "x".repeat(2_047)))).is_ok());
        assert!(error(&with(&format!(r#""metadata":{{"k":"{}"}}"#, "x".repeat(2_048)))).contains("2048 bytes"));
    }

    #[test]
    fn return_urls_are_absolute_https_and_nothing_clever() {
        let url = |url: &str| format!(r#"{{"cart":{{"A":1}},"currency":"GBP","metadata":{{"return_url_success":"{url}"}}}}"#);
        assert!(parse(&url("https://shop.example/done?order={ORDER_ID}")).is_ok());
        let bad = ["http://shop.example/", "//shop.example/", "/done", "javascript:alert(1)", "https://user@shop.example/", "https://", ""];
        for text in bad.into_iter().chain([
            "https:\\\\\\\\shop.example",
            "https:shop.example",
            "https:/shop.example",
            "https://shop.example/a b",
            "ftp://shop.example/",
        ]) {
            assert!(parse(&url(text)).is_err(), "{text}");
        }
        assert!(SessionRequest::parse(url("http://localhost/").as_bytes(), false).is_ok());
    }

    #[test]
    fn locales() {
        let locale = |tag: &str| parse(&format!(r#"{{"cart":{{"A":1}},"currency":"GBP","locale":"{tag}"}}"#)).is_ok();
        assert!(["en", "pt-BR", "zh-Hant-TW", "de-CH-1996"].into_iter().all(locale));
        assert!(!["", "e", "en_GB", "en-", "12", "englishlanguage", "en-toolongsubtag"].into_iter().any(locale));
    }

    #[test]
    fn the_derived_id_follows_the_content_and_not_its_spelling() {
        let first = parse(r#"{"cart":{"A":1,"B":2},"currency":"GBP"}"#).unwrap();
        let same = parse(r#"{ "currency":"gbp", "cart":{"B":2,"A":1}, "locale": null }"#).unwrap();
        let other = parse(r#"{"cart":{"A":1,"B":3},"currency":"GBP"}"#).unwrap();
        let id = |request: &SessionRequest| request.derived_id(1, true, "key");
        assert_eq!(id(&first), id(&same));
        assert_ne!(id(&first), id(&other));
        assert_ne!(id(&first), first.derived_id(2, true, "key"));
        assert_ne!(id(&first), first.derived_id(1, false, "key"));
        assert_ne!(id(&first), first.derived_id(1, true, "yek"));
    }
}
