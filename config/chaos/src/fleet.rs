//! The platform as real processes on this machine, and everything that can be done to it. Edges and workers reach Postgres and Redis
//! through proxies that can be told to misbehave; the harness itself goes straight to them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::job::FULFILL_ORDER;
use storage::queue::{Producer, QueueName};
use storage::{Pg, redis};
use testkit::database::{logins, make_logins};
use testkit::faults::clock::ShiftedClock;
use testkit::faults::disk::SmallDisk;
use testkit::faults::proxy::{Direction, Flow, Proxy};
use testkit::health::all_checks_pass;
use testkit::http::Client;
use testkit::process::{Launch, Process, Signal, Usage};
use testkit::servers::{Host, Kind, Postgres, PostgresOptions, Redis, RedisOptions, free_port};
use testkit::settings::Settings;

use crate::plan::{Fault, Strike};

const EDGES: usize = 2;
const WORKERS: usize = 2;
/// Longer than the binaries' own drain.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// The size of the disks that can be filled.
const DISK_BYTES: u64 = 2 << 30;
const SLOW: Duration = Duration::from_millis(50);
const SKEW_S: i64 = 600;

/// How an edge or a worker is started: what comes before `run`.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Its first arguments.
    pub args: Vec<String>,
}

/// What runs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The gateway.
    pub edge: Program,
    /// The hands.
    pub worker: Program,
}

/// An edge or a worker.
struct Member {
    name: String,
    launch: Launch,
    process: Option<Process>,
    admin: SocketAddr,
    log: PathBuf,
    /// Stopped by us, and not to be asked how it is.
    paused: bool,
}

impl Member {
    fn start(&mut self) -> Result<()> {
        self.paused = false;
        self.process = Some(self.launch.start(&self.log)?);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.resume()?;
        process.signal(Signal::TERM)?;
        match process.wait(STOP_DEADLINE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} was asked to stop and ended with {status}", self.name),
            None => bail!("{} was asked to stop and did not within {STOP_DEADLINE:?}", self.name),
        }
    }
}

/// Everything that runs.
pub struct Fleet {
    edges: Vec<Member>,
    workers: Vec<Member>,
    edge_addresses: Vec<SocketAddr>,
    pg_proxy: Proxy,
    redis_proxy: Proxy,
    redis: Redis,
    redis_disk: Option<SmallDisk>,
    postgres: Postgres,
    postgres_disk: Option<SmallDisk>,
    /// What the last worker takes for the time.
    clock: Option<ShiftedClock>,
    pg: Pg,
    queue: Producer,
    settings: config::Settings,
}

