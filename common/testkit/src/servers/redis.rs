//! A private Redis on a free loopback port. It carries and never keeps: nothing is written to disk, unless a test wants it so.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::host::{Binaries, DataFolder, Kind, Lifetime};
use super::loopback::{connect, on_free_port, random_password};
use super::postgres::for_tests;
use crate::process::{Launch, Process, Signal};

const READY_DEADLINE: Duration = Duration::from_secs(20);
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How a Redis is to be: `RedisOptions { append_only: true, ..RedisOptions::default() }`.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Every write goes to an append-only file, so that the data is there again after a restart, whatever ended the process.
    /// While that file cannot grow, writes are refused with `MISCONF`.
    pub append_only: bool,
    /// An existing folder of the servers' account for that file; by default the server's own temporary one.
    pub data: Option<PathBuf>,
    /// From here on commands that need more memory are refused with `OOM`.
    pub max_memory_bytes: Option<u64>,
    /// Where its output goes; by default into its temporary folder.
    pub log: Option<PathBuf>,
}

/// A running Redis; dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    // After the process: the folder goes with it.
    server: Server,
    port: u16,
}

/// All that a start needs but the port.
#[derive(Debug)]
struct Server {
    binaries: Binaries,
    password: String,
    options: RedisOptions,
    folder: DataFolder,
}

impl Redis {
    /// Starts an empty server with a fresh password. Its output goes to `log`, or into its temporary folder.
    pub fn start(binaries: &Binaries, log: Option<PathBuf>) -> Result<Self> {
        Self::start_with(binaries, RedisOptions { log, ..RedisOptions::default() })
    }

    /// Like [`Redis::start`], as the options say. A `data` folder with a file in it gives its data back.
    pub fn start_with(binaries: &Binaries, options: RedisOptions) -> Result<Self> {
        let folder = binaries.host.data_folder(Lifetime::Temporary)?;
        let server = Server { binaries: binaries.clone(), password: random_password(), options, folder };
        let (port, process) = on_free_port(|port| server.run(port))?;
        Ok(Self { process, server, port })
    }

    /// One server for the whole process, started by whoever asks first; ends with the process.
    pub fn shared_for_tests() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Redis, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let start = || Self::start(&for_tests(Kind::Redis)?, None);
            start().map_err(|error| format!("{error:#}"))
        });
        shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// `redis://:password@127.0.0.1:port/0`
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.server.password, self.port)
    }

    /// The port on 127.0.0.1, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process, to watch it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A clean end; everything in it is gone, unless it is append-only.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, STOP_DEADLINE).map(|_| ())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(|_| ())
    }

    /// Starts it again, empty unless it is append-only, on the same port and with the same password.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exited()?.is_none() {
            self.stop()?;
        }
        self.process = self.server.run(self.port)?;
        Ok(())
    }

    /// Like [`Redis::restart`], and empty in any case: what was written to its file is removed first.
    pub fn restart_empty(&mut self) -> Result<()> {
        if self.process.exited()?.is_none() {
            self.stop()?;
        }
        let folder = self.server.data().join("appendonlydir");
        let account = self.server.binaries.host().account();
        Launch::new("rm", "rm").account(account).arg("-rf").arg(folder).must_succeed()?;
        self.restart()
    }

    /// FLUSHALL: everything in it is gone, connections stay.
    pub fn flush(&self) -> Result<()> {
        let flushed = answers(self.port, &self.server.password, "FLUSHALL", "OK", FLUSH_DEADLINE).context("FLUSHALL")?;
        ensure!(flushed, "Redis refused FLUSHALL");
        Ok(())
    }

    /// SIGSTOP: it stands still, connections stay open and say nothing.
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }
}

impl Server {
    fn log(&self) -> PathBuf {
        self.options.log.clone().unwrap_or_else(|| self.folder.path.join("log"))
    }

    fn data(&self) -> &Path {
        self.options.data.as_ref().unwrap_or(&self.folder.path)
    }

    fn run(&self, port: u16) -> Result<Process> {
        let (password, data) = (&self.password, self.data());
        let append_only = if self.options.append_only { "yes" } else { "no" };
        // `appendfsync no`: with `everysec` a write may be put off while an fsync is under way, and a kill then loses what was answered already.
        // 0 is Redis' own word for no limit.
        let max_memory = self.options.max_memory_bytes.unwrap_or(0);
        let text = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndaemonize no\nsave \"\"\ndir \"{}\"\nappendonly {append_only}\n\
             appendfsync no\nmaxmemory {max_memory}\nmaxmemory-policy noeviction\n",
            data.display()
        );
        // A file, because arguments are public to everybody on the machine.
        let settings = self.folder.path.join("redis.conf");
        self.binaries.host.write_private(&settings, &text)?;
        let launch = self.binaries.server(Kind::Redis, "redis")?.folder(&self.folder.path).arg(&settings);
        let mut process = launch.start(&self.log())?;
        process.wait_until(READY_DEADLINE, || answers(port, password, "PING", "PONG", Duration::from_secs(1)).is_ok_and(|ready| ready))?;
        Ok(process)
    }
}

/// Whether the server signs us in and answers `command` with the word `expected`.
fn answers(port: u16, password: &str, command: &str, expected: &str, deadline: Duration) -> std::io::Result<bool> {
    let mut stream = connect(port, deadline)?;
    stream.write_all(format!("AUTH {password}\r\n{command}\r\n").as_bytes())?;
    let expected = format!("+OK\r\n+{expected}\r\n").into_bytes();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer == expected)
}
