//! What a checkout session costs: CPU of the whole process per request, user and kernel, of the real edge with everything on, against the
//! [baseline](crate::baseline).
//!
//! Both are alone on the same core, and the load on another. Both are sent the same bytes, and answer as many. They take turns: edge,
//! baseline, edge, baseline. What the kernel does for a connection on the sender's side is the sender's, as everywhere.

use std::time::Duration;

use anyhow::{Result, ensure};
use common::mode::Mode;
use storage::pg::api_keys::Quotas;
use testkit::shop::Shop;

use crate::baseline::AnswerSize;
use crate::cores::{Cores, on_core};
use crate::cpu_time::CpuTime;
use crate::load::{self, Clients, Outcome, Pace};
use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::{Spread, percentile};
use crate::system::{Servers, Service};

pub(super) const CONNECTIONS: usize = 64;
/// Of each in a round.
pub(super) const TURNS: usize = 5;
pub(super) const SLUG: &str = "my-store";
pub(super) const SKU: &str = "WIN-11-PRO";
pub(super) const BODY: &str = r#"{"cart": {"WIN-11-PRO": 1}, "currency": "GBP"}"#;
/// More than anybody could ask for, a minute.
pub(super) const QUOTA: u32 = 100_000_000;
/// How much the lengths of answers may differ: numbers in the edge's headers have now more digits and now fewer.
const LENGTH_TOLERANCE: f64 = 0.02;

const PROMISE: Promise = Promise {
    what: "checkout session, CPU per request, against the baseline",
    good: Good::AtMost,
    must: 1.75,
    glory: 1.4,
    unit: " ×",
    decimals: 2,
};

/// An edge and the baseline on one core, each with open connections.
pub(super) struct Contest {
    pub(super) cores: Cores,
    pub(super) edge: Contestant,
    pub(super) baseline: Contestant,
    /// The key of all requests.
    pub(super) api_key: String,
    /// The address' path of all requests.
    pub(super) path: String,
    pub(super) servers: Servers,
}

/// One of those that do the same.
pub(super) struct Contestant {
    service: Service,
    clients: Clients,
    request: Vec<u8>,
}

impl Contest {
    /// Starts everything, and sees that both answer alike.
    pub(super) async fn prepare(plan: &Plan<'_>, connections: usize) -> Result<Self> {
        let cores = Cores::two()?;
        let servers = Servers::start(&plan.folder, plan.progress).await?;
        let shop = Shop::open(&servers.pg, SLUG).await?;
        shop.generated(&servers.pg, SKU).await?;
        let quotas = Quotas { checkout: Some(QUOTA), licensing: Some(QUOTA), api: Some(QUOTA) };
        let (_, api_key) = shop.key(&servers.pg, Mode::Live, &[], quotas).await?;
        let path = format!("/api/v1/stores/{SLUG}/checkout/session/");

        let service = servers.start_edge(&plan.programs.edge, &servers.settings(), Some(cores.measured)).await?;
        let request = load::post(service.address, &path, &api_key, BODY);
        let mut edge = Contestant::new(service, request, connections)?;
        let answer = edge.run(cores, Pace::Closed, connections)?.0.last_answer;
        let head_bytes = load::head_length(&answer).unwrap_or(0);
        let size = AnswerSize { head_bytes, body_bytes: answer.len() - head_bytes };

        let args = [format!("--head-bytes={}", size.head_bytes), format!("--body-bytes={}", size.body_bytes)];
        let service = servers.start_baseline(&plan.programs.baseline, &args, cores.measured)?;
        let request = load::post(service.address, &path, &api_key, BODY);
        ensure!(request.len() == edge.request.len(), "requests of {} and {} bytes", edge.request.len(), request.len());
        let mut baseline = Contestant::new(service, request, connections)?;
        let same = baseline.run(cores, Pace::Closed, connections)?.0.last_answer;
        let difference = answer.len().abs_diff(same.len()) as f64 / answer.len() as f64;
        ensure!(difference < LENGTH_TOLERANCE, "answers of {} and {} bytes cannot be compared", answer.len(), same.len());
        Ok(Self { cores, edge, baseline, api_key, path, servers })
    }

