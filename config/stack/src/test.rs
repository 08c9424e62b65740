//! `cargo stack test`: the servers first, with progress to be seen; then all tests.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use testkit::process::Launch;
use testkit::servers::{Host, Kind};

use crate::environment::Environment;
use crate::folder::workspace;

/// Arguments of `cargo stack test`.
#[derive(clap::Args)]
pub struct Options {
    /// For `cargo test`, for example `-p edge`, or `-- --ignored`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// The exit code is cargo's.
pub fn run(options: &Options, environment: &Environment) -> Result<ExitCode> {
    Host::of_this_checkout(&environment.path)?.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}"))?;
    // Clap takes a leading `--` for its own; cargo needs it.
    let given = if environment.arguments.get(1).is_some_and(|first| first == "--") { &environment.arguments[1..] } else { &options.args };
    let cargo = Launch::new("cargo test", &environment.cargo).folder(workspace()).death_signal("TERM");
    let status = cargo.args(["test", "--locked", "--no-fail-fast"]).args(given).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
