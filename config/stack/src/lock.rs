//! At most one stack per checkout. The lock ends with its holder, however that ends, so a stale pid is never believed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use anyhow::{Context, Result, bail};

use crate::folder::Folder;

/// Held by the supervisor as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(folder: &Folder) -> Result<Self> {
        let mut file = open(folder)?;
        if file.try_lock().is_err() {
            match holder(folder)? {
                Some(pid) => bail!("a stack of this checkout runs already (pid {pid}); `cargo stack down` stops it"),
                None => bail!("a stack of this checkout is starting or stopping at this moment; try again"),
            }
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// The supervisor's process id, when one runs.
pub fn holder(folder: &Folder) -> Result<Option<u32>> {
    if open(folder)?.try_lock().is_ok() {
        return Ok(None);
    }
    let pid = fs::read_to_string(folder.lock())?;
    Ok(pid.parse().ok())
}

fn open(folder: &Folder) -> Result<File> {
    let path = folder.lock();
    OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_of_the_first_and_a_stale_pid_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("stack")).unwrap();
        fs::write(folder.lock(), "12345678").unwrap();
        assert_eq!(holder(&folder).unwrap(), None);
        let lock = Lock::take(&folder).unwrap();
        assert_eq!(holder(&folder).unwrap(), Some(std::process::id()));
        let error = Lock::take(&folder).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()) && error.contains("cargo stack down"), "{error}");
        drop(lock);
        Lock::take(&folder).unwrap();
    }
}
