//! The operators' listener: `/metrics`, `/healthz`, `/readyz`, on its own port, thread and
//! runtime, so that it answers while the main runtime is flooded or stuck.
//!
//! It changes nothing and needs no credentials, and says what only operators should read:
//! bind it to an address that customers cannot reach.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::own_thread;

/// Connections at once; the next one waits in the backlog until one of these has ended.
const CONNECTIONS_MAX: usize = 64;
/// The time a client has to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// The time a connection lives in all: it carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_MAX_BYTES: usize = 8 * 1024;
/// Rest after a failed accept: out of file descriptors, say, which asking again at once would not mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the admin listener could not start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("admin listener: cannot listen on {addr}: {source}; stop what holds the port, or choose another admin address")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Its thread or runtime could not be made.
    #[error("admin listener: cannot start its thread: {0}")]
    Thread(#[source] io::Error),
}

/// The running listener. Dropping it ends it; end it last, so that a drain can be watched.
#[derive(Debug)]
pub struct AdminServer {
    local_addr: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens on `addr` (port 0 for any free one) and serves until shut down.
    ///
    /// # Errors
    /// [`AdminError::Bind`] when the address is taken or not ours; nothing runs then.
    pub fn start(addr: SocketAddr, metrics: Metrics, health: Health) -> Result<AdminServer, AdminError> {
        let bound = StdListener::bind(addr).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let local_addr = listener.local_addr()?;
            Ok((listener, local_addr))
        });
        let (listener, local_addr) = bound.map_err(|source| AdminError::Bind { addr, source })?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let thread = own_thread::spawn("admin", move || {
            let listener = TcpListener::from_std(listener)?;
            let pages = Arc::new(Pages { metrics, health });
            Ok(async move {
                tokio::select! {
                    () = stopped => {}
                    never = accept(listener, pages) => match never {},
                }
            })
        })
        .map_err(AdminError::Thread)?;
        tracing::info!(addr = %local_addr, "admin listener is up");
        Ok(AdminServer { local_addr, stop, thread: Some(thread) })
    }

    /// The address it listens on, with the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Closes the port and every connection; returns when its thread has ended.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.cancel();
        // A panic on that thread was logged and counted where it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) -> Infallible {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut failing = false;
    loop {
        let permit = room.clone().acquire_owned().await.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                let pages = pages.clone();
                tokio::spawn(async move {
                    serve(stream, pages).await;
                    drop(permit);
                });
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "admin listener cannot accept; it keeps trying");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = pages.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that is slow, rude or gone concerns only itself: there is nothing to report.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

struct Pages {
    metrics: Metrics,
    health: Health,
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        type Page = fn(&Pages) -> Response<Full<Bytes>>;
        let page: Page = match request.uri().path() {
            "/metrics" => Pages::metrics,
            "/healthz" => |pages| verdict(pages.health.liveness()),
            "/readyz" => |pages| verdict(pages.health.readiness()),
            _ => return text(StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n"),
        };
        // For HEAD hyper sends the same head and leaves the body out.
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; use GET or HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        page(self)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match self.metrics.encode() {
            Ok(page) => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page),
            Err(error) => {
                tracing::error!(%error, "the metrics page cannot be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics page cannot be written; see the log\n")
            }
        }
    }
}

fn verdict((good, body): (bool, Value)) -> Response<Full<Bytes>> {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, "application/json", format!("{body}\n"))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
