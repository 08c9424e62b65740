//! How long a process has had a CPU, user and kernel, all of its threads, also those that have ended. The kernel's own count in
//! nanoseconds, not in ticks.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::ClockId;
use nix::unistd::Pid;
use storage::Pg;

/// What a process has had so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    clock: ClockId,
    so_far: Duration,
}

impl CpuTime {
    /// Of the process `pid` now.
    pub fn of(pid: u32) -> Result<Self> {
        let clock = i32::try_from(pid).map(Pid::from_raw).context("not a process id")?;
        let clock = ClockId::pid_cpu_clock_id(clock).with_context(|| format!("cannot see how long process {pid} has run"))?;
        Ok(Self { clock, so_far: read(clock)? })
    }

    /// What it had had at that moment, since it began.
    pub fn so_far(&self) -> Duration {
        self.so_far
    }

    /// What it has had since then.
    pub fn elapsed(&self) -> Result<Duration> {
        Ok(read(self.clock)?.saturating_sub(self.so_far))
    }
}

fn read(clock: ClockId) -> Result<Duration> {
    Ok(clock.now().context("cannot see how long a process has run; has it ended?")?.into())
}

/// What the processes of Postgres have had of the CPU.
pub struct Backends {
    pg: Pg,
    before: HashMap<i32, CpuTime>,
}

impl Backends {
    /// From now on.
    pub async fn of(pg: &Pg) -> Result<Self> {
        let mut before = HashMap::new();
        for pid in pids(pg).await? {
            before.insert(pid, CpuTime::of(u32::try_from(pid)?)?);
        }
        Ok(Self { pg: pg.clone(), before })
    }

    /// Of all that are there now, since then or since they began. What has ended meanwhile is not known; connections are kept.
    pub async fn elapsed(&self) -> Result<Duration> {
        let mut spent = Duration::ZERO;
        for pid in pids(&self.pg).await? {
            spent += match self.before.get(&pid) {
                Some(before) => before.elapsed()?,
                None => CpuTime::of(u32::try_from(pid)?)?.so_far(),
            };
        }
        Ok(spent)
    }
}

async fn pids(pg: &Pg) -> Result<Vec<i32>> {
    let sql = "select pid from pg_stat_activity where backend_type not like 'autovacuum worker'";
    Ok(pg.client().await?.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The kernel's own bound.
    const PID_MAX: u32 = 4_194_304;

    #[test]
    fn counts_what_threads_do_also_when_they_are_gone() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let spin = || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(100) {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| drop(scope.spawn(spin)));
        // Others use the machine too, so that a tenth of a second may be less.
        assert!(before.elapsed().unwrap() > Duration::from_millis(10));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(CpuTime::of(PID_MAX + 1).is_err());
    }
}
