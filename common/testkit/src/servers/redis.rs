//! A private Redis on a free loopback port. It carries and never keeps: nothing is written to disk.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};

use super::host::{Binaries, DataFolder, Kind, Lifetime};
use super::loopback::{connect, free_port, random_password};
use super::postgres::for_tests;
use crate::process::{Process, Signal};

const READY_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running Redis; dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    binaries: Binaries,
    port: u16,
    password: String,
    log: PathBuf,
    // Last: the folder goes after the process.
    folder: DataFolder,
}

impl Redis {
    /// Starts an empty server with a fresh password. Its output goes to `log`, or into its temporary folder.
    pub fn start(binaries: &Binaries, log: Option<PathBuf>) -> Result<Self> {
        let folder = binaries.host.data_folder(Lifetime::Temporary)?;
        let log = log.unwrap_or_else(|| folder.path.join("log"));
        let password = random_password();
        for _ in 0..4 {
            let port = free_port()?;
            // Somebody may take the port between our look and the server's: then, and only then, another one is tried.
            match run(binaries, &folder, port, &password, &log) {
                Ok(process) => return Ok(Self { process, binaries: binaries.clone(), port, password, log, folder }),
                Err(_) if connect(port, Duration::from_millis(100)).is_ok() => {}
                Err(error) => return Err(error),
            }
        }
        bail!("Redis found its port taken four times; see {}", log.display())
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
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
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

    /// A clean end; everything in it is gone.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, STOP_DEADLINE).map(|_| ())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(|_| ())
    }

    /// Starts it again, empty, on the same port and with the same password.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exited()?.is_none() {
            self.stop()?;
        }
        self.process = run(&self.binaries, &self.folder, self.port, &self.password, &self.log)?;
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

fn run(binaries: &Binaries, folder: &DataFolder, port: u16, password: &str, log: &Path) -> Result<Process> {
    // A file, because arguments are public to everybody on the machine.
    let settings = folder.path.join("redis.conf");
    let text = format!("bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\n");
    binaries.host.write_private(&settings, &text)?;
    let tool = binaries.get(Kind::Redis)?;
    let mut process = tool.launch("redis", &tool.program, &binaries.host, &folder.path).arg(&settings).start(log)?;
    process.wait_until(READY_DEADLINE, || answers(port, password).is_ok_and(|ready| ready))?;
    Ok(process)
}

fn answers(port: u16, password: &str) -> std::io::Result<bool> {
    const EXPECTED: &[u8] = b"+OK\r\n+PONG\r\n";
    let mut stream = connect(port, Duration::from_secs(1))?;
    stream.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())?;
    let mut answer = [0; EXPECTED.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer == EXPECTED)
}
