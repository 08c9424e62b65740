//! Reads the stream for ever. No error of Redis ends it: it backs off, makes the consumer group again where it is gone, and goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, StreamsInterface};
use fred::types::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backend::QueueBackend;
use super::settle::{self, Settler};
use super::{Entry, FIELD, GROUP, InFlight, QueueName, ReaderSettings, ServerClock};
use crate::StorageError;
use crate::crash_point::reach;
use crate::redis::{self, fail_fast};

/// How long one read waits for entries.
const BLOCK: Duration = Duration::from_secs(1);
/// The most entries one read takes, and how many may wait between reading and working.
const READ_MAX: u64 = 256;
/// The most entries of dead workers taken over at once.
const PICKUP_MAX: u64 = 64;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long a consumer that holds nothing may be silent before its name is forgotten.
const FORGET_CONSUMER_AFTER: Duration = Duration::from_secs(3_600);

/// A queue being read: what to give to apalis, and what to settle entries with.
pub struct Reading {
    /// Yields batches.
    pub backend: QueueBackend,
    /// Takes done entries out of the stream.
    pub settler: Settler,
    /// Whether the last read went well.
    pub healthy: watch::Receiver<bool>,
    closing: Closing,
}

/// Starts reading. Cancelling `stop` ends the reading, at the latest when a read that waits for entries comes back; entries already
/// read are still handed out, and the backend ends after them. While `open` is false nothing is read: what cannot be worked on should
/// stay where another worker may get it.
pub fn start(
    redis: &config::Redis,
    queue: QueueName,
    settings: ReaderSettings,
    open: watch::Receiver<bool>,
    stop: CancellationToken,
) -> Result<Reading, StorageError> {
    let blocking = redis::blocking_client(redis, BLOCK)?;
    let client = redis::client(redis)?;
    let in_flight = InFlight::default();
    let (entries, receiver) = mpsc::channel(READ_MAX as usize * 2);
    let (healthy_sender, healthy) = watch::channel(false);
    let clock = Arc::new(ServerClock::new());
    let stop = stop.child_token();
    let reader = Reader { queue: queue.clone(), settings: settings.clone(), in_flight: in_flight.clone(), clock: clock.clone(), entries };
    let (settler, settling) = settle::start(client.clone(), queue.clone(), in_flight.clone());
    let readers = vec![
        tokio::spawn(reader.clone().read(blocking.clone(), client.clone(), open.clone(), healthy_sender, stop.clone())),
        tokio::spawn(reader.pick_up(client.clone(), open, stop.clone())),
    ];
    let keepers = vec![tokio::spawn(renew(client.clone(), queue.clone(), settings.clone(), in_flight.clone())), settling];
    let backend = QueueBackend::new(receiver, clock, settings.batch_jobs_max);
    let closing = Closing { stop, readers, keepers, in_flight, blocking, client, queue, consumer: settings.consumer };
    Ok(Reading { backend, settler, healthy, closing })
}

/// What remains of a [`Reading`] once its backend was given away: ends it.
pub struct Closing {
    stop: CancellationToken,
    /// What gets entries.
    readers: Vec<JoinHandle<()>>,
    /// What looks after them until they are settled.
    keepers: Vec<JoinHandle<()>>,
    in_flight: InFlight,
    blocking: Client,
    client: Client,
    queue: QueueName,
    consumer: String,
}

impl Reading {
    /// Splits into the parts that work and the part that ends it.
    pub fn into_parts(self) -> (QueueBackend, Settler, watch::Receiver<bool>, Closing) {
        (self.backend, self.settler, self.healthy, self.closing)
    }
}

