//! The running processes: born in the right order, watched, and stopped in the reverse one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use testkit::health::all_checks_pass;
use testkit::process::{Launch, Process, Signal};
use testkit::servers::{Binaries, Host, Lifetime, Postgres, Prometheus, Redis};

use crate::folder::{Folder, workspace};
use crate::http;
use crate::interrupt::Interrupt;
use crate::settings::{PORT, Settings};

/// The name of our Postgres' folder.
pub const POSTGRES_FOLDER: &str = "postgres";
/// The first admin port that is tried; Prometheus' examples look here.
const ADMIN_PORT: u16 = 9464;
const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Longer than the binaries' own drain.
const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// An edge or a worker.
pub struct Service {
    process: Process,
    pub admin_port: u16,
}

impl Service {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it says so itself.
    pub fn is_ready(&self) -> bool {
        http::get(self.admin_port, "/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// Its metrics page; `None` while it does not answer.
    pub fn metrics(&self) -> Option<String> {
        http::get(self.admin_port, "/metrics").ok().map(|answer| answer.body)
    }
}

/// Everything that runs. Servers that the caller named are not ours and not here. Dropped without [`System::stop`], all of it is killed,
/// in this order.
#[derive(Default)]
pub struct System {
    pub edges: Vec<Service>,
    pub workers: Vec<Service>,
    pub redis: Option<Redis>,
    pub postgres: Option<Postgres>,
    pub prometheus: Option<Prometheus>,
    admin_ports_given: u16,
}

impl System {
    /// Starts our own Postgres, with what it held the last time.
    pub fn start_postgres(&mut self, binaries: &Binaries, folder: &Folder) -> Result<String> {
        let postgres = Postgres::start(binaries, Lifetime::Lasting(POSTGRES_FOLDER), Some(folder.log("postgres")))?;
        Ok(self.postgres.insert(postgres).url())
    }

    /// Starts our own Redis, empty.
    pub fn start_redis(&mut self, binaries: &Binaries, folder: &Folder) -> Result<String> {
        let redis = Redis::start(binaries, Some(folder.log("redis")))?;
        Ok(self.redis.insert(redis).url())
    }

    /// Starts one more edge, on the next port; it is not ready yet.
    pub fn start_edge(&mut self, program: &PathBuf, settings: &Settings, folder: &Folder) -> Result<()> {
        let name = numbered("edge", self.edges.len());
        let admin_port = self.next_admin_port()?;
        let launch = settings.edge(Launch::new(&name, program), edge_port(self.edges.len()), admin_port);
        let process = launch.arg("run").start(&folder.log(&name))?;
        self.edges.push(Service { process, admin_port });
        Ok(())
    }

    /// Starts one more worker; it is not ready yet.
    pub fn start_worker(&mut self, program: &PathBuf, settings: &Settings, folder: &Folder) -> Result<()> {
        let name = numbered("worker", self.workers.len());
        let admin_port = self.next_admin_port()?;
        let launch = settings.worker(Launch::new(&name, program), admin_port);
        let process = launch.arg("run").start(&folder.log(&name))?;
        self.workers.push(Service { process, admin_port });
        Ok(())
    }

    /// Starts a Prometheus that scrapes all edges and workers that there are, every five seconds.
    pub fn start_prometheus(&mut self, host: &Host, folder: &Folder) -> Result<()> {
        let admins = |services: &[Service]| services.iter().map(|one| SocketAddr::from((Ipv4Addr::LOCALHOST, one.admin_port))).collect();
        let jobs = [("edge", admins(&self.edges)), ("worker", admins(&self.workers))];
        let rules = ["slo", "causes"].map(|name| workspace().join(format!("dashboards/rules/{name}.yml")));
        let progress = |line: &str| eprintln!("{line}");
        let prometheus = Prometheus::start(host, &jobs, &rules, SCRAPE_INTERVAL, &folder.log("prometheus"), &progress)?;
        self.prometheus = Some(prometheus);
        Ok(())
    }

    /// Waits until every edge and worker finds everything well, also what it could do without: an edge serves from memory while its
    /// Postgres is gone, but a stack without Postgres is not what was asked for.
    pub fn wait_until_ready(&mut self, interrupt: &Interrupt) -> Result<()> {
        for service in self.edges.iter_mut().chain(&mut self.workers) {
            let port = service.admin_port;
            let ready = || http::get(port, "/readyz").is_ok_and(|answer| answer.status == 200 && all_checks_pass(&answer.body));
            service.process.wait_until(READY_DEADLINE, || interrupt.raised() || ready())?;
            interrupt.check()?;
        }
        Ok(())
    }

    /// Descriptors that become readable when something ends.
    pub fn endings(&mut self) -> Vec<BorrowedFd<'_>> {
        self.processes().into_iter().map(|process| AsFd::as_fd(&*process)).collect()
    }

    /// Fails when one of the processes has ended, with its last words.
    pub fn check_alive(&mut self) -> Result<()> {
        for process in self.processes() {
            if let Some(status) = process.exited()? {
                let (name, pid, log) = (process.name(), process.pid(), process.log());
                bail!("{name} (pid {pid}) ended unexpectedly ({status}); its log {} ends with:\n{}", log.display(), process.log_tail(20));
            }
        }
        Ok(())
    }

    /// Ends everything in order: nobody loses a server that it still needs. Goes on to the end whatever fails, and reports the first
    /// failure.
    pub fn stop(&mut self) -> Result<()> {
        let prometheus = self.prometheus.take().map_or(Ok(()), Prometheus::stop);
        let edges = stop_all(&mut self.edges);
        let workers = stop_all(&mut self.workers);
        let redis = self.redis.take().map_or(Ok(()), |mut redis| redis.stop());
        let postgres = self.postgres.take().map_or(Ok(()), |mut postgres| postgres.stop());
        prometheus.and(edges).and(workers).and(redis).and(postgres)
    }

    fn processes(&mut self) -> Vec<&mut Process> {
        let services = self.edges.iter_mut().chain(&mut self.workers).map(|service| &mut service.process);
        let servers = self.redis.as_mut().map(Redis::process).into_iter().chain(self.postgres.as_mut().map(Postgres::process));
        let prometheus = self.prometheus.as_mut().map(Prometheus::process);
        services.chain(servers).chain(prometheus).collect()
    }

    fn next_admin_port(&mut self) -> Result<u16> {
        while self.admin_ports_given < 100 {
            let port = ADMIN_PORT + self.admin_ports_given;
            self.admin_ports_given += 1;
            if is_free(port) {
                return Ok(port);
            }
        }
        bail!("no free port for the admin listeners from {ADMIN_PORT} on")
    }
}

/// The port of the edge with this index.
pub fn edge_port(index: usize) -> u16 {
    // At most eight edges.
    PORT + index as u16
}

/// Whether nobody listens on 127.0.0.1 at this port.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// All are asked first and waited for then, so that they drain at the same time. Asked once: the binaries take a second signal for
/// impatience.
fn stop_all(services: &mut Vec<Service>) -> Result<()> {
    let asked = services.iter_mut().map(|service| service.process.signal(Signal::TERM)).fold(Ok(()), Result::and);
    let ended = services.drain(..).map(|service| wait_or_kill(service.process)).fold(Ok(()), Result::and);
    asked.and(ended)
}

fn wait_or_kill(mut process: Process) -> Result<()> {
    // One that somebody has paused could not even hear us.
    process.resume()?;
    if process.wait(STOP_DEADLINE)?.is_none() {
        process.kill()?;
        bail!("{} did not stop within {STOP_DEADLINE:?} and was killed", process.name());
    }
    Ok(())
}

/// `edge`, `edge-2`, `edge-3`, …
fn numbered(name: &str, index: usize) -> String {
    if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::secrets::Secrets;

    /// Says what it was told, and when it goes. Its own name tells edge from worker.
    const PROGRAM: &str = r#"#!/bin/sh
folder=$(dirname "$0"); name=$(basename "$0")
test ! -e "$folder/broken" || { echo "no license to start"; exit 78; }
trap 'echo "$name" >> "$folder/gone"; exit 0' TERM
mkfifo "$folder/$name.wait"
echo "$name $1 $ANONYMOUSPAY_MODE $ANONYMOUSPAY_EDGE__LISTEN $ANONYMOUSPAY_POSTGRES__TLS $ANONYMOUSPAY_POSTGRES__URL" > "$folder/$name.new"
mv "$folder/$name.new" "$folder/$name.started"
while :; do read line <> "$folder/$name.wait"; done
"#;

    struct Bench {
        root: tempfile::TempDir,
        folder: Folder,
        settings: Settings,
        system: System,
    }

    impl Bench {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let folder = Folder::at(root.path().join("stack")).unwrap();
            let settings = Settings {
                database_url: "postgres://owner@a".into(),
                edge_database_url: "postgres://edge@a".into(),
                worker_database_url: "postgres://worker@a".into(),
                redis_url: "redis://b".into(),
                postgres_tls_is_set: false,
                stripe_is_set: false,
                secrets: Secrets::read_or_make(&folder).unwrap(),
            };
            Self { root, folder, settings, system: System::default() }
        }

        fn start(&mut self) {
            let program = |name: &str| {
                let path = self.root.path().join(name);
                fs::write(&path, PROGRAM).unwrap();
                fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
                path
            };
            let (edge, worker) = (program("edge"), program("worker"));
            self.system.start_edge(&edge, &self.settings, &self.folder).unwrap();
            self.system.start_worker(&worker, &self.settings, &self.folder).unwrap();
        }

        fn wait_for(&mut self, name: &str) -> String {
            let path = self.root.path().join(name);
            let service = self.system.edges.first_mut().unwrap();
            service.process.wait_until(Duration::from_secs(10), || Path::exists(&path)).unwrap();
            fs::read_to_string(path).unwrap()
        }
    }

