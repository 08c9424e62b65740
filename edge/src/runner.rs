//! An edge's life: start, serve from memory once memory is filled, stop taking connections when asked to, finish what was begun.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use common::api_key::ApiKeyHasher;
use common::clock::Clock;
use common::geo::Subdivisions;
use common::job::{COMPUTE_TAX, CREATE_PAYMENT, FULFILL_ORDER};
use common::receipt::ReceiptSigner;
use common::seal::{Purpose, Sealer};
use common::session::SessionSigner;
use common::tax::TaxTable;
use common::webhook_target::Rules;
use config::{LogFormat, Mode, Settings};
use ops::admin::AdminServer;
use ops::health::{Check, Health, Need};
use ops::metrics::Metrics;
use ops::tasks::{Backoff, Drain, Tasks};
use ops::{descriptors, log, shutdown};
use storage::pg::roles::Role;
use storage::pg::tax_rates::LiveTable;
use storage::pg::{changes, listener, orders};
use storage::queue::{Producer, QueueName};
use storage::replies::Inbox;
use storage::revocations::Revoker;
use storage::{Pg, redis};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::subdivisions::SubdivisionBodies;
use crate::asking::{Asker, Asking};
use crate::edge::{Edge, Knobs};
use crate::follow::{self, Follower};
use crate::fulfillment::{Fulfillment, Patience, Settled};
use crate::gate::Gate;
use crate::metrics::EdgeMetrics;
use crate::payments::{Means, Payments};
use crate::portal::Portal;
use crate::quotas::Quotas;
use crate::router::Router;
use crate::server::guarded::Deadlines;
use crate::server::listener::Listener;
use crate::server::tls::Certificate;
use crate::server::{Server, ServerKnobs};
use crate::snapshot::Snapshot;
use crate::stripe::Intake;
use crate::tax_quotes::TaxQuotes;
use crate::usage;

/// Notices that may wait for a slow task before it is told that it missed some.
const NOTICES_MAX: usize = 16_384;
/// How long the first caller waits at most for the database to be seen, once the snapshot is loaded from it.
const WATCHER_PATIENCE: Duration = Duration::from_secs(2);
/// The check that decides whether the edge takes requests.
const SNAPSHOT_CHECK: &str = "snapshot";
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// Runs an edge until the process is asked to stop, on the listening socket that was handed over, or else on one of its own.
pub async fn run(settings: Settings, inherited: Option<std::net::TcpListener>, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
    let format = if settings.log.format == LogFormat::Json { log::Format::Json } else { log::Format::Text };
    log::init(format, &settings.log.filter)?;
    let metrics = Metrics::new("edge", &[("version", env!("CARGO_PKG_VERSION"))])?;
    log::install_panic_hook(metrics.panics_total());
    let asked_to_stop = shutdown::on_signals()?;
    descriptors::raise_limit();
    let health = Health::new(&metrics);
    health.spawn_heartbeat();
    // Known before anybody can ask: a process that has not said what it needs would seem ready.
    health.check(SNAPSHOT_CHECK, Need::Required);
    let admin = AdminServer::start(settings.edge.admin_listen, metrics.clone(), health.clone())?;

    let listener = Listener::open(inherited, settings.edge.listen).await?;
    let running = start_on(listener, &settings, &metrics, &health, clock).await?;
    tracing::info!(listen = %running.address, admin = %admin.local_addr(), "edge started");

    asked_to_stop.cancelled().await;
    health.set_draining();
    // Whoever sends us requests first has to see that we are not ready.
    tokio::time::sleep(settings.edge.drain_delay).await;
    running.stop(settings.edge.drain_timeout).await;
    admin.shutdown();
    Ok(())
}

/// A running edge. Its connections end before the tasks that serve them.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it knows; for those who watch it.
    pub edge: Arc<Edge>,
    server: Server,
    accept: Tasks,
    support: Tasks,
}

impl Running {
    /// Stops accepting, finishes what was begun for at most `timeout`, and lets go.
    pub async fn stop(self, timeout: Duration) {
        report(self.accept.drain(timeout).await);
        if !self.server.drain(timeout).await {
            tracing::warn!("some connections were still busy and are cut off");
        }
        report(self.support.drain(timeout).await);
    }
}

