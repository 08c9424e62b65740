//! Child processes that can be paused, stopped and killed, and that never outlive their parent.
//!
//! Every child is started through `setpriv`, which arranges for a signal when the parent dies, however it dies. Nothing here sleeps:
//! waiting is `poll` on the child's own descriptor. This file must not know what the programs are.

mod usage;

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
pub use rustix::process::Signal;
use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open};

pub use self::usage::Usage;
use crate::servers::Account;

/// After SIGKILL the kernel needs a moment, never this long.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How a program is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    removed_env: Vec<OsString>,
    folder: Option<PathBuf>,
    account: Option<Account>,
    listener: Option<Arc<OwnedFd>>,
    death_signal: &'static str,
}

impl Launch {
    /// `name` is for people (messages); `program` is a path, or a name to look up in `PATH`.
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            removed_env: Vec::new(),
            folder: None,
            account: None,
            listener: None,
            death_signal: "KILL",
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable on top of the inherited ones.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Leaves out inherited environment variables.
    pub fn without_env(mut self, names: &[OsString]) -> Self {
        self.removed_env.extend_from_slice(names);
        self
    }

    /// The program never leaves this core. Its process is still the one that was started: `taskset` becomes it.
    pub fn on_core(mut self, core: usize) -> Self {
        let program = std::mem::replace(&mut self.program, "taskset".into());
        self.args.splice(0..0, ["-c".into(), core.to_string().into(), program.into()]);
        self
    }

    /// The working directory; the parent's by default.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs the program as another account (only possible as root).
    pub fn account(mut self, account: Option<&Account>) -> Self {
        self.account = account.cloned();
        self
    }

    /// Hands over an open socket the way systemd does: descriptor 3, `LISTEN_FDS=1`, and the program's own pid in `LISTEN_PID`. It stays open
    /// here too, as long as this value or a clone of it lives, so that several programs in turn can serve it without refusing anybody.
    /// Blocking or not is a property of the socket, not of the descriptor: the program that sets it sets it for all.
    pub fn listener(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.listener = Some(Arc::new(socket.into()));
        self
    }

    /// The signal the kernel sends when our process dies, without `SIG`; `KILL` by default.
    pub fn death_signal(mut self, name: &'static str) -> Self {
        self.death_signal = name;
        self
    }

    /// Starts the program in the background, in a process group of its own (Ctrl-C on the terminal reaches only us, so that we decide
    /// the order of dying). Both outputs are appended to `log`.
    pub fn start(&self, log: &Path) -> Result<Process> {
        let file =
            OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("cannot open the log {}", log.display()))?;
        let mut command = self.command()?;
        command.process_group(0).stdout(file.try_clone()?).stderr(file);
        let child = self.spawn(command)?;
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open (Linux 5.3 or later is needed)")?;
        Ok(Process { name: self.name.clone(), child, pid, handle, log: log.to_owned() })
    }

    /// Runs the program to its end and hands back what it wrote. A status other than 0 is not an error here.
    pub fn output(&self) -> Result<Output> {
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn(command)?;
        child.wait_with_output().with_context(|| format!("waiting for {}", self.name))
    }

    /// Runs the program on our own terminal to its end.
    pub fn status(&self) -> Result<ExitStatus> {
        self.spawn(self.command()?)?.wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Like [`Launch::output`], but a failure is an error that carries the program's last words. Returns its standard output.
    pub fn must_succeed(&self) -> Result<String> {
        let output = self.output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("{} failed ({}):\n{}", self.name, output.status, last_lines(&String::from_utf8_lossy(&said), 20));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new("setpriv");
        if let Some(account) = &self.account {
            command.arg(format!("--reuid={}", account.uid)).arg(format!("--regid={}", account.gid)).arg("--clear-groups");
        }
        // The shell closes a gap: a parent that died before the death signal was arranged would never cause one.
        let script = if self.listener.is_some() {
            // Only the shell can name descriptor 3, so it gets the socket as its input. The program is the shell itself, later: one pid.
            r#"test "$PPID" -eq "$0" && export LISTEN_FDS=1 LISTEN_PID=$$ && exec 3<&0 </dev/null && exec "$@""#
        } else {
            r#"test "$PPID" -eq "$0" && exec "$@""#
        };
        command.arg(format!("--pdeathsig={}", self.death_signal)).args(["--", "sh", "-c", script]);
        command.arg(std::process::id().to_string()).arg(&self.program).args(&self.args);
        for name in &self.removed_env {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(match &self.listener {
            Some(socket) => Stdio::from(socket.try_clone().context("cannot copy the socket to hand over")?),
            None => Stdio::null(),
        });
        Ok(command)
    }

    fn spawn(&self, command: Command) -> Result<Child> {
        if self.program.is_absolute() && !self.program.exists() {
            bail!("{} is not there: {}", self.name, self.program.display());
        }
        spawn_from_lasting_thread(command).with_context(|| format!("cannot start {} through setpriv (package util-linux)", self.name))
    }
}

/// The kernel sends the death signal when the *thread* that started the child ends, so all children come from one thread that lives as
/// long as the process.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, incoming) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in incoming {
                // A caller that is gone took its interest in the child with it; the child's end is the death signal.
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, answer) = channel();
    spawner.send((command, reply)).map_err(|_| io::Error::other("the thread that starts children has ended"))?;
    answer.recv().map_err(|_| io::Error::other("the thread that starts children has ended"))?
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    handle: OwnedFd,
    log: PathBuf,
}

