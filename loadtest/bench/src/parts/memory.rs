//! What the edge keeps in memory: a million API keys, and ten thousand connections that say nothing.
//!
//! It is the resident memory of the process that is read, all of it. What the kernel keeps for a socket is not in it, and not ours to shrink.

mod tls;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::process::Usage;
use testkit::shop::Shop;
use tokio::net::TcpSocket;

use crate::cores::Cores;
use crate::load::{Clients, Pace, post};
use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::Spread;
use crate::system::{Servers, Service};

const SKU: &str = "WIN-11-PRO";
const BODY: &str = r#"{"cart": {"WIN-11-PRO": 1}, "currency": "GBP"}"#;
const STORES: usize = 1_000;
/// Descriptors that a process needs besides its connections.
const OTHER_FILES: u64 = 500;
/// From one address; an edge takes no more than 2,000.
const PER_ADDRESS: usize = 1_000;
/// Connections that make their one request at the same time.
const AT_ONCE: usize = 50;
/// More than three show nothing: memory is not noisy.
const ROUNDS_MAX: usize = 3;

/// Idle is who has said nothing for a while: the edge lets buffers go after a second.
const REST: Duration = Duration::from_secs(3);

const KEYS: Promise =
    Promise { what: "memory of an edge with a million API keys", good: Good::AtMost, must: 300.0, glory: 150.0, unit: " MB", decimals: 0 };
const CONNECTION: Promise =
    Promise { what: "memory of an idle HTTP/1.1 connection", good: Good::AtMost, must: 20.0, glory: 10.0, unit: " KB", decimals: 1 };

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let servers = Servers::start(&plan.folder, plan.progress).await?;
    let shop = Shop::open(&servers.pg, "my-store").await?;
    shop.generated(&servers.pg, SKU).await?;
    let partner =
        Partner { path: format!("/api/v1/stores/{}/checkout/session/", shop.slug), api_key: shop.unlimited_key(&servers.pg).await? };
    let mut report = Report::default();
    connections(plan, &servers, &partner, &mut report).await?;
    keys(plan, &servers, &partner, &mut report).await?;
    Ok(report)
}

/// Who asks.
struct Partner {
    path: String,
    api_key: String,
}

async fn connections(plan: &Plan<'_>, servers: &Servers, partner: &Partner, report: &mut Report) -> Result<()> {
    let count = connections_possible(plan.size(10_000, 200))?;
    let rounds = plan.rounds.min(ROUNDS_MAX);
    let mut each_kb = Vec::new();
    for round in 1..=rounds {
        let edge = servers.start_edge(&plan.programs.edge, &servers.settings(), None).await?;
        let request = post(edge.address, &partner.path, &partner.api_key, BODY);
        let before = after_first_request(&edge, &request)?;
        let held = hold(edge.address, count, &request).await?;
        tokio::time::sleep(REST).await;
        let kb = (resident(&edge)? - before) / 1e3 / count as f64;
        plan.say(format!("memory {round}/{rounds}: {kb:.1} KB for each of {count} idle connections"));
        each_kb.push(kb);
        drop(held);
        edge.stop()?;
    }
    report.measured(CONNECTION, Spread::of(each_kb));
    report.note(format!(
        "idle connections: {count}, each of which made one request and then said nothing for {} s; the kernel's memory is not counted",
        REST.as_secs()
    ));

    let args = ["--head-bytes=600".to_owned(), "--body-bytes=500".to_owned()];
    let baseline = servers.start_baseline(&plan.programs.baseline, &args, Cores::two()?.measured)?;
    let request = post(baseline.address, &partner.path, &partner.api_key, BODY);
    let before = after_first_request(&baseline, &request)?;
    let held = hold(baseline.address, count, &request).await?;
    tokio::time::sleep(REST).await;
    report.note(format!("an idle connection of a bare hyper server: {:.1} KB", (resident(&baseline)? - before) / 1e3 / count as f64));
    drop((held, baseline));

    let certificate = tls::Certificate::make(&plan.folder)?;
    let settings = certificate.apply(servers.settings());
    let edge = servers.start_edge(&plan.programs.edge, &settings, None).await?;
    drop(certificate.hold(edge.address, 1, &partner.path, &partner.api_key, BODY).await?);
    let before = resident(&edge)?;
    let count = plan.size(count / 5, 50);
    let held = certificate.hold(edge.address, count, &partner.path, &partner.api_key, BODY).await?;
    let kb = (resident(&edge)? - before) / 1e3 / count as f64;
    drop(held);
    edge.stop()?;
    report.note(format!("an idle connection with TLS and HTTP/2, {count} of them: {kb:.1} KB"));
    Ok(())
}

