//! The worker's binary: read the command line, do what it says, end with a code that says how it went.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use worker::commands::{CommandLine, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let outcome = runtime().and_then(|runtime| {
        let outcome = runtime.block_on(command_line.execute());
        // Whatever should have ended in order has; nothing else may keep the process.
        runtime.shutdown_background();
        outcome
    });
    outcome.map_or_else(report, |()| ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::other(format!("threads cannot be started: {error}")))
}

fn report(failure: Failure) -> ExitCode {
    // With standard error gone, the code still says it.
    let _ = writeln!(std::io::stderr(), "worker: {failure}");
    ExitCode::from(failure.exit_code())
}
