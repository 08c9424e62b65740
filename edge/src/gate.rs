//! The gate: who is calling, may they, and is there a token left for them. Decided from memory, before the body is read. Plain functions:
//! nothing in here can wait.

use std::sync::Arc;

use common::api_key::{ApiKey, ApiKeyHasher, Scope};
use common::clock::Now;
use common::limits::Quota;
use common::mode::Mode;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::address_buckets::AddressBuckets;
use crate::client_address::ClientAddress;
use crate::error::{ApiError, Code};
use crate::quotas::{QuotaName, Quotas, Rate};
use crate::snapshot::{Snapshot, Store};

/// What a route demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A store's key with this scope, charged to this quota of the key.
    Key(Scope, QuotaName),
    /// Anybody, charged to this quota of the address.
    Address(QuotaName),
    /// Anybody, charged to the address, outside of the API: a page, which answers with pages whatever goes wrong.
    Page,
    /// Anybody, uncounted: documents that are the same for everybody.
    Open,
}

/// Whoever was let in with a key.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The store that the key and the path agree on.
    pub store: Arc<Store>,
    /// Live or test, as the key says.
    pub mode: Mode,
}

/// The gate's answer: let in or not, and the bucket that was charged. `Err` is for the caller to read.
#[derive(Debug)]
pub struct Decision {
    /// The caller where the route asks for a key.
    pub outcome: Result<Option<Caller>, ApiError>,
    /// What the rate headers say; nothing outside of the API.
    pub rate: Option<Rate>,
}

/// Keys, buckets and quotas.
#[derive(Debug)]
pub struct Gate {
    snapshot: Arc<Snapshot>,
    hasher: ApiKeyHasher,
    addresses: AddressBuckets,
    quotas: Quotas,
}

impl Gate {
    /// A gate over a snapshot.
    pub fn new(snapshot: Arc<Snapshot>, hasher: ApiKeyHasher, quotas: Quotas, addresses_max: usize) -> Self {
        Self { snapshot, hasher, addresses: AddressBuckets::new(addresses_max), quotas }
    }

    /// Decides about one request. `slug` is the store in the path.
    pub fn admit(&self, access: Access, headers: &HeaderMap, slug: &str, address: ClientAddress, now: Now) -> Decision {
        match access {
            Access::Open => Decision { outcome: Ok(None), rate: None },
            Access::Address(_) | Access::Page => {
                let name = if let Access::Address(name) = access { name } else { QuotaName::Pages };
                let rate = self.charge(address, name, now);
                let outcome = if rate.decision.admitted { Ok(None) } else { Err(limited(&rate)) };
                Decision { outcome, rate: Some(rate) }
            }
            Access::Key(scope, name) => self.admit_key(scope, name, headers, slug, now).unwrap_or_else(|code| {
                // A failing key costs its address, never another key.
                let rate = self.charge(address, QuotaName::Anonymous, now);
                let error = if rate.decision.admitted { ApiError::plain(code) } else { limited(&rate) };
                Decision { outcome: Err(error), rate: Some(rate) }
            }),
        }
    }

    fn admit_key(&self, scope: Scope, name: QuotaName, headers: &HeaderMap, slug: &str, now: Now) -> Result<Decision, Code> {
        let key = bearer(headers)?;
        // Before the key, so that a key that is unknown takes no less time to be refused than another store's.
        let store = self.snapshot.store(slug);
        let entry = self.snapshot.key(&self.hasher, &key).ok_or(Code::InvalidApiKey)?;
        // A key of another store is told nothing that an unknown key would not be told.
        if entry.is_expired(now) || entry.mode != key.mode() || store.as_ref().is_some_and(|store| store.id != entry.store_id) {
            return Err(Code::InvalidApiKey);
        }
        let (bucket, quota) = entry.bucket(name, self.quotas.get(name));
        let decision = bucket.take(quota, now);
        entry.count(decision.admitted, now);
        let rate = Rate { name, decision };
        let outcome = match store {
            _ if !decision.admitted => Err(limited(&rate)),
            None => Err(ApiError::plain(Code::StoreNotFound)),
            Some(_) if !entry.scopes.allows(scope) => {
                Err(ApiError::new(Code::InsufficientScope, format!("This key lacks the scope {}.", scope.as_str())))
            }
            Some(store) => Ok(Some(Caller { store, mode: entry.mode })),
        };
        Ok(Decision { outcome, rate: Some(rate) })
    }

    /// Everybody's quota of this name.
    pub fn quota(&self, name: QuotaName) -> Quota {
        self.quotas.get(name)
    }

    /// Charges an address.
    pub fn charge(&self, address: ClientAddress, name: QuotaName, now: Now) -> Rate {
        Rate { name, decision: self.addresses.take(address, name, self.quotas.get(name), now) }
    }

    /// Forgets the buckets of addresses that have rested.
    pub fn sweep(&self, now: Now) {
        self.addresses.sweep(now);
    }

    /// How many addresses' buckets are remembered.
    pub fn address_buckets(&self) -> usize {
        self.addresses.len()
    }
}

fn limited(rate: &Rate) -> ApiError {
    let seconds = rate.decision.retry_after_s;
    ApiError::new(Code::RateLimited, format!("All {} requests a minute are used up. Wait {seconds} s.", rate.decision.limit))
}

/// The one bearer token of a request. The scheme is written in any case.
fn bearer(headers: &HeaderMap) -> Result<ApiKey, Code> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Code::MissingApiKey)?.as_bytes();
    if values.next().is_some() {
        return Err(Code::InvalidApiKey);
    }
    let (scheme, token) = value.split_at_checked("Bearer ".len()).ok_or(Code::MissingApiKey)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Code::MissingApiKey);
    }
    ApiKey::parse(token.trim_ascii()).map_err(|_| Code::InvalidApiKey)
}