async fn keys(plan: &Plan<'_>, servers: &Servers, partner: &Partner, report: &mut Report) -> Result<()> {
    let count = plan.size(1_000_000, 10_000);
    let mut empty_mb = Vec::new();
    let mut full_mb = Vec::new();
    let rounds = plan.rounds.min(ROUNDS_MAX);
    for (megabytes, keys) in [(&mut empty_mb, 0), (&mut full_mb, count)] {
        if keys > 0 {
            plan.say(format!("memory: making {keys} API keys"));
            insert_keys(servers, keys).await?;
        }
        for round in 1..=rounds {
            let started = std::time::Instant::now();
            let edge = servers.start_edge(&plan.programs.edge, &servers.settings(), None).await?;
            let took = started.elapsed();
            let request = post(edge.address, &partner.path, &partner.api_key, BODY);
            let resident = after_first_request(&edge, &request)? / 1e6;
            plan.say(format!("memory {round}/{rounds}: {resident:.0} MB with {keys} API keys, ready after {:.1} s", took.as_secs_f64()));
            megabytes.push(resident);
            edge.stop()?;
        }
    }
    let (empty, full) = (Spread::of(empty_mb), Spread::of(full_mb));
    report.measured(KEYS, full);
    let each = (full.median - empty.median) * 1e6 / count as f64;
    report.note(format!("memory of an edge without API keys: {} MB; {each:.0} bytes for each of {count} keys", empty.text(0)));
    Ok(())
}

/// Keys of a thousand stores that nobody knows, straight into the table.
async fn insert_keys(servers: &Servers, count: usize) -> Result<()> {
    let sql = format!(
        "insert into stores (slug, name, licensing) select 'store-' || n, 'Store ' || n, true from generate_series(1, {STORES}) n;
         insert into api_keys (store_id, live, name, hint, pepper_id, hash, scopes)
             select s.id, n % 2 = 0, 'key ' || n, k.hint, k.pepper_id, sha256(convert_to('key ' || n, 'UTF8')), k.scopes
             from generate_series(1, {count}) n join stores s on s.slug = 'store-' || (n % {STORES} + 1),
                  (select hint, pepper_id, scopes from api_keys order by id limit 1) k;
         analyze api_keys"
    );
    let client = servers.pg.client().await?;
    client.batch_execute(&sql).await?;
    let row = client.query_one("select count(*) from api_keys", &[]).await?;
    ensure!(row.get::<_, i64>(0) > i64::try_from(count)?, "not all keys were made");
    Ok(())
}

/// What it has in RAM, in bytes.
fn resident(edge: &Service) -> Result<f64> {
    Ok(Usage::of(edge.pid())?.resident_bytes as f64)
}

/// The same, once whatever comes only with a request is there.
fn after_first_request(edge: &Service, request: &[u8]) -> Result<f64> {
    Clients::connect(edge.address, AT_ONCE, 201)?.run(Pace::Closed, AT_ONCE, |buffer| buffer.extend_from_slice(request))?;
    resident(edge)
}

/// As many as wanted, or as many as we may have open.
fn connections_possible(wanted: usize) -> Result<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot raise the limit of open files")?;
    let possible = maximum.map_or(wanted, |maximum| usize::try_from(maximum.saturating_sub(OTHER_FILES)).unwrap_or(wanted));
    ensure!(possible > 0, "{maximum:?} open files are too few");
    Ok(wanted.min(possible))
}

/// Opens connections, from several addresses, and makes one request on each.
async fn hold(edge: SocketAddr, count: usize, request: &[u8]) -> Result<Vec<Clients>> {
    let mut held = Vec::with_capacity(count.div_ceil(AT_ONCE));
    let mut opened = 0;
    while opened < count {
        let mut streams = Vec::with_capacity(AT_ONCE);
        while streams.len() < AT_ONCE && opened < count {
            streams.push(connect(edge, opened / PER_ADDRESS).await?);
            opened += 1;
        }
        let requests = streams.len();
        let mut clients = Clients::over(streams, 201)?;
        clients.run(Pace::Closed, requests, |buffer| buffer.extend_from_slice(request))?;
        held.push(clients);
    }
    Ok(held)
}

/// From `127.0.0.2`, `127.0.0.3`, …
async fn connect(edge: SocketAddr, address: usize) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, u8::try_from(address + 2)?), 0)))?;
    Ok(socket.connect(edge).await.context("connecting to the edge")?.into_std()?)
}
