//! What an edge knows by heart: API keys, stores and catalogues. Requests are answered from here; only the follower writes. Nothing in
//! here waits for anything.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::api_key::{ApiKey, ApiKeyHash, ApiKeyHasher, Scopes};
use common::cart::Sku;
use common::clock::Now;
use common::limits::{Bucket, Quota};
use common::mode::Mode;
use common::money::Currency;
use common::return_hosts::ReturnHosts;
use common::tax::Category;
use dashmap::DashMap;
use dashmap::mapref::one::Ref;
use storage::pg::api_keys::ApiKeyRow;
use storage::pg::products::Priced;
use storage::pg::stores;
use storage::pg::usage::Usage;

use crate::quotas::QuotaName;

/// Key hashes are uniform already: their first bytes are as good as any hash of them.
#[derive(Debug, Default, Clone)]
pub struct Prefix(u64);

impl Hasher for Prefix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            // The length prefix of the array comes first and must not be all that counts.
            self.0 = self.0.rotate_left(5) ^ u64::from_ne_bytes(word);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Half of a key's hash: 128 bits under a secret pepper are as hard to meet by chance as the key itself.
type KeyMark = [u8; 16];

fn mark(hash: &ApiKeyHash) -> KeyMark {
    std::array::from_fn(|index| hash[index])
}

/// Small in its slots, since a table of this kind is half empty when it is unlucky: a million keys take 130 MB, and took twice as much with
/// whole hashes and entries in place.
type KeyTable = DashMap<KeyMark, Box<KeyEntry>, BuildHasherDefault<Prefix>>;

/// A key, its buckets and its counters.
#[derive(Debug)]
pub struct KeyEntry {
    /// The key's id.
    pub id: i64,
    /// Whose it is.
    pub store_id: i64,
    /// Unix milliseconds from which on it is refused.
    expires_at_ms: u64,
    /// The loading that saw it last; what a later one did not see is gone.
    generation: u32,
    /// Own limits a minute, 0 where everybody's hold: checkout, licensing, api.
    own_limits: [u32; 3],
    buckets: [Bucket; 3],
    /// Requests and refusals since the last report, and the Unix second of the last request.
    requests: AtomicU32,
    limited: AtomicU32,
    last_used_s: AtomicU32,
    /// Live or test.
    pub mode: Mode,
    /// What it may be used for.
    pub scopes: Scopes,
}

impl KeyEntry {
    fn new(row: &ApiKeyRow, generation: u32) -> Self {
        let mut entry = Self {
            id: row.id,
            store_id: row.store_id,
            expires_at_ms: 0,
            generation,
            own_limits: [0; 3],
            buckets: Default::default(),
            requests: AtomicU32::new(0),
            limited: AtomicU32::new(0),
            last_used_s: AtomicU32::new(0),
            mode: row.mode,
            scopes: row.scopes,
        };
        entry.update(row, generation);
        entry
    }

    /// Takes over what may change of a key; its buckets and counters stay.
    fn update(&mut self, row: &ApiKeyRow, generation: u32) {
        let own = |limit: Option<u32>| limit.unwrap_or(0);
        self.expires_at_ms = row.expires_at_ms.unwrap_or(u64::MAX);
        self.own_limits = [own(row.quotas.checkout), own(row.quotas.licensing), own(row.quotas.api)];
        self.scopes = row.scopes;
        self.generation = generation;
    }

    /// Whether the key is past its time.
    pub fn is_expired(&self, now: Now) -> bool {
        now.unix_ms >= self.expires_at_ms
    }

    /// The bucket for a quota of keys, and the limit that holds: the key's own or `everybodys`.
    pub fn bucket(&self, name: QuotaName, everybodys: Quota) -> (&Bucket, Quota) {
        let index = match name {
            QuotaName::Checkout => 0,
            QuotaName::Licensing => 1,
            _ => 2,
        };
        let own = self.own_limits[index];
        (&self.buckets[index], if own == 0 { everybodys } else { Quota::per_minute(own) })
    }

    /// Counts a request for the usage report. The request itself last: whoever reports it finds the rest.
    pub fn count(&self, admitted: bool, now: Now) {
        self.last_used_s.store(u32::try_from(now.unix_s()).unwrap_or(u32::MAX), Ordering::Relaxed);
        if !admitted {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Release);
    }

    /// What was counted since the last call, if anything was.
    fn take_usage(&self) -> Option<Usage> {
        let requests = self.requests.swap(0, Ordering::Acquire);
        (requests > 0).then(|| Usage {
            key_id: self.id,
            requests: i64::from(requests),
            limited: i64::from(self.limited.swap(0, Ordering::Relaxed)),
            last_used_s: i64::from(self.last_used_s.load(Ordering::Relaxed)),
        })
    }
}

