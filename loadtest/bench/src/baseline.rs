//! What the edge is compared with: the leanest hyper there is. One thread, HTTP/1.1, no deadlines, no limits, nothing looked at. It reads the
//! same POST and answers as many bytes. Built in the same profile and with the same allocator as the edge.

use std::convert::Infallible;
use std::net::TcpListener;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use listenfd::ListenFd;

/// What hyper's own lines of an answer take: the status line, `content-length` with four digits, `date`, and the empty line.
const OWN_HEAD_BYTES: usize = "HTTP/1.1 201 Created\r\ncontent-length: 1234\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\r\n".len();
/// What a header takes besides its value.
const PADDING_BYTES: usize = "x: \r\n".len();

/// How long its answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerSize {
    /// Status line and headers, to the empty line.
    pub head_bytes: usize,
    /// What follows.
    pub body_bytes: usize,
}

/// The listening socket that `LISTEN_FDS` speaks of. Changes the environment, so only before there are threads.
pub fn inherited() -> Result<TcpListener> {
    ListenFd::from_env().take_tcp_listener(0)?.context("the baseline is started by the bench, which hands it a listening socket")
}

/// Serves until the process ends.
pub fn serve(listener: TcpListener, size: AnswerSize) -> Result<()> {
    let padding_bytes = size.head_bytes.saturating_sub(OWN_HEAD_BYTES + PADDING_BYTES);
    let padding = HeaderValue::from_maybe_shared(Bytes::from(vec![b'x'; padding_bytes]))?;
    let body = Bytes::from(vec![b'x'; size.body_bytes]);
    let service = service_fn(move |request| answer(request, padding.clone(), body.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
            // A client that goes is no business of ours; whoever misses an answer says so.
            tokio::spawn(async move { drop(serving.await) });
        }
    })
}

async fn answer(mut request: Request<Incoming>, padding: HeaderValue, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut taken = 0;
    while let Some(Ok(frame)) = request.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len);
    }
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = if taken > 0 { StatusCode::CREATED } else { StatusCode::BAD_REQUEST };
    response.headers_mut().insert(HeaderName::from_static("x"), padding);
    Ok(response)
}
