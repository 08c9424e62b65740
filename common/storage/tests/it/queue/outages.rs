//! Redis forgets everything, dies, stands still, or is to be left alone: reading goes on afterwards without anybody's help.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Queue, Reader, impatient, number, settings};
use crate::{eventually, own_redis, shared_redis, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_when_redis_forgets_everything_again_and_again() {
    let redis = own_redis();
    let queue = Queue::connected(&redis).await;
    let mut reader = queue.read();
    queue.push("0").await;
    reader.take(1).await;
    let mut worst = Duration::ZERO;
    for round in 1..=30 {
        // Every third time while something is being worked on.
        let held = if round % 3 == 0 {
            queue.push("0").await;
            reader.batch().await
        } else {
            Vec::new()
        };
        let _ok: String = queue.ask("FLUSHALL").await;
        // Ids begin anew as well. An entry of the same millisecond could have the id of one that is being worked on.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let started = Instant::now();
        queue.push(round.to_string()).await;
        let entries = reader.take(1).await;
        worst = worst.max(started.elapsed());
        assert_eq!(number(&entries[0]), round);
        reader.settle(held);
    }
    println!("30 times FLUSHALL: the next entry came after {worst:?} at worst");
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    // Twice in a row, with nothing in between.
    let _ok: String = queue.ask("FLUSHALL").await;
    let _ok: String = queue.ask("FLUSHALL").await;
    queue.push("31").await;
    assert_eq!(number(&reader.take(1).await[0]), 31);
    eventually("all is settled", async || queue.depth().await == 0).await;
    reader.close().await;
}

/// Pushes numbers without end, a few a millisecond, whatever becomes of them.
struct Pusher {
    stop: Arc<AtomicBool>,
    tried: Arc<AtomicUsize>,
    /// The numbers whose push succeeded, each with the time when it began.
    task: JoinHandle<Vec<(usize, Instant)>>,
}

impl Pusher {
    fn start(queue: &Queue) -> Self {
        let (stop, tried, producer) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), queue.producer.clone());
        let (stopping, trying) = (stop.clone(), tried.clone());
        let task = tokio::spawn(async move {
            let mut pushed = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                let (number, began) = (trying.fetch_add(1, Ordering::Relaxed), Instant::now());
                match producer.push(number.to_string().as_bytes()).await {
                    Ok(()) => pushed.push((number, began)),
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            pushed
        });
        Self { stop, tried, task }
    }

    async fn stop(self) -> Vec<(usize, Instant)> {
        self.stop.store(true, Ordering::Relaxed);
        soon("the last push", self.task).await.unwrap()
    }
}