impl Closing {
    /// Ends the reading, waits until every entry is settled, at most `timeout`, and forgets the consumer's name. Entries that are not
    /// settled then stay for another worker.
    pub async fn close(mut self, timeout: Duration) {
        self.stop.cancel();
        let settled = async {
            for reader in &mut self.readers {
                if let Err(panicked) = reader.await {
                    tracing::error!(%panicked, queue = self.queue.job(), "a reader of the queue");
                }
            }
            while !self.in_flight.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(timeout, settled).await.is_err() {
            tracing::warn!(queue = self.queue.job(), "entries are left for another worker");
        }
        for task in self.readers.iter().chain(&self.keepers) {
            task.abort();
        }
        redis::quit(&self.blocking).await;
        if let Err(error) = self.forget().await {
            tracing::debug!(%error, queue = self.queue.job(), "could not forget the consumer; another worker will");
        }
        redis::quit(&self.client).await;
    }

    /// Deleting a name deletes what was given to it, which may be more than we know of: a read that failed here may have gone well there.
    async fn forget(&self) -> Result<(), Error> {
        let any = ("-", "+", 1, self.consumer.as_str());
        let pending: Value = self.client.with_options(&fail_fast()).xpending(self.queue.key(), GROUP, any).await?;
        if pending.array_len() == Some(0) {
            let _deleted: Value =
                self.client.with_options(&fail_fast()).xgroup_delconsumer(self.queue.key(), GROUP, self.consumer.as_str()).await?;
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Reader {
    queue: QueueName,
    settings: ReaderSettings,
    in_flight: InFlight,
    clock: Arc<ServerClock>,
    entries: mpsc::Sender<Entry>,
}

impl Reader {
    async fn read(
        self,
        blocking: Client,
        client: Client,
        mut open: watch::Receiver<bool>,
        healthy: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        let (mut backoff, mut synced_at) = (BACKOFF_MIN, None::<tokio::time::Instant>);
        while is_open(&mut open, &stop).await {
            // Never cut short: what Redis has given to us would be lost to everybody else for a while.
            let read = async {
                if synced_at.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                    self.clock.sync(&client).await?;
                    synced_at = Some(tokio::time::Instant::now());
                }
                // Whether reading works is known at once, not only when there is something to read.
                let block = healthy.borrow().then_some(BLOCK);
                self.read_once(&blocking, block).await
            };
            match read.await {
                Ok(entries) => {
                    healthy.send_replace(true);
                    backoff = BACKOFF_MIN;
                    if !entries.is_empty() {
                        reach("queue.read").await;
                    }
                    if !self.hand_out(entries, false).await {
                        return;
                    }
                }
                Err(error) => {
                    healthy.send_replace(false);
                    self.recover(&client, &error).await;
                    stop.run_until_cancelled(tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0))).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    async fn read_once(&self, blocking: &Client, block: Option<Duration>) -> Result<Vec<(String, Vec<u8>)>, StorageError> {
        let (consumer, block_ms) = (self.settings.consumer.as_str(), block.map(|block| block.as_millis() as u64));
        let read: Value = blocking.xreadgroup(GROUP, consumer, Some(READ_MAX), block_ms, false, self.queue.key(), ">").await?;
        Ok(entries_of_read(read))
    }

    /// Makes the consumer group again where it is gone: after FLUSHALL, or on a new Redis.
    async fn recover(&self, client: &Client, error: &StorageError) {
        if error.to_string().contains("NOGROUP") {
            tracing::info!(queue = self.queue.job(), "making the consumer group");
            let made: Result<Value, Error> = client.xgroup_create(self.queue.key(), GROUP, "0", true).await;
            if let Err(error) = made
                && !error.details().contains("BUSYGROUP")
            {
                tracing::warn!(%error, queue = self.queue.job(), "could not make the consumer group");
            }
        } else {
            tracing::debug!(%error, queue = self.queue.job(), "reading the queue");
        }
    }

    /// Takes over what other workers left lying, for as long as there is any, and forgets the names of dead workers.
    async fn pick_up(self, client: Client, mut open: watch::Receiver<bool>, stop: CancellationToken) {
        let mut interval = tokio::time::interval(self.settings.pickup_idle / 4);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        loop {
            tokio::select! { _ = interval.tick() => {}, () = stop.cancelled() => return }
            if !is_open(&mut open, &stop).await {
                return;
            }
            if let Err(error) = self.pick_up_all(&client, &stop).await {
                tracing::debug!(%error, queue = self.queue.job(), "looking for entries to pick up");
            }
            ticks += 1;
            if ticks.is_multiple_of(24)
                && let Err(error) = self.forget_dead_consumers(&client).await
            {
                tracing::debug!(%error, queue = self.queue.job(), "looking for dead consumers");
            }
        }
    }

    async fn pick_up_all(&self, client: &Client, stop: &CancellationToken) -> Result<(), StorageError> {
        let (consumer, idle) = (self.settings.consumer.as_str(), self.settings.pickup_idle.as_millis() as u64);
        let mut cursor = "0-0".to_owned();
        loop {
            let claimed: Value =
                client.xautoclaim(self.queue.key(), GROUP, consumer, idle, cursor.as_str(), Some(PICKUP_MAX), false).await?;
            let mut parts = claimed.into_array().into_iter();
            cursor = parts.next().and_then(|next| next.into_string()).unwrap_or_default();
            let entries = parts.next().map(entries_of_stream).unwrap_or_default();
            if !entries.is_empty() {
                tracing::info!(queue = self.queue.job(), entries = entries.len(), "picked up entries that were left lying");
                reach("queue.picked_up").await;
            }
            if !self.hand_out(entries, true).await || stop.is_cancelled() || cursor.is_empty() || cursor == "0-0" {
                return Ok(());
            }
        }
    }

    async fn forget_dead_consumers(&self, client: &Client) -> Result<(), StorageError> {
        let consumers: Vec<HashMap<String, Value>> = client.xinfo_consumers(self.queue.key(), GROUP).await?;
        for consumer in consumers {
            let number = |name: &str| consumer.get(name).and_then(Value::as_u64);
            let name = consumer.get("name").and_then(Value::as_string).unwrap_or_default();
            if number("pending") == Some(0) && number("idle").is_some_and(|idle| u128::from(idle) > FORGET_CONSUMER_AFTER.as_millis()) {
                let _removed: Value = client.xgroup_delconsumer(self.queue.key(), GROUP, name).await?;
            }
        }
        Ok(())
    }

    /// Passes entries on, unless this process has them already. `false` when nobody takes entries any more.
    async fn hand_out(&self, entries: Vec<(String, Vec<u8>)>, redelivered: bool) -> bool {
        // All are ours, and renewed, from now on, however long the first of them keep the last waiting.
        let new: Vec<_> = entries.into_iter().filter(|(id, _)| self.in_flight.insert(id)).collect();
        for (id, payload) in new {
            if self.entries.send(Entry { id, payload, redelivered, age_ms: 0 }).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Waits until there is reason to read. `false` when there will be none any more.
async fn is_open(open: &mut watch::Receiver<bool>, stop: &CancellationToken) -> bool {
    let opened = stop.run_until_cancelled(open.wait_for(|open| *open)).await.is_some_and(|open| open.is_ok());
    opened && !stop.is_cancelled()
}

/// Says for every entry in work that it is still being worked on.
async fn renew(client: Client, queue: QueueName, settings: ReaderSettings, in_flight: InFlight) {
    let mut interval = tokio::time::interval(settings.renew);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        for ids in in_flight.snapshot().chunks(READ_MAX as usize) {
            // JUSTID: the delivery count must not grow by being worked on.
            let renewed: Result<Value, Error> =
                client.xclaim(queue.key(), GROUP, settings.consumer.as_str(), 0, ids.to_vec(), None, None, None, false, true).await;
            if let Err(error) = renewed {
                tracing::debug!(%error, queue = queue.job(), "renewing entries");
            }
        }
    }
}

/// The entries of an XREADGROUP answer, which is nil when there are none, and a list or a map of streams otherwise.
fn entries_of_read(read: Value) -> Vec<(String, Vec<u8>)> {
    let streams = match read {
        Value::Map(map) => map.inner().into_values().collect(),
        Value::Array(streams) => streams.into_iter().filter_map(|stream| stream.into_array().into_iter().nth(1)).collect(),
        _ => Vec::new(),
    };
    streams.into_iter().flat_map(entries_of_stream).collect()
}

/// The entries of one stream: `[[id, [field, value, …]], …]`. Entries that were deleted meanwhile have no fields and are left out. One
/// that somebody else has written is an empty payload: whoever works on it finds that out, and takes it out of the stream.
fn entries_of_stream(entries: Value) -> Vec<(String, Vec<u8>)> {
    let entry = |entry: Value| {
        let mut parts = entry.into_array().into_iter();
        let (id, fields) = (parts.next()?.into_string()?, parts.next()?);
        if fields.is_null() {
            return None;
        }
        let fields = fields.into_array();
        let ours = fields.chunks_exact(2).find(|pair| pair[0].as_bytes() == Some(FIELD.as_bytes()));
        Some((id, ours.and_then(|pair| pair[1].clone().into_owned_bytes()).unwrap_or_default()))
    };
    entries.into_array().into_iter().filter_map(entry).collect()
}
