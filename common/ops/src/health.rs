//! Is the process alive, and may it be sent work? Whoever talks to a dependency reports
//! here through a [`Check`]; the admin listener reads. Reading a check is one atomic load,
//! so that a request may ask whether a dependency is up.
//!
//! It asks nothing of a dependency itself: a health page must not be another load.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntGauge, IntGaugeVec};
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;
use crate::service_manager::{self, ServiceManager};

/// The main runtime is stuck when its heartbeat is older than this.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// A reason is for a person to read: longer ones are cut, in bytes.
const REASON_MAX_BYTES: usize = 256;
/// No heartbeat was started yet.
const NO_BEAT: u64 = u64::MAX;

/// Whether a failing check takes the process out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Not ready while it fails.
    Required,
    /// Shown, but the process serves without it.
    Optional,
}

/// The health of one process. Clones share everything.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    checks: Mutex<Vec<Check>>,
    draining: AtomicBool,
    born: Instant,
    /// Milliseconds from `born`, or [`NO_BEAT`].
    last_beat_ms: AtomicU64,
    stuck_after: Duration,
    gauges: IntGaugeVec,
}

impl Health {
    /// Health without checks: alive and ready.
    pub fn new(metrics: &Metrics) -> Health {
        Health::with_stuck_after(metrics, STUCK_AFTER)
    }

    /// As [`Health::new`], with another age at which a heartbeat means "stuck"; it ticks ten times as often.
    pub fn with_stuck_after(metrics: &Metrics, stuck_after: Duration) -> Health {
        Health(Arc::new(Inner {
            checks: Mutex::default(),
            draining: AtomicBool::new(false),
            born: Instant::now(),
            last_beat_ms: AtomicU64::new(NO_BEAT),
            stuck_after,
            gauges: metrics.life().check_ok.clone(),
        }))
    }

    /// The check called `name`. A new one fails, as "not checked yet", until somebody reports;
    /// asking for a name again gives the same check, with the need it was first given.
    pub fn check(&self, name: &'static str, need: Need) -> Check {
        let mut checks = locked(&self.0.checks);
        if let Some(known) = checks.iter().find(|check| check.0.name == name) {
            return known.clone();
        }
        let gauge = self.0.gauges.with_label_values(&[name]);
        let detail = Mutex::new(Detail { since: Instant::now(), reason: Cow::Borrowed("not checked yet") });
        let check = Check(Arc::new(CheckInner { name, need, ok: AtomicBool::new(false), detail, gauge }));
        checks.push(check.clone());
        check
    }

    /// Takes the process out of service for good: not ready from now on, whatever the checks say.
    pub fn set_draining(&self) {
        if !self.0.draining.swap(true, Ordering::AcqRel) {
            tracing::info!("draining: not ready from now on");
            service_manager::tell_stopping();
        }
    }

    /// Every required check passes, and the process is not draining.
    pub fn is_ready(&self) -> bool {
        let wanted = |check: &Check| check.0.need == Need::Optional || check.is_ok();
        !self.0.draining.load(Ordering::Acquire) && locked(&self.0.checks).iter().all(wanted)
    }

    /// The heartbeat is young enough, or none was started.
    pub fn is_alive(&self) -> bool {
        self.beat_age().is_none_or(|age| age < self.0.stuck_after)
    }

    /// Starts the heartbeat on the runtime this is called in: the one that does the work. It never holds up a
    /// shutdown, and is to be left running while tasks drain.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn spawn_heartbeat(&self) {
        self.0.beat();
        let period = self.0.stuck_after / 10;
        let health = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut manager = ServiceManager::default();
            loop {
                ticks.tick().await;
                let Some(health) = health.upgrade() else { return };
                health.beat();
                manager.tell(Health(health).is_ready());
            }
        });
    }

    fn beat_age(&self) -> Option<Duration> {
        let last_ms = self.0.last_beat_ms.load(Ordering::Acquire);
        (last_ms != NO_BEAT).then(|| self.0.born.elapsed().saturating_sub(Duration::from_millis(last_ms)))
    }

    /// Alive, and the body that says so.
    pub(crate) fn liveness(&self) -> (bool, Value) {
        let alive = self.is_alive();
        let age_ms = self.beat_age().map(|age| age.as_millis() as u64);
        (alive, json!({ "status": if alive { "alive" } else { "stuck" }, "heartbeat_age_ms": age_ms }))
    }

    /// Ready, and the body that says so, check by check.
    pub(crate) fn readiness(&self) -> (bool, Value) {
        let draining = self.0.draining.load(Ordering::Acquire);
        let checks = locked(&self.0.checks).clone();
        let mut ready = !draining;
        let mut listed = Map::new();
        for check in checks {
            let (ok, line) = check.report();
            ready &= ok || check.0.need == Need::Optional;
            listed.insert(check.0.name.to_owned(), line);
        }
        let status = match (draining, ready) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "not_ready",
        };
        (ready, json!({ "status": status, "checks": listed }))
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("ready", &self.is_ready()).field("alive", &self.is_alive()).finish()
    }
}

