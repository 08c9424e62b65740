//! How long `cargo stack up` takes when everything is built and there: until the first checkout session, cargo's own looking around included.
//!
//! It is this checkout's own stack that is started and stopped, with its data. It must not be running.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use testkit::process::Launch;

use crate::load::{Clients, Pace, post};
use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::Spread;

const PROMISE: Promise =
    Promise { what: "second `cargo stack up` → first session", good: Good::AtMost, must: 5.0, glory: 2.5, unit: " s", decimals: 1 };
/// A start costs seconds.
const ROUNDS_MAX: usize = 5;

/// Measures.
pub fn run(plan: &Plan<'_>) -> Result<Report> {
    let folder = testkit::servers::stack_folder();
    let env = folder.join("env");
    ensure!(!env.exists(), "a stack of this checkout runs: `cargo stack down` first");
    plan.say("start: the first time, which may build");
    cargo_stack(plan, &["up", "--detach"])?;
    cargo_stack(plan, &["down"])?;
    let rounds = plan.rounds.min(ROUNDS_MAX);
    let mut seconds = Vec::new();
    for round in 1..=rounds {
        let started = Instant::now();
        cargo_stack(plan, &["up", "--detach"])?;
        let answered = first_session(&env);
        let took = started.elapsed().as_secs_f64();
        cargo_stack(plan, &["down"])?;
        answered?;
        plan.say(format!("start {round}/{rounds}: {took:.1} s"));
        seconds.push(took);
    }
    let mut report = Report::default();
    report.measured(PROMISE, Spread::of(seconds));
    Ok(report)
}

fn cargo_stack(plan: &Plan<'_>, args: &[&str]) -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no folder above the crate's")?;
    // What cargo has told us of our own package would make it build others anew.
    let ours: Vec<_> = std::env::vars_os().map(|(name, _)| name).filter(|name| is_of_this_package(&name.to_string_lossy())).collect();
    let launch = Launch::new("cargo stack", &plan.cargo).folder(workspace).without_env(&ours);
    launch.arg("stack").args(args).must_succeed().map(|_| ())
}

fn is_of_this_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Asks as the cURL line that is printed does.
fn first_session(env: &Path) -> Result<()> {
    let text = std::fs::read_to_string(env).with_context(|| format!("cannot read {}", env.display()))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('\'').to_owned()).with_context(|| format!("{} has no {name}", env.display()))
    };
    let url = value("BASE_URL")?;
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).with_context(|| format!("no port in {url}"))?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let body = format!(r#"{{"cart": {{"{}": 1}}, "currency": "GBP"}}"#, value("SKU")?);
    let request = post(address, &format!("/api/v1/stores/{}/checkout/session/", value("STORE")?), &value("API_KEY")?, &body);
    Clients::connect(address, 1, 201)?.run(Pace::Closed, 1, |buffer| buffer.extend_from_slice(&request))?;
    Ok(())
}
