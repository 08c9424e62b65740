//! Secrets with names. Every sealed value, signature and key hash carries the id of the secret that made it, so that a secret
//! can be replaced while old values stay readable: the first of a list writes, all of them read. Nothing here prints a secret.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

/// The fewest bytes a secret may have: 256 bits.
pub const SECRET_MIN_BYTES: usize = 32;
/// The longest id a secret may have. It travels with every value the secret made.
pub const SECRET_ID_MAX_BYTES: usize = 16;
/// The most secrets one list may hold: one that writes, one that is being retired, and some to spare.
pub const SECRETS_MAX: usize = 8;

/// One named secret of at least [`SECRET_MIN_BYTES`] bytes. `Debug` shows the id and `***`.
#[derive(Clone)]
pub struct Secret {
    id: Arc<str>,
    bytes: Arc<Zeroizing<Vec<u8>>>,
}

impl Secret {
    /// A secret from its parts. Fails when the id or the length is out of bounds.
    pub fn new(id: &str, bytes: Vec<u8>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(bytes);
        check_id(id)?;
        if bytes.len() < SECRET_MIN_BYTES {
            return Err(SecretError::Short { id: id.to_owned(), len: bytes.len() });
        }
        Ok(Self { id: id.into(), bytes: Arc::new(bytes) })
    }

    /// The id that values made by this secret carry: 1 to 16 of `a-z 0-9 -`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret itself. Never log it.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

fn check_id(id: &str) -> Result<(), SecretError> {
    let well_formed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if id.is_empty() || id.len() > SECRET_ID_MAX_BYTES || !id.bytes().all(well_formed) { Err(SecretError::Id) } else { Ok(()) }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.id)
    }
}

/// Secrets of one purpose, newest first: the first writes, all read. Never empty, ids unique.
#[derive(Clone, Debug)]
pub struct SecretList(Vec<Secret>);

impl SecretList {
    /// Reads `id:base64` entries separated by commas or white space, newest first. Both base64 alphabets are read; padding may be left off.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let mut secrets: Vec<Secret> = Vec::new();
        for entry in text.split([',', ' ', '\t', '\r', '\n']).filter(|entry| !entry.is_empty()) {
            let (id, encoded) = entry.split_once(':').ok_or(SecretError::Shape)?;
            // Before anything that repeats the id: someone may have swapped it with the secret.
            check_id(id)?;
            let encoded = encoded.trim_end_matches('=');
            let padded = Zeroizing::new(format!("{encoded}{}", "=".repeat((4 - encoded.len() % 4) % 4)));
            let bytes = STANDARD
                .decode(padded.as_bytes())
                .or_else(|_| URL_SAFE.decode(padded.as_bytes()))
                .map_err(|_| SecretError::Base64 { id: id.to_owned() })?;
            let secret = Secret::new(id, bytes)?;
            if secrets.iter().any(|other| other.id() == secret.id()) {
                return Err(SecretError::Repeated { id: id.to_owned() });
            }
            secrets.push(secret);
        }
        Self::new(secrets)
    }

    /// A list from its secrets, newest first.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, SecretError> {
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            return Err(SecretError::Count { count: secrets.len() });
        }
        Ok(Self(secrets))
    }

    /// The secret that writes.
    pub fn first(&self) -> &Secret {
        &self.0[0]
    }

    /// The secret with this id, if it is still configured.
    pub fn get(&self, id: &str) -> Option<&Secret> {
        self.0.iter().find(|secret| secret.id() == id)
    }

    /// All secrets, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }
}

