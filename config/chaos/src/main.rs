//! `cargo stack chaos`: the command line of the fault harness. It can also be the edge or the worker of its own run, for tests, which
//! have no other program at hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use chaos::fleet::{Program, Programs};
use chaos::plan::Fault;
use chaos::run::{self, Options};
use clap::{Args, Parser, Subcommand};
use common::clock::SystemClock;
use edge::server::listener;

/// Breaks what can break while partners call, and shows that nothing acknowledged is lost
#[derive(Parser)]
#[command(name = "chaos", bin_name = "cargo stack chaos", args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    chaos: Chaos,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Args)]
struct Chaos {
    /// What decides which faults strike when; by default chance, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds of faults; each lasts until everything has healed, four seconds or so
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// Only these kinds, separated by commas
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Calls a second
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Stripe's events a second, about orders that customers pay
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    stripe_rate: u32,
    /// The edge's binary; by default this program itself
    #[arg(long)]
    edge: Option<PathBuf>,
    /// The worker's binary; by default this program itself
    #[arg(long)]
    worker: Option<PathBuf>,
    /// Where ledger and logs go
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Role {
    /// Be an edge
    #[command(hide = true)]
    Edge {
        /// As the edge's own
        #[arg(value_parser = ["run"])]
        run: String,
    },
    /// Be a worker
    #[command(hide = true)]
    Worker {
        /// As the worker's own
        #[arg(value_parser = ["run"])]
        run: String,
    },
}

fn main() -> ExitCode {
    match start(CommandLine::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo stack chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// `false` when promises were broken.
fn start(command_line: CommandLine) -> Result<bool> {
    let settings = || config::Settings::from_process(None).map_err(|problems| anyhow::anyhow!("{problems}"));
    // Before there are threads, which changing the environment would disturb.
    let inherited = if let Some(Role::Edge { .. }) = command_line.role { listener::inherited()? } else { None };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command_line.role {
        Some(Role::Edge { .. }) => runtime.block_on(edge::runner::run(settings()?, inherited, Arc::new(SystemClock::new())))?,
        Some(Role::Worker { .. }) => runtime.block_on(worker::runner::run(settings()?))?,
        None => return runtime.block_on(chaos(command_line.chaos)),
    }
    Ok(true)
}

async fn chaos(wanted: Chaos) -> Result<bool> {
    let seed = wanted.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let folder = wanted.folder.unwrap_or_else(|| testkit::servers::stack_folder().join("chaos").join(seed.to_string()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let own = std::env::current_exe().context("finding this program")?;
    let program = |named: Option<PathBuf>, role: &str| match named {
        Some(path) => Program { path, args: Vec::new() },
        None => Program { path: own.clone(), args: vec![role.to_owned()] },
    };
    let options = Options {
        seed,
        rounds: usize::from(wanted.rounds),
        faults: if wanted.faults.is_empty() { Fault::ALL.to_vec() } else { wanted.faults },
        rate: wanted.rate,
        stripe_rate: wanted.stripe_rate,
        programs: Programs { edge: program(wanted.edge, "edge"), worker: program(wanted.worker, "worker") },
        folder,
    };
    let report = tokio::select! {
        report = run::run(options, |line| eprintln!("{line}")) => report?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    };
    print!("{}", report.text());
    Ok(report.is_good())
}
