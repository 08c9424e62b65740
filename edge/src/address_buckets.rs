//! Token buckets of addresses. There may be more addresses than memory: idle buckets are swept away, and beyond a hard bound new addresses
//! share a fixed set of buckets, so that a flood of addresses makes its own kind wait and costs nothing more.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::clock::Now;
use common::limits::{Bucket, Decision, Quota};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::client_address::ClientAddress;
use crate::quotas::QuotaName;

const SHARED_BUCKETS: usize = 4_096;

/// Buckets by address and quota.
#[derive(Debug)]
pub struct AddressBuckets {
    buckets: DashMap<(ClientAddress, QuotaName), Bucket>,
    shared: Vec<Bucket>,
    hasher: RandomState,
    len: AtomicUsize,
    max: usize,
}

impl AddressBuckets {
    /// At most `max` buckets of their own.
    pub fn new(max: usize) -> Self {
        let shared = std::iter::repeat_with(Bucket::default).take(SHARED_BUCKETS).collect();
        Self { buckets: DashMap::new(), shared, hasher: RandomState::new(), len: AtomicUsize::new(0), max }
    }

    /// Takes a token from an address' bucket.
    pub fn take(&self, address: ClientAddress, name: QuotaName, quota: Quota, now: Now) -> Decision {
        let key = (address, name);
        if let Some(bucket) = self.buckets.get(&key) {
            return bucket.take(quota, now);
        }
        if self.len.load(Ordering::Relaxed) >= self.max {
            let index = self.hasher.hash_one(key) as usize % SHARED_BUCKETS;
            return self.shared[index].take(quota, now);
        }
        match self.buckets.entry(key) {
            Entry::Occupied(entry) => entry.get().take(quota, now),
            Entry::Vacant(entry) => {
                self.len.fetch_add(1, Ordering::Relaxed);
                entry.insert(Bucket::default()).take(quota, now)
            }
        }
    }

    /// Forgets buckets that are full, which changes nothing for anybody.
    pub fn sweep(&self, now: Now) {
        self.buckets.retain(|_, bucket| {
            let keep = !bucket.is_full(now);
            if !keep {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            keep
        });
    }

    /// How many buckets of their own there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn at(ms: u64) -> Now {
        Now { unix_ms: 1_700_000_000_000 + ms, mono_ns: 1 + ms * 1_000_000 }
    }

    fn address(n: u32) -> ClientAddress {
        ClientAddress::of(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    #[test]
    fn every_address_and_quota_has_a_bucket_of_its_own() {
        let (buckets, quota) = (AddressBuckets::new(100), Quota::per_minute(2));
        let take = |n, name| buckets.take(address(n), name, quota, at(0)).admitted;
        assert!(take(1, QuotaName::Geo) && take(1, QuotaName::Geo) && !take(1, QuotaName::Geo));
        assert!(take(1, QuotaName::Tax) && take(2, QuotaName::Geo));
        assert_eq!(buckets.len(), 3);
    }

    #[test]
    fn memory_is_bounded_and_the_limit_still_holds() {
        let (buckets, quota) = (AddressBuckets::new(1_000), Quota::per_minute(1));
        let admitted = (0..100_000).filter(|&n| buckets.take(address(n), QuotaName::Geo, quota, at(0)).admitted).count();
        assert_eq!(buckets.len(), 1_000);
        assert!(admitted <= 1_000 + SHARED_BUCKETS, "{admitted}");
        assert!(!buckets.take(address(5), QuotaName::Geo, quota, at(0)).admitted, "those who came first keep their own");
        buckets.sweep(at(59_000));
        assert_eq!(buckets.len(), 1_000, "nothing is forgotten that still counts");
        buckets.sweep(at(61_000));
        assert!(buckets.is_empty());
    }
}
