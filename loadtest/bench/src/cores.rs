//! Which cores there are, and who runs where: a figure for one core needs a core that nobody else is on.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One core for what is measured, another for what measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    /// Of the process that is measured.
    pub measured: usize,
    /// Of the load.
    pub load: usize,
}

impl Cores {
    /// The first two that we may use.
    pub fn two() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("asking which cores we may use")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).take(2).collect();
        ensure!(cores.len() == 2, "two cores are needed, one for what is measured and one for the load");
        Ok(Self { measured: cores[0], load: cores[1] })
    }
}

/// Runs `work` to its end on a thread of its own that never leaves `core`.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).with_context(|| format!("keeping the load on core {core}"))?;
        work()
    };
    std::thread::scope(|scope| match scope.spawn(pinned).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_stays_where_it_was_put() {
        let cores = Cores::two().unwrap();
        let seen = on_core(cores.load, || Ok(sched_getaffinity(None)?)).unwrap();
        assert!(seen.is_set(cores.load) && seen.count() == 1);
        assert!(sched_getaffinity(None).unwrap().count() > 1, "only that thread");
    }
}
