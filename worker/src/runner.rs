//! A worker's life: say what is wrong with the settings before anything opens, start, work until asked to stop, finish what was begun.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use apalis::prelude::{Data, WorkerBuilder, WorkerBuilderExt};
use common::clock::SystemClock;
use common::geo::Subdivisions;
use common::license::LicenseDigester;
use common::seal::{Purpose, Sealer};
use common::tax::TaxTable;
use common::webhook_target::Rules;
use config::{LogFormat, Settings};
use ops::admin::AdminServer;
use ops::health::{Check, Health, Need};
use ops::metrics::Metrics;
use ops::tasks::{Backoff, Drain, Tasks};
use ops::{descriptors, log, shutdown};
use storage::pg::changes;
use storage::pg::listener::{self, Notice};
use storage::pg::orders::PROCESSING_CHANNEL;
use storage::pg::roles::Role;
use storage::pg::stripe_events;
use storage::pg::tax_rates::LiveTable;
use storage::queue::backend::Batch;
use storage::queue::reader;
use storage::queue::settle::Settler;
use storage::queue::{Producer, QueueName, ReaderSettings, Watcher};
use storage::replies::Replier;
use storage::{Pg, redis};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::allocation::Allocator;
use crate::fulfillment::Fulfillment;
use crate::jobs::apply_stripe_events::{self, ApplyStripeEvents};
use crate::jobs::compute_tax::ComputeTax;
use crate::jobs::create_payment::CreatePayment;
use crate::jobs::deliver_webhook::DeliverWebhook;
use crate::jobs::expire_orders::ExpireOrders;
use crate::jobs::fulfill_order::FulfillOrder;
use crate::jobs::prune::Pruner;
use crate::jobs::{complete_orders, compute_tax, create_payment, deliver_webhook, follow_taxes, fulfill_order, observe, poll_webhooks};
use crate::metrics::WorkerMetrics;
use crate::outgoing::{Outgoing, SystemResolver};
use crate::payments::Payments;
use crate::questions::Questions;
use crate::stripe_api::StripeApi;
use crate::webhooks::hints::Hints;
use crate::webhooks::{self, Dispatcher};

/// Notices that may wait for a slow task before it is told that it missed some.
const NOTICES_MAX: usize = 1_024;

const POSTGRES_CHECK: &str = "postgres";
const QUEUE_CHECK: &str = "queue";
const WEBHOOK_QUEUE_CHECK: &str = "webhook_queue";
const TAX_QUEUE_CHECK: &str = "tax_queue";
const PAYMENT_QUEUE_CHECK: &str = "payment_queue";
const TAX_RATES_CHECK: &str = "tax_rates";

/// Runs a worker until the process is asked to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let format = if settings.log.format == LogFormat::Json { log::Format::Json } else { log::Format::Text };
    log::init(format, &settings.log.filter)?;
    let metrics = Metrics::new("worker", &[("version", env!("CARGO_PKG_VERSION"))])?;
    log::install_panic_hook(metrics.panics_total());
    let asked_to_stop = shutdown::on_signals()?;
    descriptors::raise_limit();
    let health = Health::new(&metrics);
    health.spawn_heartbeat();
    // Known before anybody can ask: a process that has not said what it needs would seem ready.
    for check in [POSTGRES_CHECK, QUEUE_CHECK, WEBHOOK_QUEUE_CHECK, TAX_QUEUE_CHECK, PAYMENT_QUEUE_CHECK, TAX_RATES_CHECK] {
        health.check(check, Need::Required);
    }
    let admin = AdminServer::start(settings.worker.admin_listen, metrics.clone(), health.clone())?;

    let running = start(&settings, &metrics, &health)?;
    tracing::info!(admin = %admin.local_addr(), "worker started");

    asked_to_stop.cancelled().await;
    health.set_draining();
    running.stop(settings.worker.drain_timeout).await;
    admin.shutdown();
    Ok(())
}

/// A running worker. Listening outlives working, so that the health stays true until the last job is done.
pub struct Running {
    work: Tasks,
    watch: Tasks,
}

impl Running {
    /// Stops taking jobs, finishes those in work for at most `timeout`, and lets go.
    pub async fn stop(self, timeout: Duration) {
        for tasks in [self.work, self.watch] {
            if let Drain::TimedOut { names } = tasks.drain(timeout).await {
                tracing::warn!(?names, "these tasks did not end in time; what they had begun is taken up by another worker");
            }
        }
    }
}

