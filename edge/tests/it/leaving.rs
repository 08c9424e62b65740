//! An edge that leaves, seen from its clients' sockets: requests that are on their way are answered, and no connection ends in a reset.

use std::net::SocketAddr;
use std::time::Duration;

use edge::server::listener::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::protocols::{connect_tls, tls_backstage};
use crate::stage::{Backstage, GEO, PATIENCE, Stage};
use crate::wire::{Wire, get};

/// Long enough to do something in it, short enough to wait for its end.
const GRACE_MS: &str = "700";

/// An edge that accepts connections already.
async fn stage() -> Stage {
    let stage = Backstage::new().await.unlimited_addresses().set("EDGE__DRAIN_IDLE_MS", GRACE_MS).start().await;
    assert_eq!(stage.anyone().get(GEO).await.unwrap().status, 200);
    stage
}

/// Begins to stop and returns once nobody is accepted any more.
async fn leave(stage: Stage) -> JoinHandle<()> {
    let address = stage.address;
    let stopping = tokio::spawn(stage.running.stop(PATIENCE));
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the door to be closed");
    stopping
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Everything that still comes. A reset fails the test.
async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end in time").expect("an end, not a reset");
    String::from_utf8(rest).expect("text")
}

/// How many answers these are, all of them good.
fn answers(text: &str) -> usize {
    let count = text.matches("HTTP/1.1 ").count();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), count, "{text}");
    count
}