fn report(drain: Drain) {
    if let Drain::TimedOut { names } = drain {
        tracing::warn!(?names, "these tasks did not end in time");
    }
}

/// [`start_on`] a socket of its own.
pub async fn start(settings: &Settings, metrics: &Metrics, health: &Health, clock: Arc<dyn Clock>) -> anyhow::Result<Running> {
    start_on(Listener::open(None, settings.edge.listen).await?, settings, metrics, health, clock).await
}

/// Starts everything an edge does on the current runtime. Connects in the background: neither Postgres nor Redis need be there yet, but
/// no request is taken before the snapshot is loaded.
pub async fn start_on(
    listener: Listener,
    settings: &Settings,
    metrics: &Metrics,
    health: &Health,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Running> {
    let edge_metrics = EdgeMetrics::register(metrics.registry()).context("registering metrics")?;
    metrics.watch_runtime().context("registering metrics")?;
    let certificate = settings.edge.tls.as_ref().map(Certificate::read).transpose()?.map(Arc::new);
    let address = listener.address();

    let support = Tasks::new(&CancellationToken::new(), metrics);
    let accept = Tasks::new(&CancellationToken::new(), metrics);
    let pg = Pg::new(&settings.postgres, "edge")?.with_role(Role::Edge);
    let client = redis::client(&settings.redis)?;
    let (notices, _) = broadcast::channel(NOTICES_MAX);
    let snapshot = Arc::new(Snapshot::new());
    let edge_id: Arc<str> = Uuid::now_v7().to_string().into();

    let (revoked_sender, revoked) = mpsc::unbounded_channel();
    let sealer = |purpose| Sealer::new(&settings.secrets.sealing, purpose, rand::random());
    let prefix = &settings.queue.prefix;
    let (inbox, listening) = Inbox::start(&settings.redis, prefix, &edge_id, Arc::new(sealer(Purpose::Reply)), move |key_id| {
        // The receiver lives until the edge stops.
        let _ = revoked_sender.send(key_id);
    })?;
    let stop = support.token().clone();
    support.spawn("inbox", async move {
        stop.run_until_cancelled(Box::pin(listening)).await;
    });
    let depth = Arc::new(AtomicU64::new(0));
    let revoker = Revoker::new(client.clone(), prefix, settings.redis.command_timeout);
    let queue = Producer::new(client.clone(), QueueName::new(prefix, FULFILL_ORDER));
    let fulfillment = Fulfillment {
        pg: pg.clone(),
        asking: Asking { queue: queue.clone(), inbox: inbox.clone(), jobs: sealer(Purpose::Job) },
        requests: sealer(Purpose::OrderRequest),
        licenses: sealer(Purpose::License),
        clock: clock.clone(),
        settled: Settled::default(),
        waiters: Semaphore::new(settings.edge.waiters_max),
        depth: depth.clone(),
        metrics: edge_metrics.clone(),
        patience: Patience {
            fallback: settings.edge.fulfill_fallback,
            deadline: settings.edge.fulfill_deadline,
            depth_max: settings.queue.depth_max,
        },
    };
    let asker = |job, deadline| Asker {
        asking: Asking {
            queue: Producer::new(client.clone(), QueueName::new(prefix, job)),
            inbox: inbox.clone(),
            jobs: sealer(Purpose::Job),
        },
        waiters: Semaphore::new(settings.edge.waiters_max),
        reply_seconds: edge_metrics.reply_seconds.with_label_values(&[job]),
        depth: AtomicU64::default(),
        depth_max: settings.queue.depth_max,
        deadline,
    };
    let tax_quotes = TaxQuotes { asker: asker(COMPUTE_TAX, settings.edge.tax_deadline), metrics: edge_metrics.clone() };
    let payments = Payments {
        asker: asker(CREATE_PAYMENT, settings.edge.payment_deadline),
        live: Means::of(settings, common::mode::Mode::Live),
        test: Means::of(settings, common::mode::Mode::Test),
        metrics: edge_metrics.clone(),
    };
    let settled = fulfillment.settled.clone();
    let subdivisions = Arc::new(Subdivisions::load()?);
    let taxes = Arc::new(LiveTable::new(TaxTable::load(subdivisions.clone())?));
    let hasher = ApiKeyHasher::new(&settings.secrets.api_key_pepper);
    let (stripe, writer) = Intake::new(&settings.stripe.live_signing_secrets, &settings.stripe.test_signing_secrets);
    let portal = Portal::new(settings, &pg, hasher.clone(), revoker)?;
    let edge = Arc::new(Edge {
        router: Router::new(),
        snapshot: snapshot.clone(),
        gate: Gate::new(snapshot.clone(), hasher, Quotas::new(&settings.limits), settings.edge.bucket_addresses_max),
        clock: clock.clone(),
        signer: SessionSigner::new(&settings.secrets.session_signing),
        receipts: ReceiptSigner::new(&settings.secrets.session_signing),
        fulfillment,
        tax_quotes,
        payments,
        pg: pg.clone(),
        licenses: sealer(Purpose::License),
        webhook_secrets: sealer(Purpose::WebhookSecret),
        portal,
        stripe,
        geo: subdivisions.clone(),
        subdivisions: SubdivisionBodies::new(&subdivisions)?,
        taxes: taxes.clone(),
        metrics: edge_metrics.clone(),
        knobs: knobs(settings),
    });

    let loaded = health.check(SNAPSHOT_CHECK, Need::Required);
    let follower = Follower {
        snapshot: snapshot.clone(),
        taxes,
        pg: pg.clone(),
        clock: clock.clone(),
        edge_id,
        poll: settings.edge.snapshot_poll,
        check: loaded.clone(),
    };
    let following = notices.clone();
    support.spawn_supervised("follow", Backoff::default(), move |stop| follower.clone().run(following.subscribe(), stop));
    let telling = notices.clone();
    support.spawn_supervised("settled", Backoff::default(), move |stop| {
        let (settled, notices) = (settled.clone(), telling.subscribe());
        async move {
            stop.run_until_cancelled(settled.follow(notices)).await;
            Ok::<_, Infallible>(())
        }
    });
    let listening = pg.clone();
    support.spawn_supervised("listen", Backoff::default(), move |stop| {
        let (pg, notices) = (listening.clone(), notices.clone());
        async move {
            stop.run_until_cancelled(listener::run(&pg, &[changes::CHANNEL, orders::SETTLED_CHANNEL], notices)).await;
            Ok::<_, Infallible>(())
        }
    });
    let (snapshot_revoke, stop) = (snapshot.clone(), support.token().clone());
    support.spawn("revoke", async move {
        let Ok(()) = follow::revoke_at_once(snapshot_revoke, revoked, stop).await;
    });
    let (usage_snapshot, usage_pg, usage_metrics, flush) = (snapshot.clone(), pg.clone(), edge_metrics.clone(), settings.edge.usage_flush);
    support.spawn_supervised("usage", Backoff::default(), move |stop| {
        usage::run(usage_snapshot.clone(), usage_pg.clone(), usage_metrics.clone(), flush, stop)
    });
    let (stripe_pg, stripe_metrics) = (pg.clone(), edge_metrics.clone());
    support.spawn_supervised("stripe_events", Backoff::default(), move |stop| {
        writer.clone().run(stripe_pg.clone(), stripe_metrics.clone(), stop)
    });
    let observer = Observer {
        edge: edge.clone(),
        snapshot,
        queue,
        depth,
        inbox,
        postgres: health.check("postgres", Need::Optional),
        redis: health.check("redis", Need::Optional),
    };
    support.spawn_supervised("observe", Backoff::default(), move |stop| observer.clone().run(stop));

    if let Some(certificate) = certificate.clone() {
        support.spawn_supervised("certificate", Backoff::default(), move |stop| certificate.clone().follow(stop));
    }
    let server = Server::new(edge.clone(), server_knobs(settings), certificate);
    let (accepting, pg) = (server.clone(), pg.clone());
    accept.spawn_supervised("accept", Backoff::default(), move |stop| {
        let (server, listener, loaded, mut up) = (accepting.clone(), listener.clone(), loaded.clone(), pg.health());
        async move {
            // Until there is something to answer from, callers wait in the backlog.
            while !loaded.is_ok() {
                if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(5))).await.is_none() {
                    return Ok(());
                }
            }
            // The database was there to load from, and its watcher is about to find that too. Whoever came before would be refused for nothing.
            let seen = tokio::time::timeout(WATCHER_PATIENCE, up.wait_for(|up| *up));
            if let Some(Err(_)) = stop.run_until_cancelled(seen).await {
                tracing::debug!("serving without the database");
            }
            server.accept(listener, stop).await
        }
    });
    Ok(Running { address, edge, server, accept, support })
}

