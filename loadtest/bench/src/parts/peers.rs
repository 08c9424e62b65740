//! What a checkout session costs an edge, and what it costs proxies that are used for the same: CPU of the whole process per request, and how
//! long it takes at a rate that the slowest of them can bear. All on the same core in turns, as in [`checkout`](super::checkout).
//!
//! The peers' table is written beside the report, as Markdown and as a picture.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::load;
use crate::parts::Plan;
use crate::parts::checkout::{BODY, CONNECTIONS, Contest, Contestant, QUOTA, SKU, SLUG, TURNS};
use crate::peers::{Job, Peer};
use crate::report::{Good, Promise, Report};
use crate::spread::Spread;

/// Of the slowest one's peak.
const LOAD_SHARE: f64 = 0.5;

fn promise(peer: Peer) -> Promise {
    let (what, must, glory) = match peer {
        Peer::Nginx => ("checkout session, CPU per request, nginx + Lua against the edge", 1.6, 2.5),
        Peer::Haproxy => ("checkout session, CPU per request, HAProxy against the edge", 1.3, 2.0),
        Peer::Envoy => ("checkout session, CPU per request, Envoy against the edge", 3.5, 5.0),
    };
    Promise { what, good: Good::AtLeast, must, glory, unit: " ×", decimals: 2 }
}

/// One of them, and what was measured of it, a value for each round.
struct Entrant {
    name: &'static str,
    lacks: &'static str,
    contestant: Contestant,
    cpu_us: Vec<f64>,
    per_s: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

impl Entrant {
    fn new(name: &'static str, lacks: &'static str, contestant: Contestant) -> Self {
        Self { name, lacks, contestant, cpu_us: Vec::new(), per_s: Vec::new(), p50_us: Vec::new(), p99_us: Vec::new() }
    }
}

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let Contest { cores, edge, baseline, api_key, path, servers } = Contest::prepare(plan, CONNECTIONS).await?;
    let job = Job::new(SLUG, SKU, &api_key, QUOTA)?;
    let mut entrants = vec![Entrant::new("edge", "nothing", edge), Entrant::new("baseline", "everything: it reads and answers", baseline)];
    for peer in Peer::ALL {
        let service = job.start(peer, &plan.folder, cores.measured, plan.progress)?;
        job.check(peer, service.address).await?;
        let request = load::post(service.address, &path, &api_key, BODY);
        entrants.push(Entrant::new(peer.name(), peer.lacks(), Contestant::new(service, request, CONNECTIONS)?));
    }

    let requests = plan.size(50_000, 2_000);
    let mut rate = f64::INFINITY;
    for entrant in &mut entrants {
        rate = rate.min(entrant.contestant.measure(cores, requests / 2)?.1 * LOAD_SHARE);
    }
    for round in 1..=plan.rounds {
        let mut turns = vec![Vec::new(); entrants.len()];
        for _ in 0..TURNS {
            for (entrant, turns) in entrants.iter_mut().zip(&mut turns) {
                turns.push(entrant.contestant.measure(cores, requests / TURNS)?);
            }
        }
        let mut said = Vec::new();
        for (entrant, turns) in entrants.iter_mut().zip(turns) {
            let cpu_us = Spread::of(turns.iter().map(|turn| turn.0)).median;
            let [p50_us, p99_us] = entrant.contestant.latencies(cores, rate, requests / TURNS)?;
            entrant.cpu_us.push(cpu_us);
            entrant.per_s.push(Spread::of(turns.iter().map(|turn| turn.1)).median);
            entrant.p50_us.push(p50_us);
            entrant.p99_us.push(p99_us);
            said.push(format!("{} {cpu_us:.1} µs", entrant.name));
        }
        plan.say(format!("peers {round}/{}, CPU a request: {}", plan.rounds, said.join(", ")));
    }

    let mut report = Report::default();
    let ratios = |entrant: &Entrant| Spread::of(entrant.cpu_us.iter().zip(&entrants[0].cpu_us).map(|(peer, edge)| peer / edge));
    for (peer, entrant) in Peer::ALL.into_iter().zip(&entrants[2..]) {
        report.measured(promise(peer), ratios(entrant));
    }
    let lines: Vec<Line> = entrants.iter().map(|entrant| Line::of(entrant, ratios(entrant))).collect();
    for (name, text) in [("peers.md", markdown(&lines, rate)), ("peers.svg", picture(&lines))] {
        let path = plan.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        report.note(format!("peers, all figures: {}", path.display()));
    }
    entrants.swap_remove(0).contestant.end()?;
    drop(servers);
    Ok(report)
}

/// One of them in the table.
struct Line {
    name: &'static str,
    lacks: &'static str,
    cpu_us: Spread,
    against_edge: Spread,
    per_s: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

impl Line {
    fn of(entrant: &Entrant, against_edge: Spread) -> Self {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        Self {
            name: entrant.name,
            lacks: entrant.lacks,
            cpu_us: spread(&entrant.cpu_us),
            against_edge,
            per_s: spread(&entrant.per_s),
            p50_us: spread(&entrant.p50_us),
            p99_us: spread(&entrant.p99_us),
        }
    }
}

fn markdown(lines: &[Line], rate: f64) -> String {
    let mut text = format!(
        "| who | CPU a request, µs | against the edge | sessions/s on one core | p50 at {rate:.0}/s, µs | p99, µs | what it leaves out |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for line in lines {
        let (cpu, ratio, per_s) = (line.cpu_us.text(1), line.against_edge.text(2), line.per_s.text(0));
        let (p50, p99) = (line.p50_us.text(0), line.p99_us.text(0));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {cpu} | {ratio} × | {per_s} | {p50} | {p99} | {} |", line.name, line.lacks);
    }
    text
}

/// A bar for each, as long as its CPU; the thin line goes from the least to the greatest round.
fn picture(lines: &[Line]) -> String {
    const LEFT: f64 = 120.0;
    const WIDTH: f64 = 420.0;
    const BAR: usize = 34;
    let longest = lines.iter().map(|line| line.cpu_us.max).fold(1.0, f64::max);
    let x = |us: f64| LEFT + us / longest * WIDTH;
    let height = 46 + lines.len() * BAR;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {height}\" width=\"720\" height=\"{height}\" role=\"img\" \
         aria-label=\"CPU time of one checkout session\">\n\
         <style>text{{font:14px system-ui,sans-serif;fill:#1f2328}}.title{{font-weight:600}}.bar{{fill:#8c959f}}.own{{fill:#0969da}}\
         .range{{stroke:#1f2328}}@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.bar{{fill:#6e7681}}.own{{fill:#4493f8}}\
         .range{{stroke:#e6edf3}}}}</style>\n\
         <text class=\"title\" x=\"0\" y=\"18\">CPU time of one checkout session, one core, µs: less is better</text>\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let (top, middle) = (36 + index * BAR, 36 + index * BAR + 11);
        let class = if line.name == "edge" { "bar own" } else { "bar" };
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{:.1}\" height=\"22\"/>\
             <path class=\"range\" d=\"M{:.1} {middle}H{:.1}\"/><text x=\"{:.1}\" y=\"{}\">{:.1} · {:.2} ×</text>",
            LEFT - 8.0,
            top + 16,
            line.name,
            x(line.cpu_us.median) - LEFT,
            x(line.cpu_us.min),
            x(line.cpu_us.max),
            x(line.cpu_us.max) + 8.0,
            top + 16,
            line.cpu_us.median,
            line.against_edge.median,
        );
    }
    text.push_str("</svg>\n");
    text
}
