//! `GET /api/v1/tax/rates/?country=GB`: for display before checkout, not tax advice.

use bytes::Bytes;
use common::clock::utc_date;
use common::tax::{TaxLookupError, parse_date};

use crate::answer::Answer;
use crate::api::subdivisions::{cached, country, etag, unknown};
use crate::edge::Edge;
use crate::error::{ApiError, Code};
use crate::query::Query;
use crate::service::Call;

/// Lists the rates in force, today or on a given date.
pub fn list(edge: &Edge, call: &Call<'_>) -> Result<Answer, ApiError> {
    let query = Query::parse(call.query, &["country", "subdivision", "date"])?;
    let country = country(&query)?;
    let date = match query.get("date") {
        Some(text) => parse_date(text).map_err(|error| ApiError::field("date", error.to_string()))?,
        None => utc_date(call.now.unix_ms),
    };
    let Some(taxes) = edge.taxes.table() else {
        return Err(ApiError::new(Code::Unavailable, "The tax rates are not loaded. Try again in a moment."));
    };
    let rates = taxes.rates(country, query.get("subdivision"), date).map_err(|error| match error {
        TaxLookupError::UnknownCountry(_) => unknown(country),
        TaxLookupError::UnknownSubdivision { .. } => ApiError::new(Code::SubdivisionNotFound, format!("{error}.")),
    })?;
    let body = Bytes::from(serde_json::to_vec(&rates).expect("rates serialize"));
    let etag = etag(&body);
    Ok(cached(call.headers, body, etag, "public, max-age=3600"))
}