fn knobs(settings: &Settings) -> Knobs {
    Knobs {
        public_base_url: settings.http.public_base_url.clone(),
        https_only: settings.mode == Mode::Production,
        webhook_rules: if settings.mode == Mode::Production { Rules::Production } else { Rules::Development },
        body_max_bytes: settings.edge.body_max_bytes,
        body_timeout: settings.edge.body_timeout,
        uri_max_bytes: settings.edge.uri_max_bytes,
        head_max_bytes: settings.edge.head_max_bytes,
        head_fields_max: settings.edge.head_fields_max,
        trusted_proxies: settings.edge.trusted_proxies.clone(),
        session_lifetime_s: settings.edge.session_lifetime.as_secs(),
    }
}

fn server_knobs(settings: &Settings) -> ServerKnobs {
    let edge = &settings.edge;
    ServerKnobs {
        connections_max: descriptors::that_fit("edge.connections_max", edge.connections_max),
        connections_per_address_max: edge.connections_per_address_max,
        head_max_bytes: edge.head_max_bytes,
        head_fields_max: edge.head_fields_max,
        http2_streams_max: edge.http2_streams_max,
        deadlines: Deadlines {
            first_byte: edge.first_byte_timeout,
            head: edge.head_timeout,
            idle: edge.idle_timeout,
            write: edge.write_timeout,
        },
        drain_idle: edge.drain_idle,
    }
}

