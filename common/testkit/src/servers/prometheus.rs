//! A private Prometheus: Debian's, unpacked if need be, which scrapes what it is told to on this machine, and forgets everything with its end.

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Host, free_port};
use crate::process::{Process, Signal};

/// It listens within a second on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// It has nothing to save that anybody would read.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running Prometheus. Dropped without [`Prometheus::stop`], it is killed.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes admin listeners, by the name of their job, and judges by these files of rules, both every `interval`. It listens; the first scrape may be to come.
    pub fn start(
        host: &Host,
        jobs: &[(&str, Vec<SocketAddr>)],
        rules: &[PathBuf],
        interval: Duration,
        log: &Path,
        progress: &dyn Fn(&str),
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let interval = format!("{}ms", interval.as_millis());
        let mut text =
            format!("global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\nrule_files:\n");
        for file in rules {
            writeln!(text, "  - '{}'", file.display())?;
        }
        text.push_str("scrape_configs:\n");
        for (name, targets) in jobs {
            let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
            writeln!(text, "  - job_name: {name}\n    static_configs: [{{targets: [{}]}}]", targets.join(", "))?;
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, text)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let launch = host.program("prometheus", progress)?.arg(format!("--config.file={}", file.display()));
        let launch = launch.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        let mut process = launch.arg(format!("--web.listen-address={address}")).start(log).context("cannot start Prometheus")?;
        process.wait_until(START_DEADLINE, || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, address, _folder: folder })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, to be watched.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        self.process.stop(Signal::TERM, STOP_DEADLINE).map(drop)
    }
}
