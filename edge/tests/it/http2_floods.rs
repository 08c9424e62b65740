//! HTTP/2 clients that only make work: each is ended within a second, memory stays as it is, and a good client notices nothing. And good
//! clients that look a little like them: they are not ended.
//!
//! The edge is a process of its own. Its memory is what is resident, seen every few milliseconds while the attack lasts.

pub mod frames;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use testkit::http::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::edge_process::{EdgeProcess, GoodClient};
use crate::stage::{Backstage, GEO, PATIENCE, SESSION, session};
use frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, HELLO, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, frame, frames, get,
    get_fields, no_window, post, reset,
};

/// From the first bytes of a flood to the end of its connection.
const ENDED_WITHIN: Duration = Duration::from_secs(1);
/// Of one kind, at the same time.
const ATTACKERS: usize = 16;
/// What the attackers' connections and the noise of an allocator may take.
const GROWTH_MAX_BYTES: u64 = 12 << 20;
const LARGE: &str = "/api/v1/openapi.json";

/// A client that floods.
struct Attack {
    name: &'static str,
    /// What it says first.
    opening: Vec<u8>,
    /// What it says then, again and again; gets the number of the round.
    round: Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
    /// What it says after each round, and when: a reset that comes at once is another attack than one that comes when work has begun.
    then: Option<Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>>,
    /// Whether it reads what it is told.
    reads: bool,
}

impl Attack {
    fn new(name: &'static str, opening: impl Into<Vec<u8>>, round: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { name, opening: opening.into(), round: Box::new(round), then: None, reads: true }
    }

    fn then(mut self, then: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.then = Some(Box::new(then));
        self
    }

    fn without_reading(mut self) -> Self {
        self.reads = false;
        self
    }
}

/// The streams of a round that opens `count` of them.
fn streams(round: u32, count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |n| 1 + 2 * (round * count + n))
}

fn attacks(key: &str) -> Vec<Attack> {
    let ping = || frame(PING, 0, 0, b"flooding").repeat(100);
    let opened = [get(1, GEO), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7])].concat();
    // One entry that fills the table, and then a byte for each time that it is meant.
    let bomb_entry = [get_fields(GEO), [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e], &[b'y'; 4_000][..]].concat()].concat();
    let bomb = [get_fields(GEO), vec![0xbe; 16_000]].concat();
    let (half, unwanted, body) = (key.to_owned(), key.to_owned(), key.to_owned());
    vec![
        Attack::new("rapid reset", HELLO, |n| streams(n, 50).flat_map(|stream| [get(stream, GEO), reset(stream)].concat()).collect()),
        Attack::new("reset of work that has begun", HELLO, move |n| {
            streams(n, 50).flat_map(|stream| post(stream, SESSION, &half)).collect()
        })
        .then(|n| streams(n, 50).flat_map(reset).collect()),
        Attack::new("reset of bodies that are half sent", HELLO, move |n| {
            let half = frame(DATA, 0, 1, &[b' '; 1_000]);
            let half = |stream: u32| [&half[..5], &stream.to_be_bytes(), &half[9..]].concat();
            streams(n, 20).flat_map(|stream| [post(stream, SESSION, &body), half(stream)].concat()).collect()
        })
        .then(|n| streams(n, 20).flat_map(reset).collect()),
        Attack::new("CONTINUATION", [HELLO, &frame(HEADERS, END_STREAM, 1, &get_fields(GEO))].concat(), |_| {
            frame(CONTINUATION, 0, 1, &[0x40, 1, b'x', 1, b'y'].repeat(100))
        }),
        Attack::new("CONTINUATION without a field", [HELLO, &frame(HEADERS, END_STREAM, 1, &get_fields(GEO))].concat(), |_| {
            frame(CONTINUATION, 0, 1, b"").repeat(100)
        }),
        Attack::new("empty DATA", [HELLO, &post(1, SESSION, &unwanted)].concat(), |_| frame(DATA, 0, 1, b"").repeat(100)),
        Attack::new("PING", HELLO, move |_| ping()),
        Attack::new("PING, answers unread", HELLO, move |_| ping()).without_reading(),
        Attack::new("SETTINGS", HELLO, |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100)),
        Attack::new("no window, ever more streams", [HELLO, &no_window()].concat(), |n| {
            streams(n, 50).flat_map(|stream| get(stream, LARGE)).collect()
        }),
        Attack::new("no window, streams given up and opened again", [HELLO, &no_window()].concat(), |n| {
            streams(n, 50).flat_map(|stream| get(stream, LARGE)).collect()
        })
        .then(|n| streams(n, 50).flat_map(reset).collect()),
        Attack::new("HPACK bomb", [HELLO, &frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb_entry)].concat(), move |n| {
            frame(HEADERS, END_STREAM | END_HEADERS, 3 + 2 * n, &bomb)
        }),
        Attack::new("WINDOW_UPDATE", HELLO, |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(100)),
        Attack::new("PRIORITY", [HELLO, &opened].concat(), |_| frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 7]).repeat(100)),
        Attack::new("frames of no known kind", HELLO, |_| frame(0xbb, 0, 0, b"flooding").repeat(100)),
        Attack::new("frames of no known kind in pieces", HELLO, |_| frame(0xbb, 0, 0, &[0; 16_000])),
    ]
}

