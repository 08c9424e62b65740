//! A private Postgres on a free loopback port.
//!
//! Created with scram passwords; the password lies beside the data, readable by the server's account alone. Lasting data is durable
//! (`fsync`), temporary data is not: only a power cut can tell, for what a killed process has written stays with the kernel.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::host::{Binaries, DataFolder, Host, Kind, Lifetime};
use super::login::Login;
use super::loopback::{connect, on_free_port, random_password};
use crate::process::{Launch, Process, Signal, send_signal, wait_gone};

const USER: &str = "anonymouspay";
/// The database `initdb` makes.
const DATABASE: &str = "postgres";
/// Recovery after a crash is the longest start.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// What fits two cores and a few gigabytes. JIT costs more than it gives on short queries; parallel workers take cores from neighbors.
const SETTINGS: [&str; 11] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "random_page_cost=1.1",
    "max_parallel_workers_per_gather=0",
    "jit=off",
    "timezone=GMT",
    "log_timezone=GMT",
];
/// Without a care for power cuts. `synchronous_commit` stays on: off, it would lose what was committed right before a mere kill.
const CARELESS: [&str; 3] = ["fsync=off", "full_page_writes=off", "shared_buffers=64MB"];

/// How a Postgres is to be: `PostgresOptions { data: Some(path), ..PostgresOptions::default() }`.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where password and log lie, and the data too unless `data` says otherwise; temporary by default. Temporary also means careless settings
    /// (no `fsync`), which lose nothing when processes are killed, only when the machine is.
    pub lifetime: Lifetime,
    /// The data folder itself, below a folder that the servers' account can write to. It is created when it is not there, and never removed.
    pub data: Option<PathBuf>,
    /// The superuser's password in a `data` folder that is there already, such as a base backup, which has the password of its original.
    pub password: Option<String>,
    /// Further settings, `name=value`; they win over ours.
    pub settings: Vec<String>,
    /// Where its output goes; by default `log` beside the password.
    pub log: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { lifetime: Lifetime::Temporary, data: None, password: None, settings: Vec::new(), log: None }
    }
}

/// A running Postgres; dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    // After the process: the folder goes with it.
    server: Server,
    port: u16,
    password: String,
}

/// All that a start needs but the port.
#[derive(Debug)]
struct Server {
    binaries: Binaries,
    lifetime: Lifetime,
    data: PathBuf,
    settings: Vec<String>,
    log: PathBuf,
    folder: DataFolder,
}

impl Postgres {
    /// Creates the data when it is not there yet and starts the server. Its output goes to `log`, or into the data's folder.
    pub fn start(binaries: &Binaries, lifetime: Lifetime, log: Option<PathBuf>) -> Result<Self> {
        Self::start_with(binaries, PostgresOptions { lifetime, log, ..PostgresOptions::default() })
    }

    /// Like [`Postgres::start`], as the options say. A base backup that recovers is ready when it has been
    /// promoted, if `hot_standby=off` is among its settings; with a hot standby before that.
    pub fn start_with(binaries: &Binaries, options: PostgresOptions) -> Result<Self> {
        let PostgresOptions { lifetime, data, password, settings, log } = options;
        let folder = binaries.host.data_folder(lifetime)?;
        let log = log.unwrap_or_else(|| folder.path.join("log"));
        let data = data.unwrap_or_else(|| folder.path.join("data"));
        let server = Server { binaries: binaries.clone(), lifetime, data, settings, log, folder };
        let password = server.create_data(password)?;
        wait_for_predecessor(&server.data)?;
        let (port, process) = on_free_port(|port| server.run(port))?;
        Ok(Self { process, server, port, password })
    }

