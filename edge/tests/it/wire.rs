//! A client that writes bytes: for everything that a well-behaved HTTP library would not send, or not in pieces. Every wait has a deadline.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use testkit::http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::stage::PATIENCE;

/// A connection and what came over it unread.
pub struct Wire<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a connection"))
    }

    /// From an address of this machine; all of 127.0.0.0/8 are.
    pub async fn connect_from(from: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from.parse::<IpAddr>().expect("an address"), 0)).expect("a loopback address");
        Self::over(socket.connect(address).await.expect("a connection"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_say(bytes).await, "the connection was closed");
    }

    /// `false` when the other side has closed.
    pub async fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("that it is taken").is_ok()
    }

    /// One answer, with its body.
    pub async fn hear(&mut self) -> Response {
        let mut response = self.hear_head().await;
        let len = response.header("content-length").parse().unwrap_or(0);
        while self.unread.len() < len {
            assert!(self.more().await, "the answer broke off: {response:?}");
        }
        response.body = Bytes::from_iter(self.unread.drain(..len));
        response
    }

    /// One answer up to its body: what a HEAD gets.
    pub async fn hear_head(&mut self) -> Response {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more().await, "no answer: {:?}", String::from_utf8_lossy(&self.unread));
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head of text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)).expect("a status line");
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a field");
            headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::try_from(value).expect("a value"));
        }
        Response { status: StatusCode::from_bytes(status.as_bytes()).expect("a status"), headers, body: Bytes::new() }
    }

    /// Says and hears.
    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.say(bytes).await;
        self.hear().await
    }

    /// Waits until the other side ends the connection. What it still says is returned.
    pub async fn ended(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    /// Whether the other side ends the connection within this time.
    pub async fn ended_within(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, async { while self.more().await {} }).await.is_ok()
    }

    /// Waits for the first byte. `true` when the connection ends without one.
    pub async fn silent(&mut self) -> bool {
        self.unread.is_empty() && !self.more().await
    }

    /// Reads on. `false` at the end, clean or not.
    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        read.expect("an answer or an end in time").is_ok_and(|read| read > 0)
    }
}

/// A GET as HTTP/1.1 wants it, with these lines on top.
pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: pay.example\r\n{lines}\r\n")
}

/// A POST of JSON.
pub fn post(path: &str, key: &str, lines: &str, body: &str) -> String {
    let head = format!("host: pay.example\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{lines}");
    format!("POST {path} HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{body}", body.len())
}
