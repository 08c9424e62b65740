//! The HTTP client that posts to partners' servers. Whoever chose the URL is not trusted, nor is the server behind it: only checked
//! addresses are connected to, no redirect is followed, and whatever is read is bounded, in bytes and in time.
//!
//! One attempt is one POST. Whether and when there is another is somebody else's decision.

mod connector;
mod failure;
mod resolve;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::webhook_target::{Rules, Target};
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::timeout_at;

use connector::Connector;
pub use failure::Failure;
pub use resolve::{Resolve, SystemResolver};

/// The head of an answer: status line and all headers, in bytes and in headers.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// What is read of an answer's body. A server that sends more loses its connection, not its answer.
const BODY_READ_MAX: usize = 64 * 1024;
/// What is kept of it.
const BODY_KEPT_MAX: usize = 2 * 1024;
const RETRY_AFTER_MAX: usize = 128;
/// How long a connection is kept for the next delivery to the same host and port.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct Outgoing {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What one POST came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What the partner's server said, or why it did not.
    pub outcome: Outcome,
    /// How long it took, a connection included where one had to be made.
    pub duration: Duration,
}

/// See [`Attempt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole head came. It counts whatever becomes of the body: the server has said what it thinks.
    Answered {
        /// 200 to 999; a redirect is an answer like any other.
        status: u16,
        /// The header of this name as it came, where it is one line of at most 128 visible characters.
        retry_after: Option<String>,
        /// The first 2 KiB of the body, never decompressed, or what had come of it when the time was over.
        body: Vec<u8>,
    },
    /// No answer. Whether the server has seen the request is unknown.
    Failed(Failure),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The file of authorities cannot be used.
    #[error("webhooks.tls_ca_file: {0}")]
    AuthorityFile(String),
    /// The machine's own authorities cannot be used.
    #[error("the system's certificate authorities cannot be used: {0}; install them (ca-certificates) or set webhooks.tls_ca_file")]
    SystemAuthorities(String),
}

impl Outgoing {
    /// A client that keeps these rules. Looks up no name and connects nowhere before the first [`Outgoing::post`].
    pub fn new(settings: &config::Webhooks, rules: Rules, resolver: Arc<dyn Resolve>) -> Result<Self, OutgoingError> {
        let connector = Connector::new(rules, resolver, tls_config(settings)?, settings.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            // Fewer than an endpoint may have at once, and a burst would make new ones all the time.
            .pool_max_idle_per_host(settings.in_flight_per_endpoint_max)
            // Only requests of which not a byte was sent.
            .retry_canceled_requests(true)
            .http1_max_buf_size(HEAD_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Ok(Self { client, timeout: settings.timeout })
    }

    /// Posts this body with these headers; `Host` and `Content-Length` are added. Ends within `webhooks.timeout_ms`.
    pub async fn post(&self, target: &Target, headers: HeaderMap, body: Bytes) -> Attempt {
        let begun = Instant::now();
        let deadline = tokio::time::Instant::from_std(begun + self.timeout);
        let outcome = match self.exchange(target, headers, body, deadline).await {
            Ok(answered) => answered,
            Err(failure) => Outcome::Failed(failure),
        };
        Attempt { outcome, duration: begun.elapsed() }
    }

    async fn exchange(&self, target: &Target, headers: HeaderMap, body: Bytes, deadline: tokio::time::Instant) -> Result<Outcome, Failure> {
        let uri = Uri::try_from(target.as_str()).map_err(|error| Failure::Url(error.to_string()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Err(_) => return Err(Failure::Timeout),
            Ok(Err(error)) => return Err(Failure::of(&error)),
            Ok(Ok(response)) => response,
        };
        let (head, incoming) = response.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).filter(|value| value.len() <= RETRY_AFTER_MAX);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        // Late, broken or too long: what has come is kept, and the connection is closed as the rest is dropped.
        let _ = timeout_at(deadline, read_start(incoming, &mut body)).await;
        Ok(Outcome::Answered { status: head.status.as_u16(), retry_after, body })
    }
}

/// Reads to the body's end, so that the connection can be used again, unless that is too far away.
async fn read_start(mut incoming: Incoming, kept: &mut Vec<u8>) -> Result<(), hyper::Error> {
    let mut read = 0;
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        kept.extend_from_slice(&data[..data.len().min(BODY_KEPT_MAX - kept.len())]);
        read += data.len();
        if read > BODY_READ_MAX {
            break;
        }
    }
    Ok(())
}

/// Certificates and names are always verified, against the platform's roots or the file's.
fn tls_config(settings: &config::Webhooks) -> Result<rustls::ClientConfig, OutgoingError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let no_system = |error: rustls::Error| OutgoingError::SystemAuthorities(error.to_string());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(no_system)?;
    let builder = match &settings.tls_ca_file {
        Some(path) => {
            let unusable = |error: &dyn fmt::Display| OutgoingError::AuthorityFile(format!("{}: {error}", path.display()));
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
                roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"holds no certificate"));
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().map_err(no_system)?,
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
