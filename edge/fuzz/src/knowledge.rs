//! What an edge under test knows: secrets, a gate, a router. Made once, the same in every run.

use std::sync::{Arc, LazyLock};

use common::api_key::ApiKeyHasher;
use common::clock::Now;
use common::limits::PER_MINUTE_MAX;
use common::secret::{Secret, SecretList};
use config::Limits;
use edge::gate::Gate;
use edge::quotas::Quotas;
use edge::router::Router;
use edge::snapshot::Snapshot;
use ipnet::IpNet;

/// A moment.
pub const NOW: Now = Now { unix_ms: 1_800_000_000_000, mono_ns: 60_000_000_000 };

/// Secrets of these ids, newest first.
pub fn secrets(ids: &[&str]) -> SecretList {
    let secret = |id: &&str| Secret::new(id, id.repeat(32).into_bytes()).expect("an id and 64 bytes");
    SecretList::new(ids.iter().map(secret).collect()).expect("a few secrets")
}

/// A gate that knows no key, and has a token for everybody.
pub static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let most = PER_MINUTE_MAX;
    let limits = Limits { checkout: most, licensing: most, api: most, geo: most, tax: most, anonymous: most, pages: most };
    Gate::new(Arc::new(Snapshot::new()), ApiKeyHasher::new(&secrets(&["p2", "p1"])), Quotas::new(&limits), 1_000)
});

/// All routes.
pub static ROUTER: LazyLock<Router> = LazyLock::new(Router::new);

/// The networks that our proxies are in.
pub static TRUSTED: LazyLock<[IpNet; 2]> = LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network")));

/// Makes all of it, for whoever measures what is made afterwards.
pub fn make() {
    LazyLock::force(&GATE);
    LazyLock::force(&ROUTER);
    LazyLock::force(&TRUSTED);
}