/// Starts everything a worker does on the current runtime. Connects in the background: neither Postgres nor Redis need be there yet.
pub fn start(settings: &Settings, metrics: &Metrics, health: &Health) -> anyhow::Result<Running> {
    let worker_metrics = WorkerMetrics::register(metrics.registry()).context("registering metrics")?;
    metrics.watch_runtime().context("registering metrics")?;
    let pg = Pg::new(&settings.postgres, "worker")?.with_role(Role::Worker);
    let client = redis::client(&settings.redis)?;
    let sealer = |purpose| Sealer::new(&settings.secrets.sealing, purpose, rand::random());
    let webhook_queue = QueueName::new(&settings.queue.prefix, deliver_webhook::NAME);
    let queue = QueueName::new(&settings.queue.prefix, fulfill_order::NAME);
    let rules = if settings.mode == config::Mode::Production { Rules::Production } else { Rules::Development };
    let parts = webhooks::Parts {
        pg: pg.clone(),
        outgoing: Outgoing::new((&settings.webhooks).into(), rules, Arc::new(SystemResolver::new()))?,
        secrets: sealer(Purpose::WebhookSecret),
        rules,
        clock: Arc::new(SystemClock::new()),
        hints: Some(Hints::new(Producer::new(client.clone(), webhook_queue.clone()))),
        metrics: worker_metrics.clone(),
    };
    let dispatcher = Dispatcher::new(parts, &settings.webhooks);
    let fulfillment = Arc::new(Fulfillment {
        pg: pg.clone(),
        allocator: Allocator::new(sealer(Purpose::License), LicenseDigester::new(&settings.secrets.license_digest)),
        requests: sealer(Purpose::OrderRequest),
        clock: Arc::new(SystemClock::new()),
        dispatcher: Some(dispatcher.clone()),
        starts_max: i32::from(settings.worker.job_starts_max),
    });
    let questions = |name| Questions {
        name,
        pg: pg.clone(),
        jobs: sealer(Purpose::Job),
        replier: Replier::new(client.clone(), Arc::new(sealer(Purpose::Reply))),
        metrics: worker_metrics.clone(),
    };
    let taxes = Arc::new(LiveTable::new(TaxTable::load(Arc::new(Subdivisions::load()?))?));
    let job = Arc::new(FulfillOrder {
        fulfillment: fulfillment.clone(),
        questions: questions(fulfill_order::NAME),
        batch_keys_max: settings.worker.batch_keys_max,
        metrics: worker_metrics.clone(),
    });

    let watch = Tasks::new(&CancellationToken::new(), metrics);
    let work = Tasks::new(&CancellationToken::new(), metrics);
    let (notices, _) = broadcast::channel(NOTICES_MAX);
    watch_postgres(&watch, &pg, notices.clone(), health.check(POSTGRES_CHECK, Need::Required));

    let reading = Reading {
        settings: settings.clone(),
        queue: queue.clone(),
        open: pg.health(),
        job,
        check: health.check(QUEUE_CHECK, Need::Required),
    };
    work.spawn_supervised(fulfill_order::NAME, Backoff::default(), move |stop| reading.clone().run(stop));
    let computing = Reading {
        settings: settings.clone(),
        queue: QueueName::new(&settings.queue.prefix, compute_tax::NAME),
        open: pg.health(),
        job: Arc::new(ComputeTax { taxes: taxes.clone(), questions: questions(compute_tax::NAME) }),
        check: health.check(TAX_QUEUE_CHECK, Need::Required),
    };
    work.spawn_supervised(compute_tax::NAME, Backoff::default(), move |stop| computing.clone().run(stop));
    let paying = Reading {
        settings: settings.clone(),
        queue: QueueName::new(&settings.queue.prefix, create_payment::NAME),
        open: pg.health(),
        job: Arc::new(CreatePayment {
            pg: pg.clone(),
            stripe: StripeApi::new(&settings.stripe, rules, worker_metrics.clone())?,
            questions: questions(create_payment::NAME),
        }),
        check: health.check(PAYMENT_QUEUE_CHECK, Need::Required),
    };
    work.spawn_supervised(create_payment::NAME, Backoff::default(), move |stop| paying.clone().run(stop));
    let follower = follow_taxes::Follower {
        pg: pg.clone(),
        taxes,
        clock: Arc::new(SystemClock::new()),
        metrics: worker_metrics.clone(),
        check: health.check(TAX_RATES_CHECK, Need::Required),
    };
    let changed = notices.clone();
    watch.spawn_supervised("follow_taxes", Backoff::default(), move |stop| {
        let (pg, follower, notices) = (follower.pg.clone(), follower.clone(), changed.subscribe());
        once_up(pg, stop.clone(), follower.run(notices, stop))
    });
    let telling = Reading {
        settings: settings.clone(),
        queue: webhook_queue,
        open: pg.health(),
        job: Arc::new(DeliverWebhook { dispatcher: dispatcher.clone(), metrics: worker_metrics.clone() }),
        check: health.check(WEBHOOK_QUEUE_CHECK, Need::Required),
    };
    work.spawn_supervised(deliver_webhook::NAME, Backoff::default(), move |stop| telling.clone().run(stop));
    let (polled, polling, every) = (pg.clone(), dispatcher.clone(), settings.worker.sweep_interval);
    work.spawn_supervised(poll_webhooks::NAME, Backoff::default(), move |stop| {
        let poll = poll_webhooks::run(polled.clone(), polling.clone(), every, stop.clone());
        once_up(polled.clone(), stop, poll)
    });
    let settling = dispatcher.clone();
    work.spawn_supervised("settle_webhooks", Backoff::default(), move |stop| {
        let dispatcher = settling.clone();
        async move { dispatcher.settle(stop).await }
    });
    let payments = Arc::new(Payments {
        pg: pg.clone(),
        allocator: Allocator::new(sealer(Purpose::License), LicenseDigester::new(&settings.secrets.license_digest)),
        clock: Arc::new(SystemClock::new()),
        dispatcher: Some(dispatcher.clone()),
    });
    let applying = ApplyStripeEvents { pg: pg.clone(), payments: payments.clone(), metrics: worker_metrics.clone() };
    let expiring = ExpireOrders { pg: pg.clone(), payments, after: settings.worker.unpaid_orders_expire, metrics: worker_metrics.clone() };
    let every_sweep = settings.worker.sweep_interval;
    work.spawn_supervised("expire_orders", Backoff::default(), move |stop| {
        once_up(expiring.pg.clone(), stop.clone(), expiring.clone().run(every_sweep, stop))
    });
    let (told, every) = (notices.clone(), settings.worker.sweep_interval);
    work.spawn_supervised(apply_stripe_events::NAME, Backoff::default(), move |stop| {
        let applying = applying.clone();
        once_up(applying.pg.clone(), stop.clone(), applying.run(told.subscribe(), every, stop))
    });
    let (sweep_pg, sweep_metrics, interval) = (pg.clone(), worker_metrics.clone(), settings.worker.sweep_interval);
    work.spawn_supervised("complete_orders", Backoff::default(), move |stop| {
        let (pg, fulfillment, metrics) = (sweep_pg.clone(), fulfillment.clone(), sweep_metrics.clone());
        let sweeping = complete_orders::run(pg.clone(), fulfillment, metrics, notices.subscribe(), interval, stop.clone());
        once_up(pg, stop, sweeping)
    });
    let pruner = Pruner {
        pg: pg.clone(),
        settings: settings.retention.clone(),
        clock: Arc::new(SystemClock::new()),
        metrics: worker_metrics.clone(),
    };
    work.spawn_supervised("prune", Backoff::default(), move |stop| once_up(pruner.pg.clone(), stop.clone(), pruner.clone().run(stop)));
    let queues = [fulfill_order::NAME, compute_tax::NAME, create_payment::NAME, deliver_webhook::NAME]
        .map(|job| QueueName::new(&settings.queue.prefix, job));
    let queues = Watcher::new(client, queues.into());
    watch.spawn_supervised("observe", Backoff::default(), move |stop| {
        observe::run(pg.clone(), queues.clone(), dispatcher.clone(), worker_metrics.clone(), stop)
    });
    Ok(Running { work, watch })
}

