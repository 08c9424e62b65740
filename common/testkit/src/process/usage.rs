//! What a process takes of the machine at this moment, read from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// What one process holds. Its children are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Open descriptors: files, sockets, and the like.
    pub open_files: u64,
    /// Memory it has in RAM, shared pages included.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Of the process `pid`, which need not be our child, but must be ours to look at: of our own account, or anybody's as root. One
    /// that has ended is an error.
    pub fn of(pid: u32) -> Result<Self> {
        let read = || -> Result<Self> {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let open_files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
            let resident_kb = field(&status, "VmRSS").context("it has no memory any more")?;
            let threads = field(&status, "Threads").context("it has no threads")?;
            Ok(Self { open_files, resident_bytes: resident_kb * 1024, threads })
        };
        read().with_context(|| format!("cannot see what process {pid} uses"))
    }
}

/// The number of a line such as `VmRSS: 1234 kB`.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn sees_files_memory_and_threads_come_and_go() {
        // Other tests of this binary open something too: the differences are large enough to tell.
        let before = Usage::of(std::process::id()).unwrap();
        let files: Vec<File> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = std::sync::Mutex::new(ended);
        let during = std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| ended.lock().unwrap().recv());
            }
            let during = Usage::of(std::process::id()).unwrap();
            drop(end);
            during
        });
        assert!(during.open_files >= before.open_files + 90, "{before:?} {during:?}");
        assert!(during.resident_bytes >= before.resident_bytes + (60 << 20), "{before:?} {during:?}");
        assert!(during.threads >= before.threads + 15, "{before:?} {during:?}");
        drop((files, memory));
        // A thread is counted a moment longer than a scope waits for it.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let after = Usage::of(std::process::id()).unwrap();
            let fewer = after.open_files + 90 <= during.open_files && after.threads + 15 <= during.threads;
            if fewer && after.resident_bytes + (60 << 20) <= during.resident_bytes {
                return;
            }
            assert!(Instant::now() < deadline, "{during:?} {after:?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_that_names_it() {
        let error = Usage::of(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }
}
