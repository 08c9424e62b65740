//! `cargo stack chaos`: builds what is to be broken and the harness that breaks it, and hands over.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use testkit::process::Launch;
use testkit::servers::{Host, Kind};

use crate::build;
use crate::environment::Environment;
use crate::folder::workspace;

/// Arguments of `cargo stack chaos`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the harness: --seed N, --rounds N, --faults kill-worker,flush, --rate N; --help tells all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// The exit code is the harness': 0 when everything held, 1 when a promise was broken.
pub fn run(options: &Options, environment: &Environment) -> Result<ExitCode> {
    Host::of_this_checkout(&environment.path)?.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}"))?;
    let programs = build::build(environment)?;
    // The harness itself need not be fast, and its dev profile is what the tests have built already.
    let cargo = Launch::new("cargo build", &environment.cargo).folder(workspace()).death_signal("TERM");
    let cargo = cargo.without_env(&environment.of_this_package);
    if !cargo.args(["build", "--locked", "-p", "chaos"]).status()?.success() {
        bail!("the build failed; see above");
    }
    let launch = Launch::new("chaos", build::target(environment)?.join("debug/chaos"))
        .death_signal("TERM")
        .arg("--edge")
        .arg(&programs.edge)
        .arg("--worker")
        .arg(&programs.worker);
    let status = launch.args(&options.args).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
