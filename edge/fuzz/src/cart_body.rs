//! The body that asks for a checkout session. What is accepted is within every bound, says the same to another reader of JSON, and is the
//! same request when it is written anew.

use common::cart::{
    EXTERNAL_REFERENCE_MAX_CHARS, LINES_MAX, LOCALE_MAX_BYTES, Line, METADATA_MAX_BYTES, METADATA_PAIRS_MAX, QUANTITY_MAX,
    SESSION_LIFETIME_S, SKU_MAX_BYTES, SessionRequest,
};
use common::money::Currency;
use serde_json::{Map, Value, json};
use url::Url;

use crate::bounds::{check_errors, measured};

const RETURN_URLS: [&str; 2] = ["return_url_success", "return_url_cancel"];

/// The body's reader, as in production and as in development.
pub fn check(data: &[u8]) {
    let strict = measured(data.len(), 128, || SessionRequest::parse(data, true));
    let lenient = SessionRequest::parse(data, false);
    match (&strict, &lenient) {
        (Ok(strict), Ok(lenient)) => assert_eq!(strict, lenient),
        (Ok(_), Err(errors)) => panic!("refused only where less is asked for: {errors}"),
        (Err(errors), _) => check_errors(errors),
    }
    let Ok(request) = lenient else { return };
    check_limits(&request, strict.is_ok());
    check_content(data, &request);
    check_again(&request);
}

/// The lines of a cart are within bounds, sorted, and name each SKU once.
pub fn check_lines(lines: &[Line]) {
    assert!((1..=LINES_MAX).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.is_sorted_by(|a, b| a.sku < b.sku), "not sorted, or a SKU twice: {lines:?}");
    for line in lines {
        check_sku(line.sku.as_str());
        assert!((1..=QUANTITY_MAX).contains(&i64::from(line.quantity)), "{line:?}");
    }
}

/// A SKU is what the documentation says.
pub fn check_sku(sku: &str) {
    assert!((1..=SKU_MAX_BYTES).contains(&sku.len()) && sku.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{sku:?}");
}

/// A currency is three capitals, and itself when it is read again.
pub fn check_currency(currency: Currency) {
    assert!(currency.as_str().len() == 3 && currency.as_str().bytes().all(|b| b.is_ascii_uppercase()));
    assert_eq!(Currency::parse(&currency.as_str().to_ascii_lowercase()), Ok(currency));
}

/// A locale is ASCII, short, and of subtags.
pub fn check_locale(locale: &str) {
    assert!((2..=LOCALE_MAX_BYTES).contains(&locale.len()), "{locale:?}");
    assert!(locale.split('-').all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric())), "{locale:?}");
}

/// An external reference fits into a line of a report.
pub fn check_reference(reference: &str) {
    assert!((1..=EXTERNAL_REFERENCE_MAX_CHARS).contains(&reference.chars().count()) && !reference.chars().any(char::is_control));
}

fn check_limits(request: &SessionRequest, is_strict: bool) {
    check_lines(&request.cart);
    check_currency(request.currency);
    request.locale.as_deref().inspect(|locale| check_locale(locale));
    assert!(request.expires_in.is_none_or(|seconds| SESSION_LIFETIME_S.contains(&i64::from(seconds))));
    assert!(request.metadata.is_sorted_by(|a, b| a.0 < b.0), "not sorted, or a name twice: {:?}", request.metadata);
    assert!(request.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= METADATA_MAX_BYTES);
    let mut own = 0;
    for (name, value) in &request.metadata {
        if name == "external_reference" {
            check_reference(value);
        } else if RETURN_URLS.contains(&name.as_str()) {
            check_return_url(value, is_strict);
        } else {
            own += 1;
            assert!((1..=64).contains(&name.chars().count()));
            assert!(!name.chars().chain(value.chars()).any(|c| c.is_control() && c != '\n'), "{name:?}: {value:?}");
        }
    }
    assert!(own <= METADATA_PAIRS_MAX);
}

/// Whatever reads the URL, a browser or a library, ends at the same host: nothing is in front of it, and nothing hides in it.
fn check_return_url(text: &str, is_strict: bool) {
    let url = Url::parse(text).expect("an absolute URL");
    let (scheme, rest) = text.split_once("://").expect("an absolute URL");
    assert_eq!(scheme.to_ascii_lowercase(), url.scheme());
    assert!(url.scheme() == "https" || (url.scheme() == "http" && !is_strict), "{text}");
    let authority = rest.trim_start_matches('/').split(['/', '?', '#']).next().unwrap_or_default();
    assert!(!authority.contains('@') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'), "{text}");
    assert!(url.host_str().is_some_and(|host| !host.is_empty()), "{text}");
}

fn check_content(data: &[u8], request: &SessionRequest) {
    let body: Value = serde_json::from_slice(data).expect("another reader takes it too");
    let known = ["cart", "currency", "locale", "metadata", "expires_in"];
    assert!(body.as_object().expect("an object").keys().all(|name| known.contains(&name.as_str())), "{body}");

    let cart: Map<String, Value> = request.cart.iter().map(|line| (line.sku.to_string(), line.quantity.into())).collect();
    assert_eq!(body["cart"], Value::Object(cart));
    assert_eq!(body["currency"].as_str().map(str::to_ascii_uppercase).as_deref(), Some(request.currency.as_str()));
    assert_eq!(body["locale"].as_str(), request.locale.as_deref());
    assert_eq!(body["expires_in"].as_u64(), request.expires_in.map(u64::from));
    let mut metadata = body["metadata"].as_object().cloned().unwrap_or_default();
    metadata.retain(|_, value| !value.is_null());
    let kept: Map<String, Value> = request.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    assert_eq!(metadata, kept);
}

fn check_again(request: &SessionRequest) {
    let cart: Map<String, Value> = request.cart.iter().rev().map(|line| (line.sku.to_string(), line.quantity.into())).collect();
    let metadata: Map<String, Value> = request.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let body = json!({
        "metadata": metadata, "expires_in": request.expires_in, "locale": request.locale,
        "currency": request.currency.as_str().to_ascii_lowercase(), "cart": cart,
    });
    let again = SessionRequest::parse(body.to_string().as_bytes(), false).expect("what was accepted is accepted in other words");
    assert_eq!(&again, request);
    assert_eq!(again.derived_id(1, true, "key"), request.derived_id(1, true, "key"));
}
