//! An orderly end loses nothing and leaves no trace; a disorderly one leaves its work to others.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{CLOSE_TIMEOUT, Queue, impatient, number, settings};
use crate::{eventually, own_redis, shared_redis, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_is_handed_out_and_settled_before_the_end() {
    let queue = Queue::connected(shared_redis()).await;
    queue.push_numbers(0..2_000).await;
    let mut reader = queue.read();
    let first = reader.batch().await;
    eventually("it has read all that it can hold", async || queue.pending().await >= 768).await;
    reader.stop.cancel();
    let read = queue.pending().await as usize;
    let mut seen: Vec<usize> = first.iter().map(number).collect();
    reader.settle(first);
    seen.extend(reader.close().await.iter().map(number));
    assert_eq!(seen, (0..read).collect::<Vec<_>>());
    assert_eq!((queue.pending().await, queue.consumers().await, queue.depth().await), (0, 0, 2_000 - read as u64));

    let mut next = queue.read();
    let rest = next.take(2_000 - read).await;
    assert!(rest.iter().all(|entry| !entry.redelivered));
    assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), (read..2_000).collect::<Vec<_>>());
    next.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_a_push_and_a_stop_at_the_same_moment() {
    let queue = Queue::connected(shared_redis()).await;
    let mut seen = Vec::new();
    for round in 0..40 {
        let mut reader = queue.read();
        soon("reading", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
        let stop = reader.stop.clone();
        let stopping = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(rand::random_range(0..1_500))).await;
            stop.cancel();
        });
        queue.push_numbers(round * 2..round * 2 + 1).await;
        stopping.await.unwrap();
        // The read that was going on may still be given this one.
        queue.push_numbers(round * 2 + 1..round * 2 + 2).await;
        seen.extend(reader.close().await.iter().map(number));
    }
    let mut last = queue.read();
    while let Some(batch) = last.batch_within(Duration::from_millis(500)).await {
        seen.extend(batch.iter().map(number));
        last.settle(batch);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..80).collect::<Vec<_>>(), "the others were given to readers that are gone");
    last.close().await;
    assert_eq!(queue.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_settled_in_time_stays_for_another() {
    let queue = Queue::connected(shared_redis()).await;
    let pickup_idle = Duration::from_millis(400);
    queue.push_numbers(0..3).await;
    let mut reader = queue.read_with(impatient(pickup_idle));
    let mut taken = Vec::new();
    while taken.len() < 3 {
        taken.extend(reader.batch().await);
    }
    reader.settler.settle(taken.remove(0).id);
    reader.stop.cancel();
    assert!(soon("the end of the backend", reader.next()).await.is_none());
    let started = Instant::now();
    reader.closing.close(Duration::from_millis(300)).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((queue.pending().await, queue.consumers().await), (2, 1));

    let mut other = queue.read_with(impatient(pickup_idle));
    let entries = other.take(2).await;
    assert!(entries.iter().all(|entry| entry.redelivered));
    assert_eq!(entries.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    other.close().await;
    assert_eq!(queue.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_kept_when_more_was_given_to_it_than_it_knows() {
    let queue = Queue::connected(shared_redis()).await;
    let settings = settings();
    let mut reader = queue.read_with(settings.clone());
    soon("reading", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
    // As if an answer of Redis had been lost on the way.
    queue.push("lost on the way").await;
    reader.take(1).await;
    eventually("settled", async || queue.depth().await == 0).await;
    let (stop, consumer) = (reader.stop.clone(), settings.consumer.as_str());
    stop.cancel();
    assert!(soon("the end of the backend", reader.next()).await.is_none());
    queue.push("lost on the way").await;
    let _read: fred::types::Value = queue.ask(&format!("XREADGROUP GROUP workers {consumer} STREAMS KEY >")).await;
    reader.closing.close(CLOSE_TIMEOUT).await;
    assert_eq!((queue.pending().await, queue.consumers().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_reader_ends_at_once() {
    let queue = Queue::connected(shared_redis()).await;
    let (open, receiver) = watch::channel(false);
    let reader = queue.read_while(settings(), open, receiver);
    queue.push("for somebody else").await;
    let started = Instant::now();
    assert_eq!(reader.close().await.len(), 0);
    println!("a paused reader ended after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(queue.depth().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_reader_ends_soon_and_takes_its_connections_with_it() {
    let redis = own_redis();
    let queue = Queue::connected(&redis).await;
    let connections = async || queue.ask::<String>("CLIENT LIST").await.lines().count();
    let before = connections().await;
    let mut reader = queue.read();
    soon("reading", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
    assert_eq!(connections().await, before + 2);
    let started = Instant::now();
    reader.close().await;
    println!("an idle reader ended after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    eventually("its connections are closed", async || connections().await == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_no_longer_than_it_may_when_redis_is_gone() {
    let mut redis = own_redis();
    let queue = Queue::connected(&redis).await;
    queue.push("never settled").await;
    let mut reader = queue.read();
    let batch = reader.batch().await;
    tokio::task::block_in_place(|| redis.kill()).unwrap();
    reader.settle(batch);
    reader.stop.cancel();
    let started = Instant::now();
    reader.closing.close(Duration::from_secs(2)).await;
    println!("closing without a Redis took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());

    tokio::task::block_in_place(|| redis.restart()).unwrap();
    soon("a connection", queue.producer_client_ready()).await;
    // Only time can show that nobody comes back: longer than the longest wait between two attempts.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(queue.ask::<String>("CLIENT LIST").await.lines().count(), 2, "the test's own");
}
