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
/// Parts of the table, each under a lock of its own. A sweep holds them one after another, and whoever has a bucket in one waits for it:
/// of the largest table that is one request in 256, for some 20 µs.
const PARTS: usize = 256;

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
        Self { buckets: DashMap::with_shard_amount(PARTS), shared, hasher: RandomState::new(), len: AtomicUsize::new(0), max }
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
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use http::HeaderMap;

    use crate::client_address;

    fn at(ms: u64) -> Now {
        Now { unix_ms: 1_700_000_000_000 + ms, mono_ns: 1 + ms * 1_000_000 }
    }

    fn address(n: u32) -> ClientAddress {
        from(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn every_address_and_quota_has_a_bucket_of_its_own() {
        let (buckets, quota) = (AddressBuckets::new(100), Quota::per_minute(2));
        let take = |n, name| buckets.take(address(n), name, quota, at(0)).admitted;
        assert!(take(1, QuotaName::Geo) && take(1, QuotaName::Geo) && !take(1, QuotaName::Geo));
        assert!(take(1, QuotaName::Tax) && take(2, QuotaName::Geo));
        assert_eq!(buckets.len(), 3);
    }

    /// The `n`th network of IPv6, which is one customer.
    fn network(n: u64) -> ClientAddress {
        from(Ipv6Addr::from_bits(u128::from(0x2001_0db8_0000_0000 + n) << 64 | 1))
    }

    /// What a connection from there is charged to.
    fn from(ip: impl Into<IpAddr>) -> ClientAddress {
        ClientAddress::of(client_address::of(SocketAddr::new(ip.into(), 443), &HeaderMap::new(), &[]))
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

    #[test]
    fn a_network_of_64_bits_has_one_bucket_and_a_thousand_have_a_thousand() {
        let (buckets, quota) = (AddressBuckets::new(10_000), Quota::per_minute(300));
        let admitted = |ip: u128| buckets.take(from(Ipv6Addr::from_bits(ip)), QuotaName::Geo, quota, at(0)).admitted;
        let network = 0x2001_0db8_0001_0002_u128 << 64;
        let of_one = (0..1_000).filter(|n| admitted(network | n << 54 | n)).count();
        assert_eq!((of_one, buckets.len()), (300, 1));
        let of_many = (1..=1_000).filter(|n| admitted(network + (n << 64))).count();
        assert_eq!((of_many, buckets.len()), (1_000, 1_001));
    }

    #[test]
    fn those_who_come_at_once_have_one_bucket_each() {
        let (buckets, quota, admitted) = (AddressBuckets::new(1_000), Quota::per_minute(10), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..20_000 {
                        if buckets.take(network(n % 500), QuotaName::Geo, quota, at(0)).admitted {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                        if n % 1_000 == 0 {
                            buckets.sweep(at(0));
                        }
                    }
                });
            }
        });
        assert_eq!((admitted.into_inner(), buckets.len()), (5_000, 500));
    }

    /// What the table takes at most, for each bucket that it may hold.
    const BYTES_PER_BUCKET_MAX: usize = 64;

    /// The table after a flood from so many networks, before which a hundred honest addresses had come.
    fn flooded(networks: u64) -> AddressBuckets {
        const MAX: usize = 200_000;
        let (buckets, quota) = (AddressBuckets::new(MAX), Quota::per_minute(300));
        let honest = || (0..100).map(address);
        for _ in 0..5 {
            honest().for_each(|address| assert!(buckets.take(address, QuotaName::Geo, quota, at(0)).admitted));
        }
        let taken = (0..networks).filter(|&n| buckets.take(network(n), QuotaName::Geo, quota, at(0)).admitted);
        let admitted = taken.count();
        buckets.sweep(at(0));
        assert_eq!(buckets.len(), MAX);
        assert!(admitted <= MAX + SHARED_BUCKETS * 300, "{admitted}");
        // A slot is an entry and a byte, and an eighth of them stay empty.
        let slots = buckets.buckets.capacity() * 8 / 7;
        let bytes = slots * (size_of::<((ClientAddress, QuotaName), Bucket)>() + 1) + SHARED_BUCKETS * size_of::<Bucket>();
        assert!(bytes <= MAX * BYTES_PER_BUCKET_MAX, "{bytes} bytes");
        for address in honest() {
            assert_eq!(buckets.take(address, QuotaName::Geo, quota, at(0)).remaining, 294, "who was there keeps what it had");
        }
        buckets.sweep(at(60_000));
        assert!(buckets.is_empty());
        assert_eq!(buckets.take(network(0), QuotaName::Geo, quota, at(60_000)).remaining, 299, "and when it is over, all is as before");
        buckets
    }

    #[test]
    fn a_flood_of_networks_takes_no_more_than_its_share() {
        flooded(1_000_000);
    }

    /// With what the process takes as seen from outside, so it wants to be alone:
    /// `cargo test --release -p edge --lib -- --ignored --nocapture ten_million`
    #[test]
    #[ignore = "takes half a minute unless it is optimized"]
    fn ten_million_networks_take_no_more_than_their_share() {
        let resident = || testkit::process::Usage::of(std::process::id()).unwrap().resident_bytes as usize;
        let (before, started) = (resident(), std::time::Instant::now());
        // Swept or not, a table keeps the memory that it once had.
        let _table = flooded(10_000_000);
        let grown = resident().saturating_sub(before);
        println!("10 million networks: {:?}, {} MiB more", started.elapsed(), grown >> 20);
        // Twice, as a table is moved when it grows.
        assert!(grown <= 2 * 200_000 * BYTES_PER_BUCKET_MAX, "{grown} bytes");
    }
}
