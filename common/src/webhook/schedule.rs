//! When a delivery is tried again. What is promised to partners: the first attempt at once, then these waits, each give or take a fifth,
//! so that those who failed together do not come back together.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The waits between attempts, in seconds: 76 hours in all.
pub const WAITS_S: [u64; 10] = [5, 30, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// Attempts of one delivery; after the last it is exhausted, until somebody asks for it again.
pub const ATTEMPTS_MAX: u32 = WAITS_S.len() as u32 + 1;
/// The longest wait that a partner's `Retry-After` can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * HOUR);
/// How much of a wait is left to chance, to either side.
const JITTER: f64 = 0.2;

/// How long to wait after `attempts` of a delivery have failed; `None` when that was the last one. `chance` is in 0..1. A partner's wish
/// to be asked later is granted for a day at most, and never makes it sooner.
pub fn wait_after(attempts: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
    let wait_s = *WAITS_S.get(attempts.checked_sub(1)? as usize)?;
    let planned = Duration::from_secs(wait_s).mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0));
    Some(retry_after.map_or(planned, |asked| asked.min(RETRY_AFTER_MAX).max(planned)))
}

/// What a `Retry-After` asks for: seconds, or a moment as HTTP writes it. `None` for what is neither, or past.
pub fn retry_after(value: &str, now_unix_s: u64) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than there are seconds is a long time, too.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second();
    u64::try_from(at).ok()?.checked_sub(now_unix_s).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_attempts_in_seventy_six_hours() {
        assert_eq!(ATTEMPTS_MAX, 11);
        let waits: Vec<u64> = (1..=ATTEMPTS_MAX).map_while(|attempts| wait_after(attempts, None, 0.5)).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, WAITS_S);
        assert_eq!(waits.iter().sum::<u64>() / HOUR, 75, "and 35 minutes and 35 seconds");
        assert_eq!([0, ATTEMPTS_MAX, u32::MAX].map(|attempts| wait_after(attempts, None, 0.5)), [None; 3]);
    }

    #[test]
    fn chance_takes_or_gives_a_fifth() {
        let wait = |chance| wait_after(3, None, chance).unwrap().as_secs();
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 2.0].map(wait), [240, 240, 300, 360, 360]);
    }

    #[test]
    fn a_wish_is_seconds_or_a_moment() {
        let now = 1_767_225_600; // 2026-01-01T00:00:00Z
        let asked = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(["0", "120", "99999999999999999999"].map(asked), [Some(0), Some(120), Some(u64::MAX)]);
        assert_eq!(asked("Thu, 01 Jan 2026 00:02:00 GMT"), Some(120));
        let nothing = ["", "-1", "1.5", "soon", "Wed, 31 Dec 2025 23:59:59 GMT", "Thu, 01 Jan 1960 00:00:00 GMT", "1 2"];
        assert_eq!(nothing.map(asked), [None; 7]);
    }

    #[test]
    fn a_partner_may_ask_for_later_and_not_for_sooner() {
        let asked = |seconds| wait_after(2, Some(Duration::from_secs(seconds)), 0.5).unwrap().as_secs();
        assert_eq!([0, 29, 31, 86_400, 86_401, u64::MAX].map(asked), [30, 30, 31, 86_400, 86_400, 86_400]);
    }
}
