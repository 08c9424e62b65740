//! `cargo stack bench`: builds what is to be measured and what measures it, as they are shipped, and hands over.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use testkit::process::Launch;
use testkit::servers::{Host, Kind};

use crate::build;
use crate::environment::Environment;
use crate::folder::workspace;

/// Arguments of `cargo stack bench`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the bench: what to measure, --rounds N, --quick; --help tells all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// The exit code is the bench's: 0 when every figure is what it must be, 1 when one is not, 2 when nothing can be said.
pub fn run(options: &Options, environment: &Environment) -> Result<ExitCode> {
    Host::of_this_checkout(&environment.path)?.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}"))?;
    let programs = build::build(environment)?;
    // By itself: built together with others, edge and worker would get what only the bench wants of their dependencies.
    let cargo = Launch::new("cargo build", &environment.cargo).folder(workspace()).death_signal("TERM");
    let cargo = cargo.without_env(&environment.of_this_package);
    if !cargo.args(["build", "--release", "--locked", "-p", "bench"]).status()?.success() {
        bail!("the build failed; see above");
    }
    let launch = Launch::new("bench", build::target(environment)?.join("release/bench"))
        .death_signal("TERM")
        .arg("--edge")
        .arg(&programs.edge)
        .arg("--worker")
        .arg(&programs.worker);
    let status = launch.args(&options.args).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
