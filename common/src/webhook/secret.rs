//! The secret that a store and a partner's server share, and what is signed with it: the platform's own header, which the page
//! documents, and the headers of Standard Webhooks (standardwebhooks.com), which have a time in them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

/// What secrets of Standard Webhooks begin with.
const PREFIX: &str = "whsec_";
/// Random bytes of a secret that we make.
pub const RANDOM_LEN: usize = 32;
/// The fewest bytes that a secret's text may have.
const TEXT_MIN: usize = 16;
/// The most.
const TEXT_MAX: usize = 128;
/// How many bytes the base64 behind [`PREFIX`] may say. What the standard asks for.
const DECODED: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook secret. `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Zeroizing<String>);

/// Why a text is no webhook secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Too short, too long, or with characters that do not survive being copied.
    #[error("must be {TEXT_MIN} to {TEXT_MAX} visible ASCII characters")]
    Characters,
    /// It says that it is a secret of Standard Webhooks, and is none.
    #[error("must be whsec_ and the base64 of {} to {} bytes; leave it out to have one made", DECODED.start(), DECODED.end())]
    Standard,
}

impl WebhookSecret {
    /// A secret made of these random bytes.
    pub fn generate(random: &[u8; RANDOM_LEN]) -> Self {
        Self(Zeroizing::new(format!("{PREFIX}{}", &*Zeroizing::new(STANDARD.encode(random)))))
    }

    /// Takes a partner's own.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if !(TEXT_MIN..=TEXT_MAX).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Characters);
        }
        if let Some(encoded) = text.strip_prefix(PREFIX)
            && !STANDARD.decode(encoded).is_ok_and(|bytes| DECODED.contains(&bytes.len()))
        {
            return Err(SecretError::Standard);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself, to be shown once or sealed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(***)")
    }
}

/// Signs deliveries with one secret, its HMACs keyed once.
#[derive(Clone)]
pub struct WebhookSigner {
    /// Under the secret's text, as the page has it.
    text: Hmac<Sha256>,
    /// Under the bytes that the text stands for, as the standard has it; a secret without the prefix stands for itself.
    bytes: Hmac<Sha256>,
}

impl WebhookSigner {
    /// A signer for this secret.
    pub fn new(secret: &WebhookSecret) -> Self {
        let keyed = |key: &[u8]| Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
        let text = secret.expose();
        let decoded = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok()).map(Zeroizing::new);
        let bytes = decoded.as_ref().map_or(text.as_bytes(), |decoded| decoded.as_slice());
        Self { text: keyed(text.as_bytes()), bytes: keyed(bytes) }
    }

    /// `X-AnonymousPay-Signature`: `sha256=` and 64 hexadecimal digits.
    pub fn sign(&self, body: &[u8]) -> String {
        let tag = self.text.clone().chain_update(body).finalize().into_bytes();
        let mut value = String::with_capacity(7 + 64);
        value.push_str("sha256=");
        for byte in tag {
            for digit in [byte >> 4, byte & 15] {
                value.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        value
    }

    /// One value of `webhook-signature`: `v1,` and base64. Signs the event's id and the time of the attempt with the body.
    pub fn sign_standard(&self, event_id: Uuid, unix_s: u64, body: &[u8]) -> String {
        let head = format!("{event_id}.{unix_s}.");
        let tag = self.bytes.clone().chain_update(head).chain_update(body).finalize().into_bytes();
        let mut value = String::with_capacity(3 + 44);
        value.push_str("v1,");
        STANDARD.encode_string(tag, &mut value);
        value
    }
}

impl fmt::Debug for WebhookSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSigner(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partners_own_secret_is_taken_or_told_why_not() {
        let parse = |text: &str| WebhookSecret::parse(text).map(|secret| secret.expose().to_owned());
        let standard = format!("whsec_{}", STANDARD.encode([7; 24]));
        for good in ["sixteen-letters!", &"x".repeat(128), &standard] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for bad in ["fifteen-letters", &"x".repeat(129), "", "sixteen letters!!", "sixteen-letters\u{e4}"] {
            assert_eq!(parse(bad), Err(SecretError::Characters), "{bad:?}");
        }
        for bad in
            [format!("whsec_{}", STANDARD.encode([7; 23])), format!("whsec_{}", STANDARD.encode([7; 65])), "whsec_%%%%%%%%%%%%".into()]
        {
            assert_eq!(parse(&bad), Err(SecretError::Standard), "{bad:?}");
        }
    }

    #[test]
    fn what_is_made_is_taken_and_never_shown() {
        let made = WebhookSecret::generate(&[255; RANDOM_LEN]);
        assert_eq!(WebhookSecret::parse(made.expose()), Ok(made.clone()));
        assert_eq!(format!("{made:?} {:?}", WebhookSigner::new(&made)), "WebhookSecret(***) WebhookSigner(***)");
    }

    /// Values computed with Python's `hmac`, `hashlib` and `base64`.
    #[test]
    fn signatures_are_those_that_others_compute() {
        let event_id = Uuid::from_u128(1);
        let body = "{\"a\":\"ü\"}".as_bytes();
        let plain = WebhookSigner::new(&WebhookSecret::parse("sixteen-letters!").unwrap());
        let standard = WebhookSigner::new(&WebhookSecret::parse(&format!("whsec_{}", STANDARD.encode([7; 24]))).unwrap());
        assert_eq!(plain.sign(body), PLAIN);
        assert_eq!(plain.sign_standard(event_id, 1_700_000_000, body), PLAIN_STANDARD);
        assert_eq!(standard.sign(body), STANDARD_TEXT);
        assert_eq!(standard.sign_standard(event_id, 1_700_000_000, body), STANDARD_STANDARD);
    }

    const PLAIN: &str = "sha256=14c66c798329fd0cf3745c39a03a97189ef8c4bc115c0059ac8b205c4f05580a";
    const PLAIN_STANDARD: &str = "v1,JEskbQiI/olcROjNF4j+Bwitv4CdS/zZ1qdCGQqFWKU=";
    const STANDARD_TEXT: &str = "sha256=5caa910bdb63918e3ca11dca4c90db324ac62cba6628ed822f59d195b7158899";
    const STANDARD_STANDARD: &str = "v1,fVSdNTOKehmSHCbvYI92OeX49Gg2aSMujKdzuRn7JEM=";
}
