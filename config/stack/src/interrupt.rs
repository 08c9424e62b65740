//! Ctrl-C, SIGTERM and a closed terminal, as something that can be asked and waited for.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// From the moment it exists, the first signal is remembered; a Ctrl-C after it ends the process at once (the kernel then ends our
/// children).
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Interrupt {
    /// Begins to listen.
    pub fn listen() -> Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        // Before the flag's own registration: the first Ctrl-C only raises the flag that the second one finds raised.
        flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, Arc::clone(&raised))?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&raised))?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { raised, wake })
    }

    /// Whether a signal has come.
    pub fn raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// An error once a signal has come: ends a start-up between two steps.
    pub fn check(&self) -> Result<()> {
        if self.raised() {
            bail!("stopped before everything was up");
        }
        Ok(())
    }

    /// Waits for a signal or for one of `others` to become readable, at most for `timeout`.
    pub fn wait(&self, others: &[BorrowedFd<'_>], timeout: Duration) -> Result<()> {
        let own = self.wake.as_fd();
        let mut watched: Vec<PollFd<'_>> = others.iter().chain([&own]).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match rustix::event::poll(&mut watched, Some(&Timespec::try_from(timeout)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        // Emptied, or it would stay readable for ever; nothing there to read is the usual case.
        let _ = (&self.wake).read(&mut [0; 16]);
        Ok(())
    }
}
