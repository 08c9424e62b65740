//! The queue: what is pushed arrives, once and in order, and nothing is left behind; whatever happens to workers or to Redis.

mod closing;
mod handing_out;
mod outages;
mod picking_up;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apalis_core::backend::Backend;
use apalis_core::worker::context::WorkerContext;
use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::{CustomCommand, FromValue, Value};
use storage::queue::backend::{Batch, QueueBackend};
use storage::queue::reader::{self, Closing};
use storage::queue::settle::Settler;
use storage::queue::{Entry, Producer, QueueName, ReaderSettings};
use storage::redis;
use testkit::servers::Redis;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{redis_settings, soon};

/// Long enough to settle what there is, short enough not to be waited for when there is nothing to wait for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream of its own, with a producer and a way to look at it from outside.
struct Queue {
    settings: config::Redis,
    name: QueueName,
    client: Client,
    producer: Producer,
}

impl Queue {
    fn new(redis: &Redis) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let settings = redis_settings(redis);
        let name = QueueName::new(&format!("t{}", MADE.fetch_add(1, Ordering::Relaxed)), "test");
        let client = redis::client(&settings).unwrap();
        Self { producer: Producer::new(redis::client(&settings).unwrap(), name.clone()), settings, name, client }
    }

    /// Waits for the producer's connection: pushing does not.
    async fn connected(redis: &Redis) -> Self {
        let queue = Self::new(redis);
        soon("a connection", queue.producer_client_ready()).await;
        queue
    }

    async fn producer_client_ready(&self) {
        while !self.producer.is_connected() || !self.client.is_connected() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn push(&self, payload: impl AsRef<[u8]>) {
        self.producer.push(payload.as_ref()).await.expect("pushing");
    }

    /// Pushes the numbers of `range`, many at a time.
    async fn push_numbers(&self, range: std::ops::Range<usize>) {
        let numbers: Vec<usize> = range.collect();
        for numbers in numbers.chunks(500) {
            futures_util::future::try_join_all(
                numbers.iter().map(|number| async move { self.producer.push(number.to_string().as_bytes()).await }),
            )
            .await
            .expect("pushing");
        }
    }

    /// Any command, its words apart by spaces; `KEY` stands for the stream's key.
    async fn ask<T: FromValue>(&self, command: &str) -> T {
        let mut words = command.split(' ').map(|word| if word == "KEY" { self.name.key() } else { word });
        let command = CustomCommand::new(words.next().unwrap_or_default(), None::<u16>, false);
        self.client.custom(command, words.map(str::to_owned).collect::<Vec<String>>()).await.expect("asking Redis")
    }

    async fn depth(&self) -> u64 {
        self.producer.depth().await.expect("asking for the depth")
    }

    /// How many entries were given to a worker and not settled.
    async fn pending(&self) -> i64 {
        self.ask::<Value>("XPENDING KEY workers").await.into_array()[0].as_i64().expect("a number")
    }

    /// The names of those who read.
    async fn consumers(&self) -> usize {
        self.ask::<Vec<Value>>("XINFO CONSUMERS KEY workers").await.len()
    }

    fn read(&self) -> Reader {
        self.read_with(settings())
    }

    fn read_with(&self, settings: ReaderSettings) -> Reader {
        let (open, receiver) = watch::channel(true);
        self.read_while(settings, open, receiver)
    }

    fn read_while(&self, settings: ReaderSettings, open: watch::Sender<bool>, receiver: watch::Receiver<bool>) -> Reader {
        let stop = CancellationToken::new();
        let reading = reader::start(&self.settings, self.name.clone(), settings, receiver, stop.clone()).expect("starting to read");
        let (backend, settler, healthy, closing) = reading.into_parts();
        Reader { backend, settler, healthy, closing, stop, open, context: WorkerContext::new("test") }
    }
}

/// Settings under which nothing is ever left lying long enough to be picked up.
fn settings() -> ReaderSettings {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    ReaderSettings {
        pickup_idle: Duration::from_secs(60),
        renew: Duration::from_secs(20),
        batch_jobs_max: 128,
        consumer: format!("consumer-{}", STARTED.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Settings under which an entry is left lying after `pickup_idle`.
fn impatient(pickup_idle: Duration) -> ReaderSettings {
    ReaderSettings { pickup_idle, renew: pickup_idle / 5, ..settings() }
}

/// A worker's side of a queue, driven by hand.
struct Reader {
    backend: QueueBackend,
    settler: Settler,
    healthy: watch::Receiver<bool>,
    closing: Closing,
    stop: CancellationToken,
    open: watch::Sender<bool>,
    context: WorkerContext,
}

impl Reader {
    /// The next batch, `None` after the last.
    async fn next(&mut self) -> Option<Batch> {
        let Self { backend, context, .. } = self;
        let task = poll_fn(|cx| backend.poll_next(cx, context)).await;
        task.map(|task| task.unwrap_or_else(|never| match never {}).args)
    }

    /// The next batch, which is sure to come.
    async fn batch(&mut self) -> Batch {
        soon("a batch", self.next()).await.expect("the backend goes on")
    }

    /// The next batch if it comes within `time`.
    async fn batch_within(&mut self, time: Duration) -> Option<Batch> {
        tokio::time::timeout(time, self.next()).await.ok().flatten()
    }

    fn settle(&self, batch: Batch) {
        batch.into_iter().for_each(|entry| self.settler.settle(entry.id));
    }

    /// Takes and settles `count` entries; returns them.
    async fn take(&mut self, count: usize) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(count);
        while entries.len() < count {
            let batch = self.batch().await;
            entries.extend(batch.iter().cloned());
            self.settle(batch);
        }
        entries
    }

    /// An orderly end with nothing left in hand. Returns what was still handed out.
    async fn close(mut self) -> Vec<Entry> {
        self.stop.cancel();
        let mut entries = Vec::new();
        while let Some(batch) = soon("the end of the backend", self.next()).await {
            entries.extend(batch.iter().cloned());
            self.settle(batch);
        }
        self.closing.close(CLOSE_TIMEOUT).await;
        entries
    }
}

/// The number that [`Queue::push_numbers`] pushed.
fn number(entry: &Entry) -> usize {
    std::str::from_utf8(&entry.payload).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// A worker that takes `entries` entries and dies with all its tasks, mid-work. Returns when it is dead.
async fn crash_with(queue: &Queue, settings: ReaderSettings, entries: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let guard = runtime.enter();
    let mut reader = queue.read_with(settings);
    drop(guard);
    let mut taken = 0;
    while taken < entries {
        taken += reader.batch().await.len();
    }
    runtime.shutdown_background();
}