/// A shop and what it sells.
#[derive(Debug, Clone)]
pub struct Store {
    /// Internal id.
    pub id: i64,
    /// The name in URLs.
    pub slug: String,
    /// The name people read.
    pub name: String,
    /// Whether it may fulfill.
    pub licensing: bool,
    /// What it has said for tax.
    pub tax: stores::TaxSettings,
    /// Where its customers may be sent back to.
    pub return_hosts: ReturnHosts,
    /// What it sells.
    pub catalogue: Catalogue,
    /// What its products are for tax, where that is not [`Category::Standard`].
    tax_categories: Arc<HashMap<Sku, Category>>,
}

impl Store {
    /// What a product is for tax.
    pub fn tax_category(&self, sku: &Sku) -> Category {
        self.tax_categories.get(sku).copied().unwrap_or(Category::Standard)
    }

    /// A SKU and a currency in which it has a price, for examples; always the same ones.
    pub fn example(&self) -> Option<(&str, &str)> {
        self.catalogue.iter().filter_map(|(sku, prices)| Some((sku.as_str(), prices.first()?.0.as_str()))).min()
    }
}

/// Prices by SKU.
pub type Catalogue = Arc<HashMap<Sku, Vec<(Currency, i64)>>>;

/// The memory of an edge.
#[derive(Debug, Default)]
pub struct Snapshot {
    keys: KeyTable,
    stores: DashMap<String, Arc<Store>>,
    slugs: DashMap<i64, String>,
    generation: AtomicU32,
    /// The newest change that is in here; -1 before the first loading.
    applied_change_id: AtomicI64,
    /// Monotonic nanoseconds at which the database last confirmed that there is nothing newer.
    confirmed_at_ns: AtomicU64,
    /// What keys that are gone were used for until then, and nobody has reported yet.
    last_usage: Mutex<Vec<Usage>>,
}

impl Snapshot {
    /// An empty memory.
    pub fn new() -> Self {
        Self { applied_change_id: AtomicI64::new(-1), ..Self::default() }
    }

