//! A connection that has been idle for a while keeps no memory for its next request, and its client never notices: not in what it says next,
//! not in what it had half said before, and not when it ends.

use std::time::Duration;

use crate::stage::{GEO, SESSION, Stage, session};
use crate::wire::{Wire, get, post};

/// Longer than it takes until a connection rests.
const REST: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn what_is_said_after_a_rest_is_answered() {
    let stage = Stage::new().await;
    let body = session().to_string();
    let requests = [get(GEO, ""), post(SESSION, &stage.key, "", &body)];
    for whole in &requests {
        // In one piece, cut in the head, and cut just before its end.
        for cut in [0, 9, whole.len() - 1] {
            let mut wire = Wire::connect(stage.address).await;
            assert!(wire.ask(get(GEO, "")).await.status.is_success());
            for _ in 0..2 {
                tokio::time::sleep(REST).await;
                let (first, rest) = whole.split_at(cut);
                wire.say(first).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                wire.say(rest).await;
                assert!(wire.hear().await.status.is_success(), "{whole} cut at {cut}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_half_said_before_a_rest_is_not_forgotten() {
    let stage = Stage::new().await;
    let request = get(GEO, "");
    for cut in [1, 9, request.len() - 1] {
        let (half, rest) = request.split_at(cut);
        let mut wire = Wire::connect(stage.address).await;
        wire.say(format!("{request}{half}")).await;
        assert!(wire.hear().await.status.is_success());
        tokio::time::sleep(REST).await;
        wire.say(rest).await;
        assert!(wire.hear().await.status.is_success(), "cut at {cut}");
        assert!(wire.ask(&request).await.status.is_success());
    }
}

#[tokio::test]
async fn a_body_that_nobody_read_never_becomes_a_request() {
    let stage = Stage::new().await;
    let hidden = get(GEO, "");
    let announced = 10 + hidden.len();
    let unread = [
        format!("GET {GEO} HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n\r\n0123456789"),
        format!("POST {SESSION} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n0123456789"),
    ];
    for request in unread {
        let mut wire = Wire::connect(stage.address).await;
        wire.say(&request).await;
        wire.hear().await;
        tokio::time::sleep(REST).await;
        wire.try_say(&hidden).await;
        let more = wire.ended().await;
        assert!(more.is_empty(), "{request} was answered twice: {:?}", String::from_utf8_lossy(&more));
    }
}

#[tokio::test]
async fn who_leaves_while_resting_is_let_go() {
    let stage = Stage::new().await;
    let mut wire = Wire::connect(stage.address).await;
    assert!(wire.ask(get(GEO, "")).await.status.is_success());
    tokio::time::sleep(REST).await;
    let open = || stage.running.edge.metrics.connections.get();
    assert_eq!(open(), 1);
    drop(wire);
    crate::stage::until("that it is gone", || async { open() == 0 }).await;
}

#[tokio::test]
async fn a_stop_ends_who_rests() {
    let stage = Stage::new().await;
    let mut wire = Wire::connect(stage.address).await;
    assert!(wire.ask(get(GEO, "")).await.status.is_success());
    tokio::time::sleep(REST).await;
    stage.running.stop(Duration::from_secs(20)).await;
    assert!(wire.ended().await.is_empty());
}
