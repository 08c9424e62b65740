//! The edge's command line.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use common::clock::SystemClock;
use config::{EXIT_CONFIG, Settings};
use edge::server::listener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The API gateway of AnonymousPay.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// A TOML file that lies over the built-in defaults and under the environment.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Run,
    /// Print the effective configuration without its secrets, or everything that is wrong with it.
    CheckConfig,
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Version) {
        println!("edge {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::from_process(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if matches!(cli.command, Command::CheckConfig) {
        print!("{}", settings.redacted_toml());
        return ExitCode::SUCCESS;
    }
    match listener::inherited().and_then(|inherited| serve(settings, inherited)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: Settings, inherited: Option<TcpListener>) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.edge.threads > 0 {
        runtime.worker_threads(settings.edge.threads);
    }
    runtime.enable_all().build()?.block_on(edge::runner::run(settings, inherited, Arc::new(SystemClock::new())))
}
