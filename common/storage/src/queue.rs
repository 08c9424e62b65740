//! The queue: a Redis stream that carries questions from edges to workers, and an apalis backend that reads it. Everything in it may be
//! lost at any moment; what must not be lost is a row in Postgres. Entries are opaque (and sealed) here.
//!
//! [`Producer`] writes; [`reader`] keeps reading whatever happens to Redis; [`backend`] hands batches to apalis; [`settle`] takes done
//! entries out of the stream.

pub mod backend;
pub mod reader;
pub mod settle;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::clients::{Client, Pipeline};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, StreamsInterface};
use fred::types::{CustomCommand, Value};
use tokio::sync::{mpsc, oneshot};

use crate::StorageError;
use crate::redis::fail_fast;

/// The consumer group that all workers share.
pub(crate) const GROUP: &str = "workers";
/// The one field of every entry.
const FIELD: &str = "p";
/// The most entries that are added together.
const TOGETHER_MAX: usize = 128;

/// The stream of one kind of job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueName {
    key: Arc<str>,
    job: &'static str,
}

impl QueueName {
    /// The stream of `job` under the installation's prefix.
    pub fn new(prefix: &str, job: &'static str) -> Self {
        Self { key: format!("{prefix}:queue:{job}").into(), job }
    }

    /// The Redis key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The job's name, for metrics and logs.
    pub fn job(&self) -> &'static str {
        self.job
    }
}

/// One entry, as a reader got it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Redis' id of the entry: `milliseconds-sequence` by Redis' clock.
    pub id: String,
    /// What the producer gave.
    pub payload: Vec<u8>,
    /// Whether another worker, or this one, was given it before and did not settle it.
    pub redelivered: bool,
    /// How long it had been in the queue when it was handed out, in milliseconds by Redis' clock.
    pub age_ms: u64,
}

/// Puts entries into a queue. What is pushed in the same moment goes out together: alone, every entry would cost its own way through the
/// client and back.
#[derive(Clone)]
pub struct Producer {
    client: Client,
    queue: QueueName,
    pushes: mpsc::UnboundedSender<Push>,
}

/// An entry on its way, and who waits for it.
struct Push {
    payload: Bytes,
    pushed: oneshot::Sender<Result<(), StorageError>>,
}

impl Producer {
    /// A producer over a connection that others may share.
    pub fn new(client: Client, queue: QueueName) -> Self {
        let (pushes, waiting) = mpsc::unbounded_channel();
        tokio::spawn(push_together(client.clone(), queue.clone(), waiting));
        Self { client, queue, pushes }
    }

    /// Adds an entry. Fails at once when Redis is not connected; after a failure it is unknown whether the entry was added.
    pub async fn push(&self, payload: &[u8]) -> Result<(), StorageError> {
        let (pushed, added) = oneshot::channel();
        // The task lives as long as there is a producer. How many can wait here is bounded by how many push.
        let _ = self.pushes.send(Push { payload: Bytes::copy_from_slice(payload), pushed });
        added.await.unwrap_or_else(|_| Err(StorageError::Unavailable("the queue has ended".into())))
    }

    /// How many entries are in the queue, waiting or being worked on.
    pub async fn depth(&self) -> Result<u64, StorageError> {
        Ok(self.client.with_options(&fail_fast()).xlen(self.queue.key()).await?)
    }

    /// Whether there is a connection to Redis just now.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }
}

/// What is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Entries, waiting or being worked on.
    pub entries: u64,
    /// How long the oldest has been there, by Redis' clock; zero where there is none.
    pub oldest: Duration,
}

/// Looks at queues that others read.
#[derive(Clone)]
pub struct Watcher {
    client: Client,
    queues: Vec<QueueName>,
}

impl Watcher {
    /// A watcher over a connection that others may share.
    pub fn new(client: Client, queues: Vec<QueueName>) -> Self {
        Self { client, queues }
    }

    /// What is in each queue just now.
    pub async fn look(&self) -> Result<Vec<(&'static str, Backlog)>, StorageError> {
        let client = self.client.with_options(&fail_fast());
        let mut found = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let entries = client.xlen(queue.key()).await?;
            let first: Vec<(String, Value)> = client.xrange(queue.key(), "-", "+", Some(1)).await?;
            let oldest = match first.first() {
                None => Duration::ZERO,
                Some((id, _)) => {
                    let (seconds, micros): (u64, u64) =
                        client.custom(CustomCommand::new_static("TIME", None::<u16>, false), Vec::<Value>::new()).await?;
                    let added_ms: u64 = id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
                    Duration::from_millis((seconds * 1_000 + micros / 1_000).saturating_sub(added_ms))
                }
            };
            found.push((queue.job(), Backlog { entries, oldest }));
        }
        Ok(found)
    }
}