/// Runs `task` from when the database can be worked with: before that it may not even have tables.
async fn once_up<Error>(pg: Pg, stop: CancellationToken, task: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    match stop.run_until_cancelled(pg.up()).await {
        Some(()) => task.await,
        None => Ok(()),
    }
}

fn watch_postgres(tasks: &Tasks, pg: &Pg, notices: broadcast::Sender<Notice>, check: Check) {
    let listening = pg.clone();
    tasks.spawn_supervised("listen", Backoff::default(), move |stop| {
        let (pg, notices) = (listening.clone(), notices.clone());
        async move {
            let channels = [PROCESSING_CHANNEL, changes::CHANNEL, stripe_events::CHANNEL];
            stop.run_until_cancelled(listener::run(&pg, &channels, notices)).await;
            Ok::<_, Infallible>(())
        }
    });
    let watched = pg.clone();
    tasks.spawn_supervised("watch_postgres", Backoff::default(), move |stop| {
        let (pg, check, mut up) = (watched.clone(), check.clone(), watched.health());
        async move {
            loop {
                if *up.borrow_and_update() {
                    check.ok()
                } else {
                    check.failed(pg.trouble().to_string())
                }
                match stop.run_until_cancelled(up.changed()).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) | None => return Ok::<_, Infallible>(()),
                }
            }
        }
    });
}