    /// One server for the whole process, started by whoever asks first; ends with the process.
    pub fn shared_for_tests() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let start = || Self::start(&for_tests(Kind::Postgres)?, Lifetime::Temporary, None);
            start().map_err(|error| format!("{error:#}"))
        });
        shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Whether [`Lifetime::Lasting`] data of this name is there.
    pub fn has_data(host: &Host, name: &'static str) -> bool {
        host.home().join(name).join("data").exists()
    }

    /// Removes lasting data; a server that still runs on it is an error.
    pub fn erase(host: &Host, name: &'static str) -> Result<()> {
        let folder = host.data_folder(Lifetime::Lasting(name))?;
        wait_for_predecessor(&folder.path.join("data"))?;
        fs::remove_dir_all(&folder.path).with_context(|| format!("cannot remove {}", folder.path.display()))
    }

    /// `postgres://user:password@127.0.0.1:port/database`, as a superuser.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{DATABASE}", self.password, self.port)
    }

    /// A program of Postgres' own, such as `pg_dump`, told how to log in as the superuser.
    pub fn tool(&self, program: &str) -> Result<Launch> {
        let launch = self.server.binaries.tool(Kind::Postgres, program)?.env("PGPASSWORD", &self.password);
        Ok(launch.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", USER).env("PGDATABASE", DATABASE))
    }

    /// Makes a login, in a database that has been migrated.
    pub fn add_login(&self, login: &Login) -> Result<()> {
        let (host, script) = (&self.server.binaries.host, self.server.folder.path.join("login.sql"));
        // From a file, as everybody may read command lines.
        host.write_private(&script, &login.sql())?;
        let psql = self.tool("psql")?.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"]);
        let made = psql.arg(&script).must_succeed();
        fs::remove_file(&script)?;
        made.map(|_| ())
    }

    /// The superuser's password, also of every base backup made of it.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.server.data
    }

    /// The port on 127.0.0.1, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process, to watch it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A fast and clean shutdown: clients are cut off, everything is written.
    pub fn stop(&mut self) -> Result<()> {
        self.resume()?;
        self.process.stop(Signal::INT, STOP_DEADLINE).map(|_| ())
    }

    /// SIGKILL to the postmaster; its children notice and end too.
    pub fn kill(&mut self) -> Result<()> {
        let children = self.children()?;
        self.process.kill()?;
        for child in children {
            if !wait_gone(child, STOP_DEADLINE)? {
                bail!("Postgres' process {child} survived the postmaster");
            }
        }
        Ok(())
    }

    /// An immediate shutdown (SIGQUIT: no farewell, nothing written) and a start, which recovers from the log like after a crash.
    pub fn restart_immediately(&mut self) -> Result<()> {
        self.resume()?;
        self.process.stop(Signal::QUIT, STOP_DEADLINE)?;
        self.restart()
    }

    /// Starts it again, on the same port and data, after [`Postgres::stop`] or [`Postgres::kill`].
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exited()?.is_none() {
            self.stop()?;
        }
        self.process = self.server.run(self.port)?;
        Ok(())
    }

    /// All its processes stand still: connections stay open and say nothing.
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()?;
        self.signal_children(Signal::STOP)
    }

    /// Goes on after [`Postgres::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal_children(Signal::CONT)?;
        self.process.resume()
    }

    fn signal_children(&mut self, signal: Signal) -> Result<()> {
        for child in self.children()? {
            if let Err(error) = send_signal(child, signal)
                && !wait_gone(child, Duration::ZERO)?
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn children(&mut self) -> Result<Vec<u32>> {
        let mut children = Vec::new();
        if self.process.exited()?.is_some() {
            return Ok(children);
        }
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that ended since has no status to read.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if parent_of(&stat) == Some(self.pid()) {
                children.push(pid);
            }
        }
        Ok(children)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Lasting data deserves a clean end. Failing that, `Process` kills, and the next start recovers.
        let _ = self.resume();
        let signal = if self.server.lifetime == Lifetime::Temporary { Signal::QUIT } else { Signal::INT };
        let _ = self.process.stop(signal, STOP_DEADLINE);
    }
}

