//! Tasks that are known by name: none is forgotten at shutdown, and those that must go on
//! for ever are started again when they end or panic.
//!
//! Nothing is ever aborted here. A task is asked to stop through its token, and a drain
//! that takes too long says whom it waited for.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use prometheus::IntCounterVec;
use rand::Rng;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// How long to wait before a task is started again: twice as long each time, up to a limit, from half of the wait to
/// the whole of it by chance. A run that outlived `max` starts over at `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    /// 100 ms to 5 s.
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The wait after `failures` runs in a row that ended early, `chance` being in 0..1.
    fn wait(self, failures: u32, chance: f64) -> Duration {
        let whole = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.max);
        whole.mul_f64(0.5 + chance / 2.0)
    }
}

/// How a drain went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drain {
    /// Every task has ended.
    Drained,
    /// Some had not ended in time; they are still running.
    TimedOut {
        /// Their names, sorted, each once.
        names: Vec<&'static str>,
    },
}

/// The tasks of one stage of a shutdown. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    restarts: IntCounterVec,
}

impl Tasks {
    /// No tasks yet. They are asked to stop when `parent` is cancelled, or by [`Tasks::drain`], which leaves `parent` alone.
    pub fn new(parent: &CancellationToken, metrics: &Metrics) -> Tasks {
        Tasks {
            tracker: TaskTracker::new(),
            token: parent.child_token(),
            running: Arc::default(),
            restarts: metrics.life().task_restarts_total.clone(),
        }
    }

    /// What asks these tasks to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs `task` once. A panic in it ends only itself.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::start(&self.running, name);
        self.tracker.spawn(async move {
            task.await;
            drop(running);
        });
    }

    /// Runs what `factory` makes, and when that ends or panics logs it, counts it in `task_restarts_total`, waits and
    /// starts anew, until the token is cancelled. The future is never cut short: it must itself end when the token,
    /// given to `factory`, is cancelled.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn spawn_supervised<Make, Run, Error>(&self, name: &'static str, backoff: Backoff, mut factory: Make)
    where
        Make: FnMut(CancellationToken) -> Run + Send + 'static,
        Run: Future<Output = Result<(), Error>> + Send + 'static,
        Error: Display + Send + 'static,
    {
        let token = self.token.clone();
        // Counted from the start, so that the series exists, at 0, before anything goes wrong.
        let restarts = self.restarts.with_label_values(&[name]);
        self.spawn(name, async move {
            let mut failures = 0;
            while !token.is_cancelled() {
                let started = Instant::now();
                let run = async { factory(token.clone()).await };
                // A restarted task begins from what its factory makes, never from what the panic left behind.
                let ended = AssertUnwindSafe(run).catch_unwind().await;
                let outcome = match ended {
                    Ok(Ok(())) => "ended".to_owned(),
                    Ok(Err(error)) => format!("failed: {error:#}"),
                    Err(_) => "panicked".to_owned(),
                };
                if token.is_cancelled() {
                    if outcome != "ended" {
                        tracing::warn!(task = name, outcome, "task did not stop cleanly");
                    }
                    return;
                }
                failures = if started.elapsed() > backoff.max { 1 } else { failures + 1 };
                let wait = backoff.wait(failures, rand::rng().random());
                restarts.inc();
                tracing::error!(task = name, outcome, wait_ms = wait.as_millis() as u64, "task stopped; starting it again");
                token.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
        });
    }

    /// Asks every task to stop and waits, at most `timeout`.
    pub async fn drain(&self, timeout: Duration) -> Drain {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(timeout, self.tracker.wait()).await.is_ok() {
            return Drain::Drained;
        }
        Drain::TimedOut { names: locked(&self.running).keys().copied().collect() }
    }
}

/// Keeps a name on the list of running tasks while it lives, through panics too.
struct Running {
    all: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    name: &'static str,
}

impl Running {
    fn start(all: &Arc<Mutex<BTreeMap<&'static str, usize>>>, name: &'static str) -> Running {
        *locked(all).entry(name).or_default() += 1;
        Running { all: all.clone(), name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = locked(&self.all);
        if let Some(count) = all.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                all.remove(self.name);
            }
        }
    }
}

/// The list is whole between any two statements, so that a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_chance_takes_at_most_half() {
        let backoff = Backoff::default();
        let whole_ms = |failures| backoff.wait(failures, 1.0).as_millis();
        assert_eq!([1, 2, 3, 6, 7, 40, u32::MAX].map(whole_ms), [100, 200, 400, 3200, 5000, 5000, 5000]);
        assert_eq!(backoff.wait(1, 0.0), Duration::from_millis(50));
    }
}
