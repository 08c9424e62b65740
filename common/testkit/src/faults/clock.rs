//! A wrong clock for one program: Debian's libfaketime, loaded into it, shifts the time of day it is told. The machine's own clock is never
//! touched, and the program's monotonic clock stays right, as it does when an administrator sets the time.
//!
//! It works for what asks the C library, as Rust's programs do. A program that sleeps until an absolute moment (Python's `time.sleep`) fails
//! under it; Postgres and Redis were not tried.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Launch;
use crate::servers::{DataFolder, Host};

const PACKAGE: &str = "libfaketime";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const SHARED_MEMORY: &str = "/dev/shm";

/// A clock that goes wrong for the programs that were started with it, and only for them.
#[derive(Debug)]
pub struct ShiftedClock {
    library: PathBuf,
    folder: DataFolder,
}

impl ShiftedClock {
    /// After [`ShiftedClock::shift`] a running program sees the new time within this.
    pub const FOLLOWS_WITHIN: Duration = Duration::from_secs(3);

    /// A clock that is right at first. Finds the library, or unpacks Debian's package privately; an error says why it cannot be had, a
    /// reason to leave a fault out, not to give up. `progress` is told of the long steps.
    pub fn find_or_unpack(host: &Host, progress: &dyn Fn(&str)) -> Result<Self> {
        let library = match find_below(Path::new("/")) {
            Some(library) => library,
            None => {
                let unpacked = host.unpack(PACKAGE, progress)?;
                let library = find_below(&unpacked.folder);
                library.with_context(|| format!("the package {PACKAGE} holds no {LIBRARY}"))?
            }
        };
        forget_dead_programs();
        let folder = host.temporary_folder()?;
        // Programs of other accounts read it too.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let clock = Self { library, folder };
        clock.shift(0)?;
        Ok(clock)
    }

    /// Moves the clock to this many seconds after the true time (before it, when negative), for programs that run already and for later ones.
    pub fn shift(&self, offset_s: i64) -> Result<()> {
        let unfinished = self.file().with_extension("new");
        // Renamed into place: a program that looks at this moment must not read half a number.
        let write = || fs::write(&unfinished, format!("{offset_s:+}s\n")).and_then(|()| fs::rename(&unfinished, self.file()));
        write().with_context(|| format!("cannot write {}", self.file().display()))
    }

    /// Starts `launch` under this clock, which has to outlive it.
    pub fn apply(&self, launch: Launch) -> Launch {
        self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    }

    /// What [`ShiftedClock::apply`] adds to a program's environment.
    pub fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            // Seconds between two looks at the file.
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

impl Drop for ShiftedClock {
    fn drop(&mut self) {
        forget_dead_programs();
    }
}

/// Where Debian puts it: `usr/lib/<triplet>/faketime`.
fn find_below(root: &Path) -> Option<PathBuf> {
    let triplets = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
    triplets.map(|triplet| triplet.path().join(LIBRARY)).find(|library| library.is_file())
}

/// The library gives each program a page of shared memory, and one that is killed leaves it behind.
fn forget_dead_programs() {
    for entry in fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("faketime_shm_").or(name.strip_prefix("sem.faketime_sem_")));
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            // Somebody else's program, or already gone: either way not ours to complain about.
            let _ = fs::remove_file(entry.path());
        }
    }
}
