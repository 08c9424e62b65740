//! How long a checkout session takes when requests come at a fixed rate, at half of what the edge can do at most: the slowest hundredth, of
//! the edge and of the [baseline](crate::baseline) at that same rate, on the same core, in turns.
//!
//! An answer's time counts from the moment when its request was due, whether or not the load could send it then: what a stall holds up is
//! counted for every request that it holds up.

use anyhow::Result;

use crate::load::Pace;
use crate::parts::Plan;
use crate::parts::checkout::{CONNECTIONS, Contest};
use crate::report::{Good, Promise, Report};
use crate::spread::Spread;

const LOAD_SHARE: f64 = 0.5;

const PROMISE: Promise = Promise {
    what: "checkout session p99 at half of its peak rate, against the baseline",
    good: Good::AtMost,
    must: 2.0,
    glory: 1.3,
    unit: " ×",
    decimals: 2,
};

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let mut contest = Contest::prepare(plan, CONNECTIONS).await?;
    let cores = contest.cores;
    let requests = plan.size(50_000, 2_000);
    contest.edge.run(cores, Pace::Closed, requests / 2)?;
    contest.baseline.run(cores, Pace::Closed, requests / 2)?;
    let mut peaks = Vec::new();
    for _ in 0..3 {
        peaks.push(contest.edge.run(cores, Pace::Closed, requests)?.0.per_s());
    }
    let rate = Spread::of(peaks).median * LOAD_SHARE;
    let (mut edges, mut baselines) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let edge = contest.edge.latencies(cores, rate, requests)?;
        let baseline = contest.baseline.latencies(cores, rate, requests)?;
        let ([edge_p50, edge_p99], [p50, p99]) = (edge, baseline);
        plan.say(format!(
            "latency {round}/{}: at {rate:.0}/s edge p50 {edge_p50:.0} µs, p99 {edge_p99:.0} µs; baseline p50 {p50:.0} µs, p99 {p99:.0} µs",
            plan.rounds
        ));
        edges.push(edge);
        baselines.push(baseline);
    }
    let mut report = Report::default();
    report.measured(PROMISE, Spread::of(edges.iter().zip(&baselines).map(|(edge, baseline)| edge[1] / baseline[1])));
    for (name, measured) in [("edge", &edges), ("baseline", &baselines)] {
        let [p50, p99] = [0, 1].map(|index| Spread::of(measured.iter().map(|pair: &[f64; 2]| pair[index])).text(0));
        report.note(format!("checkout session, {name} at {rate:.0}/s: p50 {p50} µs, p99 {p99} µs"));
    }
    contest.end()?;
    Ok(report)
}