#[tokio::test]
async fn who_is_idle_may_ask_once_more_and_is_told_to_go() {
    let stage = stage().await;
    let (mut used, mut fresh) = (Wire::connect(stage.address).await, Wire::connect(stage.address).await);
    let answer = used.ask(get(GEO, "")).await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, ""));
    let stopping = leave(stage).await;
    for wire in [&mut used, &mut fresh] {
        let answer = wire.ask(get(GEO, "")).await;
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
        assert!(wire.ended().await.is_empty());
    }
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn who_stays_idle_is_let_go_without_a_reset() {
    let stage = stage().await;
    let (mut silent, mut used) = (connect(stage.address).await, connect(stage.address).await);
    used.write_all(get(GEO, "").as_bytes()).await.unwrap();
    let mut buffer = [0; 16_384];
    let read = timeout(PATIENCE, used.read(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(answers(std::str::from_utf8(&buffer[..read]).unwrap()), 1);
    let stopping = leave(stage).await;
    for stream in [&mut silent, &mut used] {
        assert_eq!(to_the_end(stream).await, "", "closed without a word");
        // What crossed the close is not answered, and not with a reset either.
        for _ in 0..2 {
            // After a reset the second of these would fail.
            stream.write_all(get(GEO, "").as_bytes()).await.expect("a connection that is half open");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(to_the_end(stream).await, "");
    }
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn a_head_that_is_half_said_is_waited_for() {
    let stage = stage().await;
    let (mut first, mut second) = (Wire::connect(stage.address).await, Wire::connect(stage.address).await);
    // A connection's first request and its second.
    assert_eq!(second.ask(get(GEO, "")).await.status, 200);
    let request = get(GEO, "");
    let (begin, end) = request.split_at(20);
    for wire in [&mut first, &mut second] {
        wire.say(begin).await;
    }
    let stopping = leave(stage).await;
    sleep(Duration::from_millis(GRACE_MS.parse::<u64>().unwrap() + 200)).await;
    for wire in [&mut first, &mut second] {
        let answer = wire.ask(end).await;
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
        assert!(wire.ended().await.is_empty());
    }
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn what_is_sent_behind_the_last_request_spoils_no_answer() {
    let stage = stage().await;
    let mut stream = connect(stage.address).await;
    let stopping = leave(stage).await;
    // More than is read at once. With some of it unread a plain close would be a reset, and could take the answer with it.
    stream.write_all(get(GEO, "").repeat(2_000).as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(answers(&to_the_end(&mut stream).await), 1);
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

/// The types and streams of the whole HTTP/2 frames in these bytes.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, _, s, t, u, v], rest)) = bytes.split_first_chunk()
        && let Some((_, next)) = rest.split_at_checked(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    {
        frames.push((kind, u32::from_be_bytes([s, t, u, v])));
        bytes = next;
    }
    frames
}

/// HEADERS of a GET on this stream, which ends with it.
fn http2_get(stream: u32, path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    let block = [vec![0x82, 0x86], literal(0x04, path), literal(0x01, "pay.example")].concat();
    [&[0, 0, block.len() as u8, 1, 5], &stream.to_be_bytes()[..], &block].concat()
}

/// What every HTTP/2 client begins with, and its answer to our settings.
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
const GOAWAY: (u8, u32) = (7, 0);

/// Reads until this frame has come.
async fn hear_frame(stream: &mut TcpStream, heard: &mut Vec<u8>, frame: (u8, u32)) {
    let hearing = async {
        while !frames(heard).contains(&frame) {
            assert!(stream.read_buf(heard).await.expect("no reset") > 0, "{frame:?} did not come: {:?}", frames(heard));
        }
    };
    timeout(PATIENCE, hearing).await.expect("a frame in time");
}

#[tokio::test]
async fn a_stream_that_is_opened_before_the_goodbye_was_heard_is_served() {
    let stage = stage().await;
    let (mut stream, mut heard) = (connect(stage.address).await, Vec::new());
    stream.write_all(&[HTTP2_HELLO, &http2_get(1, GEO)].concat()).await.unwrap();
    hear_frame(&mut stream, &mut heard, (0, 1)).await;
    let stopping = leave(stage).await;
    hear_frame(&mut stream, &mut heard, GOAWAY).await;
    // We have not answered it, so for all that the edge knows we have not read it.
    stream.write_all(&http2_get(3, GEO)).await.unwrap();
    hear_frame(&mut stream, &mut heard, (0, 3)).await;
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("an end in time").expect("an end, not a reset");
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn a_new_connection_hears_no_goodbye_before_its_first_answer() {
    let stage = stage().await;
    let (mut stream, mut heard) = (connect(stage.address).await, Vec::new());
    let stopping = leave(stage).await;
    stream.write_all(HTTP2_HELLO).await.unwrap();
    assert!(timeout(Duration::from_millis(200), hear_frame(&mut stream, &mut heard, GOAWAY)).await.is_err());
    stream.write_all(&http2_get(1, GEO)).await.unwrap();
    hear_frame(&mut stream, &mut heard, (0, 1)).await;
    hear_frame(&mut stream, &mut heard, GOAWAY).await;
    drop(stream);
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn tls_is_left_in_the_same_way() {
    let (backstage, certificate, _folder) = tls_backstage().await;
    let stage = backstage.set("EDGE__DRAIN_IDLE_MS", GRACE_MS).start().await;
    let mut asking = connect_tls(&stage, &certificate, &[]).await;
    let mut idle = connect_tls(&stage, &certificate, &[]).await;
    let stopping = leave(stage).await;
    asking.write_all(get(GEO, "").as_bytes()).await.unwrap();
    // Without a close_notify this would be an error.
    for (stream, expected) in [(&mut asking, 1), (&mut idle, 0)] {
        let mut heard = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("an end in time").expect("an end, not a reset");
        assert_eq!(answers(std::str::from_utf8(&heard).unwrap()), expected);
    }
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn what_waits_at_the_door_is_let_in_before_it_closes() {
    let listener = Listener::open(None, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..32 {
        clients.push(connect(listener.address()).await);
    }
    let waiting = listener.waiting();
    drop(listener);
    assert_eq!(waiting.len(), clients.len());
    for ((mut stream, _), mut client) in waiting.into_iter().zip(clients) {
        stream.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
    }
}

/// Why the socket is handed over instead of each edge having one of its own on the same port.
#[tokio::test]
async fn a_queue_that_is_closed_resets_whom_it_holds_and_one_that_is_shared_is_not_closed() {
    const CLIENTS: usize = 64;
    let own = |address: SocketAddr| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address).unwrap();
        socket.listen(1_024).unwrap().into_std().unwrap()
    };
    let first = own("127.0.0.1:0".parse().unwrap());
    let of_its_own = (own(first.local_addr().unwrap()), first);
    let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = (first.try_clone().unwrap(), first);
    for ((leaves, stays), is_shared) in [(of_its_own, false), (shared, true)] {
        let stays = Listener::open(Some(stays), leaves.local_addr().unwrap()).await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(connect(stays.address()).await);
        }
        drop(leaves);
        let served = stays.waiting();
        let mut reset = 0;
        for mut client in clients.into_iter().take(CLIENTS - served.len()) {
            // Who was not reset is served, and hears nothing yet.
            let heard = timeout(Duration::from_millis(20), client.read_u8()).await;
            reset += usize::from(heard.is_ok_and(|heard| heard.is_err()));
        }
        println!("shared: {is_shared}; served {}, reset at least {reset}", served.len());
        assert_eq!(is_shared, served.len() == CLIENTS);
        assert_eq!(is_shared, reset == 0);
    }
}
