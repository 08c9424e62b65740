//! `Authorization`, value by value, separated by line feeds. Whatever stands there, the gate answers as if by the one rule of the
//! documentation; and of all that can be written in place of a key's checksum, one thing is taken.

use std::net::IpAddr;

use common::api_key::{API_KEY_LEN, ApiKey, ApiKeyHasher, HINT_LEN, Scope};
use common::mode::Mode;
use edge::client_address::ClientAddress;
use edge::error::Code;
use edge::gate::Access;
use edge::quotas::QuotaName;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::bounds::measured;
use crate::knowledge::{GATE, NOW, secrets};

const PREFIX_LEN: usize = "sk_live_".len();
const RANDOM_LEN: usize = 28;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The gate and the key's reader, for any values of the header.
pub fn check(data: &[u8]) {
    let values: Vec<&[u8]> = data.split(|&byte| byte == b'\n').take(4).collect();
    let mut headers = HeaderMap::new();
    for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(AUTHORIZATION, value);
    }
    let code = measured(data.len(), 8, || ask(&headers));
    let sent: Vec<&[u8]> = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(code, expected(&sent), "{sent:?}");

    for value in values {
        check_key(value);
        if value.len() > 7 {
            check_key(&value[7..]);
        }
    }
    if let Some(key) = key_made_of(data) {
        check_key(key.expose().as_bytes());
        // What is one key everywhere else is one here too, whatever is written around it.
        let mut value = b"bEARER \t".to_vec();
        value.extend_from_slice(key.expose().as_bytes());
        headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(&value).expect("visible ASCII"))]);
        assert_eq!(ask(&headers), Code::InvalidApiKey, "well-formed, and nobody's");
    }
}

fn ask(headers: &HeaderMap) -> Code {
    let address = ClientAddress::of(IpAddr::from([203, 0, 113, 9]));
    let decision = GATE.admit(Access::Key(Scope::Checkout, QuotaName::Checkout), headers, "store", address, NOW);
    let rate = decision.rate.expect("part of the API");
    assert_eq!(rate.name, QuotaName::Anonymous, "a failing key costs its address");
    decision.outcome.expect_err("nobody has a key").code()
}

/// The rule: exactly one, and of the scheme Bearer.
fn expected(values: &[&[u8]]) -> Code {
    match values {
        [] => Code::MissingApiKey,
        [value] if value.len() < 7 || value[6] != b' ' || !value[..6].eq_ignore_ascii_case(b"bearer") => Code::MissingApiKey,
        _ => Code::InvalidApiKey,
    }
}

/// The one key that has this mode and these random characters, if they are any.
fn key_with(mode: Mode, characters: &[u8]) -> Option<ApiKey> {
    let indices: Option<Vec<u64>> = characters.iter().map(|byte| ALPHABET.iter().position(|c| c == byte).map(|at| at as u64)).collect();
    let mut words = indices?.into_iter().map(|index| index << 58);
    Some(ApiKey::generate(mode, || words.next().expect("a word for each character")))
}

fn key_made_of(data: &[u8]) -> Option<ApiKey> {
    let characters: Vec<u8> = data.iter().copied().filter(u8::is_ascii_alphanumeric).take(RANDOM_LEN).collect();
    (characters.len() == RANDOM_LEN)
        .then(|| key_with(if data.len().is_multiple_of(2) { Mode::Live } else { Mode::Test }, &characters))
        .flatten()
}

/// A text is a key exactly when it is what generating gives for its characters.
fn check_key(text: &[u8]) {
    let mode = if text.starts_with(b"sk_test_") { Mode::Test } else { Mode::Live };
    let expected = text.get(PREFIX_LEN..PREFIX_LEN + RANDOM_LEN).and_then(|characters| key_with(mode, characters));
    let expected = expected.filter(|key| key.expose().as_bytes() == text);
    match (ApiKey::parse(text), expected) {
        (Err(_), None) => {}
        (Ok(key), Some(expected)) => {
            assert_eq!((key.expose(), key.mode(), key.expose().len()), (expected.expose(), mode, API_KEY_LEN));
            let again = ApiKey::parse(key.expose().as_bytes()).expect("what was read once is read again");
            let hasher = ApiKeyHasher::new(&secrets(&["p2", "p1"]));
            assert_eq!(hasher.candidates(&key).collect::<Vec<_>>(), hasher.candidates(&again).collect::<Vec<_>>());
            assert!(!format!("{key:?}").contains(&key.expose()[HINT_LEN..]), "more than the hint was shown");
            // The data chooses where; a sum of all bytes comes by every place.
            let at = text.iter().map(|&byte| usize::from(byte)).sum::<usize>() % API_KEY_LEN;
            let mut changed = text.to_vec();
            changed[at] ^= 1;
            assert!(ApiKey::parse(&changed).is_err(), "character {at} was changed");
        }
        (read, expected) => panic!("{:?}: read {read:?}, expected {expected:?}", String::from_utf8_lossy(text)),
    }
}
