//! License keys: how they are generated, told apart without being read, and kept from logs.

use std::fmt;

use hmac::Mac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroize;

use crate::mac::{KeyedMac, KeyedMacs};
use crate::mode::Mode;
use crate::secret::SecretList;

/// The longest license key, in bytes.
pub const LICENSE_KEY_MAX_BYTES: usize = 512;
/// The longest pattern of a generator, in bytes.
pub const PATTERN_MAX_BYTES: usize = 64;
/// The fewest random characters of a pattern: 80 bits, so that nobody guesses a key and no two meet.
pub const PATTERN_MIN_RANDOM: usize = 16;
/// No 0, 1, I, L, O or U: what is left cannot be misread or spell a word.
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A license key in clear. `Debug` shows `***`; serializing shows it, since that is how it reaches its buyer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LicenseKey(String);

impl LicenseKey {
    /// Reads one imported key: surrounding white space is dropped, the rest is kept to the letter.
    pub fn parse(text: &str) -> Result<Self, MalformedLicenseKey> {
        let text = text.trim();
        if text.is_empty() || text.len() > LICENSE_KEY_MAX_BYTES || text.chars().any(char::is_control) {
            return Err(MalformedLicenseKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// The key itself. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LicenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for LicenseKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Where a license key is sealed to: its store, its product and its own id, so that no sealed key opens in another's place.
pub fn place(store_id: i64, product_id: i64, key_id: Uuid) -> Vec<u8> {
    [b"license key\0".as_slice(), &store_id.to_be_bytes(), &product_id.to_be_bytes(), key_id.as_bytes()].concat()
}

/// Something that cannot be a license key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a license key has 1 to {LICENSE_KEY_MAX_BYTES} bytes and no control characters")]
pub struct MalformedLicenseKey;

/// What generated keys look like: every `X` becomes a random letter or digit, `A-Z 0-9 -` stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// What a generator uses when nothing else is said.
    pub const DEFAULT: &str = "XXXXX-XXXXX-XXXXX-XXXXX";

    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, MalformedPattern> {
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        let random = text.bytes().filter(|&b| b == b'X').count();
        if text.len() > PATTERN_MAX_BYTES || random < PATTERN_MIN_RANDOM || !text.bytes().all(allowed) {
            return Err(MalformedPattern);
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key of this pattern from uniformly random 64-bit words, of which as many are drawn as it takes.
    pub fn generate(&self, mut random: impl FnMut() -> u64) -> LicenseKey {
        let mut letter = || loop {
            // Five bits at a time; the two values that stand for no letter are drawn again, so that every letter is equally likely.
            if let Some(&letter) = ALPHABET.get((random() >> 59) as usize) {
                return letter as char;
            }
        };
        LicenseKey(self.0.chars().map(|c| if c == 'X' { letter() } else { c }).collect())
    }
}

/// Something that cannot be a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern has at most {PATTERN_MAX_BYTES} of A-Z, 0-9 and -, and at least {PATTERN_MIN_RANDOM} X, each of which becomes a random character"
)]
pub struct MalformedPattern;

/// A keyed digest, equal for equal license keys of one store and mode. 128 bits.
pub type LicenseDigest = [u8; 16];

/// Makes digests, so that the database can refuse a key it already has without being able to read any.
#[derive(Clone, Debug)]
pub struct LicenseDigester {
    keys: KeyedMacs,
}

impl LicenseDigester {
    /// A digester over these secrets. The keyed state is prepared once.
    pub fn new(secrets: &SecretList) -> Self {
        Self { keys: KeyedMacs::new(secrets) }
    }

    /// The id of the secret that writes, and the digest to keep.
    pub fn digest(&self, store_id: i64, mode: Mode, key: &LicenseKey) -> (&str, LicenseDigest) {
        let mac = self.keys.first();
        (mac.id(), finish(mac, store_id, mode, key))
    }

    /// The digests under which this key may already be known: the id of each secret and what it makes of the key, newest first.
    pub fn candidates(&self, store_id: i64, mode: Mode, key: &LicenseKey) -> Vec<(&str, LicenseDigest)> {
        self.keys.iter().map(|mac| (mac.id(), finish(mac, store_id, mode, key))).collect()
    }
}

fn finish(mac: &KeyedMac, store_id: i64, mode: Mode, key: &LicenseKey) -> LicenseDigest {
    let mac = mac.begin().chain_update(store_id.to_be_bytes()).chain_update(mode.as_str()).chain_update(b"\0").chain_update(key.expose());
    let digest = mac.finalize().into_bytes();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use std::collections::HashSet;

    fn random() -> impl FnMut() -> u64 {
        let mut state = 1_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state
        }
    }

    fn digester(ids: &[&str]) -> LicenseDigester {
        let secrets = ids.iter().map(|id| Secret::new(id, id.repeat(32).into_bytes()).unwrap()).collect();
        LicenseDigester::new(&SecretList::new(secrets).unwrap())
    }

    #[test]
    fn generated_keys_follow_the_pattern_and_never_repeat() {
        let (pattern, mut random) = (Pattern::parse("WIN-XXXXX-XXXXX-XXXXX-1X").unwrap(), random());
        let keys: HashSet<String> = (0..1_000).map(|_| pattern.generate(&mut random).expose().to_owned()).collect();
        assert_eq!(keys.len(), 1_000);
        for key in keys {
            assert!(key.starts_with("WIN-") && &key[21..23] == "-1" && key.len() == 24, "{key}");
            assert!(key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-'), "{key}");
        }
    }

    #[test]
    fn a_pattern_has_enough_chance_in_it() {
        assert!(Pattern::parse(Pattern::DEFAULT).is_ok());
        for text in ["", "XXXXX-XXXXX-XXXXX", "xxxxx-xxxxx-xxxxx-xxxxx", "XXXXX XXXXX XXXXX XXXXX", &"X".repeat(65)] {
            assert_eq!(Pattern::parse(text), Err(MalformedPattern), "{text}");
        }
    }

    #[test]
    fn digests_tell_equal_keys_of_one_store_and_mode() {
        let key = LicenseKey::parse("  AAAAA-BBBBB\n").unwrap();
        let old = digester(&["d1"]);
        let (id, digest) = old.digest(1, Mode::Live, &key);
        assert_eq!(id, "d1");
        assert!(digester(&["d2", "d1"]).candidates(1, Mode::Live, &LicenseKey::parse("AAAAA-BBBBB").unwrap()).contains(&("d1", digest)));
        assert_ne!(old.digest(2, Mode::Live, &key).1, digest);
        assert_ne!(old.digest(1, Mode::Test, &key).1, digest);
    }

    #[test]
    fn a_place_is_one_store_product_and_key() {
        let key = Uuid::from_u128(7);
        let places = [place(1, 2, key), place(2, 1, key), place(1, 3, key), place(1, 2, Uuid::from_u128(8))];
        assert_eq!(places.iter().collect::<HashSet<_>>().len(), places.len());
        assert_eq!(place(1, 2, key), places[0]);
    }

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", LicenseKey::parse("SECRET").unwrap()), "***");
        assert!(["", "  ", "a\tb", "a\u{0}b", &"x".repeat(513)].iter().all(|text| LicenseKey::parse(text).is_err()));
    }
}
