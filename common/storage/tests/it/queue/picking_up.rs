//! What a dead worker leaves lying is another one's; what a living one works on is not.

use std::time::Duration;

use fred::types::Value;
use tokio::time::Instant;

use super::{Queue, crash_with, impatient, number};
use crate::{eventually, shared_redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_leaves_is_picked_up_in_time_marked_and_alone() {
    let queue = Queue::connected(shared_redis()).await;
    let pickup_idle = Duration::from_secs(1);
    queue.push_numbers(0..5).await;
    let mut survivor = {
        crash_with(&queue, impatient(pickup_idle), 5).await;
        queue.read_with(impatient(pickup_idle))
    };
    let crashed_at = Instant::now();
    let first = survivor.batch().await;
    let after = crashed_at.elapsed();
    println!("picked up {after:?} after the crash, with pickup_idle {pickup_idle:?}");
    assert!(after > pickup_idle / 2 && after < pickup_idle * 5 / 4 + Duration::from_millis(500), "{after:?}");

    // Fresh ones behind them may come together, redelivered ones never.
    queue.push_numbers(5..15).await;
    let mut batches = vec![first];
    while batches.iter().map(Vec::len).sum::<usize>() < 15 {
        batches.push(survivor.batch().await);
    }
    for batch in &batches {
        let (redelivered, fresh): (Vec<_>, Vec<_>) = batch.iter().partition(|entry| entry.redelivered);
        assert!(redelivered.is_empty() || (redelivered.len() == 1 && fresh.is_empty()), "{batch:?}");
        assert!(redelivered.iter().all(|entry| number(entry) < 5) && fresh.iter().all(|entry| number(entry) >= 5));
    }
    let mut seen: Vec<usize> = batches.iter().flatten().map(number).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..15).collect::<Vec<_>>());

    batches.into_iter().for_each(|batch| survivor.settle(batch));
    eventually("settled", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    assert_eq!(survivor.close().await.len(), 0);
    assert_eq!(queue.consumers().await, 1, "the dead one's name is forgotten later, the survivor's at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_worked_on_is_renewed_and_not_counted_as_delivered_again() {
    let queue = Queue::connected(shared_redis()).await;
    let pickup_idle = Duration::from_millis(500);
    let mut busy = queue.read_with(impatient(pickup_idle));
    queue.push_numbers(0..3).await;
    let mut taken = Vec::new();
    while taken.len() < 3 {
        taken.extend(busy.batch().await);
    }
    let mut idle = queue.read_with(impatient(pickup_idle));
    // Only time can show that nothing happens.
    assert!(idle.batch_within(pickup_idle * 4).await.is_none());
    let pending: Vec<Vec<Value>> = queue.ask("XPENDING KEY workers - + 10").await;
    let deliveries: Vec<Option<i64>> = pending.iter().map(|entry| entry[3].as_i64()).collect();
    assert_eq!(deliveries, [Some(1); 3]);
    busy.settle(taken);
    busy.close().await;
    idle.close().await;
    assert_eq!(queue.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_busy_worker_is_renewed_too() {
    let queue = Queue::connected(shared_redis()).await;
    let pickup_idle = Duration::from_millis(500);
    queue.push_numbers(0..1_000).await;
    let mut busy = queue.read_with(impatient(pickup_idle));
    // More than fits between reading and working: the last ones of a read wait in the reader's hand.
    eventually("it has read all that it can hold", async || {
        queue.ask::<Vec<Value>>("XINFO GROUPS KEY").await.len() == 1 && queue.pending().await == 768
    })
    .await;
    let mut idle = queue.read_with(impatient(pickup_idle));
    assert_eq!(idle.take(232).await.iter().filter(|entry| entry.redelivered).count(), 0);
    let stolen = idle.batch_within(pickup_idle * 4).await;
    assert!(stolen.is_none(), "{stolen:?}");
    busy.take(768).await;
    busy.close().await;
    idle.close().await;
    assert_eq!((queue.depth().await, queue.pending().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_entry_is_picked_up_once_and_a_deleted_one_never() {
    let queue = Queue::connected(shared_redis()).await;
    let pickup_idle = Duration::from_millis(300);
    let _foreign: String = queue.ask("XADD KEY * x y").await;
    let deleted: String = queue.ask("XADD KEY * p deleted").await;
    crash_with(&queue, impatient(pickup_idle), 2).await;
    let _one: i64 = queue.ask(&format!("XDEL KEY {deleted}")).await;
    let mut survivor = queue.read_with(impatient(pickup_idle));
    let entries = survivor.take(1).await;
    assert!(entries[0].redelivered && entries[0].payload.is_empty(), "{entries:?}");
    eventually("nothing is left", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    assert!(survivor.batch_within(pickup_idle * 2).await.is_none());
    survivor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_that_a_crash_leaves_are_all_picked_up() {
    let queue = Queue::connected(shared_redis()).await;
    let pickup_idle = Duration::from_millis(300);
    queue.push_numbers(0..700).await;
    crash_with(&queue, impatient(pickup_idle), 512).await;
    let mut survivor = queue.read_with(impatient(pickup_idle));
    let mut seen: Vec<usize> = survivor.take(700).await.iter().map(number).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..700).collect::<Vec<_>>());
    eventually("settled", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    survivor.close().await;
}
