//! An edge in a process of its own, as it is shipped: for what is measured or limited by process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::http::Client;
use testkit::process::{Launch, Process, Usage};
use testkit::settings::Settings;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::stage::{GEO, PATIENCE};
use crate::wire::{Wire, get};

/// A running edge. Killed with its test.
pub struct EdgeProcess {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub pid: u32,
    process: Process,
    _logs: tempfile::TempDir,
}

impl EdgeProcess {
    /// Starts one that is ready.
    pub async fn start(settings: &Settings) -> Self {
        Self::launch(settings, Launch::new("edge", env!("CARGO_BIN_EXE_edge")).arg("run")).await
    }

    /// The same with no more than so many open files; it may raise the first number to the second.
    pub async fn with_open_files(settings: &Settings, soft: u64, hard: u64) -> Self {
        let launch = Launch::new("edge", "prlimit").arg(format!("--nofile={soft}:{hard}"));
        Self::launch(settings, launch.arg("--").arg(env!("CARGO_BIN_EXE_edge")).arg("run")).await
    }

    async fn launch(settings: &Settings, mut launch: Launch) -> Self {
        for (name, value) in settings.clone().set("LOG__FORMAT", "json").environment() {
            launch = launch.env(name, value);
        }
        let logs = tempfile::tempdir().expect("a folder");
        let log = logs.path().join("log");
        let process = launch.start(&log).expect("an edge");
        let started = async {
            loop {
                if let Some(line) = lines(&log).into_iter().find(|line| line["message"] == "edge started") {
                    return ["listen", "admin"].map(|name| line[name].as_str().and_then(|at| at.parse().ok()).expect("an address"));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let started = tokio::time::timeout(PATIENCE, started).await;
        let [address, admin]: [SocketAddr; 2] = started.unwrap_or_else(|_| panic!("no edge: {}", process.log_tail(20)));
        let this = Self { address, admin, pid: process.pid(), process, _logs: logs };
        crate::stage::until("a ready edge", async || this.readiness().await.0).await;
        this
    }

    /// Whether it is ready, and the page that says so.
    pub async fn readiness(&self) -> (bool, Value) {
        let answer = Client::new(self.admin, false).get("/readyz").await.expect("an admin page");
        (answer.status == 200, answer.json())
    }

    /// A line of its metrics page.
    pub async fn metric(&self, line: &str) -> f64 {
        let page = Client::new(self.admin, false).get("/metrics").await.expect("an admin page");
        let page = String::from_utf8(page.body.to_vec()).expect("text");
        page.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// What it logged.
    pub fn log(&self) -> Vec<Value> {
        lines(self.process.log())
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.pid).expect("a running edge")
    }

    /// Seconds of processor time that it has used.
    pub fn cpu_s(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("a running edge");
        // Behind the name, which may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }
}

fn lines(log: &Path) -> Vec<Value> {
    fs::read_to_string(log).unwrap_or_default().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A client that asks all the time, and is never refused anything. It comes from an address of its own.
pub struct GoodClient {
    ends: Arc<AtomicBool>,
    slowest_us: Arc<AtomicU64>,
    asking: JoinHandle<usize>,
}

impl GoodClient {
    /// On one connection that it keeps, with this pause between two requests.
    pub async fn start(address: SocketAddr, pause: Duration) -> Self {
        let mut wire = Wire::connect_from("127.0.0.99", address).await;
        assert_eq!(wire.ask(get(GEO, "")).await.status, 200);
        let (ends, slowest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (must_end, slowest) = (ends.clone(), slowest_us.clone());
        let asking = tokio::spawn(async move {
            let mut answers = 0;
            while !must_end.load(Ordering::Relaxed) {
                let asked = Instant::now();
                // Anything else than an answer in time fails here.
                assert_eq!(wire.ask(get(GEO, "")).await.status, 200);
                slowest.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
                answers += 1;
                tokio::time::sleep(pause).await;
            }
            answers
        });
        Self { ends, slowest_us, asking }
    }

    /// How many answers it got, all of them good, and how long the slowest took.
    pub async fn stop(self) -> (usize, Duration) {
        self.ends.store(true, Ordering::Relaxed);
        let answers = self.asking.await.expect("a client whose requests were all answered");
        (answers, Duration::from_micros(self.slowest_us.load(Ordering::Relaxed)))
    }
}
