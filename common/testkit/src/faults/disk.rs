//! A disk so small that it can be filled: a tmpfs for the data of one server.
//!
//! It is mounted in a mount namespace of its own, which a process of the servers' account keeps open, and is reached through that process'
//! `/proc/<pid>/root`. So it needs no privileges where user namespaces are allowed, nobody else sees it, and it ends with that process, which
//! ends with us, however we end: there is never a mount left to clean up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{Launch, Process};
use crate::servers::{Account, DataFolder, Host};

const MOUNT_DEADLINE: Duration = Duration::from_secs(10);
const MOUNT: &str = r#"mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && exec tail -f /dev/null"#;
const FILLER: &str = "filler";

/// A mounted small disk. What lies on it is gone when it is dropped: let its servers go first.
///
/// What full means to them: Redis with `append_only` refuses writes with `MISCONF` and takes them again by itself within a second after
/// [`SmallDisk::free`]. Postgres refuses a write that needs a new page with `53100 disk_full` and lives on. When it needs a new piece of its
/// log, or makes a checkpoint, it panics: all its processes go, the server tries to recover, finds no room for that either, and ends with
/// status 1. After `free`, `restart` brings it back with everything that was committed. (Given room in the middle of that, it comes back by itself:
/// look at `exited`.) An empty Postgres takes 40 MB, and `max_wal_size` has to be set to something that fits.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Process,
    account: Option<Account>,
    path: PathBuf,
    // After the process: it is where the disk is mounted.
    _folder: DataFolder,
}

impl SmallDisk {
    /// Mounts an empty disk of this size, rounded up to whole pages. An error says why this machine has none to offer, mostly that it
    /// does not allow user namespaces: a reason to leave a fault out, not to give up.
    pub fn mount(host: &Host, size_bytes: u64) -> Result<Self> {
        let folder = host.temporary_folder()?;
        let (point, log) = (folder.path().join("disk"), folder.path().join("log"));
        let account = host.account().cloned();
        Launch::new("mkdir", "mkdir").account(account.as_ref()).arg(&point).must_succeed()?;
        // The shell becomes the process that holds the disk open; `unshare` does not fork.
        let launch =
            Launch::new("a small disk", "unshare").args(["--user", "--map-root-user", "--mount", "--propagation", "private", "--"]);
        let launch = launch.args(["sh", "-c", MOUNT, "sh", &size_bytes.to_string()]).arg(&point).account(account.as_ref());
        let mut holder = launch.start(&log)?;
        let mounts = PathBuf::from(format!("/proc/{}/mounts", holder.pid()));
        let point_text = point.to_str().context("the path of the servers' folder is not UTF-8")?;
        holder
            .wait_until(MOUNT_DEADLINE, || {
                let mounts = fs::read_to_string(&mounts).unwrap_or_default();
                mounts.lines().any(|line| line.split(' ').nth(1) == Some(point_text))
            })
            .context("this machine does not let us mount a small disk")?;
        let root = PathBuf::from(format!("/proc/{}/root", holder.pid()));
        let path = root.join(point.strip_prefix("/").context("the servers' folder is not an absolute path")?);
        Ok(Self { holder, account, path, _folder: folder })
    }

    /// Its root folder, which belongs to the servers' account. Good for every process of ours and of that account. As root, write to it
    /// only as that account: to the disk root is nobody.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it to the last byte; what grows from now on fails with ENOSPC.
    pub fn fill(&self) -> Result<()> {
        // It ends when there is no room left, and with an error.
        let output = self.shell(r#"cat /dev/zero >> "$1""#).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(self.free_bytes()? == 0, "the disk could not be filled: {said}");
        Ok(())
    }

    /// Gives back the room that [`SmallDisk::fill`] took.
    pub fn free(&self) -> Result<()> {
        self.shell(r#"rm -f "$1""#).must_succeed().map(|_| ())
    }

    /// The room that is left.
    pub fn free_bytes(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(&self.path).with_context(|| format!("cannot look at {}", self.path.display()))?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// The process that keeps it, for those who look after processes.
    pub fn holder_pid(&self) -> u32 {
        self.holder.pid()
    }

    fn shell(&self, script: &str) -> Launch {
        let launch = Launch::new("the disk's filler", "sh").args(["-c", script, "sh"]).arg(self.path.join(FILLER));
        launch.account(self.account.as_ref())
    }
}
