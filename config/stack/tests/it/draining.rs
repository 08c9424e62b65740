//! Leaving politely: not ready first, then what was begun is finished, who waits for nothing is let go, and nobody new is taken.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use testkit::http::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::system::{SOON, System, eventually, fulfill, order, order_id_of, until_order_is};

/// The preface of HTTP/2 and an empty SETTINGS frame.
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GOAWAY: u8 = 7;

/// A connection that has made a request, heard the answer and stays open.
async fn idle_http1(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/v1/tax/rates/?country=GB HTTP/1.1\r\nhost: edge\r\n\r\n").await.unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let count = timeout(SOON, stream.read(&mut buffer)).await.expect("an answer in time").unwrap();
        assert!(count > 0, "closed early");
        seen.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length").parse::<usize>().unwrap();
        if body.len() >= length {
            return stream;
        }
    }
}

/// A connection of HTTP/2 on which settings were exchanged and nothing was asked. Its client answers nothing, the goodbye's ping neither.
async fn idle_http2(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(HTTP2_HELLO).await.unwrap();
    let mut head = [0; 9];
    timeout(SOON, stream.read_exact(&mut head)).await.expect("settings in time").unwrap();
    let mut rest = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
    stream.read_exact(&mut rest).await.unwrap();
    stream
}

/// Everything that still comes on a connection until it is closed.
async fn to_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is closed in time").unwrap();
    rest
}

/// The types of the HTTP/2 frames in these bytes.
fn frame_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, ..] = bytes {
        types.push(*kind);
        bytes = &bytes[9 + (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c))..];
    }
    types
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_finished_and_nothing_else_is_begun() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let edge = system.edge().await;
    let (address, health, admin) = (edge.address, edge.health.clone(), edge.admin_address());
    let clients = [edge.client(&key), edge.client_http2(&key)];

    // No worker is there: these wait for four seconds.
    let waiting: Vec<_> = [0, 1, 2, 3]
        .map(|n: usize| {
            let client = clients[n % 2].clone();
            tokio::spawn(async move { fulfill(&client, "demo", &order(&format!("r-{n}"), &[("A", 1)])).await })
        })
        .into();
    let (idle_http1, idle_http2, silent) =
        (idle_http1(address).await, idle_http2(address).await, TcpStream::connect(address).await.unwrap());
    eventually("all four to wait", SOON, async || (edge.metric("edge_fulfill_waiting") == 4.0).then_some(())).await;
    assert_eq!(edge.ready_status().await, 200);

    let began = Instant::now();
    let stopping = tokio::spawn(edge.stop());
    eventually("readiness to end", SOON, async || (!health.is_ready()).then_some(())).await;
    assert_eq!(Client::new(admin, false).get("/readyz").await.unwrap().status, 503, "who looks is told not to come");
    assert_eq!(Client::new(admin, false).get("/healthz").await.unwrap().status, 200);

    assert_eq!(to_the_end(idle_http1).await, b"", "an idle connection is closed without a word");
    assert!(frame_types(&to_the_end(idle_http2).await).contains(&GOAWAY), "HTTP/2 is told to go");
    assert_eq!(to_the_end(silent).await, b"");
    eventually("the door to be closed", SOON, async || TcpStream::connect(address).await.is_err().then_some(())).await;
    let until_closed = began.elapsed();
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "all of this while the four still wait");

    let mut ids = Vec::new();
    for waiting in waiting {
        let answer = waiting.await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        ids.push(order_id_of(&answer));
    }
    timeout(SOON, stopping).await.expect("it ends in time").unwrap();
    println!("drain: idle connections and the door closed after {until_closed:?}, all over after {:?}", began.elapsed());
    assert!(Client::new(admin, false).get("/readyz").await.is_err(), "the admin listener goes last, and has gone");

    // What was promised by the edge that left is kept.
    let (next, _worker) = (system.edge().await, system.worker().await);
    for id in ids {
        until_order_is(&next.client(&key), "demo", &id, "fulfilled").await;
    }
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_edge_that_leaves_breaks_no_answer() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let clients = [edge.client(&key), edge.client_http2(&key)];
    let asking: Vec<_> = (0..16_usize)
        .map(|n| {
            let client = clients[n % 2].clone();
            tokio::spawn(async move {
                let session = json!({ "cart": { "A": 1 }, "currency": "GBP" });
                let mut answered = 0;
                // An error means that the request was not taken: the connection was closed before it was sent, or could not be made.
                while let Ok(answer) = client.post("/api/v1/stores/demo/checkout/session/", &session).await {
                    assert_eq!(answer.status, 201);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    eventually("the edge to be busy", SOON, async || {
        let line = "edge_requests_total{code=\"201\",method=\"POST\",route=\"checkout_session\"}";
        (edge.metric(line) > 500.0).then_some(())
    })
    .await;
    let metrics = edge.metrics();
    edge.stop().await;
    let mut answered = 0;
    for asking in asking {
        answered += timeout(SOON, asking).await.expect("in time").unwrap();
    }
    let page = metrics.encode().unwrap();
    let line = page.lines().find(|line| line.starts_with("edge_requests_total{code=\"201\"")).unwrap();
    let served: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(served, answered, "whatever was served was heard");

    // A worker that leaves while it has nothing to do leaves at once.
    let began = Instant::now();
    worker.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