impl Server {
    /// Returns the superuser's password. An interrupted `initdb` leaves `data.new`, never half of `data`.
    fn create_data(&self, password: Option<String>) -> Result<String> {
        let (unfinished, secret) = (self.data.with_added_extension("new"), self.folder.path.join("password"));
        if self.data.exists() {
            let kept = || fs::read_to_string(&secret);
            return password.map_or_else(kept, Ok).with_context(|| {
                format!("the data {} is there, but its password neither given nor in {}", self.data.display(), secret.display())
            });
        }
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let password = password.unwrap_or_else(random_password);
        self.binaries.host.write_private(&secret, &password)?;
        let initdb = self.binaries.tool(Kind::Postgres, "initdb")?.arg("-D").arg(&unfinished).arg("--pwfile").arg(&secret);
        let initdb = initdb.args(["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        let initdb = if self.lifetime == Lifetime::Temporary { initdb.arg("--no-sync") } else { initdb };
        initdb.must_succeed()?;
        // As the servers' account: on a small disk root is nobody, and may not write.
        let rename = Launch::new("mv", "mv").account(self.binaries.host.account()).arg("-T").arg(&unfinished).arg(&self.data);
        rename.must_succeed()?;
        Ok(password)
    }

    fn run(&self, port: u16) -> Result<Process> {
        let careless: &[&str] = if self.lifetime == Lifetime::Temporary { &CARELESS } else { &[] };
        let settings = SETTINGS.iter().chain(careless).copied().chain(self.settings.iter().map(String::as_str));
        let launch = self.binaries.server(Kind::Postgres, "postgres")?.arg("-D").arg(&self.data).args(["-c", &format!("port={port}")]);
        let launch = launch.args(settings.flat_map(|setting| ["-c", setting]));
        // QUIT ends all of Postgres at once and still gives back its shared memory, which KILL would leave behind.
        let mut process = launch.death_signal("QUIT").start(&self.log)?;
        let own_pid = process.pid();
        process.wait_until(READY_DEADLINE, || says_ready(&self.data, own_pid) && asks_for_password(port).is_ok_and(|ready| ready))?;
        Ok(process)
    }
}

pub(super) fn for_tests(kind: Kind) -> Result<Binaries> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Host::of_this_checkout(path)?.find_or_unpack(&[kind], &|line| eprintln!("{line}"))
}

/// When our predecessor was killed a moment ago, its server may still be dying; a second one beside it would refuse to start.
fn wait_for_predecessor(data: &Path) -> Result<()> {
    let Ok(pid_file) = fs::read_to_string(data.join("postmaster.pid")) else { return Ok(()) };
    let Some(pid) = pid_file.lines().next().and_then(|line| line.parse::<u32>().ok()) else { return Ok(()) };
    let is_postgres = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "postgres");
    if is_postgres && !wait_gone(pid, STOP_DEADLINE)? {
        bail!("Postgres (pid {pid}) already runs on {}: stop it first", data.display());
    }
    Ok(())
}

/// The server's own word, so that nobody else's answer on the port is taken for it.
fn says_ready(data: &Path, own_pid: u32) -> bool {
    // Not there yet, or half written: asked again soon.
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    pid_file.lines().next() == Some(&own_pid.to_string()) && pid_file.lines().last().is_some_and(|line| line.trim() == "ready")
}

/// Opens a connection as far as the server's first word: it asks for a password exactly when it is ready for sessions.
fn asks_for_password(port: u16) -> std::io::Result<bool> {
    const PROTOCOL: u32 = 3 << 16;
    const FIRST_MESSAGE_MAX_BYTES: u64 = 4096;
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    body.extend_from_slice(format!("user\0{USER}\0database\0{DATABASE}\0\0").as_bytes());
    let mut packet = u32::try_from(body.len() + 4).map_err(std::io::Error::other)?.to_be_bytes().to_vec();
    packet.extend_from_slice(&body);
    let mut stream = connect(port, Duration::from_secs(1))?;
    stream.write_all(&packet)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    // Taken to its end: leaving with something unread would be a reset connection, and a line in the server's log.
    let [kind, length @ ..] = head;
    let rest = u64::from(u32::from_be_bytes(length).saturating_sub(4));
    std::io::copy(&mut (&mut stream).take(rest.min(FIRST_MESSAGE_MAX_BYTES)), &mut std::io::sink())?;
    Ok(kind == b'R')
}

/// The fourth field of `/proc/<pid>/stat`; the second is a name in parentheses that may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_behind_a_name_with_parentheses() {
        assert_eq!(parent_of("12 (a) S (b)) S 77 12 12 0"), Some(77));
        assert_eq!(parent_of("12"), None);
    }
}
