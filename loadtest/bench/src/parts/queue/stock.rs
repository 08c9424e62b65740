//! apalis-redis 1.0.0 with a reply, as one would do it with it, and with the settings that made it fastest here:
//!
//! - Finished jobs' results can be waited for, but by asking every 100 ms. So the job itself publishes its answer, as ours does, and the asker
//!   has one subscription.
//! - Every push goes through the schedule, which tells nobody: notifications are sent only for jobs that need not wait. So the worker looks
//!   again every millisecond; by a timer of our own, since apalis' loses a wake-up under load, and sleeps for ever.
//! - Large batches; no locks, which its documentation advises for short jobs; no events, which nobody here listens to. Results are kept,
//!   because without them a job is never acknowledged.

use std::sync::Arc;
use std::task::{Context as PollContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apalis::prelude::{BoxDynError, Data, TaskSink, WorkerBuilder};
use apalis_core::backend::ext::BackendExt;
use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use apalis_redis::{Config, RedisStorage};
use common::job::{FulfillJob, Reply};
use dashmap::DashMap;
use futures_util::StreamExt;
use redis::aio::ConnectionManager;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::Queue;

const BATCH_JOBS: usize = 256;
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(1);

/// The asker's side.
#[derive(Clone)]
pub(super) struct Asker {
    storage: RedisStorage<FulfillJob>,
    channel: Arc<str>,
    waiting: Arc<DashMap<Uuid, oneshot::Sender<Reply>>>,
}

/// The worker's side, and what ends it.
pub(super) struct Worker {
    working: JoinHandle<Result<()>>,
    listening: JoinHandle<Result<()>>,
}

/// Starts both sides, and waits until they are connected.
pub(super) async fn start(url: &str) -> Result<(Asker, Worker)> {
    let unique = Uuid::now_v7().simple().to_string();
    let channel: Arc<str> = format!("replies-{unique}").into();
    let waiting: Arc<DashMap<Uuid, oneshot::Sender<Reply>>> = Arc::default();
    let mut subscription = redis::Client::open(url)?.get_async_pubsub().await?;
    subscription.subscribe(&*channel).await?;
    let answered = waiting.clone();
    let listening = tokio::spawn(async move {
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            let reply: Reply = serde_json::from_slice(message.get_payload_bytes())?;
            if let Some((_, asker)) = answered.remove(&reply.id) {
                // One that has given up reports that itself.
                let _ = asker.send(reply);
            }
        }
        bail!("the subscription ended")
    });

    let config = Config::default().queue(&unique).batch_size(BATCH_JOBS).lock_tasks(false).emit_events(false);
    let connect = async || apalis_redis::connect(url).await.context("connecting to Redis");
    let storage = RedisStorage::new(connect().await?).with_config(config.clone());
    let backend = RedisStorage::new(connect().await?).with_config(config).poll_with_strategy(LookAgain::every(LOOK_AGAIN_EVERY));
    let replies = connect().await?;
    let working = tokio::spawn(async move {
        let worker = WorkerBuilder::new(unique.as_str()).backend(backend).data(replies).build(take);
        Ok(worker.run().await?)
    });
    Ok((Asker { storage, channel, waiting }, Worker { working, listening }))
}

async fn take(job: FulfillJob, replies: Data<ConnectionManager>) -> Result<(), BoxDynError> {
    let reply = serde_json::to_vec(&super::reply(&job)?)?;
    let mut replies = (*replies).clone();
    redis::cmd("PUBLISH").arg(&job.reply_to).arg(reply).exec_async(&mut replies).await?;
    Ok(())
}

/// Looks again every so often. apalis' own interval, when its time has come while a look was under way, starts the next one without asking to
/// be woken by it: a worker that finds nothing then sleeps for ever.
struct LookAgain(Interval);

impl LookAgain {
    fn every(period: Duration) -> Self {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(interval)
    }
}

impl PollStrategy for LookAgain {
    fn poll_drive(&mut self, cx: &mut PollContext<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        while self.0.poll_tick(cx).is_ready() {}
        Poll::Pending
    }
}

impl Queue for Asker {
    fn reply_to(&self) -> &str {
        &self.channel
    }

    async fn ask(&mut self, job: FulfillJob) -> Result<Reply> {
        let (sender, reply) = oneshot::channel();
        self.waiting.insert(job.id, sender);
        self.storage.push(job).await.context("pushing a job")?;
        reply.await.context("the subscription ended")
    }
}

impl Worker {
    /// Ends both sides. One that had ended by itself is an error.
    pub(super) async fn stop(self) -> Result<()> {
        for task in [self.working, self.listening] {
            task.abort();
            if let Ok(ended) = task.await {
                ended.context("apalis-redis ended by itself")?;
                bail!("apalis-redis ended by itself");
            }
        }
        Ok(())
    }
}