/// Sends what is pushed until nobody can push any more. Nobody waits for those who pushed before: a Redis that is silent costs each no
/// more than its own time-out.
async fn push_together(client: Client, queue: QueueName, mut waiting: mpsc::UnboundedReceiver<Push>) {
    let mut together = Vec::new();
    while waiting.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        // Whoever else is about to push does so now.
        tokio::task::yield_now().await;
        while together.len() < TOGETHER_MAX
            && let Ok(push) = waiting.try_recv()
        {
            together.push(push);
        }
        let (payloads, waiters): (Vec<Bytes>, Vec<_>) = together.drain(..).map(|push| (push.payload, push.pushed)).unzip();
        let mut adding = Box::pin(add_together(client.clone(), queue.clone(), payloads));
        // Begun here, so that what was pushed first goes first.
        let begun = std::future::poll_fn(|cx| Poll::Ready(adding.as_mut().poll(cx))).await;
        tokio::spawn(async move {
            let added = match begun {
                Poll::Ready(added) => added,
                Poll::Pending => adding.await,
            };
            for (index, waiter) in waiters.into_iter().enumerate() {
                let own = added.as_ref().map_err(Error::clone).and_then(|added| match added.get(index) {
                    Some(Ok(_)) => Ok(()),
                    Some(Err(error)) => Err(error.clone()),
                    None => Err(Error::new(ErrorKind::Protocol, "fewer answers than entries")),
                });
                // Whoever has given up needs no answer.
                let _ = waiter.send(own.map_err(StorageError::from));
            }
        });
    }
}

/// What came of each, or of all.
async fn add_together(client: Client, queue: QueueName, payloads: Vec<Bytes>) -> Result<Vec<Result<Value, Error>>, Error> {
    let count = payloads.len();
    let pipeline = Pipeline::from(client.with_options(&fail_fast()));
    for payload in payloads {
        // Kept here until the last line sends all of them.
        let _queued: Value = pipeline.xadd(queue.key(), false, None, "*", vec![(FIELD, Value::Bytes(payload))]).await?;
    }
    let mut added = pipeline.try_all().await;
    // A single error that is no entry's own is everybody's.
    if added.len() < count && matches!(added.first(), Some(Err(_))) { added.swap_remove(0).map(|_| Vec::new()) } else { Ok(added) }
}

/// Ids of the entries that this process has been given and has not settled. They are renewed until they are, and never taken twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<String>>>);

impl InFlight {
    /// Adds an id. `false` when it was there already.
    fn insert(&self, id: &str) -> bool {
        self.lock().insert(id.to_owned())
    }

    fn remove(&self, ids: &[String]) {
        let mut set = self.lock();
        for id in ids {
            set.remove(id);
        }
    }

    fn snapshot(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Redis' clock, as seen from here: what judges the age of entries, so that no two machines' clocks need to agree.
#[derive(Debug)]
pub(crate) struct ServerClock {
    started: Instant,
    /// Unix milliseconds by Redis' clock at `started`.
    offset_ms: AtomicI64,
}

impl ServerClock {
    fn new() -> Self {
        Self { started: Instant::now(), offset_ms: AtomicI64::new(0) }
    }

    /// Asks Redis for the time.
    async fn sync(&self, client: &Client) -> Result<(), StorageError> {
        let asked_at = self.started.elapsed();
        let (seconds, micros): (i64, i64) =
            client.custom(CustomCommand::new_static("TIME", None::<u16>, false), Vec::<Value>::new()).await?;
        // The answer was true somewhere between asking and now.
        let halfway = asked_at + (self.started.elapsed() - asked_at) / 2;
        self.offset_ms.store(seconds * 1_000 + micros / 1_000 - halfway.as_millis() as i64, Ordering::Relaxed);
        Ok(())
    }

    fn age_ms(&self, entry_id: &str) -> u64 {
        let added_ms: i64 = entry_id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
        let now_ms = self.offset_ms.load(Ordering::Relaxed) + self.started.elapsed().as_millis() as i64;
        u64::try_from(now_ms - added_ms).unwrap_or(0)
    }
}

/// How a queue is read.
#[derive(Debug, Clone)]
pub struct ReaderSettings {
    /// How long an entry may lie unrenewed before another worker takes it.
    pub pickup_idle: Duration,
    /// How often entries in work are renewed.
    pub renew: Duration,
    /// The most jobs in one batch.
    pub batch_jobs_max: usize,
    /// Unique for every start of a worker.
    pub consumer: String,
}
