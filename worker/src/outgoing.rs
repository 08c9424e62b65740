//! The HTTP client for other people's servers: partners', and Stripe's. Whoever chose the URL is not trusted, nor is the server behind it:
//! only checked addresses are connected to, no redirect is followed, and whatever is read is bounded, in bytes and in time.
//!
//! One attempt is one request. Whether and when there is another is somebody else's decision.

mod connector;
mod failure;
mod resolve;
mod wire;

use std::fmt;
use std::path::Path;
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
/// What is kept of a partner's answer.
const NOTE_MAX: usize = 2 * 1024;
const RETRY_AFTER_MAX: usize = 128;
/// How long a connection is kept for the next delivery to the same host and port.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct Outgoing {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
    body_kept_max: usize,
}

/// What a client may take.
#[derive(Debug)]
pub struct Bounds<'s> {
    /// For a new connection.
    pub connect_timeout: Duration,
    /// For one attempt as a whole.
    pub timeout: Duration,
    /// Connections to one host and port that are kept for the next attempt.
    pub idle_per_host_max: usize,
    /// Bytes of an answer's body that are kept, at most the 64 KiB that are read.
    pub body_kept_max: usize,
    /// PEM file with the authorities that certificates are checked against; the system's own without.
    pub tls_ca_file: Option<&'s Path>,
}

impl<'s> From<&'s config::Webhooks> for Bounds<'s> {
    fn from(settings: &'s config::Webhooks) -> Self {
        Self {
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            // Fewer than an endpoint may have at once, and a burst would make new ones all the time.
            idle_per_host_max: settings.in_flight_per_endpoint_max,
            body_kept_max: NOTE_MAX,
            tls_ca_file: settings.tls_ca_file.as_deref(),
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What the server said, or why it did not.
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
        /// The first bytes of the body, never decompressed, or what had come of it when the time was over.
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
    /// A client that keeps these rules. Looks up no name and connects nowhere before the first [`Outgoing::send`].
    pub fn new(bounds: Bounds<'_>, rules: Rules, resolver: Arc<dyn Resolve>) -> Result<Self, OutgoingError> {
        let connector = Connector::new(rules, resolver, tls_config(bounds.tls_ca_file)?, bounds.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(bounds.idle_per_host_max)
            // Only requests of which not a byte was sent.
            .retry_canceled_requests(true)
            .http1_max_buf_size(HEAD_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Ok(Self { client, timeout: bounds.timeout, body_kept_max: bounds.body_kept_max })
    }

    /// Sends this body with these headers; `Host` and `Content-Length` are added. Ends within [`Bounds::timeout`].
    pub async fn send(&self, method: Method, target: &Target, headers: HeaderMap, body: Bytes) -> Attempt {
        let begun = Instant::now();
        let deadline = tokio::time::Instant::from_std(begun + self.timeout);
        let uri = Uri::try_from(target.as_str()).map_err(|error| Failure::Url(error.to_string()));
        let request = uri.map(|uri| {
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = method;
            *request.uri_mut() = uri;
            *request.headers_mut() = headers;
            request
        });
        let answered = match request {
            Ok(request) => self.exchange(request, deadline).await,
            Err(failure) => Err(failure),
        };
        let outcome = match answered {
            Ok(answered) => answered,
            Err(failure) => Outcome::Failed(failure),
        };
        Attempt { outcome, duration: begun.elapsed() }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, deadline: tokio::time::Instant) -> Result<Outcome, Failure> {
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
        let _ = timeout_at(deadline, read_start(incoming, &mut body, self.body_kept_max)).await;
        Ok(Outcome::Answered { status: head.status.as_u16(), retry_after, body })
    }
}

/// Reads to the body's end, so that the connection can be used again, unless that is too far away.
async fn read_start(mut incoming: Incoming, kept: &mut Vec<u8>, kept_max: usize) -> Result<(), hyper::Error> {
    let mut read = 0;
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        kept.extend_from_slice(&data[..data.len().min(kept_max - kept.len())]);
        read += data.len();
        if read > BODY_READ_MAX {
            break;
        }
    }
    Ok(())
}

/// Certificates and names are always verified, against the platform's roots or the file's.
fn tls_config(authorities: Option<&Path>) -> Result<rustls::ClientConfig, OutgoingError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let no_system = |error: rustls::Error| OutgoingError::SystemAuthorities(error.to_string());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(no_system)?;
    let builder = match authorities {
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
