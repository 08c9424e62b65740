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
    fn a_partner_may_ask_for_later_and_not_for_sooner() {
        let asked = |seconds| wait_after(2, Some(Duration::from_secs(seconds)), 0.5).unwrap().as_secs();
        assert_eq!([0, 29, 31, 86_400, 86_401, u64::MAX].map(asked), [30, 30, 31, 86_400, 86_400, 86_400]);
    }
}