/// Looks around once a second: for the metrics page, for the health page, and for what requests need to know of the queue.
#[derive(Clone)]
struct Observer {
    edge: Arc<Edge>,
    snapshot: Arc<Snapshot>,
    queue: Producer,
    depth: Arc<AtomicU64>,
    inbox: Inbox,
    postgres: Check,
    redis: Check,
}

impl Observer {
    async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let metrics = &self.edge.metrics;
        let mut postgres = self.edge.pg.health();
        loop {
            let now = self.edge.clock.now();
            self.edge.gate.sweep(now);
            let (keys, stores) = self.snapshot.len();
            metrics.snapshot_keys.set(keys as i64);
            metrics.snapshot_stores.set(stores as i64);
            metrics.address_buckets.set(self.edge.gate.address_buckets() as i64);
            metrics.snapshot_age_seconds.set(self.snapshot.age_ns(now) as f64 / 1e9);
            let pool = self.edge.pg.pool_status();
            metrics.postgres_connections.set(pool.size as i64);
            metrics.postgres_waiting.set(pool.waiting as i64);
            metrics.postgres_wait_seconds_total.inc_by((pool.waited.as_secs_f64() - metrics.postgres_wait_seconds_total.get()).max(0.0));
            metrics.replies_late_total.inc_by(self.inbox.late().saturating_sub(metrics.replies_late_total.get()));
            if self.edge.pg.is_up() {
                self.postgres.ok()
            } else {
                self.postgres.failed(self.edge.pg.trouble().to_string())
            }
            if self.queue.is_connected() {
                self.redis.ok()
            } else {
                self.redis.failed("not connected")
            }
            if let Ok(depth) = self.queue.depth().await {
                self.depth.store(depth, Ordering::Relaxed);
                metrics.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
            }
            let askers =
                [(&self.edge.tax_quotes.asker, &metrics.tax_queue_depth), (&self.edge.payments.asker, &metrics.payment_queue_depth)];
            for (asker, gauge) in askers {
                if let Ok(depth) = asker.asking.queue.depth().await {
                    asker.depth.store(depth, Ordering::Relaxed);
                    gauge.set(i64::try_from(depth).unwrap_or(i64::MAX));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(OBSERVE_EVERY) => {}
                // The sender lives in `self`: this ends only by a change.
                _ = postgres.changed() => {}
            }
        }
    }
}