    #[test]
    fn edges_go_before_workers_and_were_told_what_they_need() {
        let mut bench = Bench::new();
        bench.start();
        assert_eq!(bench.wait_for("edge.started"), "edge run development 127.0.0.1:8000 disable postgres://edge@a\n");
        assert_eq!(bench.wait_for("worker.started"), "worker run development  disable postgres://worker@a\n");
        bench.system.check_alive().unwrap();
        assert_ne!(bench.system.edges[0].admin_port, bench.system.workers[0].admin_port);
        bench.system.stop().unwrap();
        assert_eq!(fs::read_to_string(bench.root.path().join("gone")).unwrap(), "edge\nworker\n");
    }

    #[test]
    fn an_end_that_nobody_asked_for_is_told_with_its_reason() {
        let mut bench = Bench::new();
        fs::write(bench.root.path().join("broken"), "").unwrap();
        bench.start();
        let interrupt = Interrupt::listen().unwrap();
        let error = bench.system.wait_until_ready(&interrupt).unwrap_err().to_string();
        assert!(error.contains("edge") && error.contains("78") && error.contains("no license to start"), "{error}");
        interrupt.wait(&bench.system.endings(), Duration::from_secs(10)).unwrap();
        assert!(bench.system.check_alive().unwrap_err().to_string().contains("ended unexpectedly"));
        bench.system.stop().unwrap();
    }
}
