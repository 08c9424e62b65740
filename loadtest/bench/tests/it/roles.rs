//! This program as an edge or as a worker: there is no other to be found for sure.

use std::sync::Arc;

use bench::system::{Program, Programs};
use common::clock::SystemClock;
use config::Settings;
use edge::server::listener;

/// Everything that parts may start.
pub fn programs() -> Programs {
    let own = std::env::current_exe().expect("our own program");
    // As the test's name is the only one that fits, `run`, which follows, selects nothing more.
    let role = |name: &str| Program { path: own.clone(), args: ["--ignored", "--exact", "--nocapture", name].map(str::to_owned).to_vec() };
    let baseline = Program { path: env!("CARGO_BIN_EXE_bench").into(), args: vec!["baseline".into()] };
    Programs { edge: role("roles::edge"), worker: role("roles::worker"), baseline }
}

#[test]
#[ignore = "not a test: an edge, started by others"]
fn edge() {
    if !is_started_as_one() {
        return;
    }
    let inherited = listener::inherited().unwrap();
    live(edge::runner::run(Settings::from_process(None).unwrap(), inherited, Arc::new(SystemClock::new())));
}

#[test]
#[ignore = "not a test: a worker, started by others"]
fn worker() {
    if !is_started_as_one() {
        return;
    }
    live(worker::runner::run(Settings::from_process(None).unwrap()));
}

/// Not by somebody who just wants to see what ignored tests do.
fn is_started_as_one() -> bool {
    std::env::args().next_back().as_deref() == Some("run")
}

fn live(life: impl Future<Output = anyhow::Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(Box::pin(life)).unwrap();
}
