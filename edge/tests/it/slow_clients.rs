//! Clients that take their time, against the deadlines that an edge has when nobody sets them: every one of them is ended within 15 seconds,
//! whether it is slow to begin, to ask, to send a body or to take the answer.

mod slowhttptest;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::http2_floods::frames::{self, HEADERS, HELLO, PING, WINDOW_UPDATE, frame};
use crate::protocols::{connect_tls, tls_backstage};
use crate::stage::{GEO, PATIENCE, SESSION, Stage, until};
use crate::wire::{Wire, get, post};

const ENDED_WITHIN: Duration = Duration::from_secs(15);
/// These have no room left for the packet that would tell them. They hear of it when they send something.
const UNTOLD: [&str; 2] = ["a large answer not read", "a large answer read slowly"];
const LARGE: &str = "/api/v1/openapi.json";

/// How a client takes what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    All,
    Nothing,
    /// Five bytes a second.
    Slowly,
    /// All of it, and answers pings.
    Http2,
}

struct Slow {
    name: &'static str,
    /// What it says at once.
    opening: Vec<u8>,
    /// What it says afterwards, a piece at a time.
    drops: Vec<Vec<u8>>,
    every: Duration,
    reads: Reads,
    /// The smallest receive buffer that the system knows.
    small_buffer: bool,
}

impl Slow {
    fn new(name: &'static str, opening: impl Into<Vec<u8>>) -> Self {
        Self { name, opening: opening.into(), drops: Vec::new(), every: Duration::ZERO, reads: Reads::All, small_buffer: false }
    }

    fn drops(mut self, every_ms: u64, drops: impl IntoIterator<Item = Vec<u8>>) -> Self {
        (self.every, self.drops) = (Duration::from_millis(every_ms), drops.into_iter().collect());
        self
    }

    fn reads(mut self, reads: Reads, small_buffer: bool) -> Self {
        (self.reads, self.small_buffer) = (reads, small_buffer);
        self
    }
}

fn bytes(text: &str) -> Vec<Vec<u8>> {
    text.bytes().map(|byte| vec![byte]).collect()
}

