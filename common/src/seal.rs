//! Sealing: what is stored or sent so that only we can read it, and only in its place. AES-256-GCM under a key that is derived for
//! one purpose and one process, so that nonces can be counted and never meet, however many values are sealed.
//!
//! `1 · length of the secret's id · id · salt (16) · nonce (12) · ciphertext and tag`

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::secret::SecretList;

const VERSION: u8 = 1;
/// Length of the salt that every sealer draws once.
pub const SALT_LEN: usize = 16;

/// What a value is sealed for. Nothing sealed for one purpose opens for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// License keys, in stock, held or in an order.
    License,
    /// The request in an order's row that nobody has fulfilled yet.
    OrderRequest,
    /// Jobs on their way to a worker.
    Job,
    /// Workers' replies on their way to an edge.
    Reply,
    /// What signs webhooks, in an endpoint's row.
    WebhookSecret,
}

impl Purpose {
    /// What goes into the derivation of a key. Changing one makes everything sealed for it unreadable.
    const fn as_str(self) -> &'static str {
        match self {
            Purpose::License => "license",
            Purpose::OrderRequest => "order request",
            Purpose::Job => "job",
            Purpose::Reply => "reply",
            Purpose::WebhookSecret => "webhook secret",
        }
    }
}

/// Seals values of one purpose. The first secret seals, all open.
pub struct Sealer {
    purpose: Purpose,
    secrets: SecretList,
    salt: [u8; SALT_LEN],
    key: LessSafeKey,
    sealed: AtomicU64,
}

impl Sealer {
    /// A sealer for one purpose. `salt` must be random and used by no other sealer: nonces are counted from zero under it.
    pub fn new(secrets: &SecretList, purpose: Purpose, salt: [u8; SALT_LEN]) -> Self {
        let key = derive(secrets.first().expose(), &salt, purpose);
        Self { purpose, secrets: secrets.clone(), salt, key, sealed: AtomicU64::new(0) }
    }

    /// Seals a value. `place` says where it belongs; opening it anywhere else fails.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let id = self.secrets.first().id().as_bytes();
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.sealed.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let mut sealed = Vec::with_capacity(2 + id.len() + SALT_LEN + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&[VERSION, id.len() as u8]);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&self.salt);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed[start..])
            .expect("AES-GCM seals anything below 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens a value that was sealed for this purpose and place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = Parts::read(sealed).ok_or(OpenError::Malformed)?;
        let secret = self.secrets.get(parts.secret_id).ok_or_else(|| OpenError::UnknownSecret(parts.secret_id.to_owned()))?;
        let derived;
        let key = if parts.salt == self.salt && secret.id() == self.secrets.first().id() {
            &self.key
        } else {
            derived = derive(secret.expose(), parts.salt, self.purpose);
            &derived
        };
        let nonce = Nonce::try_assume_unique_for_key(parts.nonce).map_err(|_| OpenError::Malformed)?;
        let mut plain = Zeroizing::new(parts.ciphertext.to_vec());
        let len = key.open_in_place(nonce, Aad::from(place), &mut plain).map_err(|_| OpenError::Changed)?.len();
        plain.truncate(len);
        Ok(plain)
    }

    /// Whether the newest secret sealed this value, so that re-wrapping it would change nothing.
    pub fn is_newest(&self, sealed: &[u8]) -> bool {
        Parts::read(sealed).is_some_and(|parts| parts.secret_id == self.secrets.first().id())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, {:?})", self.purpose, self.secrets)
    }
}

struct Parts<'a> {
    secret_id: &'a str,
    salt: &'a [u8],
    nonce: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(sealed: &'a [u8]) -> Option<Self> {
        let (&[VERSION, id_len], rest) = sealed.split_first_chunk::<2>()? else { return None };
        let (id, rest) = rest.split_at_checked(id_len as usize)?;
        let (salt, rest) = rest.split_at_checked(SALT_LEN)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN)?;
        Some(Self { secret_id: std::str::from_utf8(id).ok()?, salt, nonce, ciphertext })
    }
}

