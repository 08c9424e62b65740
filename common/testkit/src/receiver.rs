//! A partner's webhook receiver on loopback: it records what it is sent, and answers well or as badly as it is told to, by path if need be,
//! changing while it runs. It speaks HTTP/1.1 by hand, because a well-bred server cannot be made to misbehave, and is fast for the same
//! reason: one read and one write a request.
//!
//! It runs on the runtime that started it and ends when dropped.

mod answer;
mod certificates;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use answer::{Answer, Behavior};
pub use certificates::{CertificateKind, HOST};

/// What it understands of a request.
const HEADERS_MAX: usize = 64;
const REQUEST_MAX: usize = 1024 * 1024;
/// How fast it drips.
const DRIP: Duration = Duration::from_secs(1);

/// What is kept of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// Everything.
    Whole,
    /// Everything but the body.
    WithoutBodies,
    /// Nothing: requests are only counted.
    Counted,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query, as written.
    pub path: String,
    /// All headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty when bodies are not recorded.
    pub body: Bytes,
    /// When it was there as a whole.
    pub at: Instant,
    /// Which connection it came on, from 1.
    pub connection: u64,
}

impl Received {
    /// The first header of this name; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The receiver. Its connections end with it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    authority_pem: Option<String>,
    shared: Arc<Shared>,
    server: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    behaviors: RwLock<Behaviors>,
    received: Mutex<Vec<Received>>,
    connections: AtomicU64,
    requests: AtomicU64,
    sent: AtomicU64,
    arrived: Notify,
}

#[derive(Debug)]
struct Behaviors {
    recording: Recording,
    everywhere: Behavior,
    /// By path without query.
    at: HashMap<String, Behavior>,
}

impl Receiver {
    /// A receiver on a free port of 127.0.0.1 that records everything.
    pub async fn start(behavior: Behavior) -> Result<Self> {
        Self::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, behavior, None)
    }

    /// The same on every address of this machine, IPv6 included where there is any.
    pub async fn start_on_all_addresses(behavior: Behavior) -> Result<Self> {
        let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("no IPv6 here ({error}): listening on IPv4 only");
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?
            }
        };
        Self::serve(listener, behavior, None)
    }

    /// The same on 127.0.0.1 by TLS, with a certificate for [`HOST`] or one that nobody should accept.
    pub async fn start_tls(behavior: Behavior, certificate: CertificateKind) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::serve(listener, behavior, Some(certificates::make(certificate)?))
    }

    fn serve(listener: TcpListener, behavior: Behavior, certificates: Option<certificates::Made>) -> Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behaviors: RwLock::new(Behaviors { recording: Recording::Whole, everywhere: behavior, at: HashMap::new() }),
            received: Mutex::new(Vec::new()),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            arrived: Notify::new(),
        });
        let (acceptor, authority_pem) = match certificates {
            Some(made) => (Some(made.acceptor), Some(made.authority_pem)),
            None => (None, None),
        };
        let server = tokio::spawn(accept(listener, acceptor, shared.clone())).abort_handle();
        Ok(Self { address, authority_pem, shared, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its URL on 127.0.0.1, by plain HTTP. The path begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    /// The authority that good certificates are checked against, PEM. Only with TLS.
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority_pem.as_deref()
    }

    /// What it does from the next request on, at paths that have nothing of their own.
    pub fn behave(&self, behavior: Behavior) {
        self.shared.behaviors().everywhere = behavior;
    }

    /// What it does from the next request on at this path, whatever the query.
    pub fn behave_at(&self, path: &str, behavior: Behavior) {
        self.shared.behaviors().at.insert(path.to_owned(), behavior);
    }

    /// What is kept from the next request on.
    pub fn record(&self, recording: Recording) {
        self.shared.behaviors().recording = recording;
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Whole requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Bytes of answers that the other side, or the kernel between, has taken so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// What was recorded so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received().clone()
    }

    /// What was recorded since the last time this was asked.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.received())
    }

    /// Resolves when there were so many requests in all.
    pub async fn wait_for_requests(&self, count: u64, within: Duration) -> Result<()> {
        let all = async {
            loop {
                let arrived = self.shared.arrived.notified();
                if self.requests() >= count {
                    return;
                }
                arrived.await;
            }
        };
        ensure!(tokio::time::timeout(within, all).await.is_ok(), "{} of {count} requests came within {within:?}", self.requests());
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn behaviors(&self) -> std::sync::RwLockWriteGuard<'_, Behaviors> {
        self.behaviors.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chosen(&self, path: &str) -> (Recording, Behavior) {
        let behaviors = self.behaviors.read().unwrap_or_else(PoisonError::into_inner);
        let path = path.split('?').next().unwrap_or_default();
        (behaviors.recording, behaviors.at.get(path).unwrap_or(&behaviors.everywhere).clone())
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of files, say: the next turn tells whether that has passed.
                let Ok((stream, _)) = accepted else { tokio::task::yield_now().await; continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                // A broken connection is the other side's business, and what tests look at there.
                let (shared, acceptor) = (shared.clone(), acceptor.clone());
                connections.spawn(async move { drop(converse(stream, acceptor, number, &shared).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, connection: u64, shared: &Shared) -> io::Result<()> {
    if matches!(shared.chosen("").1, Behavior::HangUnread) {
        std::future::pending::<()>().await;
    }
    stream.set_nodelay(true)?;
    let mut wire = match acceptor {
        None => Wire::Plain(stream),
        Some(acceptor) => Wire::Tls(Box::new(acceptor.accept(stream).await?)),
    };
    let mut buffer = BytesMut::with_capacity(8 * 1024);
    while let Some(received) = read_request(&mut wire, &mut buffer, connection, shared).await? {
        if !answer::give(&mut wire, received, &shared.sent).await? {
            break;
        }
    }
    wire.shutdown().await
}

/// The next request, recorded, and what is to be done about it. `None` when the other side has closed.
async fn read_request(wire: &mut Wire, buffer: &mut BytesMut, connection: u64, shared: &Shared) -> io::Result<Option<Behavior>> {
    let (behavior, whole) = loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = request.parse(buffer).map_err(io::Error::other)? {
            let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.map_or(Some(0), |header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
            let whole = length.and_then(|length| head.checked_add(length)).filter(|whole| *whole <= REQUEST_MAX);
            let whole = whole.ok_or_else(|| io::Error::other("a request that is too long"))?;
            if buffer.len() >= whole {
                let path = request.path.unwrap_or_default();
                let (recording, behavior) = shared.chosen(path);
                if recording != Recording::Counted {
                    let text = |header: &httparse::Header<'_>| {
                        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                    };
                    let body = match recording {
                        Recording::Whole => Bytes::copy_from_slice(&buffer[head..whole]),
                        _ => Bytes::new(),
                    };
                    let received = Received {
                        method: request.method.unwrap_or_default().to_owned(),
                        path: path.to_owned(),
                        headers: request.headers.iter().map(text).collect(),
                        body,
                        at: Instant::now(),
                        connection,
                    };
                    shared.received().push(received);
                }
                break (behavior, whole);
            }
        }
        if buffer.len() > REQUEST_MAX {
            return Err(io::Error::other("a request that is too long"));
        }
        if wire.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    buffer.advance(whole);
    shared.requests.fetch_add(1, Ordering::SeqCst);
    shared.arrived.notify_waiters();
    Ok(Some(behavior))
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