/// How it ended.
#[derive(Debug)]
struct Ended {
    after: Duration,
    sent_bytes: usize,
    /// The error code that the edge said goodbye with.
    goodbye: Option<u32>,
}

/// Floods until the connection ends.
async fn flood(edge: &EdgeProcess, attack: &Attack) -> Ended {
    let mut stream = TcpStream::connect(edge.address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.write_all(&attack.opening).await.expect("an opening");
    let (mut read, mut write) = stream.split();
    let began = Instant::now();
    let mut heard = Vec::new();
    let hearing = async {
        if !attack.reads {
            std::future::pending::<()>().await;
        }
        while read.read_buf(&mut heard).await.is_ok_and(|count| count > 0) {}
    };
    let saying = async {
        let mut sent_bytes = 0;
        for n in 0.. {
            for say in [Some(&attack.round), attack.then.as_ref()].into_iter().flatten() {
                let bytes = say(n);
                if write.write_all(&bytes).await.is_err() {
                    return sent_bytes;
                }
                sent_bytes += bytes.len();
                if attack.then.is_some() {
                    sleep(Duration::from_millis(4)).await;
                }
            }
        }
        sent_bytes
    };
    let both = async {
        tokio::select! {
            () = hearing => 0,
            sent_bytes = saying => sent_bytes,
        }
    };
    // One that goes on and on is late enough by then.
    let sent_bytes = timeout(3 * ENDED_WITHIN, both).await.unwrap_or(usize::MAX);
    let after = began.elapsed();
    let goodbye = frames(&heard).iter().rev().find(|(kind, ..)| *kind == GOAWAY).and_then(|(_, _, payload)| {
        let code = payload.get(4..8)?;
        Some(u32::from_be_bytes(code.try_into().ok()?))
    });
    Ended { after, sent_bytes, goodbye }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_floods_is_ended_within_a_second_and_nobody_else_notices() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let edge = EdgeProcess::start(&backstage.settings).await;
    let good = GoodClient::start(edge.address, Duration::from_millis(5)).await;
    // What a process takes once and keeps is taken before.
    for attack in &attacks(&backstage.key) {
        flood(&edge, attack).await;
    }
    let mut failures = Vec::new();
    for attack in &attacks(&backstage.key) {
        let before = edge.usage().resident_bytes;
        let attackers = futures_util::future::join_all((0..ATTACKERS).map(|_| flood(&edge, attack)));
        let mut attackers = std::pin::pin!(attackers);
        let mut peak = before;
        let ended = loop {
            tokio::select! {
                ended = attackers.as_mut() => break ended,
                () = sleep(Duration::from_millis(2)) => peak = peak.max(edge.usage().resident_bytes),
            }
        };
        let grown = peak.max(edge.usage().resident_bytes) - before;
        let slowest = ended.iter().max_by_key(|ended| ended.after).expect("attackers");
        let Ended { after, sent_bytes, goodbye } = slowest;
        println!(
            "{}: memory +{} KiB; {ATTACKERS} ended within {after:?}, {sent_bytes} bytes sent, goodbye {goodbye:?}",
            attack.name,
            grown / 1024
        );
        if slowest.after > ENDED_WITHIN || grown > GROWTH_MAX_BYTES {
            failures.push(attack.name);
        }
    }
    let (answers, slowest) = good.stop().await;
    println!("good client: {answers} answers, slowest {slowest:?}");
    for reason in ["flood", "timeout", "malformed", "broken"] {
        println!("{reason}: {}", edge.metric(&format!("edge_connections_ended_total{{reason=\"{reason}\"}}")).await);
    }
    assert_eq!(failures, Vec::<&str>::new());
    assert!(answers > 50 && slowest < Duration::from_secs(1), "{answers} {slowest:?}");
}

/// A session's body of exactly this length.
fn body(len: usize) -> String {
    let body = session().to_string();
    body.clone() + &" ".repeat(len - body.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_large_uploads_at_once_are_no_flood() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let edge = EdgeProcess::start(&backstage.settings).await;
    let client = Client::new(edge.address, true);
    let post = async |key: &str, len: usize| {
        let json = [("content-type", "application/json")];
        client.with_key(key).send(Method::POST, SESSION, &json, Bytes::from(body(len))).await.expect("an answer").status.as_u16()
    };
    // Good ones; ones that are refused before their bodies have come; and ones whose bodies are refused.
    for (key, len, status) in [(&*backstage.key, 65_536, 201), ("nobody", 65_536, 401), (&*backstage.key, 300_000, 413)] {
        for _ in 0..3 {
            let answers = futures_util::future::join_all((0..100).map(|_| post(key, len))).await;
            assert!(answers.iter().all(|answer| *answer == status), "{status}: {answers:?}");
        }
    }
    assert_eq!(edge.metric("edge_connections_ended_total{reason=\"flood\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_frames_many_requests_and_a_ping_now_and_then_are_no_flood() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let edge = EdgeProcess::start(&backstage.settings).await;
    let mut stream = TcpStream::connect(edge.address).await.expect("a connection");
    stream.write_all(HELLO).await.expect("a hello");
    let mut heard = Vec::new();
    // Until it is told, a client may send only 64 KiB for all streams together.
    while !frames(&heard).iter().any(|(kind, stream, _)| (*kind, *stream) == (WINDOW_UPDATE, 0)) {
        assert!(timeout(PATIENCE, stream.read_buf(&mut heard)).await.expect("a window in time").is_ok_and(|read| read > 0));
    }
    for round in 0..20 {
        let mut bytes = Vec::new();
        let streams: Vec<u32> = streams(round, 8).collect();
        for &stream in &streams {
            bytes.extend(post(stream, SESSION, &backstage.key));
        }
        // All of them at the same time, in pieces of 64 bytes.
        for (n, piece) in body(16_384).as_bytes().chunks(64).enumerate() {
            let flags = if n == 255 { END_STREAM } else { 0 };
            streams.iter().for_each(|&stream| bytes.extend(frame(DATA, flags, stream, piece)));
        }
        bytes.extend(frame(PING, 0, 0, b"stillup?"));
        stream.write_all(&bytes).await.expect("an upload");
        let answered = |heard: &[u8]| {
            let ends = frames(heard).into_iter().filter(|(kind, ..)| *kind == DATA).map(|(_, stream, _)| stream).collect::<Vec<_>>();
            streams.iter().all(|stream| ends.contains(stream))
        };
        while !answered(&heard) {
            let read = timeout(PATIENCE, stream.read_buf(&mut heard)).await.expect("an answer in time");
            assert!(read.is_ok_and(|read| read > 0), "ended in round {round}");
        }
        stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &16_384_u32.to_be_bytes())).await.expect("a window");
        heard.clear();
    }
    assert_eq!(edge.metric("edge_requests_total{code=\"201\",method=\"POST\",route=\"checkout_session\"}").await, 160.0);
}
