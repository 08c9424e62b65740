//! How long to wait before trying again: doubling, capped, with chance in it so that many who failed together do not come back together.

use std::time::Duration;

/// The wait before attempt number `attempt` (1 is the first retry): `base · 2^(attempt-1)`, at most `cap`, of which the upper half is
/// left to `chance` in 0..1.
pub fn exponential(base: Duration, cap: Duration, attempt: u32, chance: f64) -> Duration {
    let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = base.saturating_mul(factor).min(cap);
    full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_until_the_cap() {
        let wait = |attempt| exponential(Duration::from_millis(100), Duration::from_secs(5), attempt, 1.0).as_millis();
        assert_eq!([1, 2, 3, 6, 7, 40, u32::MAX].map(wait), [100, 200, 400, 3_200, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn chance_takes_away_half_at_most() {
        let wait = |chance| exponential(Duration::from_secs(1), Duration::from_secs(9), 1, chance).as_millis();
        assert_eq!([0.0, 0.5, 1.0].map(wait), [500, 750, 1_000]);
    }
}