fn slow_clients(key: &str) -> Vec<Slow> {
    let (whole, long) = (get(GEO, &format!("x: {}\r\n", "y".repeat(1_000))), " ".repeat(1_000));
    let body = post(SESSION, key, "", &long);
    let head_of_body = &body[..body.len() - long.len()];
    let chunked = head_of_body.replace("content-length: 1000", "transfer-encoding: chunked");
    let endless = frame(HEADERS, 0, 1, &frames::get_fields(GEO));
    let half_frame = [HELLO, &[0, 0x40, 0, HEADERS, 5, 0, 0, 0, 1]].concat();
    let no_window = |count: u32| [HELLO.to_vec(), frames::no_window(), (0..count).flat_map(|n| frames::get(1 + 2 * n, LARGE)).collect()];
    let window = vec![frame(WINDOW_UPDATE, 0, 1, &5_u32.to_be_bytes()); 100];
    vec![
        Slow::new("silent", ""),
        Slow::new("half a preface", "PRI * HTTP/2.0\r\n\r\nSM"),
        Slow::new("a preface in drops", "").drops(1_000, bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        Slow::new("one byte", "G"),
        Slow::new("half a head", "GET / HTTP/1.1\r\nhost: x\r\n"),
        Slow::new("a head, one byte each 9 s", "").drops(9_000, bytes(&whole)),
        Slow::new("a head, ten bytes a second", "").drops(100, bytes(&whole)),
        Slow::new("a second head, ten bytes a second", get(GEO, "")).drops(100, bytes(&whole)),
        Slow::new("empty lines", "").drops(100, vec![b"\r\n".to_vec(); 1_000]),
        Slow::new("no body", head_of_body),
        Slow::new("a body in drops", head_of_body).drops(100, bytes(&long)),
        Slow::new("chunks in drops", chunked).drops(100, vec![b"1\r\n \r\n".to_vec(); 1_000]),
        Slow::new("a large answer not read", get(LARGE, "")).reads(Reads::Nothing, true),
        Slow::new("a large answer read slowly", get(LARGE, "")).reads(Reads::Slowly, true),
        Slow::new("many answers not read", get(LARGE, "").repeat(200)).reads(Reads::Nothing, false),
        Slow::new("many answers read slowly", get(LARGE, "").repeat(200)).reads(Reads::Slowly, false),
        Slow::new("HTTP/2, only a preface", &HELLO[..24]),
        Slow::new("HTTP/2, half of the settings", &HELLO[..30]),
        Slow::new("HTTP/2, a head without end", [HELLO, &endless].concat()).reads(Reads::Http2, false),
        Slow::new("HTTP/2, half a frame", half_frame.clone()).reads(Reads::All, false),
        Slow::new("HTTP/2, a frame in drops", half_frame).drops(500, vec![vec![0x82]; 1_000]),
        Slow::new("HTTP/2, pings not answered", [HELLO, &frames::get(1, GEO)].concat()),
        Slow::new("HTTP/2, no window for the answers", no_window(3).concat()).reads(Reads::Http2, false),
        Slow::new("HTTP/2, five bytes of window a second", no_window(1).concat()).drops(1_000, window).reads(Reads::Http2, false),
        Slow::new("HTTP/2, answers not read", [HELLO.to_vec(), (0..60).flat_map(|n| frames::get(1 + 2 * n, LARGE)).collect()].concat())
            .reads(Reads::Nothing, true),
    ]
}

/// Connects, is slow, and tells after how long it was ended, if it hears of it.
async fn ended(address: SocketAddr, slow: Slow) -> Option<Duration> {
    let began = Instant::now();
    let socket = TcpSocket::new_v4().expect("a socket");
    if slow.small_buffer {
        socket.set_recv_buffer_size(1_024).expect("a buffer");
    }
    let mut stream = socket.connect(address).await.expect("a connection");
    stream.write_all(&slow.opening).await.expect("an opening");
    let mut heard = Vec::new();
    let mut drops = slow.drops.into_iter();
    let (mut next_drop, mut next_read) = (Instant::now() + slow.every, Instant::now());
    let ending = async {
        loop {
            // Whoever does not read hears of a reset all the same.
            if stream.take_error().expect("a socket").is_some() {
                return;
            }
            if next_drop <= Instant::now() {
                next_drop += slow.every.max(Duration::from_millis(10));
                if let Some(drop) = drops.next()
                    && stream.write_all(&drop).await.is_err()
                {
                    return;
                }
            }
            let pause = Duration::from_millis(20);
            let mut few = [0; 5];
            let read = match slow.reads {
                Reads::Nothing => None,
                Reads::Slowly if next_read > Instant::now() => None,
                Reads::Slowly => {
                    next_read += Duration::from_secs(1);
                    timeout(pause, stream.read(&mut few)).await.ok()
                }
                Reads::All | Reads::Http2 => timeout(pause, stream.read_buf(&mut heard)).await.ok(),
            };
            match read {
                None => sleep(pause).await,
                Some(Ok(1..)) => {}
                Some(_) => return,
            }
            if slow.reads == Reads::Http2 {
                for (kind, _, payload) in frames::take(&mut heard) {
                    // A middle of a frame would be no place for a ping, but this client does not care.
                    if kind == PING && stream.write_all(&frame(PING, 1, 0, &payload)).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    timeout(ENDED_WITHIN + Duration::from_secs(5), ending).await.ok().map(|()| began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_slow_is_ended_within_fifteen_seconds() {
    let stage = Stage::new().await;
    // Connections wait until it serves. This one stays.
    let anyone = stage.anyone();
    assert_eq!(anyone.get(GEO).await.unwrap().status, 200);
    let clients = slow_clients(&stage.key).into_iter().map(|slow| {
        let (name, address) = (slow.name, stage.address);
        async move { (name, tokio::spawn(ended(address, slow)).await.expect("a client")) }
    });
    let open = || stage.running.edge.metrics.connections.get();
    let began = Instant::now();
    let gone = async {
        until("their connections", async || open() > 20).await;
        until("the end of all", async || open() <= 1).await;
        began.elapsed()
    };
    let (clients, gone) = tokio::join!(futures_util::future::join_all(clients), gone);
    let mut late = Vec::new();
    for (name, after) in clients {
        println!("{name}: {after:?}");
        if after.is_none_or(|after| after > ENDED_WITHIN) && !UNTOLD.contains(&name) {
            late.push(name);
        }
    }
    println!("nobody left after {gone:?}");
    assert_eq!(late, Vec::<&str>::new());
    assert!(gone < ENDED_WITHIN, "{gone:?}");
}

/// An answer so small that the kernel takes it whole: the edge is done with it, and the client cannot be told.
#[tokio::test]
async fn the_kernel_gives_up_on_answers_that_it_cannot_send() {
    let stage = Stage::new().await;
    let mut first = Wire::connect(stage.address).await;
    assert_eq!(first.ask(get(GEO, "connection: close\r\n")).await.status, 200);
    assert!(first.ended().await.is_empty());
    drop(first);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1_024).unwrap();
    let mut stream = socket.connect(stage.address).await.unwrap();
    stream.write_all(get(GEO, "").as_bytes()).await.unwrap();
    let open = || stage.running.edge.metrics.connections.get();
    let began = Instant::now();
    until("an open connection", async || open() == 1).await;
    until("its end", async || open() == 0).await;
    assert!(began.elapsed() < ENDED_WITHIN, "{:?}", began.elapsed());
    drop(stream);
}

#[tokio::test]
async fn a_slow_body_on_http2_costs_its_request_and_no_other() {
    let stage = Stage::new().await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let began = Instant::now();
    stream.write_all(&[HELLO.to_vec(), frames::post(1, SESSION, &stage.key), frame(frames::DATA, 0, 1, b"{")].concat()).await.unwrap();
    let mut answered = Vec::new();
    let mut heard = Vec::new();
    // The end of the first stream, and then the answer on the second.
    while answered.last() != Some(&3) {
        let read = timeout(PATIENCE, stream.read_buf(&mut heard)).await.expect("an answer in time").expect("a connection");
        assert!(read > 0);
        for (kind, on, payload) in frames::take(&mut heard) {
            match kind {
                PING => stream.write_all(&frame(PING, 1, 0, &payload)).await.unwrap(),
                frames::DATA if !answered.contains(&on) => {
                    answered.push(on);
                    assert_eq!(String::from_utf8_lossy(&payload).contains("request_timeout"), on == 1);
                    stream.write_all(&frames::get(3, GEO)).await.unwrap();
                }
                _ => {}
            }
        }
    }
    assert!(began.elapsed() < ENDED_WITHIN);
}

async fn ended_tls<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, opening: &[u8]) -> Duration {
    let began = Instant::now();
    stream.write_all(opening).await.expect("an opening");
    let mut heard = Vec::new();
    let hearing = async { while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, hearing).await.expect("an end");
    began.elapsed()
}

#[tokio::test]
async fn whoever_is_slow_behind_a_certificate_is_ended_too() {
    let (backstage, certificate, _folder) = tls_backstage().await;
    let stage = backstage.set("EDGE__FIRST_BYTE_TIMEOUT_MS", "10000").start().await;
    let clear = async || TcpStream::connect(stage.address).await.expect("a connection");
    // A record that says that 200 bytes of a handshake follow, and the first of them.
    let half_hello = [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    let (http1, http2) = (connect_tls(&stage, &certificate, &["http/1.1"]).await, connect_tls(&stage, &certificate, &["h2"]).await);
    let half_head = connect_tls(&stage, &certificate, &["http/1.1"]).await;
    let half_preface = connect_tls(&stage, &certificate, &["h2"]).await;
    let ends = tokio::join!(
        ended_tls(clear().await, b""),
        ended_tls(clear().await, &half_hello),
        ended_tls(http1, b""),
        ended_tls(http2, b""),
        ended_tls(half_head, b"GET / HTTP/1.1\r\n"),
        ended_tls(half_preface, &HELLO[..10]),
    );
    let ends = [ends.0, ends.1, ends.2, ends.3, ends.4, ends.5];
    println!("{ends:?}");
    assert!(ends.iter().all(|after| *after < ENDED_WITHIN), "{ends:?}");
}
