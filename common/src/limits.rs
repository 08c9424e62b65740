//! Token buckets. One bucket is one atomic word, the moment at which it will be full again (the generic cell rate algorithm), so a
//! request takes a token with one compare-and-swap and no race can take more tokens than the bucket held.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Now;

const WINDOW_NS: u64 = 60 * 1_000_000_000;

/// The most requests a minute that a quota can allow; at this rate a token takes 60 ns to come back.
pub const PER_MINUTE_MAX: u32 = 1_000_000_000;

/// How many requests a minute, and therefore how many at once: a rested bucket admits its whole capacity and then refills evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    per_minute: u32,
}

impl Quota {
    /// A quota of 1 to [`PER_MINUTE_MAX`] requests a minute; values outside are brought to the nearer bound.
    pub const fn per_minute(per_minute: u32) -> Self {
        let per_minute = if per_minute == 0 { 1 } else { per_minute };
        Self { per_minute: if per_minute > PER_MINUTE_MAX { PER_MINUTE_MAX } else { per_minute } }
    }

    /// Capacity of the bucket, in requests.
    pub const fn capacity(self) -> u32 {
        self.per_minute
    }

    /// Nanoseconds for one token to come back.
    const fn interval_ns(self) -> u64 {
        WINDOW_NS / self.per_minute as u64
    }

    /// Nanoseconds for an empty bucket to fill.
    const fn fill_ns(self) -> u64 {
        self.interval_ns() * self.per_minute as u64
    }
}

/// A token bucket. New ones are full.
#[derive(Debug, Default)]
pub struct Bucket {
    /// The monotonic moment, in nanoseconds, at which the bucket is full; in the past when it is full already.
    full_at_ns: AtomicU64,
}

impl Bucket {
    /// Takes one token if there is one, and says how the bucket then stands.
    pub fn take(&self, quota: Quota, now: Now) -> Decision {
        let (interval, fill) = (quota.interval_ns(), quota.fill_ns());
        let mut seen = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            // A quota that was lowered may leave a debt above the new capacity; it is forgiven, so that nobody waits longer than one window.
            let full_at = seen.clamp(now.mono_ns, now.mono_ns + fill);
            let taken = full_at + interval;
            if taken - now.mono_ns > fill {
                return Decision::new(false, quota, full_at, now);
            }
            match self.full_at_ns.compare_exchange_weak(seen, taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Decision::new(true, quota, taken, now),
                Err(other) => seen = other,
            }
        }
    }

    /// How the bucket stands, taking nothing.
    pub fn peek(&self, quota: Quota, now: Now) -> Decision {
        let full_at = self.full_at_ns.load(Ordering::Relaxed).clamp(now.mono_ns, now.mono_ns + quota.fill_ns());
        Decision::new(full_at + quota.interval_ns() - now.mono_ns <= quota.fill_ns(), quota, full_at, now)
    }

    /// Whether the bucket is full, so that forgetting it changes nothing.
    pub fn is_full(&self, now: Now) -> bool {
        self.full_at_ns.load(Ordering::Relaxed) <= now.mono_ns
    }
}

/// What a bucket answered, with everything the rate headers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether a token was taken.
    pub admitted: bool,
    /// The bucket's capacity, in requests.
    pub limit: u32,
    /// Whole tokens left after this request.
    pub remaining: u32,
    /// Unix seconds, rounded up, at which the bucket is full again.
    pub reset_unix_s: u64,
    /// Whole seconds, rounded up, until the bucket is full again.
    pub reset_after_s: u64,
    /// Whole seconds, rounded up and at least 1, until there is a token again. 0 when one was taken.
    pub retry_after_s: u64,
}

