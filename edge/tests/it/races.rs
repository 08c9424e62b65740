//! Sixty-four callers at one bucket, time standing still: together they get what it held, and never one more.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use testkit::http::Client;

use crate::stage::{Backstage, GEO, SESSION, TAX, session};

const CALLERS: usize = 64;

/// Every caller has a connection of its own and asks `each` times. Returns what the admitted were told to be left, and how many were refused.
async fn race(client: impl Fn() -> Client, each: usize, method: Method, path: &str, body: &str) -> (Vec<u32>, usize) {
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(CALLERS));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (client, start, method, path, body) = (client(), start.clone(), method.clone(), path.to_owned(), body.to_owned());
        callers.spawn(async move {
            let mut answers = Vec::new();
            start.wait().await;
            for _ in 0..each {
                answers.push(client.send(method.clone(), &path, &[("content-type", "application/json")], body.clone()).await.unwrap());
            }
            answers
        });
    }
    let (mut left, mut refused) = (Vec::new(), 0);
    for answer in callers.join_all().await.into_iter().flatten() {
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.header("x-ratelimit-remaining"), "0");
            refused += 1;
        } else {
            left.push(answer.header("x-ratelimit-remaining").parse().unwrap());
        }
    }
    (left, refused)
}

/// Exactly `capacity` got in, and each was told another number: none of them twice.
#[track_caller]
fn assert_exact((left, refused): (Vec<u32>, usize), capacity: u32, asked: usize) {
    assert_eq!((left.len(), refused), (capacity as usize, asked - capacity as usize));
    assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), (0..capacity).collect::<BTreeSet<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_gets_what_its_bucket_held() {
    let backstage = Backstage::new().await;
    let key = backstage.common_key().await;
    let stage = backstage.start().await;
    let http1 = || stage.anyone().with_key(&key);
    assert_exact(race(http1, 6, Method::POST, SESSION, &session().to_string()).await, 100, CALLERS * 6);
    // A token comes back after 600 ms, and two of them are for two.
    stage.clock.advance(std::time::Duration::from_millis(1_200));
    let (left, refused) = race(http1, 1, Method::POST, SESSION, &session().to_string()).await;
    assert_eq!((left.len(), refused), (2, 62));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_gets_what_its_bucket_held() {
    let stage = Backstage::new().await.start().await;
    let anyone = || stage.anyone();
    assert_exact(race(anyone, 6, Method::GET, GEO, "").await, 300, CALLERS * 6);
    let http2 = || Client::new(stage.address, true);
    assert_exact(race(http2, 6, Method::GET, TAX, "").await, 300, CALLERS * 6);
    assert_exact(race(anyone, 6, Method::POST, SESSION, &session().to_string()).await, 300, CALLERS * 6);
}
