//! Checkout session tokens: self-contained and signed, so that any edge can make one without asking anybody, and any edge can verify
//! it after a restart. `cs1.<key id>.<payload>.<signature>`, both parts base64url, the signature over everything before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cart::Line;
use crate::mac::KeyedMacs;
use crate::mode::Mode;
use crate::money::Currency;
use crate::secret::SecretList;

/// The longest token, in characters.
pub const TOKEN_MAX_CHARS: usize = 4_096;
/// What the token is for, and the version of its form. A token made for anything else does not begin so.
const PURPOSE: &str = "cs1";

/// What a session token binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The store that sells.
    #[serde(rename = "s")]
    pub store_id: i64,
    /// Live or test.
    #[serde(rename = "m")]
    pub mode: Mode,
    /// What is bought.
    #[serde(rename = "c")]
    pub cart: Vec<Line>,
    /// What it is paid in.
    #[serde(rename = "cur")]
    pub currency: Currency,
    /// The customer's language.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// What the partner gave along.
    #[serde(rename = "md", default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
    /// Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at_s: u64,
    /// Unix seconds; from then on the token is refused.
    #[serde(rename = "exp")]
    pub expires_at_s: u64,
    /// What makes this session one and not another, as 32 hex digits. A session becomes at most one order.
    #[serde(with = "uuid::serde::simple")]
    pub id: Uuid,
}

/// Makes and verifies tokens. The first signing key makes, all verify.
#[derive(Clone, Debug)]
pub struct SessionSigner {
    keys: KeyedMacs,
}

impl SessionSigner {
    /// A signer over these keys. The keyed state is prepared once.
    pub fn new(keys: &SecretList) -> Self {
        Self { keys: KeyedMacs::new(keys) }
    }

    /// A token for these claims, or [`SessionTooLarge`] when it would be longer than [`TOKEN_MAX_CHARS`].
    pub fn sign(&self, claims: &Claims) -> Result<String, SessionTooLarge> {
        let mac = self.keys.first();
        // Most payloads are below half a kilobyte.
        let mut payload = Vec::with_capacity(512);
        serde_json::to_writer(&mut payload, claims).map_err(|_| SessionTooLarge)?;
        let mut token = Vec::with_capacity(PURPOSE.len() + mac.id().len() + payload.len().div_ceil(3) * 4 + 46);
        token.extend_from_slice(PURPOSE.as_bytes());
        token.push(b'.');
        token.extend_from_slice(mac.id().as_bytes());
        token.push(b'.');
        push_base64(&mut token, &payload);
        let signature = mac.begin().chain_update(&token).finalize().into_bytes();
        token.push(b'.');
        push_base64(&mut token, &signature);
        let token = String::from_utf8(token).expect("ids of secrets, base64 and dots are ASCII");
        if token.len() > TOKEN_MAX_CHARS { Err(SessionTooLarge) } else { Ok(token) }
    }

    /// The claims of a token that one of our keys signed and that has not expired.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Claims, TokenError> {
        let claims = self.read(token)?;
        if now_unix_s >= claims.expires_at_s { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// The claims of a token that one of our keys signed, however old it is: for telling the customer of an expired session the way back
    /// to the shop, and for nothing else.
    pub fn read(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_MAX_CHARS {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let mut parts = signed.split('.');
        let (purpose, key_id, payload) = (parts.next(), parts.next(), parts.next());
        let (Some(PURPOSE), Some(key_id), Some(payload), None) = (purpose, key_id, payload, parts.next()) else {
            return Err(TokenError::Malformed);
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        let mac = self.keys.get(key_id).ok_or(TokenError::Signature)?;
        mac.begin().chain_update(signed.as_bytes()).verify_slice(&signature).map_err(|_| TokenError::Signature)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
        // As text: in members that a later version added and this one skips, any bytes would pass otherwise.
        let payload = std::str::from_utf8(&payload).map_err(|_| TokenError::Malformed)?;
        serde_json::from_str(payload).map_err(|_| TokenError::Malformed)
    }
}

fn push_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    let start = text.len();
    text.resize(start + base64::encoded_len(bytes.len(), false).unwrap_or_default(), 0);
    let encoded = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text[start..]);
    debug_assert_eq!(encoded.map(|len| start + len), Ok(text.len()));
}

/// The cart and metadata make a token that does not fit into a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session's token would be longer than {TOKEN_MAX_CHARS} characters: send fewer lines or less metadata")]
pub struct SessionTooLarge;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a session token at all.
    #[error("not a checkout session token")]
    Malformed,
    /// Changed, or signed by nobody we know.
    #[error("the checkout session's signature is not ours")]
    Signature,
    /// Was good.
    #[error("the checkout session has expired")]
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cart::SessionRequest;
    use crate::secret::Secret;

