//! Answers, before they are HTTP: a status, a few headers and a body that is there as a whole.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// What a handler gives.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those that every answer gets.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer without a content type.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        // Room for what every API answer carries, and four more.
        Self { status, headers: HeaderMap::with_capacity(12), body: body.into() }
    }

    /// A JSON document.
    pub fn json(status: StatusCode, document: &impl Serialize) -> Self {
        Self::json_text(status, serde_json::to_vec(document).expect("our documents have string keys"))
    }

    /// A JSON document that is written out already.
    pub fn json_text(status: StatusCode, document: impl Into<Bytes>) -> Self {
        Self::new(status, document).with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// The same with one more header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The HTTP response. A HEAD gets everything but the body.
    pub fn into_response(self, head: bool) -> Response<Full<Bytes>> {
        let Self { status, mut headers, body } = self;
        // An answer that never has a body has no length of one either.
        if head && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let mut response = Response::new(Full::new(if head { Bytes::new() } else { body }));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
