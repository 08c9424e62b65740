//! The platform as it is shipped, on servers of its own: Postgres as durable as in production, Redis, edges and workers as processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use storage::Pg;
use testkit::database::make_logins;
use testkit::health::all_checks_pass;
use testkit::http::Client;
use testkit::process::{Launch, Process, Signal};
use testkit::servers::{Binaries, Host, Kind, Postgres, PostgresOptions, Redis, RedisOptions, free_port};
use testkit::settings::Settings;

const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Longer than the binaries' own drain.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// What testkit's Postgres, made for tests, does without.
const DURABLE: [&str; 4] = ["fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=256MB"];

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Its first arguments.
    pub args: Vec<String>,
}

/// What is measured, and what it is compared with.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The gateway; `run` follows.
    pub edge: Program,
    /// The hands; `run` follows.
    pub worker: Program,
    /// The baseline; the size of its answers follows.
    pub baseline: Program,
}

/// Postgres and Redis, empty but for the tables.
pub struct Servers {
    /// To start programs that come with Postgres.
    pub binaries: Binaries,
    /// The truth.
    pub postgres: Postgres,
    /// The carrier.
    pub redis: Redis,
    /// A way to the tables that is nobody else's.
    pub pg: Pg,
    /// As edges log in, and as workers do.
    logins: [String; 2],
    folder: PathBuf,
}

impl Servers {
    /// Starts both, with logs in `folder`.
    pub async fn start(folder: &Path, progress: &dyn Fn(&str)) -> Result<Self> {
        Self::start_with(folder, progress, &[]).await
    }

    /// The same with these settings of Postgres too.
    pub async fn start_with(folder: &Path, progress: &dyn Fn(&str), postgres: &[&str]) -> Result<Self> {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default())?;
        let binaries = host.find_or_unpack(&[Kind::Postgres, Kind::Redis], progress)?;
        let log = |name: &str| Some(folder.join(format!("{name}.log")));
        let settings = DURABLE.iter().chain(postgres).map(|&setting| setting.to_owned()).collect();
        let postgres = Postgres::start_with(&binaries, PostgresOptions { settings, log: log("postgres"), ..PostgresOptions::default() })?;
        let redis = Redis::start_with(&binaries, RedisOptions { log: log("redis"), ..RedisOptions::default() })?;
        // What makes the load must not give up because it makes much.
        let patient = Settings::new().postgres(&postgres.url()).set("POSTGRES__STATEMENT_TIMEOUT_MS", "600000");
        let patient = patient.set("POSTGRES__CHECKOUT_TIMEOUT_MS", "60000").set("EDGE__FULFILL_DEADLINE_MS", "60000");
        let pg = Pg::new(&patient.load()?.postgres, "bench")?;
        storage::pg::migrations::run(&pg).await.context("making the tables")?;
        let logins = make_logins(&pg, &postgres.url()).await?;
        Ok(Self { binaries, postgres, redis, pg, logins, folder: folder.to_owned() })
    }

    /// What edges and workers are told: the defaults, in production, with these servers.
    pub fn settings(&self) -> Settings {
        Settings::new()
            .set("MODE", "production")
            .set("HTTP__PUBLIC_BASE_URL", "https://pay.example.com")
            .set("LOG__FORMAT", "json")
            .redis(&self.redis.url())
    }

    /// Starts an edge, on one core if one is named, and waits until it finds everything well.
    pub async fn start_edge(&self, program: &Program, settings: &Settings, core: Option<usize>) -> Result<Service> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        self.start_service("edge", "EDGE", program, &settings.clone().postgres(&self.logins[0]).set("EDGE__LISTEN", &listen), core).await
    }

    /// Starts a worker and waits until it finds everything well.
    pub async fn start_worker(&self, program: &Program, settings: &Settings) -> Result<Service> {
        self.start_service("worker", "WORKER", program, &settings.clone().postgres(&self.logins[1]), None).await
    }

    async fn start_service(
        &self,
        name: &str,
        section: &str,
        program: &Program,
        settings: &Settings,
        core: Option<usize>,
    ) -> Result<Service> {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let settings = settings.clone().set(&format!("{section}__ADMIN_LISTEN"), &admin.to_string());
        let (listener, address) = listener()?;
        let launch = settings.environment().fold(launch(name, program, core), |launch, (name, value)| launch.env(name, value));
        let launch = if section == "EDGE" { launch.listener(listener) } else { launch };
        let process = launch.arg("run").start(&self.folder.join(format!("{name}.log")))?;
        let mut service = Service { process, address };
        service.wait_until_well(admin).await?;
        Ok(service)
    }

    /// Starts something that needs no servers and answers as soon as it can.
    pub fn start_baseline(&self, program: &Program, args: &[String], core: usize) -> Result<Service> {
        let (listener, address) = listener()?;
        let launch = launch("baseline", program, Some(core)).args(args).listener(listener);
        Ok(Service { process: launch.start(&self.folder.join("baseline.log"))?, address })
    }
}

/// A running edge, worker or whatever they are compared with. Dropping it kills it.
pub struct Service {
    process: Process,
    /// Where it takes requests, if it does.
    pub address: SocketAddr,
}

impl Service {
    /// Starts a program of others' and waits until it takes connections at `address`.
    pub fn start(launch: &Launch, address: SocketAddr, log: &Path) -> Result<Self> {
        let mut process = launch.start(log)?;
        process.wait_until(READY_DEADLINE, || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, address })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks it to stop and waits until it has. One that ended before, or badly, is an error.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.process.exited()? {
            bail!("{} ended by itself ({status}):\n{}", self.process.name(), self.process.log_tail(20));
        }
        self.process.signal(Signal::TERM)?;
        match self.process.wait(STOP_DEADLINE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} was asked to stop and ended with {status}", self.process.name()),
            None => bail!("{} was asked to stop and did not within {STOP_DEADLINE:?}", self.process.name()),
        }
    }

    async fn wait_until_well(&mut self, admin: SocketAddr) -> Result<()> {
        let started = tokio::time::Instant::now();
        let client = Client::new(admin, false);
        loop {
            if client
                .get("/readyz")
                .await
                .is_ok_and(|answer| answer.status == 200 && all_checks_pass(&String::from_utf8_lossy(&answer.body)))
            {
                return Ok(());
            }
            let ended = self.process.exited()?;
            let (name, said) = (self.process.name(), self.process.log_tail(20));
            if let Some(status) = ended {
                bail!("{name} ended while starting ({status}):\n{said}");
            }
            if started.elapsed() > READY_DEADLINE {
                bail!("{name} was not ready within {READY_DEADLINE:?}:\n{said}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn launch(name: &str, program: &Program, core: Option<usize>) -> Launch {
    let launch = Launch::new(name, &program.path).args(&program.args);
    match core {
        Some(core) => launch.on_core(core),
        None => launch,
    }
}

/// Held by us, as a supervisor would, so that nobody is refused while a process starts.
fn listener() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
