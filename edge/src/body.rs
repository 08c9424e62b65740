//! Reading a request's body: only where the route takes one, only JSON (from pages only forms), only so much, and only for so long.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::edge::Knobs;
use crate::error::{ApiError, Code};
use crate::gate::Access;
use crate::router::{Endpoint, Route};
use crate::stripe;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The body of a POST or a PATCH as a whole. Other methods' bodies are not looked at.
pub async fn read(knobs: &Knobs, route: &Route, headers: &HeaderMap, incoming: Incoming) -> Result<Bytes, ApiError> {
    if !matches!(route.method, Method::POST | Method::PATCH) {
        return Ok(Bytes::new());
    }
    let max_bytes = if route.endpoint == Endpoint::StripeWebhook { stripe::BODY_MAX_BYTES } else { knobs.body_max_bytes };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    if incoming.is_end_stream() {
        // Nothing to be of the wrong type. Where a body is needed, its reader says so.
        return Ok(Bytes::new());
    }
    check_type(headers, if route.access == Access::Page { FORM } else { JSON })?;
    match tokio::time::timeout(knobs.body_timeout, collect(max_bytes, incoming)).await {
        Ok(body) => body,
        Err(_) => {
            Err(ApiError::new(Code::RequestTimeout, format!("The body did not arrive within {} s.", knobs.body_timeout.as_secs_f32())))
        }
    }
}

async fn collect(max_bytes: usize, mut incoming: Incoming) -> Result<Bytes, ApiError> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| ApiError::field("body", "broke off before its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() + rest.len() + first.as_ref().map_or(0, Bytes::len) > max_bytes {
            return Err(too_large(max_bytes));
        }
        // Almost every body is one piece and need not be copied.
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(piece) => {
                rest.extend_from_slice(&piece);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

fn too_large(max_bytes: usize) -> ApiError {
    ApiError::new(Code::BodyTooLarge, format!("A body may have {max_bytes} bytes."))
}

fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), ApiError> {
    let encoded = headers.get_all(CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_wanted = types.next().and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(wanted)
    });
    if is_wanted && !encoded && types.next().is_none() { Ok(()) } else { Err(ApiError::plain(Code::UnsupportedMediaType)) }
}
