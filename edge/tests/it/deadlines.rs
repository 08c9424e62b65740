//! Clients that keep others waiting: each is ended by a deadline, and nobody else notices. How many may be connected at all.

use std::time::Duration;

use crate::stage::{Backstage, GEO, SESSION, Stage, problem, session, until};
use crate::wire::{Wire, get, post};

/// Every deadline is short but the one for idle connections.
async fn impatient() -> Stage {
    let names = ["FIRST_BYTE", "HEAD", "BODY", "WRITE"];
    let set = |backstage: Backstage, name: &&str| backstage.set(&format!("EDGE__{name}_TIMEOUT_MS"), "300");
    names.iter().fold(Backstage::new().await.unlimited_addresses(), set).start().await
}

#[tokio::test]
async fn who_says_nothing_or_half_a_head_is_ended() {
    let stage = impatient().await;
    let partial = ["", "G", "GET / HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"];
    let mut slow = Vec::new();
    for said in partial {
        let mut wire = Wire::connect(stage.address).await;
        wire.say(said).await;
        slow.push(wire);
    }
    let others = stage.anyone();
    for (mut wire, said) in slow.into_iter().zip(partial) {
        assert_eq!(others.get(GEO).await.unwrap().status, 200);
        assert!(wire.ended().await.is_empty(), "{said:?}");
    }
}

#[tokio::test]
async fn a_head_that_comes_in_drops_is_ended_all_the_same() {
    let stage = impatient().await;
    // Also on a connection that has been good before.
    for before in [0, 1] {
        let mut wire = Wire::connect(stage.address).await;
        for _ in 0..before {
            assert_eq!(wire.ask(get(GEO, "")).await.status, 200);
        }
        wire.say(format!("GET {GEO} HTTP/1.1\r\nhost: x\r\nx: ")).await;
        let dripping = async {
            while !wire.ended_within(Duration::from_millis(20)).await {
                wire.try_say("y").await;
            }
        };
        tokio::time::timeout(crate::stage::PATIENCE, dripping).await.expect("that a client who drips is ended");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told_and_ended() {
    let stage = impatient().await;
    let body = session().to_string();
    let whole = post(SESSION, &stage.key, "", &body);
    let chunked = whole.replace("content-length", "transfer-encoding: chunked\r\nx-length");
    let chunked_head = &chunked[..chunked.len() - body.len()];
    for part in [
        &whole[..whole.len() - body.len()],
        &whole[..whole.len() - 1],
        chunked_head,
        &format!("{chunked_head}{:x}\r\n{body}\r\n", body.len()),
    ] {
        let mut wire = Wire::connect(stage.address).await;
        problem(&wire.ask(part).await, 408, "request_timeout");
        assert!(wire.ended().await.is_empty());
        assert_eq!(stage.anyone().get(GEO).await.unwrap().status, 200);
    }
    // In drops, too: the deadline is for the whole body.
    let mut wire = Wire::connect(stage.address).await;
    wire.say(&whole[..whole.len() - body.len()]).await;
    for byte in body.bytes() {
        wire.try_say([byte]).await;
        if wire.ended_within(Duration::from_millis(20)).await {
            break;
        }
    }
    let answer = String::from_utf8(wire.ended().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let stage = impatient().await;
    let mut wire = Wire::connect(stage.address).await;
    let many = get("/api/v1/geo/subdivisions/?country=GB", "").repeat(1_000);
    // Until both sides' buffers are full, and then until the deadline.
    let stuffing = async { while wire.try_say(&many).await {} };
    tokio::time::timeout(crate::stage::PATIENCE, stuffing).await.expect("that the connection is closed");
    assert_eq!(stage.anyone().get(GEO).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_of_a_head() {
    let stage = impatient().await;
    let mut idle = Wire::connect(stage.address).await;
    assert_eq!(idle.ask(get(GEO, "")).await.status, 200);
    // Three deadlines of somebody else, one after the other.
    for _ in 0..3 {
        assert!(Wire::connect(stage.address).await.ended().await.is_empty());
    }
    assert_eq!(idle.ask(get(GEO, "")).await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_ends_in_the_end() {
    let stage = Backstage::new().await.set("EDGE__IDLE_TIMEOUT_MS", "300").start().await;
    let mut idle = Wire::connect(stage.address).await;
    assert_eq!(idle.ask(get(GEO, "")).await.status, 200);
    assert!(idle.ended().await.is_empty());
    let mut http2 = Wire::connect(stage.address).await;
    http2.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    http2.ended().await;
}

#[tokio::test]
async fn connections_are_bounded_for_each_address_and_in_all() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let stage = backstage.set("EDGE__CONNECTIONS_PER_ADDRESS_MAX", "2").set("EDGE__CONNECTIONS_MAX", "5").start().await;
    let connect = async |from: &str| {
        let mut wire = Wire::connect_from(from, stage.address).await;
        // A connection that was closed at once cannot be written to, or is not answered.
        (wire.try_say(get(GEO, "")).await && !wire.silent().await).then_some(wire)
    };
    let mut open = Vec::new();
    for from in ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3"] {
        open.push(connect(from).await.expect("room"));
        if open.len() == 2 {
            assert!(connect("127.0.0.1").await.is_none(), "a third one of the same address");
        }
    }
    assert!(connect("127.0.0.4").await.is_none(), "a sixth one in all");
    for wire in &mut open {
        assert_eq!(wire.hear().await.status, 200, "those who are in are served");
    }
    drop(open.remove(0));
    until("room again", async || connect("127.0.0.4").await.is_some()).await;
    let refused = &stage.running.edge.metrics.connections_ended_total;
    assert!(refused.with_label_values(&["too_many_of_address"]).get() >= 1 && refused.with_label_values(&["too_many"]).get() >= 1);
}
