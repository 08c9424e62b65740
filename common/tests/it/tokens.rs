//! Session tokens: what was signed is read, and nothing else is, whichever bit of it was touched.

use common::session::{Claims, SessionSigner, SessionTooLarge, TOKEN_MAX_CHARS, TokenError};
use proptest::prelude::*;
use uuid::Uuid;

use crate::drawn::{cart, cases, currency, locale, mode, secrets, text};

fn claims(lines_max: usize) -> impl Strategy<Value = Claims> {
    let metadata = prop::collection::btree_map("[a-z]{1,12}", text(30), 0..5).prop_map(|pairs| pairs.into_iter().collect());
    let times = (0_u64..4_000_000_000, 1_800_u64..=86_400);
    (any::<i64>(), mode(), cart(lines_max), currency(), prop::option::of(locale()), metadata, times, any::<u128>()).prop_map(
        |(store_id, mode, cart, currency, locale, metadata, (issued_at_s, lifetime_s), id)| {
            let (expires_at_s, id) = (issued_at_s + lifetime_s, Uuid::from_u128(id));
            Claims { store_id, mode, cart, currency, locale, metadata, issued_at_s, expires_at_s, id }
        },
    )
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn is_read_until_it_expires_by_whoever_has_the_key(claims in claims(50)) {
        let token = match SessionSigner::new(&secrets(&["k1"])).sign(&claims) {
            Err(SessionTooLarge) => {
                prop_assert!(serde_json::to_vec(&claims).unwrap().len() > (TOKEN_MAX_CHARS - 60) / 4 * 3);
                return Ok(());
            }
            Ok(token) => token,
        };
        prop_assert!(token.len() <= TOKEN_MAX_CHARS);
        let rotated = SessionSigner::new(&secrets(&["k2", "k1"]));
        prop_assert_eq!(rotated.verify(&token, claims.issued_at_s), Ok(claims.clone()));
        prop_assert_eq!(rotated.verify(&token, claims.expires_at_s - 1), Ok(claims.clone()));
        for late in [claims.expires_at_s, u64::MAX] {
            prop_assert_eq!(rotated.verify(&token, late), Err(TokenError::Expired));
        }
        prop_assert_eq!(SessionSigner::new(&secrets(&["k2"])).verify(&token, claims.issued_at_s), Err(TokenError::Signature));
    }
}

proptest! {
    #![proptest_config(cases(12))]

    /// Every bit, every cut, everything that is put behind it.
    #[test]
    fn any_bit_flipped_is_refused(claims in claims(4), tail in text(3)) {
        let signer = SessionSigner::new(&secrets(&["k1", "k2"]));
        let token = signer.sign(&claims).unwrap();
        let refused = |text: &str| signer.verify(text, claims.issued_at_s).is_err_and(|error| error != TokenError::Expired);
        for bit in 0..token.len() * 8 {
            let mut bytes = token.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is no longer UTF-8 cannot be asked about: a token is text.
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(refused(&changed), "bit {bit}: {changed}");
            }
        }
        for end in 0..token.len() {
            prop_assert!(refused(&token[..end]), "cut at {end}");
        }
        let longer = format!("{token}{tail}");
        prop_assert!(refused(&longer));
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_nobody_signed_is_refused(text in ".{0,200}", parts in ("[A-Za-z0-9_-]{0,40}", "[A-Za-z0-9_-]{43}")) {
        let signer = SessionSigner::new(&secrets(&["k1"]));
        prop_assert!(signer.verify(&text, 0).is_err());
        let made_up = format!("cs1.k1.{}.{}", parts.0, parts.1);
        prop_assert!(signer.verify(&made_up, 0).is_err());
    }
}
