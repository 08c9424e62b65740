//! Slows down who guesses passwords, and locks nobody out: after a few failures each further try has to wait, longer every time. Counted by
//! address, and by account: there apart for each browser that the account knows, so that a stranger's guesses never keep its owner waiting.
//! In this edge's memory alone, and bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::client_address::ClientAddress;

/// Who or what is counted.
#[derive(Debug, Clone, Copy, Hash)]
pub enum Counted<'a> {
    /// Everything from an address.
    Address(ClientAddress),
    /// Tries at an account by browsers that it does not know, whether there is such an account or not.
    Account(&'a str),
    /// Tries at an account by a browser that it knows.
    Browser(&'a str, [u8; 32]),
}

impl Counted<'_> {
    /// Failures that cost nothing, and the longest wait, seconds. Whoever shares an address or an account with a guesser waits with him,
    /// so the account's is short: 30 s still means less than 3,000 guesses a day, of passwords that are long.
    fn patience(self) -> (u32, u64) {
        match self {
            Counted::Address(_) => (20, 900),
            Counted::Account(_) => (5, 30),
            Counted::Browser(..) => (5, 300),
        }
    }
}

/// Beyond it, some of those that need not wait are forgotten.
const ENTRIES_MAX: usize = 100_000;
/// After so long without a try, all is forgiven.
const FORGIVEN_AFTER_MS: u64 = 3_600_000;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    tries: u32,
    tried_at_ms: u64,
    open_at_ms: u64,
}

/// Failures, by whom.
#[derive(Debug, Default)]
pub struct Throttle {
    entries: Mutex<HashMap<u64, Entry>>,
    // Seeded by chance: nobody can choose an address whose count is another's.
    hasher: RandomState,
}

impl Throttle {
    /// Counts a try, as one that fails, before it is made: many at once count as many. Else the seconds to wait; then nothing is counted.
    pub fn begin(&self, who: Counted<'_>, now_ms: u64) -> Result<(), u64> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            make_room(&mut entries, now_ms);
        }
        let entry = entries.entry(self.hasher.hash_one(who)).or_default();
        if now_ms < entry.open_at_ms {
            return Err((entry.open_at_ms - now_ms).div_ceil(1_000));
        }
        if now_ms.saturating_sub(entry.tried_at_ms) > FORGIVEN_AFTER_MS {
            *entry = Entry::default();
        }
        let (free, wait_max_s) = who.patience();
        entry.tries = entry.tries.saturating_add(1);
        entry.tried_at_ms = now_ms;
        if let Some(beyond) = entry.tries.checked_sub(free) {
            entry.open_at_ms = now_ms + wait_max_s.min(1 << beyond.min(16)) * 1_000;
        }
        Ok(())
    }

    /// The try was a good one: an account's count begins anew, and an address has this one back.
    pub fn succeeded(&self, who: Counted<'_>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.hasher.hash_one(who);
        match who {
            // Not more: who has an account of his own must not thereby guess at others'.
            Counted::Address(_) => {
                if let Some(entry) = entries.get_mut(&key) {
                    entry.tries = entry.tries.saturating_sub(1);
                }
            }
            Counted::Account(_) | Counted::Browser(..) => {
                entries.remove(&key);
            }
        }
    }
}

fn make_room(entries: &mut HashMap<u64, Entry>, now_ms: u64) {
    entries.retain(|_, entry| entry.open_at_ms > now_ms);
    // All are waiting: then every second one is lucky, whichever that is.
    if entries.len() >= ENTRIES_MAX {
        let mut keep = false;
        entries.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Counted<'_> = Counted::Account("a@b.example");

    #[test]
    fn waits_grow_to_a_bound_and_refused_tries_do_not_prolong_them() {
        let throttle = Throttle::default();
        let mut now_ms = 5_000;
        assert!((0..5).all(|_| throttle.begin(WHO, now_ms).is_ok()));
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait_s = throttle.begin(WHO, now_ms).unwrap_err();
            assert_eq!(throttle.begin(WHO, now_ms), Err(wait_s));
            waits.push(wait_s);
            now_ms += wait_s * 1_000;
            assert_eq!(throttle.begin(WHO, now_ms), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(throttle.begin(Counted::Browser("a@b.example", [1; 32]), now_ms), Ok(()), "the owner's own browser");
        assert_eq!(throttle.begin(Counted::Account("c@d.example"), now_ms), Ok(()));
    }

    #[test]
    fn success_and_time_forgive() {
        let throttle = Throttle::default();
        for _ in 0..5 {
            throttle.begin(WHO, 0).unwrap();
        }
        assert_eq!(throttle.begin(WHO, 0), Err(1));
        throttle.succeeded(WHO);
        assert!((0..5).all(|_| throttle.begin(WHO, 0).is_ok()));
        let later = FORGIVEN_AFTER_MS + 1;
        assert!((0..5).all(|_| throttle.begin(WHO, later).is_ok()) && throttle.begin(WHO, later).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..ENTRIES_MAX + 10 {
            throttle.begin(Counted::Account(&n.to_string()), 0).unwrap();
        }
        assert!(throttle.entries.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
