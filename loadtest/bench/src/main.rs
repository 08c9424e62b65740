//! `cargo stack bench`: the command line. It can also be the baseline of its own run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bench::baseline::{self, AnswerSize};
use bench::machine;
use bench::parts::{Plan, checkout, follow, fulfill, latency, memory, peers, portal, queue, start, stripe, webhooks};
use bench::report::Report;
use bench::system::{Program, Programs};
use clap::{Args, Parser, Subcommand, ValueEnum};

// The edge's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the platform against its budgets
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo stack bench", args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    bench: Bench,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Args)]
struct Bench {
    /// Only these; by default all
    parts: Vec<Part>,
    /// The checkout session alone, against nginx with Lua, HAProxy and Envoy
    #[arg(long, conflicts_with = "parts")]
    peers: bool,
    /// Rounds of each comparison; figures are medians over them
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Small numbers and three rounds, to see that it works
    #[arg(long)]
    quick: bool,
    /// The edge's binary; by default the one beside this program
    #[arg(long)]
    edge: Option<PathBuf>,
    /// The worker's binary; by default the one beside this program
    #[arg(long)]
    worker: Option<PathBuf>,
    /// Where the report and logs go
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU of a checkout session, against a bare hyper server
    Checkout,
    /// How long a checkout session takes at half of the peak rate, against the same
    Latency,
    /// Round trips of the queue, against apalis-redis
    Queue,
    /// Orders, the whole way, against pgbench
    Fulfill,
    /// Webhooks, from the commit of an event to the partner's server
    Webhooks,
    /// Stripe's events, until they are on the disk and until their orders have license keys
    Stripe,
    /// Memory of a million API keys and of idle connections
    Memory,
    /// Pages of the portal, of a store with 100,000 orders and a million license keys
    Portal,
    /// How soon every edge knows of a revocation and of a price
    Follow,
    /// How long a second `cargo stack up` takes
    Start,
}

#[derive(Subcommand)]
enum Role {
    /// Be the baseline
    #[command(hide = true)]
    Baseline {
        #[arg(long)]
        head_bytes: usize,
        #[arg(long)]
        body_bytes: usize,
    },
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo stack bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// `false` when something that must be is not.
fn run(command_line: CommandLine) -> Result<bool> {
    if let Some(Role::Baseline { head_bytes, body_bytes }) = command_line.role {
        baseline::serve(baseline::inherited()?, AnswerSize { head_bytes, body_bytes })?;
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(Box::pin(bench(command_line.bench)))?;
    Ok(report.is_good())
}

async fn bench(wanted: Bench) -> Result<Report> {
    let folder = wanted.folder.unwrap_or_else(|| testkit::servers::stack_folder().with_file_name("bench"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let own = std::env::current_exe().context("finding this program")?;
    let beside = |named: Option<PathBuf>, name: &str| Program { path: named.unwrap_or_else(|| own.with_file_name(name)), args: Vec::new() };
    let plan = Plan {
        programs: Programs {
            edge: beside(wanted.edge, "edge"),
            worker: beside(wanted.worker, "worker"),
            baseline: Program { path: own.clone(), args: vec!["baseline".into()] },
        },
        rounds: if wanted.quick { 3 } else { usize::from(wanted.rounds) },
        quick: wanted.quick,
        folder: folder.clone(),
        cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into(),
        progress: &|line| eprintln!("{line}"),
    };
    let parts = if wanted.parts.is_empty() { Part::value_variants().to_vec() } else { wanted.parts };
    let measuring = async { if wanted.peers { Box::pin(peers::run(&plan)).await } else { measure(&plan, &parts).await } };
    let facts = machine::facts()?;
    let report = tokio::select! {
        report = measuring => report?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    };
    write(&folder, &facts, &report)?;
    Ok(report)
}

async fn measure(plan: &Plan<'_>, parts: &[Part]) -> Result<Report> {
    let mut report = Report::default();
    for part in parts {
        report.add(match part {
            Part::Checkout => Box::pin(checkout::run(plan)).await?,
            Part::Latency => Box::pin(latency::run(plan)).await?,
            Part::Queue => Box::pin(queue::run(plan)).await?,
            Part::Fulfill => Box::pin(fulfill::run(plan)).await?,
            Part::Webhooks => Box::pin(webhooks::run(plan)).await?,
            Part::Stripe => Box::pin(stripe::run(plan)).await?,
            Part::Memory => Box::pin(memory::run(plan)).await?,
            Part::Portal => Box::pin(portal::run(plan)).await?,
            Part::Follow => Box::pin(follow::run(plan)).await?,
            Part::Start => start::run(plan)?,
        });
    }
    Ok(report)
}

fn write(folder: &Path, facts: &[String], report: &Report) -> Result<()> {
    let facts: String = facts.iter().map(|fact| format!("- {fact}\n")).collect();
    let (text, path) = (format!("{facts}\n{}", report.markdown()), folder.join("report.md"));
    print!("{text}");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("also in {}", path.display());
    Ok(())
}
