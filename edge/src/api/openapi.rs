//! `GET /api/v1/openapi.json`: the contract, for machines.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use crate::answer::Answer;

const DOCUMENT: &str = include_str!("openapi.json");

/// The document, as it was compiled in.
pub fn document() -> Answer {
    Answer::new(StatusCode::OK, DOCUMENT)
        .with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .with(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))
}