impl Fleet {
    /// Starts Postgres and Redis, on small disks where privileges allow, and the proxies before them.
    pub fn start_servers(programs: &Programs, folder: &Path, progress: &dyn Fn(&str)) -> Result<Self> {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default())?;
        let binaries = host.find_or_unpack(&[Kind::Postgres, Kind::Redis], progress)?;
        let clock = ShiftedClock::find_or_unpack(&host, progress);
        let clock = clock.inspect_err(|error| progress(&format!("no clock will be wrong: {error:#}"))).ok();
        let disk = || {
            let mounted = SmallDisk::mount(&host, DISK_BYTES);
            mounted.inspect_err(|error| progress(&format!("no disk will be full: {error:#}"))).ok()
        };
        let (postgres_disk, redis_disk) = (disk(), disk());
        let log = |name: &str| folder.join(format!("{name}.log"));
        let postgres = PostgresOptions {
            data: postgres_disk.as_ref().map(|disk| disk.path().join("data")),
            // What is committed has to be with the kernel when Postgres is killed: with `off` it may be in Postgres' own memory still.
            settings: vec!["synchronous_commit=on".into(), "max_wal_size=256MB".into()],
            log: Some(log("postgres")),
            ..PostgresOptions::default()
        };
        let postgres = Postgres::start_with(&binaries, postgres)?;
        let data = redis_disk.as_ref().map(|disk| disk.path().to_owned());
        let options = RedisOptions { append_only: true, data, log: Some(log("redis")), ..RedisOptions::default() };
        let redis = Redis::start_with(&binaries, options)?;
        let pg_proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, postgres.port())))?;
        let redis_proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port())))?;

        let through = |url: String, port: u16, proxy: &Proxy| url.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
        let services = Settings::new().redis(&through(redis.url(), redis.port(), &redis_proxy)).set("LOG__FORMAT", "json");
        let services = services.set("STRIPE__LIVE_SIGNING_SECRETS", crate::payer::SECRET);
        // So that what a killed worker was delivering is due again soon.
        let services = services.set("WEBHOOKS__TIMEOUT_MS", "2000").set("WEBHOOKS__CONNECT_TIMEOUT_MS", "2000");
        let [edge_settings, worker_settings] =
            logins().map(|login| services.clone().postgres(&through(login.url(&postgres.url()), postgres.port(), &pg_proxy)));
        let straight = Settings::new().postgres(&postgres.url()).redis(&redis.url()).set("POSTGRES__STATEMENT_TIMEOUT_MS", "120000");
        let settings = straight.load()?;
        let pg = Pg::new(&settings.postgres, "chaos")?;
        let queue = Producer::new(redis::client(&settings.redis)?, QueueName::new(&settings.queue.prefix, FULFILL_ORDER));

        let (mut edges, mut workers, mut edge_addresses) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..EDGES {
            // Held by us, as systemd would hold it: while an edge is started again, callers wait instead of being refused.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            edge_addresses.push(listener.local_addr()?);
            let mut member = member(&format!("edge-{number}"), &programs.edge, &edge_settings, "EDGE", folder)?;
            member.launch = member.launch.listener(listener);
            edges.push(member);
        }
        for number in 0..WORKERS {
            workers.push(member(&format!("worker-{number}"), &programs.worker, &worker_settings, "WORKER", folder)?);
        }
        if let (Some(clock), Some(last)) = (&clock, workers.last_mut()) {
            last.launch = clock.apply(last.launch.clone());
        }
        Ok(Self {
            edges,
            workers,
            edge_addresses,
            pg_proxy,
            redis_proxy,
            redis,
            redis_disk,
            postgres,
            postgres_disk,
            clock,
            pg,
            queue,
            settings,
        })
    }

    /// Starts edges and workers on a database that has been migrated, and waits until they are well.
    pub async fn start_services(&mut self) -> Result<()> {
        make_logins(&self.pg, &self.postgres.url()).await?;
        for member in self.edges.iter_mut().chain(&mut self.workers) {
            member.start()?;
        }
        let waiting = async {
            while !self.all_ready().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ready = tokio::time::timeout(READY_DEADLINE, waiting).await;
        match ready {
            Ok(()) => Ok(()),
            Err(_) => bail!("not ready within {READY_DEADLINE:?}: {}", self.state().await),
        }
    }

    /// The database, not through a proxy.
    pub fn pg(&self) -> &Pg {
        &self.pg
    }

    /// What edges and workers are told, but for the proxies, and as the owner.
    pub fn settings(&self) -> config::Settings {
        self.settings.clone()
    }

    /// Where the edges listen.
    pub fn edge_addresses(&self) -> Vec<SocketAddr> {
        self.edge_addresses.clone()
    }

    /// Begins a fault. What ends by itself is over when this returns.
    pub async fn strike(&mut self, strike: &Strike) -> Result<()> {
        let chance = strike.chance as usize;
        let (edge, worker) = (chance % self.edges.len(), chance % self.workers.len());
        match strike.fault {
            Fault::KillEdge => {
                self.edges[edge].kill()?;
                self.edges[edge].start()
            }
            Fault::KillWorker => {
                self.workers[worker].kill()?;
                self.workers[worker].start()
            }
            Fault::RestartEdge => {
                self.edges[edge].stop()?;
                self.edges[edge].start()
            }
            Fault::RestartWorker => {
                self.workers[worker].stop()?;
                self.workers[worker].start()
            }
            Fault::KillRedis => self.redis.kill(),
            Fault::Flush | Fault::FlushStorm => self.flush(),
            Fault::StallRedis => self.redis.pause(),
            Fault::CutRedis => {
                // Requests arrive, and answers do not.
                self.redis_proxy.set(Direction::ToClient, Flow::Hold)
            }
            Fault::FullRedisDisk => self.redis_disk.as_ref().map_or(Ok(()), SmallDisk::fill),
            Fault::KillPostgres => self.postgres.kill(),
            Fault::RestartPostgres => self.postgres.restart_immediately(),
            Fault::TerminateBackends => self.terminate_backends().await,
            Fault::CutBackend => {
                let open = self.pg_proxy.connections()?;
                match open.get(chance % open.len().max(1)) {
                    Some(connection) => self.pg_proxy.cut_off(connection.id).map(|_| ()),
                    None => Ok(()),
                }
            }
            Fault::SlowPostgres => self.pg_proxy.set(Direction::ToClient, Flow::Delay(SLOW)),
            Fault::StallPostgres => self.postgres.pause(),
            Fault::FullPostgresDisk => self.postgres_disk.as_ref().map_or(Ok(()), SmallDisk::fill),
            Fault::SkewClock => {
                let skew_s = if chance.is_multiple_of(2) { SKEW_S } else { -SKEW_S };
                self.clock.as_ref().map_or(Ok(()), |clock| clock.shift(skew_s))
            }
            Fault::Zombie => {
                let worker = &mut self.workers[worker];
                worker.paused = true;
                worker.process.as_mut().map_or(Ok(()), Process::pause)
            }
        }
    }

    /// Ends a fault: what an operator's supervisor would do, and nothing that only a person could.
    pub async fn mend(&mut self, strike: &Strike) -> Result<()> {
        let chance = strike.chance as usize;
        match strike.fault {
            Fault::KillEdge
            | Fault::KillWorker
            | Fault::RestartEdge
            | Fault::RestartWorker
            | Fault::Flush
            | Fault::FlushStorm
            | Fault::RestartPostgres
            | Fault::TerminateBackends => Ok(()),
            Fault::KillRedis => {
                // It comes back empty, or with what it had a moment before. A disk that was full may have left it a file that it cannot read.
                if chance.is_multiple_of(2) || self.redis.restart().is_err() { self.redis.restart_empty() } else { Ok(()) }
            }
            Fault::StallRedis => self.redis.resume(),
            Fault::CutRedis => self.redis_proxy.pass(),
            Fault::FullRedisDisk => self.redis_disk.as_ref().map_or(Ok(()), SmallDisk::free),
            Fault::KillPostgres => self.postgres.restart(),
            Fault::CutBackend | Fault::SlowPostgres => self.pg_proxy.pass(),
            Fault::StallPostgres => self.postgres.resume(),
            Fault::FullPostgresDisk => {
                self.postgres_disk.as_ref().map_or(Ok(()), SmallDisk::free)?;
                // A log that cannot grow ends the server; its supervisor starts it again.
                if self.postgres.process().exited()?.is_some() { self.postgres.restart() } else { Ok(()) }
            }
            Fault::SkewClock => self.clock.as_ref().map_or(Ok(()), |clock| clock.shift(0)),
            Fault::Zombie => {
                let worker = &mut self.workers[chance % WORKERS];
                worker.paused = false;
                worker.process.as_mut().map_or(Ok(()), Process::resume)
            }
        }
    }

    /// FLUSHALL.
    pub fn flush(&self) -> Result<()> {
        self.redis.flush()
    }

    async fn terminate_backends(&self) -> Result<()> {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity where application_name in ('edge', 'worker')";
        self.pg.client().await?.query(sql, &[]).await?;
        Ok(())
    }

    /// Members that ended although nobody asked them to; they are started again, as a supervisor would.
    pub fn ended_by_themselves(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for member in self.edges.iter_mut().chain(&mut self.workers) {
            let Some(process) = &mut member.process else { continue };
            if let Some(status) = process.exited()? {
                ended.push(format!("{} ended by itself ({status}): {}", member.name, process.log_tail(5)));
                member.start()?;
            }
        }
        Ok(ended)
    }

    /// Whether every edge and worker finds everything well, also what it could do without. One that was stopped is not asked.
    pub async fn all_ready(&self) -> bool {
        for member in self.edges.iter().chain(&self.workers).filter(|member| !member.paused) {
            match readiness(member).await {
                Some((200, report)) if all_checks_pass(&report) => {}
                _ => return false,
            }
        }
        true
    }

    /// What every edge and worker says of itself.
    pub async fn state(&self) -> String {
        let mut state = Vec::new();
        for member in self.edges.iter().chain(&self.workers) {
            let said = if member.paused { "stopped".to_owned() } else { format!("{:?}", readiness(member).await) };
            state.push(format!("{}: {said}", member.name));
        }
        state.join("; ")
    }

    /// Jobs in the queue, waiting or being worked on.
    pub async fn queued(&self) -> Result<u64> {
        Ok(self.queue.depth().await?)
    }

    /// What edges and workers hold.
    pub fn footprints(&self) -> Result<Vec<(String, Usage)>> {
        let mut footprints = Vec::new();
        for member in self.edges.iter().chain(&self.workers) {
            let process = member.process.as_ref().with_context(|| format!("{} does not run", member.name))?;
            footprints.push((member.name.clone(), Usage::of(process.pid())?));
        }
        Ok(footprints)
    }

    /// Ends edges and workers in an orderly way. The servers go with the fleet.
    pub fn stop(&mut self) -> Result<()> {
        self.edges.iter_mut().chain(&mut self.workers).try_for_each(Member::stop)
    }
}

fn member(name: &str, program: &Program, settings: &Settings, section: &str, folder: &Path) -> Result<Member> {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let settings = settings.clone().set(&format!("{section}__ADMIN_LISTEN"), &admin.to_string());
    let launch = settings.environment().fold(Launch::new(name, &program.path), |launch, (name, value)| launch.env(name, value));
    let launch = launch.args(&program.args).arg("run");
    Ok(Member { name: name.to_owned(), launch, process: None, admin, log: folder.join(format!("{name}.log")), paused: false })
}

/// What its readiness page says: status and body.
async fn readiness(member: &Member) -> Option<(u16, String)> {
    let answer = Client::new(member.admin, false).get("/readyz").await.ok()?;
    Some((answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned()))
}
