//! The one place that asks what time it is. Everything else takes a [`Now`] or a [`Clock`], so that expiry, limits and
//! back-off can be tested exactly, at a time the test chooses.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment, told twice: by the wall for what leaves the process, and by a clock that never steps for arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix time in milliseconds. May step when the machine's clock is set.
    pub unix_ms: u64,
    /// Nanoseconds since the clock was made. Never goes back.
    pub mono_ns: u64,
}

impl Now {
    /// Unix time in whole seconds, rounded down.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms / 1_000
    }
}

/// Something that knows the time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Now;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[expect(clippy::new_without_default, reason = "making a clock reads the time, which a default should not")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    fn now(&self) -> Now {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { unix_ms, mono_ns: self.started.elapsed().as_nanos() as u64 }
    }
}

/// RFC 3339 in UTC with whole seconds and `Z`, as every answer writes its times.
pub fn rfc3339(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// The day in UTC.
pub fn utc_date(unix_ms: u64) -> jiff::civil::Date {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)).date()
}

/// The Unix milliseconds at which a day begins in UTC, of `2026-11-23`. `None` of what is no day, or one before 1970.
pub fn day_begin_ms(day: &str) -> Option<u64> {
    let date: jiff::civil::Date = day.parse().ok()?;
    u64::try_from(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_a_z() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_772_452_800_999), "2026-03-02T12:00:00Z");
        assert_eq!(utc_date(1_772_452_800_999).to_string(), "2026-03-02");
    }

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = SystemClock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.mono_ns >= first.mono_ns);
        assert!(first.unix_ms > 1_700_000_000_000);
    }
}
