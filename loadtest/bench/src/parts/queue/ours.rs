//! Our queue, put together as an edge and a worker do it: sealed jobs on a stream, batches through apalis, sealed replies over pub/sub.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use apalis::prelude::{Data, WorkerBuilder, WorkerBuilderExt};
use common::job::{FULFILL_ORDER, FulfillJob, JOB_PLACE, Reply};
use common::seal::{Purpose, Sealer};
use storage::queue::backend::Batch;
use storage::queue::reader;
use storage::queue::settle::Settler;
use storage::queue::{Producer, QueueName, ReaderSettings};
use storage::redis;
use storage::replies::{Inbox, Replier};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{PATIENCE, Queue};

/// The edge's side.
#[derive(Clone)]
pub(super) struct Edge {
    queue: Producer,
    inbox: Inbox,
    jobs: Arc<Sealer>,
}

/// The worker's side, and what ends it.
pub(super) struct Worker {
    stop: CancellationToken,
    working: JoinHandle<Result<()>>,
    listening: JoinHandle<()>,
    _open: watch::Sender<bool>,
}

#[derive(Clone)]
struct Work {
    jobs: Arc<Sealer>,
    replier: Replier,
    settler: Settler,
}

/// Starts both sides, and waits until they are connected.
pub(super) async fn start(settings: &config::Settings) -> Result<(Edge, Worker)> {
    // Each side draws a salt of its own, as processes do.
    let sealer = |purpose| Arc::new(Sealer::new(&settings.secrets.sealing, purpose, rand::random()));
    let name = QueueName::new(&settings.queue.prefix, FULFILL_ORDER);

    let edge_id = Uuid::now_v7().to_string();
    let (inbox, listening) = Inbox::start(&settings.redis, &settings.queue.prefix, &edge_id, sealer(Purpose::Reply), |_| {})?;
    let listening = tokio::spawn(listening);
    let edge = Edge { queue: Producer::new(redis::client(&settings.redis)?, name.clone()), inbox, jobs: sealer(Purpose::Job) };

    let (open, opened) = watch::channel(true);
    let stop = CancellationToken::new();
    let reader_settings = ReaderSettings {
        pickup_idle: settings.queue.pickup_idle,
        renew: settings.queue.renew,
        batch_jobs_max: settings.worker.batch_jobs_max,
        consumer: Uuid::now_v7().to_string(),
    };
    let reading = reader::start(&settings.redis, name, reader_settings, opened, stop.clone())?;
    let (backend, settler, mut healthy, closing) = reading.into_parts();
    let replier = Replier::new(redis::client(&settings.redis)?, sealer(Purpose::Reply));
    let work = Work { jobs: sealer(Purpose::Job), replier, settler };
    let concurrency = settings.worker.batches_in_flight;
    let working = tokio::spawn(async move {
        WorkerBuilder::new("bench").backend(backend).concurrency(concurrency).data(work).build(take).run().await?;
        closing.close(PATIENCE).await;
        Ok(())
    });
    let connected = async {
        healthy.wait_for(|healthy| *healthy).await?;
        while !(edge.queue.is_connected() && edge.inbox.is_connected()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Subscribing follows connecting, and says nothing when it is done.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(PATIENCE, connected).await??;
    Ok((edge, Worker { stop, working, listening, _open: open }))
}

/// As the worker does it: in a task of its own, all answered together, and then settled.
async fn take(batch: Batch, work: Data<Work>) -> Result<(), String> {
    let work = (*work).clone();
    let answering = tokio::spawn(async move {
        let (mut replies, mut done) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for entry in batch {
            let json = work.jobs.open(JOB_PLACE, &entry.payload)?;
            let job: FulfillJob = serde_json::from_slice(&json)?;
            let reply = super::reply(&job)?;
            replies.push((job.reply_to, reply));
            done.push(entry.id);
        }
        work.replier.send(replies).await?;
        done.into_iter().for_each(|id| work.settler.settle(id));
        Ok::<_, anyhow::Error>(())
    });
    // Whoever misses the answer reports it; this says why.
    let answered = answering.await.map_err(anyhow::Error::from).flatten();
    answered.map_err(|error| error.to_string()).inspect_err(|error| eprintln!("the worker of our queue: {error}"))
}

impl Queue for Edge {
    fn reply_to(&self) -> &str {
        self.inbox.channel()
    }

    async fn ask(&mut self, job: FulfillJob) -> Result<Reply> {
        let mut waiter = self.inbox.wait_for(job.id);
        self.queue.push(&self.jobs.seal(JOB_PLACE, &serde_json::to_vec(&job)?)).await?;
        Ok(waiter.reply().await)
    }
}

impl Worker {
    /// Ends both sides. Nothing may be left in work.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.working).await;
        ensure!(ended.is_ok(), "our worker did not end");
        self.listening.abort();
        ended???;
        Ok(())
    }
}
