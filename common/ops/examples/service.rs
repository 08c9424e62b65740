//! A whole life in one screen: what a binary does with this crate, and what its tests start
//! as a child. Usage: `service [calm|stubborn|crashing]`; it prints its admin address.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use ops::admin::AdminServer;
use ops::health::{Health, Need};
use ops::metrics::Metrics;
use ops::tasks::{Backoff, Drain, Tasks};
use ops::{log, shutdown};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mood = std::env::args().nth(1).unwrap_or_else(|| "calm".to_owned());

    log::init(log::Format::Json, "info")?;
    let metrics = Metrics::new("service", &[("version", env!("CARGO_PKG_VERSION"))])?;
    log::install_panic_hook(metrics.panics_total());
    let asked_to_stop = shutdown::on_signals().context("cannot listen for signals")?;

    let health = Health::new(&metrics);
    health.spawn_heartbeat();
    let admin = AdminServer::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), metrics.clone(), health.clone())?;
    println!("{}", admin.local_addr());

    let tasks = Tasks::new(&asked_to_stop, &metrics);
    let working = health.check("work", Need::Required);
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(10) };
    let mut runs = 0;
    tasks.spawn_supervised("work", backoff, move |token| {
        runs += 1;
        let crash = mood == "crashing" && runs == 1;
        let stubborn = mood == "stubborn";
        let working = working.clone();
        async move {
            assert!(!crash, "crashing, as asked");
            working.ok();
            token.cancelled().await;
            if stubborn {
                std::future::pending::<()>().await;
            }
            anyhow::Ok(())
        }
    });

    asked_to_stop.cancelled().await;
    health.set_draining();
    if let Drain::TimedOut { names } = tasks.drain(Duration::from_secs(60)).await {
        tracing::warn!(?names, "these tasks did not end in time");
    }
    admin.shutdown();
    Ok(())
}