/// Takes and settles until it is `done`.
async fn take_until(reader: &mut Reader, arrived: &mut BTreeSet<usize>, done: impl Fn(&BTreeSet<usize>) -> bool) {
    let started = Instant::now();
    while !done(arrived) {
        assert!(started.elapsed() < crate::PATIENCE, "it stands still; {} have arrived", arrived.len());
        if let Some(batch) = reader.batch_within(Duration::from_millis(100)).await {
            arrived.extend(batch.iter().map(number));
            reader.settle(batch);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_when_redis_is_killed_and_started_again() {
    let mut redis = own_redis();
    let queue = Queue::connected(&redis).await;
    let mut reader = queue.read();
    let mut arrived = BTreeSet::new();
    let pusher = Pusher::start(&queue);
    take_until(&mut reader, &mut arrived, |arrived| arrived.len() > 300).await;
    for _ in 0..3 {
        tokio::task::block_in_place(|| redis.kill()).unwrap();
        soon("readiness to fall", reader.healthy.wait_for(|healthy| !*healthy)).await.unwrap();
        tokio::task::block_in_place(|| redis.restart()).unwrap();
        let (restarted_at, tried) = (Instant::now(), pusher.tried.load(Ordering::Relaxed));
        take_until(&mut reader, &mut arrived, |arrived| arrived.iter().next_back().is_some_and(|last| *last > tried)).await;
        let back_after = restarted_at.elapsed();
        println!("killed and started again: entries flow again after {back_after:?}");
        assert!(back_after < Duration::from_secs(3), "{back_after:?}");
        let target = arrived.len() + 300;
        take_until(&mut reader, &mut arrived, |arrived| arrived.len() > target).await;
        assert!(*reader.healthy.borrow());
        // Whatever was pushed since the restart arrives.
        let tried = pusher.tried.load(Ordering::Relaxed);
        take_until(&mut reader, &mut arrived, |arrived| arrived.iter().next_back().is_some_and(|last| *last > tried)).await;
    }
    let restarted = Instant::now();
    let target = arrived.len() + 300;
    take_until(&mut reader, &mut arrived, |arrived| arrived.len() > target).await;
    let pushed: BTreeSet<usize> =
        pusher.stop().await.into_iter().filter(|(_, began)| *began > restarted).map(|(number, _)| number).collect();
    assert!(!pushed.is_empty());
    take_until(&mut reader, &mut arrived, |arrived| pushed.is_subset(arrived)).await;
    eventually("all is settled", async || queue.depth().await == 0 && queue.pending().await == 0).await;
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_pushed_after_a_restart_is_lost() {
    let mut redis = own_redis();
    let queue = Queue::connected(&redis).await;
    let mut reader = queue.read();
    soon("reading", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
    let pusher = Pusher::start(&queue);
    tokio::task::block_in_place(|| redis.kill().and_then(|()| redis.restart())).unwrap();
    let restarted_at = Instant::now();
    let mut arrived = BTreeSet::new();
    take_until(&mut reader, &mut arrived, |arrived| arrived.len() > 1_000).await;
    let pushed = pusher.stop().await;
    let since: BTreeSet<usize> = pushed.into_iter().filter(|(_, began)| *began > restarted_at).map(|(number, _)| number).collect();
    assert!(since.len() > 100, "{}", since.len());
    take_until(&mut reader, &mut arrived, |arrived| since.is_subset(arrived)).await;
    reader.close().await;
    assert_eq!(queue.depth().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_when_redis_stood_still() {
    let mut redis = own_redis();
    let queue = Queue::connected(&redis).await;
    let mut reader = queue.read_with(impatient(Duration::from_secs(1)));
    let pusher = Pusher::start(&queue);
    let mut arrived = BTreeSet::new();
    take_until(&mut reader, &mut arrived, |arrived| arrived.len() > 100).await;
    redis.pause().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.resume().unwrap();
    let (resumed_at, tried) = (Instant::now(), pusher.tried.load(Ordering::Relaxed));
    take_until(&mut reader, &mut arrived, |arrived| arrived.iter().next_back().is_some_and(|last| *last > tried)).await;
    println!("stood still for 2 s: entries flow again after {:?}", resumed_at.elapsed());
    assert!(resumed_at.elapsed() < Duration::from_secs(3), "{:?}", resumed_at.elapsed());
    let target = arrived.len() + 300;
    take_until(&mut reader, &mut arrived, |arrived| arrived.len() > target).await;
    // Redis has forgotten nothing, so nothing may be missing: what a read that failed here had been given there is picked up again.
    let pushed: BTreeSet<usize> = pusher.stop().await.into_iter().map(|(number, _)| number).collect();
    take_until(&mut reader, &mut arrived, |arrived| pushed.is_subset(arrived)).await;
    let mut left = Vec::new();
    eventually("all is settled", async || {
        if let Some(batch) = reader.batch_within(Duration::from_millis(20)).await {
            left.extend(batch.iter().map(number));
            reader.settle(batch);
        }
        queue.depth().await == 0 && queue.pending().await == 0
    })
    .await;
    reader.close().await;
    assert_eq!(queue.consumers().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_start_before_redis() {
    let mut redis = own_redis();
    let queue = Queue::new(&redis);
    tokio::task::block_in_place(|| redis.kill()).unwrap();
    let mut reader = queue.read();
    assert!(queue.producer.push(b"nowhere to go").await.is_err());
    tokio::task::block_in_place(|| redis.restart()).unwrap();
    let started = Instant::now();
    soon("reading", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
    println!("healthy {:?} after Redis came", started.elapsed());
    eventually("a push", async || queue.producer.push(b"1").await.is_ok()).await;
    reader.take(1).await;
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_is_tried_again() {
    let redis = own_redis();
    let queue = Queue::connected(&redis).await;
    let (_, password) =
        redis.url().rsplit_once('@').and_then(|(user, _)| user.rsplit_once(':')).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let _ok: String = queue.ask("CONFIG SET requirepass another").await;
    let mut reader = queue.read();
    eventually("it was refused", async || refused_logins(&queue).await >= 2).await;
    assert!(!*reader.healthy.borrow());
    let _ok: String = queue.ask(&format!("CONFIG SET requirepass {password}")).await;
    let started = Instant::now();
    soon("reading", reader.healthy.wait_for(|healthy| *healthy)).await.unwrap();
    println!("healthy {:?} after the password was right", started.elapsed());
    reader.close().await;
}

async fn refused_logins(queue: &Queue) -> usize {
    let stats: String = queue.ask("INFO errorstats").await;
    let line = stats.lines().find_map(|line| line.strip_prefix("errorstat_WRONGPASS:count="));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_reader_leaves_entries_alone_until_it_may_go_on() {
    let queue = Queue::connected(shared_redis()).await;
    let (open, receiver) = watch::channel(false);
    let mut reader = queue.read_while(settings(), open, receiver);
    queue.push("1").await;
    assert!(reader.batch_within(Duration::from_millis(300)).await.is_none());
    reader.open.send_replace(true);
    assert_eq!(number(&reader.take(1).await[0]), 1);

    // Again, while it is reading. The read that it is in may still bring something.
    reader.open.send_replace(false);
    let mut round = 2;
    loop {
        queue.push(round.to_string()).await;
        match reader.batch_within(Duration::from_millis(300)).await {
            Some(batch) => reader.settle(batch),
            None => break,
        }
        assert!(round < 10, "it goes on reading");
        round += 1;
    }
    eventually("what was read is settled", async || queue.pending().await == 0).await;
    assert_eq!(queue.depth().await, 1);
    reader.open.send_replace(true);
    assert_eq!(number(&reader.take(1).await[0]), round);
    reader.close().await;
}
