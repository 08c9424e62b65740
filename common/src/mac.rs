//! HMAC-SHA256 under a list of named secrets, its keyed states prepared once: what hashes API keys, signs sessions and digests license
//! keys. Compares nothing itself: whoever verifies uses `Mac::verify_slice`, which takes as long for a wrong tag as for a right one.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use crate::secret::{Secret, SecretList};

#[cfg(feature = "counted")]
thread_local! {
    static BEGUN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many computations this thread has begun. For tests of how much work is done: nothing that is shipped has the feature.
#[cfg(feature = "counted")]
pub fn begun() -> u64 {
    BEGUN.get()
}

/// One secret's HMAC, keyed. `Debug` shows the secret's id and `***`.
#[derive(Clone)]
pub struct KeyedMac {
    secret: Secret,
    state: Hmac<Sha256>,
}

impl KeyedMac {
    fn new(secret: &Secret) -> Self {
        let state = Hmac::new_from_slice(secret.expose()).expect("HMAC takes a key of any length");
        Self { secret: secret.clone(), state }
    }

    /// The id of the secret, which goes with whatever it makes.
    pub fn id(&self) -> &str {
        self.secret.id()
    }

    /// A computation that has taken nothing in yet.
    #[inline]
    pub fn begin(&self) -> Hmac<Sha256> {
        #[cfg(feature = "counted")]
        BEGUN.with(|begun| begun.set(begun.get() + 1));
        self.state.clone()
    }
}

impl fmt::Debug for KeyedMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

/// The HMACs of a list of secrets, newest first: the first writes, all read. Never empty.
#[derive(Clone, Debug)]
pub struct KeyedMacs(Vec<KeyedMac>);

impl KeyedMacs {
    /// Keys one HMAC for each secret.
    pub fn new(secrets: &SecretList) -> Self {
        Self(secrets.iter().map(KeyedMac::new).collect())
    }

    /// The one that writes.
    #[inline]
    pub fn first(&self) -> &KeyedMac {
        &self.0[0]
    }

    /// The one whose secret has this id. Ids are no secret: they stand in clear in whatever a secret made.
    pub fn get(&self, id: &str) -> Option<&KeyedMac> {
        self.0.iter().find(|mac| mac.id() == id)
    }

    /// All, newest first.
    pub fn iter(&self) -> std::slice::Iter<'_, KeyedMac> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use hmac::Mac;

    use super::*;

    #[test]
    fn every_secret_has_a_state_of_its_own_and_shows_nothing() {
        let secret = |id: &str| Secret::new(id, id.repeat(32).into_bytes()).unwrap();
        let macs = KeyedMacs::new(&SecretList::new(vec![secret("new"), secret("old")]).unwrap());
        let tag = |mac: &KeyedMac| mac.begin().chain_update(b"text").finalize().into_bytes();
        assert_eq!((macs.first().id(), macs.iter().count()), ("new", 2));
        assert_ne!(tag(macs.first()), tag(macs.get("old").unwrap()));
        // What was begun before leaves no trace in what is begun after.
        assert_eq!(tag(macs.first()), tag(macs.first()));
        assert!(macs.get("none").is_none());
        assert_eq!(format!("{macs:?}"), "KeyedMacs([new:***, old:***])");
    }
}
