//! Unpacks Debian's own packages into a private folder: no root needed, nothing installed, no service touched.
//!
//! `apt-get` works on a state and a cache of its own and believes that nothing is installed, so that the libraries come along too. Only the
//! sources, keys and proxy settings are the system's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::Launch;

/// Runs the system's own hooks never, asks for no translations or desktop metadata, and needs no `_apt` account.
const QUIET: &str = r#"
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
APT::Sandbox::User "root";
"#;

/// What of a package is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The package with all that it depends on.
    WithLibraries,
    /// The package alone.
    Alone,
}

/// Unpacks each package into `prefix/<package>`. The caller holds the prefix's lock.
pub fn unpack(packages: &[&str], extent: Extent, prefix: &Path, progress: &dyn Fn(&str)) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/dpkg-deb").exists() {
        bail!(
            "{} not found, and this system has no apt-get to fetch Debian's packages with: install what provides them (postgres and initdb; \
             redis-server or valkey-server; python3 with venv and pip; curl; slowhttptest; nginx; haproxy; php) so that it is in PATH. Instead of \
             servers, DATABASE_URL and REDIS_URL can be set",
            packages.join(" and ")
        );
    }
    let started = Instant::now();
    progress(&format!(
        "{} not found here: unpacking Debian's packages into {} (nothing is installed)",
        packages.join(" and "),
        prefix.display()
    ));
    let apt = Apt::new(prefix.join("unfinished"))?;
    progress("  reading the package lists");
    let update = apt.launch(&["update"]).output()?;
    for package in packages {
        let plan = apt.get(&["--simulate", "--no-install-recommends", "install", package]);
        // Reading the lists "succeeds" when nothing could be read, and rightly so when only a foreign source is broken: whether enough
        // is there shows here.
        let needed = needed(&plan.with_context(|| {
            let said = [&update.stdout[..], &update.stderr].concat();
            format!("Debian's {package} cannot be had; is the network there? Reading the package lists said:\n{}", complaints(&said))
        })?);
        let names = if extent == Extent::Alone { vec![(*package).to_owned()] } else { needed };
        progress(&format!("  {package}: downloading {} packages", names.len()));
        let archives = apt.folder.join("archives");
        fs::create_dir_all(&archives)?;
        let arguments: Vec<&str> = ["download"].into_iter().chain(names.iter().map(String::as_str)).collect();
        apt.launch(&arguments).folder(&archives).must_succeed()?;
        progress(&format!("  {package}: unpacking"));
        let root = apt.folder.join(package);
        for archive in fs::read_dir(&archives)? {
            Launch::new("dpkg-deb", "dpkg-deb").arg("-x").arg(archive?.path()).arg(&root).must_succeed()?;
        }
        fs::remove_dir_all(&archives)?;
        fs::rename(&root, prefix.join(package)).with_context(|| format!("cannot put {package} into place"))?;
    }
    fs::remove_dir_all(&apt.folder)?;
    progress(&format!("  done in {:.0} s; kept for the next time", started.elapsed().as_secs_f64()));
    Ok(())
}

/// `LD_LIBRARY_PATH` for programs below `root`.
pub fn library_path(root: &Path) -> OsString {
    let triplets = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("-linux-gnu")).collect::<Vec<PathBuf>>()
    };
    // No folder name of ours or Debian's has a colon; a checkout that has one could not use LD_LIBRARY_PATH at all.
    std::env::join_paths(triplets("usr/lib").into_iter().chain(triplets("lib"))).unwrap_or_default()
}

struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        for needed in ["state/lists/partial", "cache/archives/partial", "log"] {
            fs::create_dir_all(folder.join(needed))?;
        }
        fs::write(folder.join("status"), "")?;
        let place = |name: &str| folder.join(name).display().to_string();
        let folders = format!(
            "Dir::State \"{}\";\nDir::State::lists \"lists\";\nDir::State::status \"{}\";\nDir::Cache \"{}\";\nDir::Cache::archives \"archives\";\n\
             Dir::Cache::pkgcache \"pkgcache.bin\";\nDir::Log \"{}\";\n",
            place("state"),
            place("status"),
            place("cache"),
            place("log"),
        );
        fs::write(folder.join("apt.conf"), format!("{QUIET}{folders}"))?;
        Ok(Self { folder })
    }

    fn launch(&self, arguments: &[&str]) -> Launch {
        // A configuration named on the command line is read last; only so can it clear what the system's own files set.
        let launch = Launch::new("apt-get", "apt-get").env("LC_ALL", "C").arg("-q").arg("-c").arg(self.folder.join("apt.conf"));
        launch.death_signal("TERM").args(arguments)
    }

    fn get(&self, arguments: &[&str]) -> Result<String> {
        self.launch(arguments).must_succeed()
    }
}

/// The packages of a simulated installation that hold something that one of our programs loads or reads. The C library stays the system's, because a
/// program's loader and its C library must be one pair; LLVM serves only the JIT, which is off.
fn needed(simulation: &str) -> Vec<String> {
    const PROGRAMS: [&str; 15] = [
        "postgresql",
        "redis",
        "valkey",
        "python3",
        "systemd",
        "curl",
        "slowhttptest",
        "nginx",
        "haproxy",
        "php",
        "chromium",
        "prometheus",
        "lua-resty",
        "fontconfig-config",
        "fonts-dejavu-core",
    ];
    const UNNEEDED: [&str; 6] = ["libc6", "libc-bin", "libc-l10n", "libllvm", "libz3", "libperl"];
    let names = simulation.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    let kept = names.filter(|name| {
        let program = PROGRAMS.iter().any(|start| name.starts_with(start));
        let library = name.starts_with("lib") && !UNNEEDED.iter().any(|start| name.starts_with(start)) && !name.ends_with("-perl");
        program || library
    });
    kept.map(str::to_owned).collect()
}

/// What `apt-get` warned of.
fn complaints(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|line| ["W:", "E:", "Err:"].iter().any(|start| line.starts_with(start))).collect();
    if lines.is_empty() { "(nothing wrong)".to_owned() } else { lines[..lines.len().min(10)].join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_and_their_libraries_are_unpacked() {
        let simulation = "NOTE: This is only a simulation!\n\
            Inst libc6 (2.36-9 Debian:12.11/oldstable [amd64]) []\n\
            Inst libssl3 (3.0.22-1 Debian:12/oldstable [amd64])\n\
            Inst libjson-perl (4.1 Debian:12/oldstable [all])\n\
            Inst perl (5.36 Debian:12/oldstable [amd64])\n\
            Inst redis-server (5:7.0.15 Debian:12/oldstable [amd64])\n\
            Conf redis-server (5:7.0.15 Debian:12/oldstable [amd64])\n";
        assert_eq!(needed(simulation), ["libssl3", "redis-server"]);
    }
}
