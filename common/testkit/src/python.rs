//! Python tools at exact versions, each set in an environment of its own below the target folder: made by whoever comes first, kept
//! for the next time. Nothing is installed on the machine; where it has no usable Python, Debian's own is unpacked beside the servers.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::process::Launch;
use crate::servers::{Host, stack_folder};
use anyhow::{Context, Result};

/// Debian's Python with everything that environments are made of.
const PACKAGE: &str = "python3-venv";

/// An environment that is ready.
#[derive(Debug)]
pub struct Python {
    folder: PathBuf,
    libraries: OsString,
}

impl Python {
    /// The environment with these requirements, one to a line as `name==version`, in `target/python/<name>`.
    pub fn with(name: &str, requirements: &str) -> Result<Self> {
        let folder = stack_folder().with_file_name("python").join(name);
        fs::create_dir_all(folder.parent().context("a folder above")?)?;
        let lock = File::create(folder.with_extension("lock")).context("the lock of a Python environment")?;
        lock.lock()?;
        let libraries_file = folder.join("libraries");
        // Written last: what is not as asked for, or was left unfinished, is made anew.
        let complete = folder.join("requirements.txt");
        if fs::read_to_string(&complete).ok().as_deref() == Some(requirements) && starts(&folder) {
            return Ok(Self { libraries: fs::read_to_string(&libraries_file)?.into(), folder });
        }
        eprintln!("installing Python packages into {}", folder.display());
        let libraries = create(&folder)?;
        let this = Self { folder: folder.clone(), libraries };
        let wanted = folder.join("wanted.txt");
        fs::write(&wanted, requirements)?;
        let install = this.program("python").args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"]);
        install.arg(&wanted).must_succeed().with_context(|| format!("cannot install {name} from PyPI; is the network there?"))?;
        fs::write(&libraries_file, this.libraries.to_string_lossy().as_bytes())?;
        fs::rename(&wanted, &complete)?;
        Ok(this)
    }

    /// A program of the environment.
    pub fn program(&self, name: &str) -> Launch {
        // Nothing compiled is left beside scripts of the repository.
        with_libraries(Launch::new(name, self.folder.join("bin").join(name)), &self.libraries).env("PYTHONDONTWRITEBYTECODE", "1")
    }
}

/// Whether the Python that the environment was made with is still there.
fn starts(folder: &Path) -> bool {
    let libraries = fs::read_to_string(folder.join("libraries")).unwrap_or_default();
    with_libraries(Launch::new("python", folder.join("bin/python")), &libraries.into()).arg("--version").must_succeed().is_ok()
}

fn with_libraries(launch: Launch, libraries: &OsString) -> Launch {
    if libraries.is_empty() { launch } else { launch.env("LD_LIBRARY_PATH", libraries) }
}

/// Makes an empty environment with pip, and says what its Python needs as `LD_LIBRARY_PATH`.
fn create(folder: &Path) -> Result<OsString> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let own = Launch::new("python3", "python3").args(["-m", "venv"]).arg(folder).must_succeed();
    let Err(no_own) = own else { return Ok(OsString::new()) };
    // No Python in PATH, or one without venv and pip, as Debian's is by default.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let unpacked = Host::of_this_checkout("")?.unpack(PACKAGE, &|line| eprintln!("{line}"));
    let unpacked = unpacked.with_context(|| format!("python3 with venv and pip is needed; in PATH: {no_own:#}"))?;
    let python = |launch: Launch| with_libraries(launch, &unpacked.libraries);
    let program = unpacked.folder.join("usr/bin/python3");
    python(Launch::new("python3", program)).args(["-m", "venv", "--without-pip"]).arg(folder).must_succeed()?;
    let wheels = fs::read_dir(unpacked.folder.join("usr/share/python-wheels")).context("the package python3-pip-whl")?;
    let wheels: Vec<PathBuf> = wheels.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    let is_pip = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pip-"));
    let wheel = wheels.iter().find(is_pip).context("python3-pip-whl holds no pip")?;
    // A wheel is a program too: so pip installs itself.
    let pip = python(Launch::new("pip", folder.join("bin/python"))).arg(wheel.join("pip"));
    pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-index"]).arg(wheel).must_succeed()?;
    Ok(unpacked.libraries)
}
