//! Store API keys: `sk_live_` or `sk_test_`, 28 random base62 characters (166 bits) and a 6-character checksum, so that garbage is
//! known without a look-up. A key is shown once; what is kept is its HMAC under a server pepper, and a hint to recognize it by.

use std::fmt;

use hmac::Mac;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::mac::{KeyedMac, KeyedMacs};
use crate::mode::Mode;
use crate::secret::SecretList;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LIVE: &[u8] = b"sk_live_";
const TEST: &[u8] = b"sk_test_";
const PREFIX_LEN: usize = LIVE.len();
const RANDOM_LEN: usize = 28;
const CHECKSUM_LEN: usize = 6;
/// The length of every API key in bytes.
pub const API_KEY_LEN: usize = PREFIX_LEN + RANDOM_LEN + CHECKSUM_LEN;
/// How many characters of a key its hint shows.
pub const HINT_LEN: usize = 12;

/// A key in clear, on its way to the person it belongs to. `Debug` shows the hint alone.
#[derive(Clone)]
pub struct ApiKey {
    /// ASCII. In place: every request makes one.
    text: Zeroizing<[u8; API_KEY_LEN]>,
    mode: Mode,
}

impl ApiKey {
    /// A new key from uniformly random 64-bit words, of which as many are drawn as it takes.
    pub fn generate(mode: Mode, mut random: impl FnMut() -> u64) -> Self {
        let mut text = Zeroizing::new([0; API_KEY_LEN]);
        let (body, sum) = text.split_at_mut(PREFIX_LEN + RANDOM_LEN);
        body[..PREFIX_LEN].copy_from_slice(if mode.is_live() { LIVE } else { TEST });
        for place in &mut body[PREFIX_LEN..] {
            // Six bits at a time; the two values above 61 are drawn again, so that every character is equally likely.
            *place = loop {
                if let Some(&character) = BASE62.get((random() >> 58) as usize) {
                    break character;
                }
            };
        }
        sum.copy_from_slice(&checksum(body));
        Self { text, mode }
    }

    /// Reads a key, refusing whatever cannot be one: wrong length, prefix, alphabet or checksum.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedApiKey> {
        let text: &[u8; API_KEY_LEN] = text.try_into().map_err(|_| MalformedApiKey)?;
        let mode = match &text[..PREFIX_LEN] {
            prefix if prefix == LIVE => Mode::Live,
            prefix if prefix == TEST => Mode::Test,
            _ => return Err(MalformedApiKey),
        };
        let (body, sum) = text.split_at(PREFIX_LEN + RANDOM_LEN);
        if !body[PREFIX_LEN..].iter().all(u8::is_ascii_alphanumeric) || sum != checksum(body) {
            return Err(MalformedApiKey);
        }
        Ok(Self { text: Zeroizing::new(*text), mode })
    }

    /// The mode that the key's prefix says.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The key itself, to be shown once. Never log it.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&*self.text).unwrap_or_default()
    }

    /// The first characters, by which its owner recognizes it: the prefix and four more.
    pub fn hint(&self) -> &str {
        &self.expose()[..HINT_LEN]
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}***", self.hint())
    }
}

/// Six base62 characters of SHA-256: a typing mistake slips through once in 57 billion.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::digest(body);
    let mut value = digest[..8].iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    std::array::from_fn(|_| {
        let character = BASE62[(value % 62) as usize];
        value /= 62;
        character
    })
}

/// Something that cannot be an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct MalformedApiKey;

/// What is kept of a key: HMAC-SHA256 under a pepper.
pub type ApiKeyHash = [u8; 32];

/// Hashes keys under the configured peppers: new ones under the first, known ones under whichever made them.
#[derive(Clone, Debug)]
pub struct ApiKeyHasher {
    peppers: KeyedMacs,
}

impl ApiKeyHasher {
    /// A hasher over these peppers. The keyed state is prepared once.
    pub fn new(peppers: &SecretList) -> Self {
        Self { peppers: KeyedMacs::new(peppers) }
    }

    /// The pepper's id and the hash to keep for a new key.
    pub fn hash(&self, key: &ApiKey) -> (&str, ApiKeyHash) {
        let mac = self.peppers.first();
        (mac.id(), finish(mac, key))
    }

