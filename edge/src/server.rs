//! Connections: accepted up to a bound, told apart as HTTP/1.1, HTTP/2 or TLS by their first bytes, served, and ended in an orderly way.
//! Every wait on a client has a deadline; most of them are kept by [`guarded::Guarded`].
//!
//! At a stop nobody is cut off in the middle of a word: what waits to be accepted is accepted, every answer says that it is the last of its
//! connection, and idle connections are left a while for requests that are on their way.

pub mod guarded;
pub mod listener;
pub mod tls;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client_address::ClientAddress;
use crate::edge::Edge;
use crate::metrics::EdgeMetrics;
use crate::service;
use guarded::{Activity, Deadlines, Guarded};
use listener::Listener;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait before accepting again when the system has no room.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// So much beyond the bounds of a head it is still read, so that its sender is told in a problem document. Further beyond, the connection
/// ends with a bare 431. Up to 100 fields are parsed without an allocation.
const FIELDS_BEYOND: usize = 36;
const HEAD_BYTES_BEYOND: usize = 16 * 1024;

/// How connections are treated.
#[derive(Debug, Clone)]
pub struct ServerKnobs {
    /// Open connections in all.
    pub connections_max: usize,
    /// Open connections from one address.
    pub connections_per_address_max: usize,
    /// Bytes of a request head.
    pub head_max_bytes: usize,
    /// Header fields of a request.
    pub head_fields_max: usize,
    /// Open streams of an HTTP/2 connection.
    pub http2_streams_max: u32,
    /// How long to wait for a client to do something.
    pub deadlines: Deadlines,
    /// How long idle connections are left open at a stop.
    pub drain_idle: Duration,
}

/// Serves connections.
#[derive(Clone)]
pub struct Server {
    edge: Arc<Edge>,
    knobs: Arc<ServerKnobs>,
    tls: Option<TlsAcceptor>,
    room: Arc<Semaphore>,
    per_address: PerAddress,
    tracker: TaskTracker,
    /// Cancelled when every answer is to be the last of its connection.
    leaving: CancellationToken,
    /// The same, for a look at every request.
    is_leaving: Arc<AtomicBool>,
    /// Cancelled some time later, when nobody who is idle is waited for any more.
    let_go: CancellationToken,
}

impl Server {
    /// A server that serves nobody yet.
    pub fn new(edge: Arc<Edge>, knobs: ServerKnobs, tls: Option<TlsAcceptor>) -> Self {
        let room = Arc::new(Semaphore::new(knobs.connections_max));
        let per_address = PerAddress::new(knobs.connections_per_address_max);
        let (leaving, is_leaving, let_go) = (CancellationToken::new(), Arc::default(), CancellationToken::new());
        Self { edge, knobs: Arc::new(knobs), tls, room, per_address, tracker: TaskTracker::new(), leaving, is_leaving, let_go }
    }

