//! Edges and workers that can be ended as by `kill -9` without ending the test: each lives on a runtime of its own, and its end is that
//! every task of it is dropped where it stands, sockets with it. Nothing drains, nothing is settled, nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;

use common::clock::SystemClock;
use config::Settings;
use ops::health::Health;
use ops::metrics::Metrics;
use storage::crash_point::Execution;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

use crate::system::{SOON, eventually};

/// Something that runs until it is ended.
pub struct Mortal {
    /// What it reaches, and where it ends.
    pub execution: Arc<Execution>,
    runtime: Option<Runtime>,
}

impl Mortal {
    fn born() -> Self {
        let execution = Arc::new(Execution::default());
        let entering = execution.clone();
        let runtime = Builder::new_multi_thread().worker_threads(1).on_thread_start(move || entering.enter()).enable_all().build();
        Self { execution, runtime: Some(runtime.expect("a runtime")) }
    }

    async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().expect("it lives until it is dropped");
        runtime.spawn(task).await.expect("no panic")
    }

    /// Ends it. Nothing of it is left afterwards.
    pub async fn kill(mut self) {
        let runtime = self.runtime.take().expect("it lives until it is dropped");
        spawn_blocking(move || runtime.shutdown_timeout(SOON)).await.expect("no panic");
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        // Only a test that fails leaves one running; waiting is not allowed here.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An edge.
pub struct MortalEdge {
    /// Its life.
    pub life: Mortal,
    /// Where it listens.
    pub address: SocketAddr,
    _running: edge::runner::Running,
}

impl MortalEdge {
    /// Starts one as its program does, and waits until it has everything it needs.
    pub async fn start(settings: &Settings) -> Self {
        let (life, metrics, settings) = (Mortal::born(), Metrics::new("edge", &[]).expect("metrics"), settings.clone());
        let health = Health::new(&metrics);
        let seen = health.clone();
        let starting = async move { edge::runner::start(&settings, &metrics, &health, Arc::new(SystemClock::new())).await };
        let running = life.run(starting).await.expect("an edge");
        eventually("the edge to be connected", SOON, async || {
            let fulfillment = &running.edge.fulfillment;
            let connected = fulfillment.pg.is_up() && fulfillment.asking.is_connected();
            (connected && seen.is_ready()).then_some(())
        })
        .await;
        Self { life, address: running.address, _running: running }
    }
}

/// A worker.
pub struct MortalWorker {
    /// Its life.
    pub life: Mortal,
    health: Health,
    _running: worker::runner::Running,
}

impl MortalWorker {
    /// Starts one as its program does, to end at this point. It connects while the test goes on.
    pub async fn start(settings: &Settings, ends_at: Option<&'static str>) -> Self {
        let (life, metrics, settings) = (Mortal::born(), Metrics::new("worker", &[]).expect("metrics"), settings.clone());
        let health = Health::new(&metrics);
        let reporting = health.clone();
        life.execution.end_at(ends_at);
        let running = life.run(async move { worker::runner::start(&settings, &metrics, &reporting) }).await;
        Self { life, health, _running: running.expect("a worker") }
    }

    /// Waits until it has everything it needs.
    pub async fn is_ready(&self) {
        eventually("the worker to be ready", SOON, async || self.health.is_ready().then_some(())).await;
    }
}