    /// The hashes under which this key may be known, newest pepper first.
    pub fn candidates<'a>(&'a self, key: &'a ApiKey) -> impl Iterator<Item = ApiKeyHash> + 'a {
        self.peppers.iter().map(|mac| finish(mac, key))
    }
}

fn finish(mac: &KeyedMac, key: &ApiKey) -> ApiKeyHash {
    mac.begin().chain_update(*key.text).finalize().into_bytes().into()
}

/// What a key may be used for. A key without scopes may be used for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Creating checkout sessions.
    Checkout,
    /// Fulfilling, reading and revoking orders.
    Licensing,
    /// Managing webhook endpoints.
    Webhooks,
}

impl Scope {
    /// All scopes, in the order the documentation lists them.
    pub const ALL: [Scope; 3] = [Scope::Checkout, Scope::Licensing, Scope::Webhooks];

    /// The scope's name in the database, on the command line and in error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Checkout => "checkout",
            Scope::Licensing => "licensing",
            Scope::Webhooks => "webhooks",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The scopes of one key, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything, now and later.
    pub const ALL: Scopes = Scopes(u8::MAX);

    /// The set of these names. No names mean everything. Fails with the first name that is no scope.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownScope> {
        if names.is_empty() {
            return Ok(Self::ALL);
        }
        names.iter().try_fold(Scopes(0), |set, name| {
            let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == name.as_ref());
            scope.map(|scope| Scopes(set.0 | scope.bit())).ok_or_else(|| UnknownScope(name.as_ref().chars().take(32).collect()))
        })
    }

    /// Whether the set has this scope.
    pub fn allows(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

/// A name that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope: write checkout, licensing or webhooks")]
pub struct UnknownScope(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> impl FnMut() -> u64 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state
        }
    }

    fn peppers(text: &str) -> SecretList {
        let entry = |id: &str| format!("{id}:{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, id.repeat(32)));
        SecretList::parse(&text.split(' ').map(entry).collect::<Vec<_>>().join(" ")).unwrap()
    }

    #[test]
    fn reads_what_it_generates() {
        for mode in [Mode::Live, Mode::Test] {
            let key = ApiKey::generate(mode, random());
            assert_eq!(key.expose().len(), API_KEY_LEN);
            let read = ApiKey::parse(key.expose().as_bytes()).unwrap();
            assert_eq!((read.expose(), read.mode()), (key.expose(), mode));
        }
    }

    #[test]
    fn any_one_changed_character_is_refused() {
        let key = ApiKey::generate(Mode::Live, random());
        for position in 0..API_KEY_LEN {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[position] = if bytes[position] == b'a' { b'b' } else { b'a' };
            assert_eq!(ApiKey::parse(&bytes).unwrap_err(), MalformedApiKey, "position {position}");
        }
        assert!(ApiKey::parse(&key.expose().as_bytes()[1..]).is_err());
        assert!(ApiKey::parse(b"").is_err());
    }

    #[test]
    fn debug_shows_the_hint_alone() {
        let key = ApiKey::generate(Mode::Test, random());
        assert_eq!(format!("{key:?}"), format!("{}***", &key.expose()[..HINT_LEN]));
    }

    #[test]
    fn a_key_hashed_under_an_old_pepper_is_still_known() {
        let key = ApiKey::generate(Mode::Live, random());
        let old = ApiKeyHasher::new(&peppers("old"));
        let both = ApiKeyHasher::new(&peppers("new old"));
        let (id, kept) = old.hash(&key);
        assert_eq!(id, "old");
        assert_eq!(both.hash(&key).0, "new");
        assert!(both.candidates(&key).any(|hash| hash == kept));
        assert!(!ApiKeyHasher::new(&peppers("new")).candidates(&key).any(|hash| hash == kept));
    }

    #[test]
    fn scopes_allow_what_they_name() {
        assert!(Scopes::from_names::<&str>(&[]).unwrap().allows(Scope::Webhooks));
        let scopes = Scopes::from_names(&["checkout"]).unwrap();
        assert!(scopes.allows(Scope::Checkout) && !scopes.allows(Scope::Licensing));
        assert_eq!(Scopes::from_names(&["admin"]), Err(UnknownScope("admin".into())));
    }
}