    /// The entry of a key, if it is known. Which pepper made its hash makes no difference, nor does it to the work: all hashes are made.
    pub fn key(&self, hasher: &ApiKeyHasher, key: &ApiKey) -> Option<Ref<'_, KeyMark, Box<KeyEntry>>> {
        // Not one look-up while another is held: they may share a lock.
        hasher.candidates(key).fold(None, |found, hash| if found.is_some() { found } else { self.keys.get(&mark(&hash)) })
    }

    /// The entry of the key with this hash, if it is known.
    pub fn key_of_hash(&self, hash: &ApiKeyHash) -> Option<Ref<'_, KeyMark, Box<KeyEntry>>> {
        self.keys.get(&mark(hash))
    }

    /// The store of this slug.
    pub fn store(&self, slug: &str) -> Option<Arc<Store>> {
        self.stores.get(slug).map(|store| store.clone())
    }

    /// The store with this id.
    pub fn store_by_id(&self, id: i64) -> Option<Arc<Store>> {
        let slug = self.slugs.get(&id).map(|slug| slug.clone())?;
        self.store(&slug)
    }

    /// The newest change that is in here; -1 before the first loading.
    pub fn applied_change_id(&self) -> i64 {
        self.applied_change_id.load(Ordering::Acquire)
    }

    /// How long ago the database last confirmed that this is up to date, in nanoseconds.
    pub fn age_ns(&self, now: Now) -> u64 {
        now.mono_ns.saturating_sub(self.confirmed_at_ns.load(Ordering::Relaxed))
    }

    /// How many keys and stores are known.
    pub fn len(&self) -> (usize, usize) {
        (self.keys.len(), self.stores.len())
    }

    pub(crate) fn confirm(&self, change_id: i64, now: Now) {
        self.applied_change_id.store(change_id, Ordering::Release);
        self.confirmed_at_ns.store(now.mono_ns, Ordering::Relaxed);
    }

    /// Begins a loading of everything. What it does not put in is gone once it has ended.
    pub(crate) fn begin_loading(&self) -> u32 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends a loading: forgets the keys and stores that it did not see.
    pub(crate) fn end_loading(&self, generation: u32, seen_stores: &HashMap<i64, String>) {
        self.keep_keys(|entry| entry.generation == generation);
        self.slugs.retain(|id, _| seen_stores.contains_key(id));
        self.stores.retain(|_, store| seen_stores.contains_key(&store.id));
    }

    /// Puts a key in, or takes it out when it is revoked.
    pub(crate) fn put_key(&self, row: &ApiKeyRow) {
        if row.revoked {
            if let Some((_, entry)) = self.keys.remove(&mark(&row.hash)) {
                self.last_usage().extend(entry.take_usage());
            }
            return;
        }
        let generation = self.generation.load(Ordering::Relaxed);
        match self.keys.get_mut(&mark(&row.hash)) {
            Some(mut entry) => entry.update(row, generation),
            None => {
                self.keys.insert(mark(&row.hash), Box::new(KeyEntry::new(row, generation)));
            }
        }
    }

    /// Takes keys out by id. Looks at all of them, so many ids at once are better than one by one.
    pub(crate) fn revoke(&self, ids: &[i64]) {
        self.keep_keys(|entry| !ids.contains(&entry.id));
    }

    fn keep_keys(&self, keep: impl Fn(&KeyEntry) -> bool) {
        self.keys.retain(|_, entry| {
            let kept = keep(entry);
            if !kept {
                self.last_usage().extend(entry.take_usage());
            }
            kept
        });
    }

    fn last_usage(&self) -> MutexGuard<'_, Vec<Usage>> {
        self.last_usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a store in, with what is already known of its catalogue.
    pub(crate) fn put_store(&self, row: &stores::Store) {
        let known = self.store(&row.slug);
        let (catalogue, tax_categories) = known.map(|store| (store.catalogue.clone(), store.tax_categories.clone())).unwrap_or_default();
        self.slugs.insert(row.id, row.slug.clone());
        let (slug, name) = (row.slug.clone(), row.name.clone());
        let return_hosts = row.return_hosts.clone();
        let store = Store { id: row.id, slug, name, licensing: row.licensing, tax: row.tax, return_hosts, catalogue, tax_categories };
        self.stores.insert(row.slug.clone(), Arc::new(store));
    }

    /// Puts a store's catalogue in. A store that is not known yet will bring its own.
    pub(crate) fn put_catalogue(&self, store_id: i64, products: Vec<Priced>) {
        let Some(slug) = self.slugs.get(&store_id).map(|slug| slug.clone()) else { return };
        let standard = |category| category == Category::Standard;
        let categories = products.iter().filter(|(product, _)| !standard(product.tax_category));
        let tax_categories = Arc::new(categories.map(|(product, _)| (product.sku.clone(), product.tax_category)).collect());
        let catalogue: Catalogue = Arc::new(products.into_iter().map(|(product, prices)| (product.sku, prices)).collect());
        if let Some(mut store) = self.stores.get_mut(&slug) {
            let updated = Store { catalogue, tax_categories, ..Store::clone(&store) };
            *store = Arc::new(updated);
        }
    }

    /// What each key did since the last call, for keys that did anything; also for those that are gone since. A key may be there twice.
    pub(crate) fn take_usage(&self) -> Vec<Usage> {
        let gone = std::mem::take(&mut *self.last_usage());
        self.keys.iter().filter_map(|entry| entry.take_usage()).chain(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use storage::pg::products::{Product, Source};

    use super::*;

    #[test]
    fn a_store_knows_what_its_products_are_for_tax() {
        let snapshot = Snapshot::new();
        let tax = stores::TaxSettings { country: None, prices_include_tax: Some(true) };
        let row = stores::Store {
            id: 1,
            slug: "demo".into(),
            name: "Demo".into(),
            licensing: true,
            tax,
            policy: Default::default(),
            return_hosts: Default::default(),
        };
        snapshot.put_store(&row);
        let sku = |text| Sku::parse(text).unwrap();
        let product = |text, tax_category| {
            (Product { id: 1, store_id: 1, sku: sku(text), name: "P".into(), source: Source::Pool, tax_category }, Vec::new())
        };
        snapshot.put_catalogue(1, vec![product("A", Category::Reduced), product("B", Category::Standard)]);
        // Another setting of the store changes nothing of what it sells.
        snapshot.put_store(&row);
        let store = snapshot.store("demo").unwrap();
        assert_eq!(["A", "B"].map(|text| store.tax_category(&sku(text))), [Category::Reduced, Category::Standard]);
        assert_eq!((store.tax.prices_include_tax, store.catalogue.len()), (Some(true), 2));
        snapshot.put_catalogue(1, vec![product("A", Category::Standard)]);
        assert_eq!(snapshot.store("demo").unwrap().tax_category(&sku("A")), Category::Standard);
    }
}