    /// Microseconds of CPU per request, and requests a second, of both. They take turns within the round too, so that what the machine is
    /// busy with besides meets both alike.
    fn round(&mut self, requests: usize) -> Result<((f64, f64), (f64, f64))> {
        let (mut edges, mut baselines) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            edges.push(self.edge.measure(self.cores, requests / TURNS)?);
            baselines.push(self.baseline.measure(self.cores, requests / TURNS)?);
        }
        let middle =
            |turns: &[(f64, f64)]| (Spread::of(turns.iter().map(|turn| turn.0)).median, Spread::of(turns.iter().map(|turn| turn.1)).median);
        Ok((middle(&edges), middle(&baselines)))
    }

    /// Ends both. An edge that had ended before, or does not end well, is an error.
    pub(super) fn end(self) -> Result<()> {
        self.edge.end()
    }
}

impl Contestant {
    pub(super) fn new(service: Service, request: Vec<u8>, connections: usize) -> Result<Self> {
        let clients = Clients::connect(service.address, connections, 201)?;
        Ok(Self { service, clients, request })
    }

    /// What became of the requests, and the CPU that the process had for them.
    pub(super) fn run(&mut self, cores: Cores, pace: Pace, requests: usize) -> Result<(Outcome, Duration)> {
        on_core(cores.load, || {
            let before = CpuTime::of(self.service.pid())?;
            let outcome = self.clients.run(pace, requests, |buffer| buffer.extend_from_slice(&self.request))?;
            Ok((outcome, before.elapsed()?))
        })
    }

    /// Microseconds until the answer at a steady rate: half of them, and 99 %, were as quick.
    pub(super) fn latencies(&mut self, cores: Cores, rate: f64, requests: usize) -> Result<[f64; 2]> {
        let mut latencies = self.run(cores, Pace::OpenAwake(rate), requests)?.0.latencies_ns;
        latencies.sort_unstable();
        Ok([0.5, 0.99].map(|share| percentile(&latencies, share) as f64 / 1e3))
    }

    /// Asks it to stop. One that had ended before, or does not end well, is an error.
    pub(super) fn end(self) -> Result<()> {
        self.service.stop()
    }

    /// Microseconds of CPU per request, and requests a second.
    pub(super) fn measure(&mut self, cores: Cores, requests: usize) -> Result<(f64, f64)> {
        let (outcome, cpu) = self.run(cores, Pace::Closed, requests)?;
        Ok((cpu.as_secs_f64() * 1e6 / requests as f64, outcome.per_s()))
    }
}

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let requests = plan.size(50_000, 2_000);
    let mut contest = Contest::prepare(plan, CONNECTIONS).await?;
    let cores = contest.cores;
    for contestant in [&mut contest.edge, &mut contest.baseline] {
        contestant.measure(cores, requests / 2)?;
    }
    let (mut edges, mut baselines) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let (edge, baseline) = contest.round(requests)?;
        plan.say(format!(
            "checkout {round}/{}: edge {:.2} µs of CPU a request ({:.0}/s), baseline {:.2} µs ({:.0}/s): {:.2} ×",
            plan.rounds,
            edge.0,
            edge.1,
            baseline.0,
            baseline.1,
            edge.0 / baseline.0
        ));
        edges.push(edge);
        baselines.push(baseline);
    }
    let mut report = Report::default();
    let ratios = edges.iter().zip(&baselines).map(|(edge, baseline)| edge.0 / baseline.0);
    report.measured(PROMISE, Spread::of(ratios));
    let both = |name: &str, measured: &[(f64, f64)]| {
        let (cpu, rate) = (Spread::of(measured.iter().map(|pair| pair.0)), Spread::of(measured.iter().map(|pair| pair.1)));
        format!("{name}: {} µs of CPU a request, {} requests/s on one core", cpu.text(2), rate.text(0))
    };
    report.note(both("checkout session, edge", &edges));
    report.note(both("checkout session, baseline", &baselines));
    contest.end()?;
    Ok(report)
}
