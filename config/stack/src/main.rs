//! `cargo stack …`: the whole system on one machine, from nothing, with one command, gone with one signal.
//!
//! A development tool: production never needs it. It talks to the system only as an operator would: processes, ports, command lines.

mod bench;
mod build;
mod chaos;
mod dashboards;
mod demo;
mod detach;
mod env_file;
mod environment;
mod folder;
mod http;
mod interrupt;
mod load;
mod lock;
mod secrets;
mod settings;
mod status;
mod system;
mod test;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The whole system on one machine.
#[derive(Parser)]
#[command(bin_name = "cargo stack")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds and starts everything, until Ctrl-C (uses DATABASE_URL and REDIS_URL when they are set)
    Up(up::Options),
    /// Stops the stack that runs in the background
    Down,
    /// Runs all tests; what follows is handed to `cargo test`
    Test(test::Options),
    /// Breaks what can break while partners call, and shows that nothing acknowledged is lost
    Chaos(chaos::Options),
    /// Measures the platform against its budgets
    Bench(bench::Options),
    /// Loads the running stack with k6, and checks that every answer is right
    Load(load::Options),
    /// Writes the Grafana dashboards anew (dashboards/grafana)
    Dashboards,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let environment = environment::Environment::read()?;
    match cli.command {
        Command::Up(options) if options.detach => detach::up(&options, &environment),
        Command::Up(options) => up::run(&options, &environment),
        Command::Down => detach::down(),
        Command::Test(options) => test::run(&options, &environment),
        Command::Chaos(options) => chaos::run(&options, &environment),
        Command::Bench(options) => bench::run(&options, &environment),
        Command::Load(options) => load::run(&options, &environment),
        Command::Dashboards => dashboards::run(),
    }
}