/// Work that comes through a queue.
trait Job: Send + Sync + 'static {
    /// Works on a batch and settles all of it.
    fn run(self: Arc<Self>, batch: Batch, settler: Settler) -> impl Future<Output = ()> + Send;
}

impl Job for FulfillOrder {
    fn run(self: Arc<Self>, batch: Batch, settler: Settler) -> impl Future<Output = ()> + Send {
        self.run(batch, settler)
    }
}

impl Job for ComputeTax {
    fn run(self: Arc<Self>, batch: Batch, settler: Settler) -> impl Future<Output = ()> + Send {
        self.run(batch, settler)
    }
}

impl Job for CreatePayment {
    fn run(self: Arc<Self>, batch: Batch, settler: Settler) -> impl Future<Output = ()> + Send {
        self.run(batch, settler)
    }
}

impl Job for DeliverWebhook {
    fn run(self: Arc<Self>, batch: Batch, settler: Settler) -> impl Future<Output = ()> + Send {
        self.run(batch, settler)
    }
}

/// Reads one queue through apalis.
struct Reading<J> {
    settings: Settings,
    queue: QueueName,
    open: watch::Receiver<bool>,
    job: Arc<J>,
    check: Check,
}

impl<J> Clone for Reading<J> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            queue: self.queue.clone(),
            open: self.open.clone(),
            job: self.job.clone(),
            check: self.check.clone(),
        }
    }
}

impl<J: Job> Reading<J> {
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let worker = &self.settings.worker;
        let settings = ReaderSettings {
            pickup_idle: self.settings.queue.pickup_idle,
            renew: self.settings.queue.renew,
            batch_jobs_max: worker.batch_jobs_max,
            consumer: Uuid::now_v7().to_string(),
        };
        let name = settings.consumer.clone();
        let reading = reader::start(&self.settings.redis, self.queue, settings, self.open, stop.child_token())?;
        let (backend, settler, healthy, closing) = reading.into_parts();
        let reporting = tokio::spawn(report(healthy, self.check));
        let ended = WorkerBuilder::new(name)
            .backend(backend)
            .concurrency(worker.batches_in_flight)
            .data(Work { job: self.job, settler })
            .build(work::<J>)
            .run()
            .await;
        // The reader sees the end of its channel, and everything handed out is being settled.
        closing.close(worker.drain_timeout).await;
        reporting.abort();
        ended.context("the apalis worker")
    }
}

struct Work<J> {
    job: Arc<J>,
    settler: Settler,
}

impl<J> Clone for Work<J> {
    fn clone(&self) -> Self {
        Self { job: self.job.clone(), settler: self.settler.clone() }
    }
}

/// What apalis calls for every batch. In a task of its own, so that batches use all threads.
async fn work<J: Job>(batch: Batch, work: Data<Work<J>>) {
    let Work { job, settler } = (*work).clone();
    let ids: Vec<String> = batch.iter().map(|entry| entry.id.clone()).collect();
    if let Err(panicked) = tokio::spawn(Job::run(job, batch, settler.clone())).await {
        // What was promised is in the database; the rest were questions, and their askers help themselves.
        tracing::error!(%panicked, jobs = ids.len(), "a batch was abandoned");
        ids.into_iter().for_each(|id| settler.settle(id));
    }
}

async fn report(mut healthy: watch::Receiver<bool>, check: Check) {
    while healthy.changed().await.is_ok() {
        if *healthy.borrow_and_update() { check.ok() } else { check.failed("the queue cannot be read") }
    }
}
