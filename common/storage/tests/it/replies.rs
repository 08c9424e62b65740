//! Replies and revocations on their way to an edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::fulfill::FulfillOutcome;
use common::job::{JOB_VERSION, Reply};
use common::seal::{Purpose, Sealer};
use fred::clients::Client;
use fred::interfaces::PubsubInterface;
use storage::StorageError;
use storage::replies::{Inbox, Replier};
use storage::{redis, revocations};
use testkit::servers::Redis;
use testkit::settings::Settings;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::{own_redis, redis_settings, shared_redis, soon};

/// An edge that listens, and a worker that answers it.
struct Pair {
    inbox: Inbox,
    replier: Replier,
    client: Client,
    prefix: String,
    revoked: mpsc::UnboundedReceiver<i64>,
    _listening: AbortOnDropHandle<()>,
}

impl Pair {
    async fn start(redis: &Redis) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("r{}", MADE.fetch_add(1, Ordering::Relaxed));
        let settings = redis_settings(redis);
        let (sender, revoked) = mpsc::unbounded_channel();
        let report = move |key_id| sender.send(key_id).expect("the test listens");
        let (inbox, listening) = Inbox::start(&settings, &prefix, "edge-1", sealer(), report).unwrap();
        let client = redis::client(&settings).unwrap();
        let replier = Replier::new(client.clone(), sealer());
        let pair = Self { inbox, replier, client, prefix, revoked, _listening: AbortOnDropHandle::new(tokio::spawn(listening)) };
        pair.connected().await;
        pair
    }

    /// Asks until there is an answer; returns how long that took.
    async fn connected(&self) -> Duration {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < crate::PATIENCE, "no reply gets through");
            if tokio::time::timeout(Duration::from_millis(50), self.ask()).await.is_ok_and(|answered| answered) {
                return started.elapsed();
            }
        }
    }

    async fn send(&self, replies: impl IntoIterator<Item = Reply>) -> Result<(), StorageError> {
        self.replier.send(replies.into_iter().map(|reply| (self.inbox.channel().to_owned(), reply))).await
    }

    /// A question and its answer. `false` when Redis did not take it.
    async fn ask(&self) -> bool {
        let mut waiter = self.inbox.wait_for(Uuid::now_v7());
        if self.send([reply(waiter.id())]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            return false;
        }
        waiter.reply().await.id == waiter.id()
    }
}

fn sealer() -> Arc<Sealer> {
    let secrets = Settings::new().load().unwrap().secrets;
    Arc::new(Sealer::new(&secrets.sealing, Purpose::Reply, rand::random()))
}

fn reply(id: Uuid) -> Reply {
    Reply { v: JOB_VERSION, id, outcome: FulfillOutcome::Unknown }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_reaches_its_waiter_and_nobody_else() {
    let pair = Pair::start(shared_redis()).await;
    let mut other = pair.inbox.wait_for(Uuid::now_v7());
    assert!(pair.ask().await);
    assert!(tokio::time::timeout(Duration::from_millis(20), other.reply()).await.is_err());
    pair.send([reply(other.id())]).await.unwrap();
    assert_eq!(soon("the other's reply", other.reply()).await.id, other.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_waiting_leaves_nothing() {
    let pair = Pair::start(shared_redis()).await;
    let waiters: Vec<_> = (0..100).map(|_| pair.inbox.wait_for(Uuid::now_v7())).collect();
    assert_eq!(pair.inbox.waiting(), 100);
    let late = reply(waiters[0].id());
    drop(waiters);
    assert_eq!(pair.inbox.waiting(), 0);
    // A late reply is nobody's, and nothing goes wrong.
    pair.send([late]).await.unwrap();
    assert!(pair.ask().await);
    assert_eq!(pair.inbox.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_waiters_answered_at_once_all_get_their_reply() {
    let pair = Pair::start(shared_redis()).await;
    let mut waiters: Vec<_> = (0..5_000).map(|_| pair.inbox.wait_for(Uuid::now_v7())).collect();
    let replies: Vec<Reply> = waiters.iter().map(|waiter| reply(waiter.id())).collect();
    let started = Instant::now();
    pair.send(replies).await.unwrap();
    for waiter in &mut waiters {
        assert_eq!(soon("a reply", waiter.reply()).await.id, waiter.id());
    }
    println!("5,000 replies sent and received in {:?}", started.elapsed());
    drop(waiters);
    assert_eq!(pair.inbox.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_and_revocations_flow_again_after_redis_was_killed() {
    let mut redis = own_redis();
    let mut pair = Pair::start(&redis).await;
    for _ in 0..3 {
        tokio::task::block_in_place(|| redis.kill().and_then(|()| redis.restart())).unwrap();
        let back_after = pair.connected().await;
        println!("replies flow again {back_after:?} after the restart");
        assert!(back_after < Duration::from_secs(3), "{back_after:?}");
    }
    revocations::publish(&pair.client, &pair.prefix, 17).await.unwrap();
    assert_eq!(soon("a revocation", pair.revoked.recv()).await, Some(17));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_reach_every_edge() {
    let mut pair = Pair::start(shared_redis()).await;
    for key_id in [1, 42, i64::MAX] {
        revocations::publish(&pair.client, &pair.prefix, key_id).await.unwrap();
        assert_eq!(soon("a revocation", pair.revoked.recv()).await, Some(key_id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_ignored() {
    let mut pair = Pair::start(shared_redis()).await;
    let sealed_elsewhere = sealer().seal(b"elsewhere", b"{}");
    let sealed_nonsense = sealer().seal(b"reply", b"{\"v\":1}");
    let garbage: [&[u8]; 5] = [b"", b"hello", &[0; 70], &sealed_elsewhere, &sealed_nonsense];
    for message in garbage {
        let _receivers: i64 = pair.client.publish(pair.inbox.channel(), message).await.unwrap();
        let _receivers: i64 = pair.client.publish(format!("{}:revoked", pair.prefix), message).await.unwrap();
    }
    assert!(pair.ask().await);
    revocations::publish(&pair.client, &pair.prefix, 5).await.unwrap();
    assert_eq!(soon("a revocation", pair.revoked.recv()).await, Some(5), "and nothing was taken for one before it");
}
