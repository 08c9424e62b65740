//! The page behind every problem's `type`: what the code means and what to do about it. Made from the same table as the problems.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};

use crate::answer::Answer;
use crate::error::{ApiError, Code};
use crate::service::Call;

const CSP: HeaderName = HeaderName::from_static("content-security-policy");

/// `GET /developers/errors/{code}/`
pub fn page(call: &Call<'_>) -> Result<Answer, ApiError> {
    let code = Code::ALL.iter().find(|code| code.as_str() == call.params.id).ok_or_else(|| ApiError::plain(Code::NotFound))?;
    // Everything here comes from our own table, none of which has a character that HTML would take for its own.
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{code} · AnonymousPay API errors</title></head>\
         <body><main><h1>{title}</h1><p><code>{status} {code}</code></p><p>{advice}</p></main></body></html>",
        code = code.as_str(),
        title = code.title(),
        status = code.status().as_u16(),
        advice = code.advice(),
    );
    Ok(Answer::new(StatusCode::OK, body)
        .with(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
        .with(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"))
        .with(CSP, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'")))
}
