//! The stack in the background: `up --detach` starts a supervisor in a session of its own and shows what it says until it is ready;
//! `down` ends it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::process::{Signal, send_signal, wait_gone};

use crate::build::build;
use crate::environment::Environment;
use crate::folder::{Folder, remove_if_there};
use crate::interrupt::Interrupt;
use crate::lock::{self, Lock};
use crate::up::{self, Options};

/// Edges and workers drain one after the other, each for 25 s at most; then the servers.
const DOWN_DEADLINE: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(20);

/// Returns when everything is ready, or with the supervisor's failure.
pub fn up(options: &Options, environment: &Environment) -> Result<ExitCode> {
    let folder = Folder::of_this_checkout()?;
    let interrupt = Interrupt::listen()?;
    let lock = Lock::take(&folder)?;
    remove_if_there(&folder.env())?;
    up::check(options, environment, &interrupt)?;
    build(environment)?;
    interrupt.check()?;
    // The supervisor takes its own.
    drop(lock);
    let mut log = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(folder.supervisor_log())?;
    let mut supervisor = start_supervisor(options, environment, &folder)?;
    loop {
        let ready = folder.env().exists();
        let ended = supervisor.try_wait()?;
        relay(&mut log)?;
        if let Some(status) = ended {
            bail!("the stack did not start ({status}); see above, or {}", folder.supervisor_log().display());
        }
        if ready {
            println!("It runs in the background (pid {}); `cargo stack down` stops it.", supervisor.id());
            return Ok(ExitCode::SUCCESS);
        }
        if interrupt.raised() {
            send_signal(supervisor.id(), Signal::TERM)?;
            supervisor.wait()?;
            relay(&mut log)?;
            bail!("stopped before everything was up");
        }
        interrupt.wait(&[], INTERVAL)?;
    }
}

/// Returns when nothing of the stack is left.
pub fn down() -> Result<ExitCode> {
    let folder = Folder::of_this_checkout()?;
    let Some(pid) = lock::holder(&folder)? else {
        remove_if_there(&folder.env())?;
        println!("no stack of this checkout runs");
        return Ok(ExitCode::SUCCESS);
    };
    println!("stopping the stack (pid {pid})");
    send_signal(pid, Signal::TERM)?;
    if !wait_gone(pid, DOWN_DEADLINE)? {
        bail!("the stack (pid {pid}) still runs after {DOWN_DEADLINE:?}; see {}", folder.supervisor_log().display());
    }
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn start_supervisor(options: &Options, environment: &Environment, folder: &Folder) -> Result<Child> {
    let log = OpenOptions::new().append(true).open(folder.supervisor_log())?;
    // In a session of its own neither Ctrl-C nor the closing of this terminal reaches it.
    let mut command = Command::new("setsid");
    command.arg(&environment.own).args(["up", "--supervised"]);
    command.args(["--edges", &options.edges.to_string(), "--workers", &options.workers.to_string()]);
    if options.observe {
        command.arg("--observe");
    }
    if options.fresh {
        command.arg("--fresh");
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start setsid (package util-linux)")
}

/// Copies what has been said since the last time.
fn relay(log: &mut File) -> Result<()> {
    let mut said = Vec::new();
    log.read_to_end(&mut said)?;
    std::io::stderr().write_all(&said)?;
    Ok(())
}