    fn keys(ids: &[&str]) -> SecretList {
        SecretList::new(ids.iter().map(|id| Secret::new(id, id.repeat(32).into_bytes()).unwrap()).collect()).unwrap()
    }

    fn claims(body: &str) -> Claims {
        let request = SessionRequest::parse(body.as_bytes(), true).unwrap();
        let (cart, currency, locale, metadata) = (request.cart, request.currency, request.locale, request.metadata);
        let (issued_at_s, expires_at_s) = (1_000, 2_000);
        Claims { store_id: 7, mode: Mode::Live, cart, currency, locale, metadata, issued_at_s, expires_at_s, id: Uuid::from_u128(10) }
    }

    fn small() -> Claims {
        claims(r#"{"cart":{"WIN-11-PRO":1},"currency":"GBP","locale":"en","metadata":{"external_reference":"a \"b\" é"}}"#)
    }

    #[test]
    fn any_edge_reads_what_another_signed() {
        let token = SessionSigner::new(&keys(&["k1"])).sign(&small()).unwrap();
        assert!(token.starts_with("cs1.k1."));
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "safe in a URL as it is: {token}");
        let rotated = SessionSigner::new(&keys(&["k2", "k1"]));
        assert_eq!(rotated.verify(&token, 1_999), Ok(small()));
        assert_eq!(rotated.verify(&token, 2_000), Err(TokenError::Expired));
        assert_eq!(SessionSigner::new(&keys(&["k2"])).verify(&token, 1_500), Err(TokenError::Signature));
    }

    #[test]
    fn no_character_can_be_changed() {
        let signer = SessionSigner::new(&keys(&["k1"]));
        let token = signer.sign(&small()).unwrap();
        for position in 0..token.len() {
            for replacement in [b'A', b'z', b'.', b'-'] {
                let mut bytes = token.clone().into_bytes();
                if bytes[position] == replacement {
                    continue;
                }
                bytes[position] = replacement;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(signer.verify(&changed, 1_500).is_err(), "{position}: {changed}");
            }
        }
        for text in ["", ".", "...", "cs1.k1..", "cs1", &token[1..], &format!("{token}."), &format!("x.{token}")] {
            assert!(signer.verify(text, 1_500).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_never_exceeds_its_bound() {
        let signer = SessionSigner::new(&keys(&["k1"]));
        let cart = |lines: usize| (0..lines).map(|n| format!("\"{n:064}\":1000")).collect::<Vec<_>>().join(",");
        let sign = |lines| signer.sign(&claims(&format!(r#"{{"cart":{{{}}},"currency":"GBP"}}"#, cart(lines))));
        let largest = (1..=50).take_while(|&lines| sign(lines).is_ok()).last().unwrap();
        assert!((20..50).contains(&largest), "{largest} of the longest SKUs fit");
        assert!(sign(largest).unwrap().len() <= TOKEN_MAX_CHARS);
        assert_eq!(sign(largest + 1), Err(SessionTooLarge));
    }
}
