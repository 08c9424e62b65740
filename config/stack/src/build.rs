//! Builds the binaries with cargo, on the caller's terminal, and says where they are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testkit::process::Launch;

use crate::environment::Environment;
use crate::folder::workspace;

/// The programs of the system.
pub struct Programs {
    pub edge: PathBuf,
    pub worker: PathBuf,
}

/// Cargo decides what is fresh.
pub fn build(environment: &Environment) -> Result<Programs> {
    // Build scripts that watch what cargo tells us about our own package would run again, and everything above them be built again.
    let cargo = Launch::new("cargo build", &environment.cargo).folder(workspace()).death_signal("TERM");
    let cargo = cargo.without_env(&environment.of_this_package);
    let status = cargo.args(["build", "--release", "--locked", "-p", "edge", "-p", "worker"]).status()?;
    if !status.success() {
        bail!("the build failed; see above");
    }
    programs(environment)
}

/// Where they are after a build.
pub fn programs(environment: &Environment) -> Result<Programs> {
    let release = target(environment)?.join("release");
    Ok(Programs { edge: release.join("edge"), worker: release.join("worker") })
}

/// Cargo's folder for what it builds: it has put this very program into `<target>/<profile>`.
pub fn target(environment: &Environment) -> Result<&Path> {
    environment.own.ancestors().nth(2).context("our own program lies in no target folder")
}
