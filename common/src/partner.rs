//! Partners who sign in to the portal: their roles, their passwords, and the secrets that links and cookies carry. What is kept of a secret
//! is a digest; what is kept of a password is argon2id, whose cost is paid here: never on a thread that serves requests.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The fewest characters of a password: length is what counts, so nothing else is asked for.
pub const PASSWORD_MIN_CHARS: usize = 12;
/// The most bytes of a password.
pub const PASSWORD_MAX_BYTES: usize = 256;

/// What the digest of a link for setting a password is for.
pub const INVITE: &str = "invite";
/// What the digest of a session's cookie is for.
pub const SESSION: &str = "session";

/// What an account may do in a store. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    ReadOnly,
    /// Look, and change what programs use: API keys, webhook endpoints.
    Developer,
    /// Everything.
    Owner,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::ReadOnly, Role::Developer, Role::Owner];

    /// Its name, as the command line and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ReadOnly => "read-only",
            Role::Developer => "developer",
            Role::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A word that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is owner, developer or read-only")]
pub struct UnknownRole;

/// 256 random bits that a cookie or a link carries. `Debug` shows `***`.
#[derive(Clone)]
pub struct Bearer(Zeroizing<[u8; 32]>);

impl Bearer {
    /// Of these random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// Reads what [`Bearer::expose`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// Itself: 43 characters that need no escaping in a URL or a cookie. Never log it.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    /// What is kept of it. `purpose` keeps a link from being taken for a cookie.
    pub fn digest(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(purpose).chain_update([0]).chain_update(*self.0).finalize().into()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An account's name: its e-mail address in lower case, or nothing where it is none.
pub fn account_email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    crate::fulfill::is_email(&email).then_some(email)
}

/// What is wrong with a new password.
pub fn password_complaint(password: &str, email: &str) -> Option<&'static str> {
    if password.chars().count() < PASSWORD_MIN_CHARS {
        Some("Use 12 characters or more. A few random words are easy to remember.")
    } else if password.len() > PASSWORD_MAX_BYTES {
        Some("Use at most 256 characters.")
    } else if password.to_lowercase().contains(email) || password.chars().all(|c| password.starts_with(c)) {
        Some("That one is too easy to guess.")
    } else {
        None
    }
}

/// 19 MiB, twice over: what OWASP's Password Storage Cheat Sheet recommends for argon2id.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("good parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password: some tens of milliseconds of one core.
pub fn hash_password(password: &str, salt: &[u8; 16]) -> String {
    let hash = argon2().hash_password_with_salt(password.as_bytes(), salt).expect("the parameters, the salt and the length are good");
    hash.to_string()
}

/// Whether this is the password that was hashed. Takes as long for a wrong one as for the right one.
pub fn is_password(password: &str, hash: &str) -> bool {
    password.len() <= PASSWORD_MAX_BYTES && argon2().verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hash = hash_password("correct horse battery", &[7; 16]);
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(is_password("correct horse battery", &hash));
        assert!(!is_password("correct horse batterz", &hash) && !is_password("", &hash) && !is_password("x", "no hash"));
        assert_ne!(hash, hash_password("correct horse battery", &[8; 16]));
    }

    #[test]
    fn passwords_are_long_and_not_the_address() {
        assert_eq!(password_complaint("correct horse", "a@b.example"), None);
        let long = "ab".repeat(129);
        for bad in ["", "elevenchars", "aaaaaaaaaaaaaaaa", "A@b.example1", long.as_str()] {
            assert!(password_complaint(bad, "a@b.example").is_some(), "{bad}");
        }
    }

    #[test]
    fn bearers_come_back_and_their_digests_are_for_one_purpose() {
        let bearer = Bearer::new([9; 32]);
        let again = Bearer::parse(&bearer.expose()).unwrap();
        assert_eq!(again.digest("a"), bearer.digest("a"));
        assert_ne!(bearer.digest("a"), bearer.digest("b"));
        assert_eq!(format!("{bearer:?}"), "***");
        assert!(Bearer::parse("AAAA").is_none() && Bearer::parse("").is_none());
    }

    #[test]
    fn roles_are_ordered_and_named() {
        assert!(Role::ReadOnly < Role::Developer && Role::Developer < Role::Owner);
        assert!(Role::ALL.into_iter().all(|role| role.as_str().parse() == Ok(role)));
        assert_eq!("Owner".parse::<Role>(), Err(UnknownRole));
    }

    #[test]
    fn accounts_are_named_in_lower_case() {
        assert_eq!(account_email(" Ann@Shop.Example ").as_deref(), Some("ann@shop.example"));
        assert_eq!(account_email("ann"), None);
    }
}
