//! One connection from its first byte to its last: told apart as HTTP/1.1, HTTP/2 or TLS, and handed to hyper inside a [`Guarded`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use hyper::body::Body as _;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFuture;

use super::Inner;
use super::activity::{Activity, End};
use super::guarded::{Connected, Guarded, PREFACE};
use super::handover::Handover;
use super::tls::Certificate;
use crate::service;

/// So much beyond the bounds of a head it is still read, so that its sender is told in a problem document. Further beyond, the connection
/// ends with a bare 431. Up to 100 fields are parsed without an allocation.
const FIELDS_BEYOND: usize = 36;
const HEAD_BYTES_BEYOND: usize = 16 * 1024;

/// An HTTP/2 client that has sent no request for so long is asked whether it is there, and has so long to answer. One in the middle of a
/// frame cannot: this is how half a frame ends.
const PING_AFTER: Duration = Duration::from_secs(5);
const PONG_WITHIN: Duration = Duration::from_secs(8);
/// The least window that HTTP/2 has for an upload. With a larger one, what nobody wants would be sent all the same.
const WINDOW_MIN_BYTES: usize = 65_535;

/// What the kernel takes from us for one client beyond what it can send. More would be memory for who does not read, and we would not know.
const UNSENT_BYTES: u32 = 16 * 1024;
/// So long after the deadline for writing the kernel gives up on who acknowledges nothing. By then we have told the client, had we known.
const KERNEL_LATER: Duration = Duration::from_secs(2);

/// Why a connection ended, where its client did not end it in order.
pub type Reason = &'static str;

/// Serves a connection in clear.
pub async fn serve(server: Arc<Inner>, mut stream: TcpStream, peer: SocketAddr) -> Result<(), Reason> {
    let accepted = Instant::now();
    let deadlines = server.knobs.deadlines;
    set_up(&stream, deadlines.write)?;
    let first = match before_let_go(&server, deadlines.first_byte, first_bytes(&mut stream)).await {
        Ok(first) => first,
        Err(reason) => {
            // Not dropped: something may be on its way, and would be answered by a reset.
            let _gone_anyway = Guarded::new(stream, Vec::new(), deadlines, accepted, None).shutdown().await;
            return Err(reason);
        }
    };
    if first == PREFACE {
        let stream = Guarded::new(stream, first, deadlines, accepted, Some(server.budget()));
        Box::pin(serve_http2(server, stream, peer)).await
    } else {
        serve_http1(server, Guarded::new(stream, first, deadlines, accepted, None), peer).await
    }
}

/// Serves a connection behind a certificate.
pub async fn serve_tls(server: Arc<Inner>, certificate: Arc<Certificate>, stream: TcpStream, peer: SocketAddr) -> Result<(), Reason> {
    let deadlines = server.knobs.deadlines;
    set_up(&stream, deadlines.write)?;
    let stream = before_let_go(&server, deadlines.first_byte, certificate.acceptor().accept(stream)).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let budget = is_http2.then(|| server.budget());
    let stream = Guarded::new(stream, Vec::new(), deadlines, Instant::now(), budget);
    if is_http2 { Box::pin(serve_http2(server, stream, peer)).await } else { serve_http1(server, stream, peer).await }
}

/// Answers are sent at once, and the kernel does not hold what it cannot send. Not set on the listening socket: who was waiting there before
/// we came would not have it.
fn set_up(stream: &TcpStream, write: Duration) -> Result<(), Reason> {
    let socket = SockRef::from(stream);
    let set = || {
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(write + KERNEL_LATER))
    };
    set().map_err(|_| "socket")
}

/// A step at the beginning of a connection, which a drain waits for no longer than for the idle.
async fn before_let_go<T>(server: &Inner, timeout: Duration, step: impl Future<Output = io::Result<T>>) -> Result<T, Reason> {
    tokio::select! {
        done = tokio::time::timeout(timeout, step) => match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err("handshake"),
            Err(_) => Err("first_byte_timeout"),
        },
        () = server.let_go.cancelled() => Err("drained"),
    }
}

