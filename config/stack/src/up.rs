//! `cargo stack up`: build, servers, secrets, migrations, demo store, edges and workers; then watch until the end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::process::Launch;
use testkit::servers::{Host, Kind, Login, Postgres};
use testkit::store_server::StoreServer;

use crate::build::{Programs, build, programs};
use crate::demo::{self, Demo};
use crate::env_file::{self, Pairs};
use crate::environment::Environment;
use crate::folder::{Folder, remove_if_there};
use crate::interrupt::Interrupt;
use crate::lock::Lock;
use crate::secrets::Secrets;
use crate::settings::{Settings, base_url};
use crate::status;
use crate::system::{POSTGRES_FOLDER, System, edge_port, is_free};

const PORT_PATIENCE: Duration = Duration::from_secs(1);
const PORT_INTERVAL: Duration = Duration::from_millis(20);

/// Arguments of `cargo stack up`.
#[derive(clap::Args)]
pub struct Options {
    /// Forget data, secrets and keys of earlier runs first
    #[arg(long)]
    pub fresh: bool,
    /// Return when everything is ready; `cargo stack down` stops it
    #[arg(long)]
    pub detach: bool,
    /// How many edges, on ports 8000, 8001, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub edges: u8,
    /// How many workers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub workers: u8,
    /// Start Prometheus too, which scrapes everything by the rules of dashboards/rules
    #[arg(long)]
    pub observe: bool,
    /// We are the part in the background; the one in the foreground has built everything
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Runs until a signal comes or something ends.
pub fn run(options: &Options, environment: &Environment) -> Result<ExitCode> {
    let started = Instant::now();
    let folder = Folder::of_this_checkout()?;
    let _lock = Lock::take(&folder)?;
    let interrupt = Interrupt::listen()?;
    // One left by a killed stack describes nothing that still runs.
    remove_if_there(&folder.env())?;
    check(options, environment, &interrupt)?;
    let programs = if options.supervised { programs(environment)? } else { build(environment)? };
    raise_file_limit()?;

    let mut system = System::default();
    let outcome = start(&mut system, options, environment, &folder, &programs, &interrupt).and_then(|running| {
        announce(&running, &system, started);
        env_file::write(&folder.env(), &describe(&running, &system))?;
        status::watch(&mut system, &running.store_server, &interrupt)
    });
    eprintln!("stopping");
    let removed = remove_if_there(&folder.env());
    let stopped = system.stop();
    outcome.and(stopped)?;
    removed?;
    eprintln!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What would fail later is better said at once.
pub fn check(options: &Options, environment: &Environment, interrupt: &Interrupt) -> Result<()> {
    if options.fresh && environment.database_url.is_some() {
        bail!(
            "--fresh would forget the secrets, but not empty the database that DATABASE_URL names; empty it yourself, or unset DATABASE_URL"
        );
    }
    for port in (0..usize::from(options.edges)).map(edge_port) {
        // The edges of a stack that was killed a moment ago may still be dying.
        let asked = Instant::now();
        while !is_free(port) && asked.elapsed() < PORT_PATIENCE {
            interrupt.wait(&[], PORT_INTERVAL)?;
            interrupt.check()?;
        }
        if !is_free(port) {
            bail!(
                "port {port} is taken, and an edge needs it; `ss -ltnp 'sport = :{port}'` shows by whom (when it is another checkout's stack: \
                 `cargo stack down` there)"
            );
        }
    }
    Ok(())
}

/// What the started system is to be known by.
struct Running {
    database_url: String,
    redis_url: String,
    demo: Demo,
    store_server: StoreServer,
    /// Empty where the caller has secrets of its own.
    stripe_signing_secret: String,
}

fn start(
    system: &mut System,
    options: &Options,
    environment: &Environment,
    folder: &Folder,
    programs: &Programs,
    interrupt: &Interrupt,
) -> Result<Running> {
    interrupt.check()?;
    folder.clear_logs()?;
    let host = Host::of_this_checkout(&environment.path)?;
    if options.fresh {
        forget(&host, folder)?;
    }
    let (database_url, redis_url) = start_servers(system, &host, environment, folder)?;
    let secrets = Secrets::read_or_make(folder)?;
    // A database that the caller names has the logins that its owner has made: edges and workers use the one that we were told.
    let logins = system.postgres.is_some().then(|| [Login::of_edge(&secrets.postgres_edge), Login::of_worker(&secrets.postgres_worker)]);
    let own_login = || [database_url.clone(), database_url.clone()];
    let [edge_database_url, worker_database_url] =
        logins.as_ref().map_or_else(own_login, |logins| logins.each_ref().map(|login| login.url(&database_url)));
    let postgres_tls_is_set = environment.postgres_tls_is_set;
    let stripe_is_set = environment.stripe_is_set;
    let settings =
        Settings { database_url, edge_database_url, worker_database_url, redis_url, postgres_tls_is_set, stripe_is_set, secrets };
    interrupt.check()?;
    let worker = || settings.apply(Launch::new("worker", &programs.worker)).arg("--json");
    worker().arg("migrate").must_succeed().context("cannot migrate the database")?;
    if let (Some(postgres), Some(logins)) = (&system.postgres, &logins) {
        logins.iter().try_for_each(|login| postgres.add_login(login)).context("cannot make the logins of edges and workers")?;
    }
    interrupt.check()?;
    let store_server = StoreServer::start(demo::webhook_port(folder)?, &folder.log("webhooks"))?;
    let demo = demo::prepare(&worker, folder, &identity(system, &settings), store_server.port(), interrupt)?;
    store_server.expect(&demo.webhook.secret)?;
    // In turns: the first edge and the first worker get the admin ports that are their defaults.
    for index in 0..options.edges.max(options.workers) {
        if index < options.edges {
            system.start_edge(&programs.edge, &settings, folder)?;
        }
        if index < options.workers {
            system.start_worker(&programs.worker, &settings, folder)?;
        }
    }
    system.wait_until_ready(interrupt)?;
    if options.observe {
        system.start_prometheus(&host, folder)?;
    }
    let stripe_signing_secret = if stripe_is_set { String::new() } else { settings.secrets.stripe_live };
    Ok(Running { database_url: settings.database_url, redis_url: settings.redis_url, demo, store_server, stripe_signing_secret })
}

/// Our own servers where the caller names none.
fn start_servers(system: &mut System, host: &Host, environment: &Environment, folder: &Folder) -> Result<(String, String)> {
    let mut needed = Vec::new();
    if environment.database_url.is_none() {
        needed.push(Kind::Postgres);
    }
    if environment.redis_url.is_none() {
        needed.push(Kind::Redis);
    }
    let binaries = host.find_or_unpack(&needed, &|line| eprintln!("{line}"))?;
    let redis_url = match &environment.redis_url {
        Some(url) => url.clone(),
        None => system.start_redis(&binaries, folder)?,
    };
    let database_url = match &environment.database_url {
        Some(url) => url.clone(),
        None => {
            if Postgres::has_data(host, POSTGRES_FOLDER) && !Secrets::are_there(folder) {
                bail!("the database of an earlier run is there, but its secrets are gone; `cargo stack up --fresh` begins anew");
            }
            system.start_postgres(&binaries, folder)?
        }
    };
    Ok((database_url, redis_url))
}

fn forget(host: &Host, folder: &Folder) -> Result<()> {
    // The keys first and the secrets last: what an interruption leaves is never a key without its data or data without its secrets.
    remove_if_there(&folder.demo_env())?;
    remove_if_there(&folder.demo_stock())?;
    Postgres::erase(host, POSTGRES_FOLDER)?;
    Secrets::forget(folder)
}

/// What the demo store's keys belong to: this database, with this pepper. Our own database changes its port with every start, but keeps
/// its password.
fn identity(system: &System, settings: &Settings) -> String {
    let url = &settings.database_url;
    let database = if system.postgres.is_some() { url.rsplit_once('@').map_or(url.as_str(), |(left, _)| left) } else { url };
    let mut hasher = DefaultHasher::new();
    (database, &settings.secrets.api_key_pepper).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A load test opens more sockets than the usual soft limit of 1,024.
fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot raise the limit of open files")
}

fn announce(running: &Running, system: &System, started: Instant) {
    let (base_url, demo) = (base_url(), &running.demo);
    let (store, sku) = (demo.store, demo.sku);
    let admin = |services: &[crate::system::Service]| {
        services.iter().map(|service| format!("http://127.0.0.1:{}/metrics", service.admin_port)).collect::<Vec<_>>().join(" ")
    };
    println!(
        "
Ready after {:.1} s, on this machine only (127.0.0.1).

  cart         {base_url}/s/{store}/cart/?add={sku}&currency=GBP
  marketplace  {base_url}/market/
  portal       {base_url}/portal/
  developers   {base_url}/developers/
  edges        {}
  workers      {}
{}  webhooks     target/stack/logs/webhooks.log (the demo store's, checked and written down)
  logs         target/stack/logs/*.log
  variables    . target/stack/env

A checkout session:

curl -sS -X POST {base_url}/api/v1/stores/{store}/checkout/session/ -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{{\"cart\":{{\"{sku}\":1}},\"currency\":\"GBP\"}}'
",
        started.elapsed().as_secs_f64(),
        admin(&system.edges),
        admin(&system.workers),
        system.prometheus.as_ref().map_or_else(String::new, |it| format!("  prometheus   http://{}/alerts\n", it.address())),
        demo.api_key,
    );
}

fn describe(running: &Running, system: &System) -> Pairs {
    let pids = |services: &[crate::system::Service]| services.iter().map(|service| service.pid().to_string()).collect::<Vec<_>>();
    let admin_url = |services: &[crate::system::Service]| {
        services.first().map_or(String::new(), |first| format!("http://127.0.0.1:{}", first.admin_port))
    };
    let (edges, workers) = (pids(&system.edges), pids(&system.workers));
    let edge_urls: Vec<String> = (0..edges.len()).map(|index| format!("http://127.0.0.1:{}", edge_port(index))).collect();
    let first = |pids: &[String]| pids.first().cloned().unwrap_or_default();
    vec![
        ("BASE_URL", base_url()),
        ("ADMIN_URL_EDGE", admin_url(&system.edges)),
        ("ADMIN_URL_WORKER", admin_url(&system.workers)),
        ("PROMETHEUS_URL", system.prometheus.as_ref().map_or_else(String::new, |it| format!("http://{}", it.address()))),
        ("STORE", running.demo.store.to_owned()),
        ("SKU", running.demo.sku.to_owned()),
        ("API_KEY", running.demo.api_key.clone()),
        ("LOADTEST_API_KEY", running.demo.loadtest_api_key.clone()),
        ("WEBHOOK_ID", running.demo.webhook.id.clone()),
        ("STORE_SERVER_URL", running.store_server.url()),
        ("WEBHOOK_SECRET", running.demo.webhook.secret.clone()),
        ("STRIPE_SIGNING_SECRET", running.stripe_signing_secret.clone()),
        ("DATABASE_URL", running.database_url.clone()),
        ("REDIS_URL", running.redis_url.clone()),
        ("EDGE_PID", first(&edges)),
        ("WORKER_PID", first(&workers)),
        ("POSTGRES_PID", system.postgres.as_ref().map_or(String::new(), |postgres| postgres.pid().to_string())),
        ("REDIS_PID", system.redis.as_ref().map_or(String::new(), |redis| redis.pid().to_string())),
        ("EDGE_PIDS", edges.join(" ")),
        ("EDGE_URLS", edge_urls.join(" ")),
        ("WORKER_PIDS", workers.join(" ")),
    ]
}