fn derive(secret: &[u8], salt: &[u8], purpose: Purpose) -> LessSafeKey {
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret);
    let info = [purpose.as_str().as_bytes()];
    let okm = prk.expand(&info, &AES_256_GCM).expect("one key is no more than HKDF gives");
    LessSafeKey::new(UnboundKey::from(okm))
}

/// Why a sealed value cannot be opened. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a sealed value.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed by a secret that is not configured.
    #[error("sealed by secret {0:?}, which is not configured: add it back to secrets.sealing")]
    UnknownSecret(String),
    /// Changed, or moved from where it was sealed.
    #[error("the sealed value was changed or does not belong here")]
    Changed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn secrets(ids: &[&str]) -> SecretList {
        SecretList::new(ids.iter().map(|id| Secret::new(id, id.repeat(32).into_bytes()).unwrap()).collect()).unwrap()
    }

    #[test]
    fn opens_only_in_its_place_and_for_its_purpose() {
        let sealer = Sealer::new(&secrets(&["s1"]), Purpose::License, [1; SALT_LEN]);
        let sealed = sealer.seal(b"place", b"AAAAA-BBBBB");
        assert_eq!(*sealer.open(b"place", &sealed).unwrap(), b"AAAAA-BBBBB");
        assert_eq!(sealer.open(b"other", &sealed), Err(OpenError::Changed));
        assert_eq!(Sealer::new(&secrets(&["s1"]), Purpose::Job, [1; SALT_LEN]).open(b"place", &sealed), Err(OpenError::Changed));
        assert!(!sealed.windows(5).any(|window| window == b"AAAAA"));
    }

    /// Values that were sealed by earlier versions, one of each purpose: they must open for ever.
    #[test]
    fn opens_what_earlier_versions_sealed() {
        let kept = [
            (
                Purpose::License,
                "0102733101010101010101010101010101010101000000000000000000000000e2ef19ee2770058acd9daf96c0196e09245dfcbbaa",
            ),
            (
                Purpose::OrderRequest,
                "010273310101010101010101010101010101010100000000000000000000000005579ca7a60870a51ca14f085d64d7721f4ac563ad",
            ),
            (Purpose::Job, "0102733101010101010101010101010101010101000000000000000000000000f8f6c7b8d71a0a6481f6552e570f6997aeb3ded85d"),
            (Purpose::Reply, "0102733101010101010101010101010101010101000000000000000000000000524889c13148c71288984a16ad0604e4f63a6b47e2"),
        ];
        for (purpose, kept) in kept {
            let sealer = Sealer::new(&secrets(&["s1"]), purpose, [1; SALT_LEN]);
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            assert_eq!(hex(&sealer.seal(b"place", b"value")), kept, "{purpose:?}");
        }
    }

    #[test]
    fn opens_what_another_process_or_an_older_secret_sealed() {
        let sealed = Sealer::new(&secrets(&["s1"]), Purpose::License, [1; SALT_LEN]).seal(b"", b"value");
        let later = Sealer::new(&secrets(&["s2", "s1"]), Purpose::License, [2; SALT_LEN]);
        assert_eq!(*later.open(b"", &sealed).unwrap(), b"value");
        assert!(!later.is_newest(&sealed) && later.is_newest(&later.seal(b"", b"value")));
        let without = Sealer::new(&secrets(&["s2"]), Purpose::License, [2; SALT_LEN]);
        assert_eq!(without.open(b"", &sealed), Err(OpenError::UnknownSecret("s1".into())));
    }

    #[test]
    fn no_byte_can_be_changed_or_cut() {
        let sealer = Sealer::new(&secrets(&["s1"]), Purpose::License, [1; SALT_LEN]);
        let sealed = sealer.seal(b"place", b"value");
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(sealer.open(b"place", &changed).is_err(), "{position}");
            assert!(sealer.open(b"place", &sealed[..position]).is_err(), "{position}");
        }
    }

    #[test]
    fn equal_values_are_sealed_differently() {
        let sealer = Sealer::new(&secrets(&["s1"]), Purpose::License, [1; SALT_LEN]);
        assert_ne!(sealer.seal(b"", b"value"), sealer.seal(b"", b"value"));
    }
}