impl Decision {
    fn new(admitted: bool, quota: Quota, full_at_ns: u64, now: Now) -> Self {
        let (interval, fill) = (quota.interval_ns(), quota.fill_ns());
        let debt = full_at_ns - now.mono_ns;
        let retry_after_s = if admitted { 0 } else { (debt + interval - fill).div_ceil(1_000_000_000).max(1) };
        Self {
            admitted,
            limit: quota.capacity(),
            remaining: ((fill - debt) / interval) as u32,
            reset_unix_s: (now.unix_ms * 1_000_000 + debt).div_ceil(1_000_000_000),
            reset_after_s: debt.div_ceil(1_000_000_000),
            retry_after_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_772_452_800_250;

    fn at(ms: u64) -> Now {
        Now { unix_ms: START_MS + ms, mono_ns: 5_000_000_000 + ms * 1_000_000 }
    }

    #[test]
    fn a_rested_bucket_admits_its_capacity_and_not_one_more() {
        for capacity in [1, 7, 100, 601] {
            let (bucket, quota) = (Bucket::default(), Quota::per_minute(capacity));
            for left in (0..capacity).rev() {
                let decision = bucket.take(quota, at(0));
                assert!(decision.admitted);
                assert_eq!((decision.limit, decision.remaining), (capacity, left));
            }
            let refused = bucket.take(quota, at(0));
            assert!(!refused.admitted);
            assert_eq!(refused.remaining, 0);
        }
    }

    #[test]
    fn headers_tell_when_to_come_back() {
        let (bucket, quota) = (Bucket::default(), Quota::per_minute(100));
        let first = bucket.take(quota, at(0));
        // One token of 600 ms is missing: full at …00.850, told as …01.
        assert_eq!((first.reset_unix_s, first.reset_after_s, first.retry_after_s), (1_772_452_801, 1, 0));
        for _ in 0..99 {
            assert!(bucket.take(quota, at(0)).admitted);
        }
        let refused = bucket.take(quota, at(0));
        assert_eq!((refused.retry_after_s, refused.reset_after_s), (1, 60));
        assert_eq!(refused.reset_unix_s, (START_MS + 60_000).div_ceil(1_000));
        assert!(!bucket.take(quota, at(599)).admitted);
        assert!(bucket.take(quota, at(600)).admitted);
        assert_eq!(bucket.peek(Quota::per_minute(1), at(0)).retry_after_s, 60, "a slow quota says its whole wait");
    }

    /// A bucket as a book-keeper would run it, in whole tokens of time, over a thousand requests at odd moments.
    #[test]
    fn agrees_with_a_model_over_a_thousand_requests() {
        for capacity in [3_u64, 60, 100, 300, 600] {
            let (bucket, quota) = (Bucket::default(), Quota::per_minute(capacity as u32));
            let interval_ns = WINDOW_NS / capacity;
            let (mut tokens_ns, mut last_ms, mut ms) = (capacity * interval_ns, 0, 0);
            for step in 0..1_000_u64 {
                ms += (step * step * 7_919) % (120_000 / capacity).max(2);
                tokens_ns = (tokens_ns + (ms - last_ms) * 1_000_000).min(capacity * interval_ns);
                last_ms = ms;
                let admitted = tokens_ns >= interval_ns;
                if admitted {
                    tokens_ns -= interval_ns;
                }
                let now = at(ms);
                let decision = bucket.take(quota, now);
                let missing_ns = capacity * interval_ns - tokens_ns;
                let retry_after_s = if admitted { 0 } else { (interval_ns - tokens_ns).div_ceil(1_000_000_000).max(1) };
                let expected = Decision {
                    admitted,
                    limit: capacity as u32,
                    remaining: (tokens_ns / interval_ns) as u32,
                    reset_unix_s: (now.unix_ms * 1_000_000 + missing_ns).div_ceil(1_000_000_000),
                    reset_after_s: missing_ns.div_ceil(1_000_000_000),
                    retry_after_s,
                };
                assert_eq!(decision, expected, "capacity {capacity}, step {step}");
            }
        }
    }

    #[test]
    fn racing_callers_never_get_one_more_than_it_held() {
        for _ in 0..20 {
            let (bucket, quota) = (Bucket::default(), Quota::per_minute(1_000));
            let admitted: usize = std::thread::scope(|scope| {
                let racers: Vec<_> =
                    (0..8).map(|_| scope.spawn(|| (0..500).filter(|_| bucket.take(quota, at(0)).admitted).count())).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(admitted, 1_000);
        }
    }

    #[test]
    fn a_lowered_quota_never_locks_out_for_longer_than_a_window() {
        let bucket = Bucket::default();
        for _ in 0..1_000 {
            bucket.take(Quota::per_minute(1_000), at(0));
        }
        let refused = bucket.take(Quota::per_minute(1), at(0));
        assert!(!refused.admitted);
        assert_eq!(refused.retry_after_s, 60);
    }

    #[test]
    fn knows_when_it_is_full() {
        let (bucket, quota) = (Bucket::default(), Quota::per_minute(60));
        assert!(bucket.is_full(at(0)));
        bucket.take(quota, at(0));
        assert!(!bucket.is_full(at(999)));
        assert!(bucket.is_full(at(1_000)));
    }
}
