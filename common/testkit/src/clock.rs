//! A clock that stands still until the test moves it, so that limits, expiry and resets can be checked to the millisecond. It never
//! looks at the machine's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::clock::{Clock, Now};

/// The moment at which a fake clock begins: 2026-03-02T12:00:00.250Z, off the whole second so that rounding shows.
pub const START_UNIX_MS: u64 = 1_772_452_800_250;
/// Not zero, as no process asks for the time in the first nanosecond of its life.
const START_MONO_NS: u64 = 5_000_000_000;

/// A clock in the test's hand. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct FakeClock {
    elapsed_ns: Arc<AtomicU64>,
}

impl FakeClock {
    /// A clock that stands at [`START_UNIX_MS`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward, for all its clones.
    pub fn advance(&self, by: Duration) {
        self.elapsed_ns.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Now {
        let elapsed_ns = self.elapsed_ns.load(Ordering::SeqCst);
        Now { unix_ms: START_UNIX_MS + elapsed_ns / 1_000_000, mono_ns: START_MONO_NS + elapsed_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_still_until_it_is_moved() {
        let (clock, same) = (FakeClock::new(), FakeClock::new());
        assert_eq!(clock.now(), same.now());
        let shown = clock.clone();
        clock.advance(Duration::from_millis(1_750));
        assert_eq!(shown.now().unix_ms, START_UNIX_MS + 1_750);
        assert_eq!(shown.now().mono_ns - same.now().mono_ns, 1_750_000_000);
        assert_eq!(shown.now().unix_s() - same.now().unix_s(), 2, "it began a quarter past the second");
    }
}
