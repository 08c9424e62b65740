//! Token buckets, against a book-keeper who writes down tokens and the time since he last looked.

use common::clock::Now;
use common::limits::{Bucket, Decision, PER_MINUTE_MAX, Quota};
use proptest::prelude::*;

use crate::drawn::cases;

const WINDOW_NS: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The book: how much of a full bucket there is, as the time that it took to come in.
struct Book {
    tokens_ns: u64,
    last_ns: u64,
}

impl Book {
    fn look(&mut self, interval_ns: u64, capacity: u64, now_ns: u64) {
        self.tokens_ns = (self.tokens_ns + (now_ns - self.last_ns)).min(interval_ns * capacity);
        self.last_ns = now_ns;
    }
}

fn at(mono_ns: u64) -> Now {
    // The wall's clock runs along, in its coarser grain.
    Now { unix_ms: 1_800_000_000_000 + mono_ns / 1_000_000, mono_ns }
}

fn per_minute() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..10, 1_u32..1_000, 1_u32..=PER_MINUTE_MAX]
}

/// Pauses as callers make them: none at all, a part of a token's time, many windows.
fn pauses() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![3 => Just(0), 3 => 0_u64..SECOND_NS, 1 => 0..3 * WINDOW_NS, 1 => 0_u64..1_000], 1..200)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn every_decision_is_the_book_keepers(per_minute in per_minute(), pauses in pauses(), start_ns in 0..WINDOW_NS) {
        let (bucket, quota) = (Bucket::default(), Quota::per_minute(per_minute));
        let (capacity, interval_ns) = (u64::from(per_minute), WINDOW_NS / u64::from(per_minute));
        let fill_ns = interval_ns * capacity;
        let (mut book, mut now_ns) = (Book { tokens_ns: fill_ns, last_ns: start_ns }, start_ns);
        for pause in pauses {
            now_ns += pause;
            book.look(interval_ns, capacity, now_ns);
            let now = at(now_ns);
            let peeked = bucket.peek(quota, now);
            let admitted = book.tokens_ns >= interval_ns;
            prop_assert_eq!((peeked.admitted, u64::from(peeked.remaining)), (admitted, book.tokens_ns / interval_ns));
            let wait_ns = interval_ns.saturating_sub(book.tokens_ns);
            book.tokens_ns -= if admitted { interval_ns } else { 0 };
            let missing_ns = fill_ns - book.tokens_ns;
            let expected = Decision {
                admitted,
                limit: per_minute,
                remaining: (book.tokens_ns / interval_ns) as u32,
                reset_unix_s: (now.unix_ms * 1_000_000 + missing_ns).div_ceil(SECOND_NS),
                reset_after_s: missing_ns.div_ceil(SECOND_NS),
                retry_after_s: if admitted { 0 } else { wait_ns.div_ceil(SECOND_NS).max(1) },
            };
            prop_assert_eq!(bucket.take(quota, now), expected);
            prop_assert_eq!(bucket.is_full(now), missing_ns == 0);
        }
    }

    /// Over any stretch of time, not more than the bucket held and what came in meanwhile.
    #[test]
    fn no_stretch_of_time_admits_more_than_it_should(per_minute in 1_u32..200, pauses in pauses()) {
        let (bucket, quota) = (Bucket::default(), Quota::per_minute(per_minute));
        let interval_ns = WINDOW_NS / u64::from(per_minute);
        let (mut now_ns, mut admitted_at) = (0, Vec::new());
        for pause in pauses {
            now_ns += pause;
            if bucket.take(quota, at(now_ns)).admitted {
                admitted_at.push(now_ns);
            }
        }
        for (first, from) in admitted_at.iter().enumerate() {
            for (last, to) in admitted_at.iter().enumerate().skip(first) {
                prop_assert!((last - first + 1) as u64 <= u64::from(per_minute) + (to - from) / interval_ns);
            }
        }
    }

    /// A quota that changes again and again leaves nobody waiting for longer than a window, and who waits as told is let in.
    #[test]
    fn whoever_waits_as_told_is_let_in(steps in prop::collection::vec((per_minute(), 0..WINDOW_NS), 1..40), takes in 1_usize..40) {
        let (bucket, mut now_ns) = (Bucket::default(), 0);
        for (per_minute, pause) in steps {
            now_ns += pause;
            let quota = Quota::per_minute(per_minute);
            let decision = (0..takes).map(|_| bucket.take(quota, at(now_ns))).last().unwrap();
            prop_assert!(decision.remaining <= per_minute && decision.reset_after_s <= 60, "{:?}", decision);
            prop_assert!(decision.retry_after_s <= 60 && (decision.retry_after_s == 0) == decision.admitted, "{:?}", decision);
            if !decision.admitted {
                now_ns += decision.retry_after_s * SECOND_NS;
                prop_assert!(bucket.take(quota, at(now_ns)).admitted);
            }
        }
    }
}