    /// Accepts connections until `stop`, and then those that wait already.
    pub async fn accept(self, listener: Listener, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => {
                    listener.waiting().into_iter().for_each(|(stream, peer)| self.admit(stream, peer));
                    return Ok(());
                }
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    // Out of descriptors, most likely. What is open goes on; others must wait.
                    self.metrics().connections_ended_total.with_label_values(&["accept_error"]).inc();
                    tracing::debug!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn metrics(&self) -> &EdgeMetrics {
        &self.edge.metrics
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            self.metrics().connections_ended_total.with_label_values(&["too_many"]).inc();
            return;
        };
        let Some(place) = self.per_address.enter(ClientAddress::of(peer.ip())) else {
            self.metrics().connections_ended_total.with_label_values(&["too_many_of_address"]).inc();
            return;
        };
        let server = self.clone();
        self.tracker.spawn(async move {
            server.metrics().connections.inc();
            if let Err(reason) = server.serve(stream, peer).await {
                server.metrics().connections_ended_total.with_label_values(&[reason]).inc();
            }
            server.metrics().connections.dec();
            drop((room, place));
        });
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), &'static str> {
        stream.set_nodelay(true).map_err(|_| "socket")?;
        let deadlines = self.knobs.deadlines;
        let Some(tls) = &self.tls else {
            let mut stream = stream;
            let first = match self.before_let_go(deadlines.first_byte, first_bytes(&mut stream)).await {
                Ok(first) => first,
                Err(reason) => {
                    // Not dropped: something may be on its way, and would be answered by a reset.
                    let _gone_anyway = Guarded::new(stream, Vec::new(), deadlines).shutdown().await;
                    return Err(reason);
                }
            };
            return self.serve_http(Guarded::new(stream, first.bytes, deadlines), first.is_http2, peer).await;
        };
        let stream = self.before_let_go(deadlines.first_byte, tls.accept(stream)).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.serve_http(Guarded::new(stream, Vec::new(), deadlines), is_http2, peer).await
    }

    /// A step at the beginning of a connection, which a drain waits for no longer than for the idle.
    async fn before_let_go<T>(&self, timeout: Duration, step: impl Future<Output = io::Result<T>>) -> Result<T, &'static str> {
        tokio::select! {
            done = tokio::time::timeout(timeout, step) => match done {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(_)) => Err("handshake"),
                Err(_) => Err("first_byte_timeout"),
            },
            () = self.let_go.cancelled() => Err("drained"),
        }
    }

    async fn serve_http<S>(&self, stream: Guarded<S>, is_http2: bool, peer: SocketAddr) -> Result<(), &'static str>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = stream.activity(is_http2);
        let service = service_fn({
            let (edge, activity, is_leaving) = (self.edge.clone(), activity.clone(), self.is_leaving.clone());
            move |request| {
                let (edge, working, is_leaving) = (edge.clone(), Activity::begin(&activity), is_leaving.clone());
                async move {
                    let mut response = service::serve(edge, peer, request).await;
                    // HTTP/2 says it with a frame, once for the connection.
                    if !is_http2 && is_leaving.load(Ordering::Acquire) {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    drop(working);
                    Ok::<_, Infallible>(response)
                }
            }
        });
        let knobs = &self.knobs;
        let io = TokioIo::new(stream);
        let served = if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(knobs.http2_streams_max)
                .max_header_list_size(u32::try_from(knobs.head_max_bytes + HEAD_BYTES_BEYOND).unwrap_or(u32::MAX))
                .keep_alive_interval(Some(Duration::from_secs(20)))
                .keep_alive_timeout(Duration::from_secs(10));
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = self.leaving_used(&activity) => {
                    // Streams are taken until the client has answered that it knows, so none that it opened before is lost.
                    connection.as_mut().graceful_shutdown();
                    // An answer that never comes is not waited for.
                    tokio::select! {
                        served = connection => served,
                        () = activity.rested(knobs.drain_idle) => Ok(()),
                    }
                }
            }
        } else {
            let mut builder = http1::Builder::new();
            // The guard keeps the deadlines: hyper's own would end idle connections as if they were slow.
            builder.header_read_timeout(None).max_headers(knobs.head_fields_max + FIELDS_BEYOND);
            builder.max_header_size(knobs.head_max_bytes + HEAD_BYTES_BEYOND);
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = self.let_go.cancelled() => {
                    // Not hyper's own shutdown: that would also end a connection whose next request is half read.
                    activity.let_go();
                    connection.await
                }
            }
        };
        served.map_err(|error| {
            if activity.timed_out() {
                "timeout"
            } else if error.is_parse() {
                "malformed"
            } else {
                "broken"
            }
        })
    }

    /// Waits until connections are to end and this one has been used. On a new one the goodbye could be there before the first requests,
    /// which many clients send only after they have answered it, and so lose.
    async fn leaving_used(&self, activity: &Activity) {
        self.leaving.cancelled().await;
        tokio::select! {
            () = activity.used() => {}
            () = self.let_go.cancelled() => {}
        }
    }

    /// Ends all connections after what they are doing. `false` when some were still busy after `timeout`.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.is_leaving.store(true, Ordering::Release);
        self.leaving.cancel();
        self.tracker.close();
        let ended = async {
            if tokio::time::timeout(self.knobs.drain_idle, self.tracker.wait()).await.is_err() {
                self.let_go.cancel();
                self.tracker.wait().await;
            }
        };
        tokio::time::timeout(timeout, ended).await.is_ok()
    }
}

struct FirstBytes {
    bytes: Vec<u8>,
    is_http2: bool,
}

/// Reads until it is clear whether the client speaks HTTP/2: at the first byte that differs, or after the whole preface.
async fn first_bytes(stream: &mut TcpStream) -> io::Result<FirstBytes> {
    let mut bytes = vec![0; PREFACE.len()];
    let mut len = 0;
    loop {
        let read = stream.read(&mut bytes[len..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        len += read;
        if bytes[..len] != PREFACE[..len] || len == PREFACE.len() {
            bytes.truncate(len);
            return Ok(FirstBytes { is_http2: bytes == PREFACE, bytes });
        }
    }
}

/// Connections by address.
#[derive(Debug, Clone)]
struct PerAddress {
    open: Arc<Mutex<HashMap<ClientAddress, usize>>>,
    max: usize,
}

/// A connection's place among those of its address.
struct Place {
    address: ClientAddress,
    of: PerAddress,
}

impl PerAddress {
    fn new(max: usize) -> Self {
        Self { open: Arc::default(), max }
    }

    fn enter(&self, address: ClientAddress) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { address, of: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
