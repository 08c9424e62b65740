//! `GET /api/v1/geo/subdivisions/?country=US`: the answers are made once, at the start.

use std::collections::HashMap;

use bytes::Bytes;
use common::geo::{CountryCode, DataError, Subdivisions};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};

use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{ApiError, Code};
use crate::query::Query;
use crate::service::Call;

/// Every answer and its entity tag, by country.
#[derive(Debug)]
pub struct SubdivisionBodies(HashMap<CountryCode, (Bytes, HeaderValue)>);

impl SubdivisionBodies {
    /// Makes the answers.
    pub fn new(subdivisions: &Subdivisions) -> Result<Self, DataError> {
        let body = |country: &common::geo::CountrySubdivisions| {
            let body = Bytes::from(serde_json::to_vec(country).expect("codes and names serialize"));
            (country.country, (body.clone(), etag(&body)))
        };
        Ok(Self(subdivisions.iter().map(body).collect()))
    }
}

/// A strong tag: equal exactly for equal bodies.
pub fn etag(body: &[u8]) -> HeaderValue {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(body);
    let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).expect("hex is visible ASCII")
}

/// A public answer that caches may keep for `max_age`, or 304 when the caller has it already.
pub fn cached(headers: &HeaderMap, body: Bytes, etag: HeaderValue, cache_control: &'static str) -> Answer {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let known = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes();
    let answer = if tags.map(str::trim).any(known) {
        Answer::new(StatusCode::NOT_MODIFIED, "")
    } else {
        Answer::new(StatusCode::OK, body).with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    };
    answer.with(ETAG, etag).with(CACHE_CONTROL, HeaderValue::from_static(cache_control))
}

/// The country that a query names.
pub fn country(query: &Query) -> Result<CountryCode, ApiError> {
    CountryCode::parse(query.require("country")?).map_err(|error| ApiError::field("country", error.to_string()))
}

/// What is said of a country that does not exist.
pub fn unknown(country: CountryCode) -> ApiError {
    ApiError::new(Code::CountryNotFound, format!("There is no country with the code {country}."))
}

/// Lists a country's subdivisions.
pub fn list(edge: &Edge, call: &Call<'_>) -> Result<Answer, ApiError> {
    let country = country(&Query::parse(call.query, &["country"])?)?;
    let (body, etag) = edge.subdivisions.0.get(&country).ok_or_else(|| unknown(country))?;
    Ok(cached(call.headers, body.clone(), etag.clone(), "public, max-age=86400"))
}