impl Process {
    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, also of one that has ended.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its status when it has ended, `None` while it runs. Never waits.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("looking after {}", self.name))
    }

    /// Waits for its end, at most for `deadline`; `None` when it still runs then.
    pub fn wait(&mut self, deadline: Duration) -> Result<Option<ExitStatus>> {
        wait_readable(self.handle.as_fd(), deadline)?;
        self.exited()
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_none() {
            kill_process(self.pid, signal).with_context(|| format!("signalling {}", self.name))?;
        }
        Ok(())
    }

    /// Sends `signal`, waits for `deadline`, then kills. Returns the status, and whether it went by itself.
    pub fn stop(&mut self, signal: Signal, deadline: Duration) -> Result<Stopped> {
        self.signal(signal)?;
        self.resume()?;
        if let Some(status) = self.wait(deadline)? {
            return Ok(Stopped { status, by_itself: true });
        }
        Ok(Stopped { status: self.kill()?, by_itself: false })
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(KILL_DEADLINE)?.with_context(|| format!("{} (pid {}) survived SIGKILL", self.name, self.pid()))
    }

    /// SIGSTOP: it stands still, its sockets stay open.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Calls `ready` again and again until it says yes; fails when the process ends first or `deadline` passes. Errors carry its log.
    pub fn wait_until(&mut self, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        const INTERVAL: Duration = Duration::from_millis(10);
        let started = Instant::now();
        loop {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.wait(INTERVAL)? {
                bail!("{} ended while starting ({status}); its log {} says:\n{}", self.name, self.log.display(), self.log_tail(20));
            }
            if started.elapsed() > deadline {
                bail!("{} was not ready after {deadline:?}; its log {} says:\n{}", self.name, self.log.display(), self.log_tail(20));
            }
        }
    }

    /// The last lines of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        match fs::read(&self.log) {
            Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), lines),
            Err(error) => format!("(the log cannot be read: {error})"),
        }
    }
}

impl AsFd for Process {
    /// A descriptor that becomes readable when the process ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody left to tell; the kernel's death signal remains when this fails.
        let _ = self.kill();
    }
}

/// How a process ended after [`Process::stop`].
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// False when it had to be killed.
    pub by_itself: bool,
}

/// Waits until the process `pid`, which need not be our child, is gone; false when it is still there after `deadline`.
pub fn wait_gone(pid: u32, deadline: Duration) -> Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(wait_readable(handle.as_fd(), deadline)?),
        Err(rustix::io::Errno::SRCH) => Ok(true),
        Err(error) => Err(error).context("pidfd_open"),
    }
}

/// Sends a signal to a process that need not be our child.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(pid, signal).with_context(|| format!("signalling process {}", pid.as_raw_pid()))
}

fn wait_readable(handle: BorrowedFd<'_>, deadline: Duration) -> Result<bool> {
    let until = Instant::now() + deadline;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))?;
        match rustix::event::poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
