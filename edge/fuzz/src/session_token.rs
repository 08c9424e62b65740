//! Checkout session tokens. The first byte says what is tried: a token as it stands, a token that is signed here and then changed, or a
//! payload that nobody of us wrote under a signature that is right.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::cart::SessionRequest;
use common::mac::KeyedMacs;
use common::mode::Mode;
use common::session::{Claims, SessionSigner, SessionTooLarge, TOKEN_MAX_CHARS, TokenError};
use hmac::Mac;
use uuid::Uuid;

use crate::bounds::measured;
use crate::knowledge::secrets;

const ISSUED_AT_S: u64 = 1_000;
const EXPIRES_AT_S: u64 = 2_000;
/// The ids of the secrets that verify; the first one signs.
const KEYS: [&str; 2] = ["k2", "k1"];

/// Signing and verifying, for any bytes.
pub fn check(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    match how % 3 {
        0 => check_token(rest),
        1 => check_signed(rest),
        _ => check_payload(rest),
    }
}

/// A token that is accepted is one that was signed: to the letter what signing its claims gives.
fn check_token(text: &[u8]) {
    let Ok(token) = std::str::from_utf8(text) else { return };
    let signer = SessionSigner::new(&secrets(&KEYS));
    match measured(token.len(), 64, || signer.verify(token, ISSUED_AT_S)) {
        Ok(claims) => {
            assert!(token.len() <= TOKEN_MAX_CHARS && ISSUED_AT_S < claims.expires_at_s);
            let id = token.split('.').nth(1).expect("a token has the id of its key");
            assert_eq!(SessionSigner::new(&secrets(&[id])).sign(&claims).as_deref(), Ok(token));
            assert_eq!(signer.verify(token, claims.expires_at_s), Err(TokenError::Expired));
        }
        Err(_) => assert!(signer.verify(token, ISSUED_AT_S).is_err(), "what was refused once is refused again"),
    }
}

/// What is signed is read again, until it expires, by those who have the key, and not when anything was changed.
fn check_signed(data: &[u8]) {
    let Some((change, body)) = data.split_first_chunk::<3>() else { return };
    let Ok(request) = SessionRequest::parse(body, false) else { return };
    let claims = Claims {
        store_id: i64::from(change[0]),
        mode: if change[1] % 2 == 0 { Mode::Live } else { Mode::Test },
        cart: request.cart,
        currency: request.currency,
        locale: request.locale,
        metadata: request.metadata,
        issued_at_s: ISSUED_AT_S,
        expires_at_s: EXPIRES_AT_S,
        id: Uuid::from_u128(0x0a),
    };
    let signer = SessionSigner::new(&secrets(&KEYS));
    let token = match signer.sign(&claims) {
        Ok(token) => token,
        Err(SessionTooLarge) => {
            let payload = serde_json::to_vec(&claims).expect("claims are JSON").len();
            let chars = "cs1.k2..".len() + (payload * 4).div_ceil(3) + 43;
            assert!(chars > TOKEN_MAX_CHARS, "refused, although it has {chars} characters");
            return;
        }
    };
    assert!(token.len() <= TOKEN_MAX_CHARS);
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "not safe in a URL as it is: {token}");
    assert_eq!(signer.verify(&token, EXPIRES_AT_S - 1), Ok(claims));
    assert_eq!(signer.verify(&token, EXPIRES_AT_S), Err(TokenError::Expired));
    assert_eq!(SessionSigner::new(&secrets(&["k1"])).verify(&token, ISSUED_AT_S), Err(TokenError::Signature));

    let mut changed = token.into_bytes();
    let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
    changed[at] ^= change[2].max(1);
    let Ok(changed) = String::from_utf8(changed) else { return };
    assert!(signer.verify(&changed, ISSUED_AT_S).is_err(), "changed at {at}: {changed}");
    assert!(signer.verify(&changed[..at.min(changed.len() - 1)], ISSUED_AT_S).is_err_and(|error| error != TokenError::Expired));
}

/// A payload that a later version might have signed is read or refused in good order.
fn check_payload(payload: &[u8]) {
    let macs = KeyedMacs::new(&secrets(&KEYS));
    let signed = format!("cs1.{}.{}", macs.first().id(), URL_SAFE_NO_PAD.encode(payload));
    let signature = macs.first().begin().chain_update(signed.as_bytes()).finalize().into_bytes();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let signer = SessionSigner::new(&secrets(&KEYS));
    match measured(token.len(), 64, || signer.verify(&token, ISSUED_AT_S)) {
        Ok(claims) => {
            assert!(serde_json::from_slice::<serde_json::Value>(payload).is_ok(), "more than JSON was read");
            // Written again in our own words, they are the same claims, unless the words are longer than what was sent.
            if let Ok(again) = signer.sign(&claims) {
                assert_eq!(signer.verify(&again, ISSUED_AT_S), Ok(claims));
            }
        }
        Err(TokenError::Expired) => assert!(token.len() <= TOKEN_MAX_CHARS),
        Err(error) => assert_eq!(error, TokenError::Malformed, "the signature is right"),
    }
}
