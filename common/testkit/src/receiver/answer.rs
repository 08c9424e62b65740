//! What a receiver does when it has read a request: the good answers, rendered once, and the bad manners.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{DRIP, Wire};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Behavior {
    /// An answer; the connection stays open for more.
    Answer(Answer),
    /// An answer after so long.
    AnswerAfter(Duration, Answer),
    /// Read, and never answered.
    Hang,
    /// Connections are accepted and nothing is read. Only for the receiver as a whole, and for connections that come from then on.
    HangUnread,
    /// Read, then the connection is reset.
    Reset,
    /// Read, then the connection is closed.
    Close,
    /// An answer, a byte a second from the first one on.
    DripHead,
    /// The head of an answer 200 at once, and a byte of its body a second.
    DripBody,
    /// 200 with a body of so many bytes, as fast as they are taken.
    Flood(u64),
    /// 200 with so many headers.
    Headers(usize),
    /// 200 with one header of so many bytes.
    LongHeader(usize),
    /// `100 Continue` without end.
    Interim,
    /// Exactly these bytes, then the connection is closed.
    Raw(Bytes),
}

impl Behavior {
    /// A plain answer of this status, with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer::new(status, &[], b""))
    }
}

/// An answer, rendered.
#[derive(Debug, Clone)]
pub struct Answer {
    rendered: Bytes,
    keep_alive: bool,
}

impl Answer {
    /// An answer with these headers, `Content-Length` added. `Connection: close` among them is kept.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let keep_alive =
            !headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close"));
        Self { rendered: [head.as_bytes(), body].concat().into(), keep_alive }
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, &[("location", location)], b"")
    }

    /// 200 with a gzip body of 48 KB that is 7.8 MB of zeros when decompressed.
    pub fn gzip_bomb() -> Self {
        Self::new(200, &[("content-encoding", "gzip"), ("content-type", "application/json")], &gzip_bomb(30_000))
    }
}

/// One zero, then `repeats` times the same 258 more: deflate's longest match, in its fixed code. The check sum is wrong, which is known only
/// to whoever has decompressed it all.
fn gzip_bomb(repeats: usize) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut pending, mut filled) = (0_u8, 0);
    let mut push = |bits: &str| {
        for bit in bits.bytes() {
            pending |= (bit - b'0') << filled;
            filled += 1;
            if filled == 8 {
                bytes.push(std::mem::take(&mut pending));
                filled = 0;
            }
        }
    };
    // Last block, fixed code; the literal 0.
    push("110");
    push("00110000");
    for _ in 0..repeats {
        // Length 258, distance 1.
        push("11000101");
        push("00000");
    }
    // End of block, then up to a byte's boundary.
    push("0000000");
    push("0000000");
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

/// Does what is to be done; whether the connection is good for another request.
pub(super) async fn give(wire: &mut Wire, behavior: Behavior, sent: &AtomicU64) -> io::Result<bool> {
    match behavior {
        Behavior::Answer(answer) => {
            send(wire, &answer.rendered, sent).await?;
            Ok(answer.keep_alive)
        }
        Behavior::AnswerAfter(wait, answer) => {
            tokio::time::sleep(wait).await;
            send(wire, &answer.rendered, sent).await?;
            Ok(answer.keep_alive)
        }
        Behavior::Hang | Behavior::HangUnread => std::future::pending().await,
        Behavior::Reset => {
            rustix::net::sockopt::set_socket_linger(wire.tcp(), Some(Duration::ZERO))?;
            // With no time to linger, closing resets.
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Behavior::Close => Ok(false),
        Behavior::DripHead => drip(wire, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", sent).await,
        Behavior::DripBody => {
            send(wire, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", sent).await?;
            drip(wire, b"xxxxxxxxxx".repeat(100).as_slice(), sent).await
        }
        Behavior::Flood(length) => {
            send(wire, format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes(), sent).await?;
            let chunk = vec![b'x'; 16 * 1024];
            let mut left = length;
            while left > 0 {
                let now = left.min(chunk.len() as u64);
                send(wire, &chunk[..now as usize], sent).await?;
                left -= now;
            }
            Ok(true)
        }
        Behavior::Headers(count) => {
            send(wire, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", sent).await?;
            for number in 0..count {
                send(wire, format!("x-{number}: y\r\n").as_bytes(), sent).await?;
            }
            send(wire, b"\r\n", sent).await?;
            Ok(true)
        }
        Behavior::LongHeader(length) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-long: {}\r\n\r\n", "y".repeat(length));
            send(wire, head.as_bytes(), sent).await?;
            Ok(true)
        }
        Behavior::Interim => loop {
            send(wire, &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100), sent).await?;
        },
        Behavior::Raw(bytes) => {
            send(wire, &bytes, sent).await?;
            Ok(false)
        }
    }
}

async fn drip(wire: &mut Wire, bytes: &[u8], sent: &AtomicU64) -> io::Result<bool> {
    for byte in bytes {
        send(wire, &[*byte], sent).await?;
        tokio::time::sleep(DRIP).await;
    }
    Ok(true)
}

async fn send(wire: &mut Wire, bytes: &[u8], sent: &AtomicU64) -> io::Result<()> {
    wire.write_all(bytes).await?;
    wire.flush().await?;
    sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    Ok(())
}
