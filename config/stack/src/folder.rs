//! `target/stack`: where secrets, keys, logs and the env file lie. The servers' data may lie elsewhere (see `testkit`).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The paths in the folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// This checkout's, made when it is not there yet.
    pub fn of_this_checkout() -> Result<Self> {
        Self::at(testkit::servers::stack_folder())
    }

    /// The one at `root`.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(root.join("logs")).with_context(|| format!("cannot create {}", root.display()))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join("secrets")).context("cannot create the folder of secrets")?;
        Ok(Self { root })
    }

    /// Held by the supervisor as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// URLs, keys and process ids of the running stack, for `sh`.
    pub fn env(&self) -> PathBuf {
        self.root.join("env")
    }

    /// The demo store's keys in plain text; they survive between runs.
    pub fn demo_env(&self) -> PathBuf {
        self.root.join("demo.env")
    }

    /// The license keys imported for the demo store.
    pub fn demo_stock(&self) -> PathBuf {
        self.root.join("demo-stock.csv")
    }

    /// One file per secret.
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// What a supervisor in the background says.
    pub fn supervisor_log(&self) -> PathBuf {
        self.root.join("stack.log")
    }

    /// One file per process.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// One process's log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Forgets the last run's logs, so that they do not grow for ever.
    pub fn clear_logs(&self) -> Result<()> {
        for entry in fs::read_dir(self.logs())? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

/// Writes a file that only we may read, whole or not at all.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    let unfinished = path.with_extension("new");
    let write = || {
        remove_if_there(&unfinished)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a file; none there is fine.
pub fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The repository.
pub fn workspace() -> PathBuf {
    // This crate lies two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}