impl Inner {
    fn beat(&self) {
        self.last_beat_ms.store(self.born.elapsed().as_millis() as u64, Ordering::Release);
    }
}

/// One thing that can be well or not. Clones report to the same check.
#[derive(Clone)]
pub struct Check(Arc<CheckInner>);

struct CheckInner {
    name: &'static str,
    need: Need,
    ok: AtomicBool,
    detail: Mutex<Detail>,
    gauge: IntGauge,
}

struct Detail {
    /// When it last turned from passing to failing or back.
    since: Instant,
    /// Why it fails; meaningless while it passes.
    reason: Cow<'static, str>,
}

impl Check {
    /// Reports that it is well. Costs one atomic load when it was well before; logs when it was not.
    pub fn ok(&self) {
        if self.is_ok() {
            return;
        }
        let mut detail = locked(&self.0.detail);
        if !self.0.ok.swap(true, Ordering::AcqRel) {
            tracing::info!(check = self.0.name, after_ms = detail.since.elapsed().as_millis() as u64, "check passes");
            detail.since = Instant::now();
            self.0.gauge.set(1);
        }
    }

    /// Reports that it is not well, and why: at most 256 bytes are kept, shown only on the admin listener and in
    /// the log. Logs when it was well before, and not again until it has been well.
    pub fn failed(&self, reason: impl Into<Cow<'static, str>>) {
        let reason = shortened(reason.into());
        let mut detail = locked(&self.0.detail);
        if self.0.ok.swap(false, Ordering::AcqRel) {
            tracing::warn!(check = self.0.name, required = self.0.need == Need::Required, %reason, "check fails");
            detail.since = Instant::now();
            self.0.gauge.set(0);
        }
        detail.reason = reason;
    }

    /// The last report. One atomic load.
    pub fn is_ok(&self) -> bool {
        self.0.ok.load(Ordering::Acquire)
    }

    /// Passing, and the line of the readiness page that says so, read together.
    fn report(&self) -> (bool, Value) {
        let detail = locked(&self.0.detail);
        let ok = self.is_ok();
        let mut line = json!({
            "status": if ok { "ok" } else { "failed" },
            "required": self.0.need == Need::Required,
            "since_ms": detail.since.elapsed().as_millis() as u64,
        });
        if !ok {
            line["reason"] = Value::from(detail.reason.as_ref());
        }
        (ok, line)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.0.name).field("ok", &self.is_ok()).finish()
    }
}

fn shortened(mut reason: Cow<'static, str>) -> Cow<'static, str> {
    if reason.len() > REASON_MAX_BYTES {
        let end = reason.floor_char_boundary(REASON_MAX_BYTES);
        reason.to_mut().truncate(end);
    }
    reason
}

/// What these locks guard is whole between any two statements, so that a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(&Metrics::new("test", &[]).expect("metrics"))
    }

    #[test]
    fn only_required_checks_decide() {
        let health = health();
        let (needed, extra) = (health.check("needed", Need::Required), health.check("extra", Need::Optional));
        assert!(!health.is_ready(), "a required check that nobody has reported on fails");
        needed.ok();
        assert!(health.is_ready() && !extra.is_ok());
        needed.failed("gone");
        assert!(!health.is_ready());
        needed.ok();
        health.set_draining();
        assert!(!health.is_ready() && needed.is_ok());
    }

    #[test]
    fn a_name_is_one_check() {
        let health = health();
        health.check("one", Need::Required).ok();
        assert!(health.check("one", Need::Optional).is_ok());
        health.check("one", Need::Optional).failed("gone");
        assert!(!health.is_ready(), "the need is the first one");
    }

    #[test]
    fn the_latest_reason_stands_and_is_cut_between_characters() {
        let check = health().check("one", Need::Required);
        check.failed("first");
        check.failed("é".repeat(REASON_MAX_BYTES));
        let (ok, line) = check.report();
        assert!(!ok);
        assert_eq!(line["reason"], "é".repeat(REASON_MAX_BYTES / 2));
        check.ok();
        assert_eq!(check.report().1.get("reason"), None);
    }
}
