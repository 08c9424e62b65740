//! An HTTP client for tests: plain HTTP/1.1 or HTTP/2 on loopback, everything of the answer kept.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client with a pool of connections to one server.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
    key: Option<String>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The `code` of a problem; empty when it is none.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    /// A client of the server at this address. `http2` speaks HTTP/2 from the first byte.
    pub fn new(address: SocketAddr, http2: bool) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).http2_only(http2).build_http();
        Self { pool, base: format!("http://{address}"), key: None }
    }

    /// The same with an API key on every request.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// Sends a request as it is given.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Response> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = async {
            let (head, body) = self.pool.request(request.body(Full::new(body.into()))?).await?.into_parts();
            Ok::<_, anyhow::Error>(Response { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
        };
        tokio::time::timeout(TIMEOUT, answer).await.context("no answer in time")?
    }

    /// GET
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// POST of JSON
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Response> {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }
}
