//! The ordinary course of things: pushed, handed out, settled, gone.

use std::time::Duration;

use tokio::time::Instant;

use super::{Queue, number, settings};
use crate::{eventually, shared_redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_comes_in_batches_and_is_gone_when_settled() {
    let queue = Queue::connected(shared_redis()).await;
    queue.push_numbers(0..300).await;
    let mut reader = queue.read();
    eventually("all are read", async || queue.ask::<u64>("EXISTS KEY").await == 1 && reader_has(&queue, 300).await).await;
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    while seen.len() < 300 {
        let batch = reader.batch().await;
        sizes.push(batch.len());
        assert!(batch.iter().all(|entry| !entry.redelivered && entry.age_ms < 20_000), "{batch:?}");
        seen.extend(batch.iter().map(number));
        reader.settle(batch);
    }
    assert_eq!(sizes[..2], [128, 128], "all that waits, up to the limit");
    assert_eq!(seen, (0..300).collect::<Vec<_>>(), "first come, first served");
    eventually("settled entries are gone", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    assert_eq!(reader.close().await.len(), 0);
    assert_eq!((queue.depth().await, queue.consumers().await), (0, 0));
}

/// Whether so many entries were given to readers.
async fn reader_has(queue: &Queue, count: i64) -> bool {
    // There is no group before the first read.
    queue.ask::<Vec<fred::types::Value>>("XINFO GROUPS KEY").await.len() == 1 && queue.pending().await == count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_entry_is_not_delayed() {
    let queue = Queue::connected(shared_redis()).await;
    let mut reader = queue.read();
    queue.push("first").await;
    reader.take(1).await;
    let mut times = Vec::new();
    for round in 0..300 {
        let started = Instant::now();
        queue.push(round.to_string()).await;
        let batch = reader.batch().await;
        times.push(started.elapsed());
        assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [round]);
        reader.settle(batch);
    }
    times.sort_unstable();
    println!("push to batch: median {:?}, p99 {:?}, worst {:?}", times[150], times[297], times[299]);
    assert!(times[150] < Duration::from_millis(20), "{:?}", times[150]);
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_queue_is_known_to_be_healthy_at_once() {
    let queue = Queue::connected(shared_redis()).await;
    let started = Instant::now();
    let mut reader = queue.read();
    crate::soon("health", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
    println!("healthy after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_any_bytes() {
    let queue = Queue::connected(shared_redis()).await;
    let mut reader = queue.read();
    let payloads: [&[u8]; 6] = [b"text", b"", b"17", b"QUEUED", &[0, 255, 13, 10, 0], &[7; 100_000]];
    for payload in payloads {
        queue.push(payload).await;
    }
    let entries = reader.take(payloads.len()).await;
    assert!(entries.iter().zip(payloads).all(|(entry, payload)| entry.payload == payload));
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_somebody_else_is_an_empty_payload_and_can_be_settled() {
    let queue = Queue::connected(shared_redis()).await;
    let mut reader = queue.read();
    queue.push("before").await;
    for foreign in ["x y", "P p", "x p y p", "a 1 b 2 c 3"] {
        let _id: String = queue.ask(&format!("XADD KEY * {foreign}")).await;
    }
    queue.push("after").await;
    let entries = reader.take(6).await;
    let payloads: Vec<&[u8]> = entries.iter().map(|entry| entry.payload.as_slice()).collect();
    assert_eq!(payloads, [&b"before"[..], b"", b"", b"", b"", b"after"]);
    eventually("settled", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_waiting_entries_drain() {
    let queue = Queue::connected(shared_redis()).await;
    queue.push_numbers(0..20_000).await;
    let started = Instant::now();
    let mut reader = queue.read();
    let mut seen: Vec<usize> = reader.take(20_000).await.iter().map(number).collect();
    eventually("all are settled", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    println!("20,000 waiting entries handed out and settled in {:?}", started.elapsed());
    seen.sort_unstable();
    assert_eq!(seen, (0..20_000).collect::<Vec<_>>());
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_ages_until_it_is_handed_out_by_the_clock_of_redis() {
    let queue = Queue::connected(shared_redis()).await;
    let asked_at = Instant::now();
    // Added half a minute ago, as Redis sees it.
    let time: Vec<i64> = queue.ask("TIME").await;
    let _id: String = queue.ask(&format!("XADD KEY {}-0 p old", time[0] * 1_000 + time[1] / 1_000 - 30_000)).await;
    let mut reader = queue.read();
    eventually("it was read", async || reader_has(&queue, 1).await).await;
    // Nobody asks for it for a while.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let batch = reader.batch().await;
    let age_ms = batch[0].age_ms;
    assert!((30_300 - 50..30_050 + asked_at.elapsed().as_millis() as u64).contains(&age_ms), "{age_ms} ms");
    reader.settle(batch);
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_readers_share_and_none_gets_what_another_has() {
    let queue = Queue::connected(shared_redis()).await;
    let mut readers: Vec<_> = (0..3).map(|_| queue.read_with(settings())).collect();
    queue.push_numbers(0..3_000).await;
    let mut seen = Vec::new();
    let mut idle = 0;
    while seen.len() < 3_000 && idle < 1_000 {
        for reader in &mut readers {
            match reader.batch_within(Duration::from_millis(20)).await {
                Some(batch) => {
                    seen.extend(batch.iter().map(number));
                    reader.settle(batch);
                }
                None => idle += 1,
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..3_000).collect::<Vec<_>>());
    for reader in readers {
        assert_eq!(reader.close().await.len(), 0);
    }
    assert_eq!((queue.depth().await, queue.consumers().await), (0, 0));
}
