//! The `Idempotency-Key` header.

use common::fulfill::IDEMPOTENCY_KEY_MAX;
use http::{HeaderMap, HeaderName};

use crate::error::ApiError;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The key, if the request has one: 1 to 255 visible ASCII characters.
pub fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) && values.next().is_none()
    });
    let expected = format!("must be there once, with 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters");
    text.map(Some).ok_or_else(|| ApiError::field("Idempotency-Key", expected))
}