/// Why a list of secrets cannot be used. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// An entry without a colon.
    #[error("write each secret as id:base64")]
    Shape,
    /// An id that is empty, too long or has other characters.
    #[error("a secret's id is 1 to {SECRET_ID_MAX_BYTES} of a-z, 0-9 and -")]
    Id,
    /// Something that is not base64.
    #[error("secret {id:?} is not base64")]
    Base64 {
        /// The id before the colon.
        id: String,
    },
    /// Too few bytes.
    #[error("secret {id:?} has {len} bytes, and needs at least {SECRET_MIN_BYTES}")]
    Short {
        /// The id before the colon.
        id: String,
        /// How many bytes it has.
        len: usize,
    },
    /// One id twice.
    #[error("secret {id:?} is there twice")]
    Repeated {
        /// The id before the colon.
        id: String,
    },
    /// No secret, or more than [`SECRETS_MAX`].
    #[error("needs 1 to {SECRETS_MAX} secrets, and has {count}")]
    Count {
        /// How many there are.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "new:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const B: &str = "old:__________________________________________8";

    #[test]
    fn first_writes_and_all_read() {
        let list = SecretList::parse(&format!("{A},\n {B}")).unwrap();
        assert_eq!(list.first().id(), "new");
        assert_eq!(list.get("old").unwrap().expose(), [0xff; 32]);
        assert!(list.get("none").is_none());
    }

    #[test]
    fn debug_never_shows_the_bytes() {
        let shown = format!("{:?}", SecretList::parse(A).unwrap());
        assert_eq!(shown, "SecretList([new:***])");
    }

    /// Whether a type can be printed with `{}`, or serialized: the constants of the type itself win over those of the traits.
    struct Probe<T>(std::marker::PhantomData<T>);
    trait CannotDisplay {
        const DISPLAYS: bool = false;
    }
    trait CannotSerialize {
        const SERIALIZES: bool = false;
    }
    impl<T> CannotDisplay for Probe<T> {}
    impl<T> CannotSerialize for Probe<T> {}
    impl<T: fmt::Display> Probe<T> {
        const DISPLAYS: bool = true;
    }
    impl<T: serde::Serialize> Probe<T> {
        const SERIALIZES: bool = true;
    }

    /// Looked at when this is compiled.
    macro_rules! neither_displays_nor_serializes {
        ($($kind:ty),+) => { $(const _: () = assert!(!Probe::<$kind>::DISPLAYS && !Probe::<$kind>::SERIALIZES);)+ };
    }
    neither_displays_nor_serializes!(
        Secret,
        SecretList,
        crate::api_key::ApiKey,
        crate::api_key::ApiKeyHasher,
        crate::license::LicenseDigester,
        crate::mac::KeyedMac,
        crate::mac::KeyedMacs,
        crate::seal::Sealer,
        crate::session::SessionSigner
    );
    // Or the probe would not tell anything.
    const _: () = assert!(Probe::<String>::DISPLAYS && Probe::<String>::SERIALIZES);
    // A license key is serialized on its way to its buyer, and a request on its way to be sealed; neither is ever text.
    const _: () = assert!(!Probe::<crate::license::LicenseKey>::DISPLAYS && Probe::<crate::license::LicenseKey>::SERIALIZES);
    const _: () = assert!(!Probe::<crate::fulfill::FulfillRequest>::DISPLAYS && !Probe::<crate::order::Order>::DISPLAYS);

    #[test]
    fn what_is_made_of_secrets_shows_their_ids_alone() {
        let list = SecretList::new(vec![Secret::new("k1", b"never to be seen in any log there is".to_vec()).unwrap()]).unwrap();
        let key = crate::api_key::ApiKey::generate(crate::mode::Mode::Live, || 7 << 58);
        let license = crate::license::LicenseKey::parse("NEVER-TO-BE-SEEN").unwrap();
        let macs = crate::mac::KeyedMacs::new(&list);
        let sealer = crate::seal::Sealer::new(&list, crate::seal::Purpose::License, [0; crate::seal::SALT_LEN]);
        let hasher = crate::api_key::ApiKeyHasher::new(&list);
        let (signer, digester) = (crate::session::SessionSigner::new(&list), crate::license::LicenseDigester::new(&list));
        let shown = format!("{list:?} {macs:?} {sealer:?} {hasher:?} {signer:?} {digester:?} {license:?} {key:?}");
        assert_eq!(shown.matches("k1:***").count(), 6, "{shown}");
        assert!(shown.contains(&format!(" *** {}***", key.hint())), "{shown}");
        // Neither as text nor as the numbers of its bytes.
        for clear in ["never", "NEVER", "110, 101, 118", &key.expose()[12..]] {
            assert!(!shown.contains(clear), "{clear} in {shown}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| SecretList::parse(text).unwrap_err();
        assert_eq!(error(""), SecretError::Count { count: 0 });
        assert_eq!(error("AAAA"), SecretError::Shape);
        assert_eq!(error("A:AAAA"), SecretError::Id);
        assert_eq!(error("a:AAAA"), SecretError::Short { id: "a".into(), len: 3 });
        assert_eq!(error("SeCrEtBytes:k1"), SecretError::Id);
        assert_eq!(error("a:!"), SecretError::Base64 { id: "a".into() });
        assert_eq!(error(&format!("{A} {A}")), SecretError::Repeated { id: "new".into() });
    }
}