async fn serve_http1<S>(server: Arc<Inner>, mut stream: Guarded<S>, peer: SocketAddr) -> Result<(), Reason>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let activity = stream.activity();
    // Lent to the requests: all connections count their shares of it in one place, which gets crowded.
    let server = &*server;
    let mut service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let working = Activity::begin(&activity, false);
        let activity = &activity;
        async move {
            let (has_body, is_post) = (!request.body().is_end_stream(), request.method() == http::Method::POST);
            let mut response = service::serve(&server.edge, peer, request).await;
            // A POST that went well has read its body; of other bodies nobody knows how much is still to come.
            activity.set_may_rest(!has_body || is_post && response.status().is_success());
            if server.is_leaving.load(Ordering::Acquire) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(working);
            Ok::<_, Infallible>(response)
        }
    });
    let knobs = &server.knobs;
    let mut builder = http1::Builder::new();
    // The guard keeps the deadlines: hyper's own would end idle connections as if they were slow.
    builder.header_read_timeout(None).max_headers(knobs.head_fields_max + FIELDS_BEYOND);
    builder.max_header_size(knobs.head_max_bytes + HEAD_BYTES_BEYOND);
    let cancelled = std::pin::pin!(server.let_go.cancelled());
    let mut let_go = LetGo { cancelled, is_let_go: &server.is_let_go, is_listening: false };
    loop {
        // In a box, as most of the time there is none.
        let mut connection = Box::new(builder.serve_connection(TokioIo::new(stream), service));
        let driven = std::future::poll_fn(|cx| {
            if let Poll::Ready(served) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Driven::Served(served));
            }
            if activity.take_rest() && activity.requests() == 0 {
                return Poll::Ready(Driven::Resting);
            }
            let_go.poll(cx).map(|()| Driven::LetGo)
        });
        match driven.await {
            Driven::Served(served) => return served.map_err(|error| reason(&activity, &error)),
            Driven::LetGo => {
                // Not hyper's own shutdown: that would also end a connection whose next request is half read.
                activity.let_go();
                return connection.await.map_err(|error| reason(&activity, &error));
            }
            Driven::Resting => {}
        }
        let parts = connection.into_parts();
        (stream, service) = (parts.io.into_inner(), parts.service);
        stream.unread(&parts.read_buf);
        drop(parts.read_buf);
        let next = std::future::poll_fn(|cx| {
            let next = stream.poll_next_word(cx);
            if next.is_pending() && !activity.is_let_go() && let_go.poll(cx).is_ready() {
                activity.let_go();
                return stream.poll_next_word(cx);
            }
            next
        });
        match next.await {
            Ok(true) => {}
            Ok(false) => return stream.shutdown().await.map_err(|_| "broken"),
            Err(_) => return Err(activity.ended().map_or("broken", ended)),
        }
    }
}

/// What became of a connection that hyper had.
enum Driven {
    Served(hyper::Result<()>),
    Resting,
    LetGo,
}

/// Says when nobody who is idle is waited for any more. Asking the token takes two locks that all connections share; asked once, it knows
/// whom to wake: the connection's task, and no other.
struct LetGo<'p, 's> {
    cancelled: Pin<&'p mut WaitForCancellationFuture<'s>>,
    is_let_go: &'s AtomicBool,
    is_listening: bool,
}

impl LetGo<'_, '_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.is_listening, true) && !self.is_let_go.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.cancelled.as_mut().poll(cx)
    }
}

async fn serve_http2<S>(server: Arc<Inner>, stream: Guarded<S>, peer: SocketAddr) -> Result<(), Reason>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let activity = stream.activity();
    let service = service_fn({
        let (edge, activity) = (server.edge.clone(), activity.clone());
        move |request: http::Request<hyper::body::Incoming>| {
            let working = Activity::begin(&activity, !request.body().is_end_stream());
            let edge = edge.clone();
            async move {
                let (head, body) = service::serve(&edge, peer, request).await.into_parts();
                Ok::<_, Infallible>(http::Response::from_parts(head, Handover::new(body, working.answered())))
            }
        }
    });
    let knobs = &server.knobs;
    let window = server.edge.knobs.body_max_bytes.max(WINDOW_MIN_BYTES);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(knobs.http2_streams_max)
        .max_header_list_size(u32::try_from(knobs.head_max_bytes + HEAD_BYTES_BEYOND).unwrap_or(u32::MAX))
        .initial_stream_window_size(u32::try_from(window).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(PING_AFTER))
        .keep_alive_timeout(PONG_WITHIN);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = leaving_used(&server, &activity) => {
            // Streams are taken until the client has answered that it knows, so none that it opened before is lost. HTTP/2 says it with
            // a frame, once for the connection.
            connection.as_mut().graceful_shutdown();
            // An answer that never comes is not waited for.
            tokio::select! {
                served = connection => served,
                () = activity.rested(knobs.drain_idle) => Ok(()),
            }
        }
    };
    served.map_err(|error| reason(&activity, &error))
}

fn reason(activity: &Activity, error: &hyper::Error) -> Reason {
    match activity.ended() {
        Some(end) => ended(end),
        None if error.is_timeout() => "timeout",
        None if is_calmed(error) => "flood",
        None if error.is_parse() => "malformed",
        None => "broken",
    }
}

fn ended(end: End) -> Reason {
    match end {
        End::Timeout => "timeout",
        End::Flood => "flood",
    }
}

/// Whether `h2` itself had enough of this client.
fn is_calmed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|source| source.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// Waits until connections are to end and this one has been used. On a new one the goodbye could be there before the first requests,
/// which many clients send only after they have answered it, and so lose.
async fn leaving_used(server: &Inner, activity: &Activity) {
    server.leaving.cancelled().await;
    tokio::select! {
        () = activity.used() => {}
        () = server.let_go.cancelled() => {}
    }
}

/// Reads until it is clear whether the client speaks HTTP/2: at the first byte that differs, or after the whole preface.
async fn first_bytes(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; PREFACE.len()];
    let mut len = 0;
    loop {
        let read = stream.read(&mut bytes[len..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        len += read;
        if bytes[..len] != PREFACE[..len] || len == PREFACE.len() {
            return Ok(bytes[..len].to_vec());
        }
    }
}
