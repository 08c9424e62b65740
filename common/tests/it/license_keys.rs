//! License keys and their digests: equal digests for equal keys of one store and mode, and for nothing else, across secrets too.

use common::license::{LICENSE_KEY_MAX_BYTES, LicenseDigester, LicenseKey, Pattern};
use common::mode::Mode;
use proptest::prelude::*;

use crate::drawn::{cases, mode, secrets, text};

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn equal_digests_mean_the_same_key_of_the_same_store_and_mode(
        first in (0_i64..3, mode(), "[AB]{1,3}"), second in (0_i64..3, mode(), "[AB]{1,3}"), stores: (i64, i64),
    ) {
        let digester = LicenseDigester::new(&secrets(&["d1"]));
        let of = |(store, mode, key): &(i64, Mode, String)| digester.digest(*store, *mode, &LicenseKey::parse(key).unwrap()).1;
        prop_assert_eq!(of(&first) == of(&second), first == second);
        // Where a store's id ends and a key begins is not to be guessed from the bytes.
        let (one, other) = ((stores.0, first.1, first.2.clone()), (stores.1, first.1, first.2.clone()));
        prop_assert_eq!(of(&one) == of(&other), stores.0 == stores.1);
    }

    #[test]
    fn a_new_secret_knows_what_the_old_one_digested(store: i64, mode in mode(), key in "[A-Z0-9-]{1,40}", blank in "[ \t\r\n]{0,3}") {
        let key = LicenseKey::parse(&format!("{blank}{key}{blank}")).unwrap();
        let (old, both) = (LicenseDigester::new(&secrets(&["d1"])), LicenseDigester::new(&secrets(&["d2", "d1"])));
        let (id, digest) = old.digest(store, mode, &key);
        let candidates = both.candidates(store, mode, &key);
        prop_assert!(candidates.contains(&(id, digest)));
        prop_assert_eq!(candidates[0], both.digest(store, mode, &key));
        prop_assert_ne!(candidates[0].1, candidates[1].1);
    }

    #[test]
    fn what_is_read_is_kept_to_the_letter(text in text(200)) {
        match LicenseKey::parse(&text) {
            Ok(key) => {
                prop_assert_eq!(key.expose(), text.trim());
                prop_assert!((1..=LICENSE_KEY_MAX_BYTES).contains(&key.expose().len()));
                prop_assert!(LicenseKey::parse(key.expose()).unwrap() == key, "read again it is another");
            }
            Err(_) => prop_assert!(text.trim().is_empty() || text.trim().len() > LICENSE_KEY_MAX_BYTES),
        }
    }

    #[test]
    fn generated_keys_follow_their_pattern(pattern in "[A-Z0-9-]{0,40}", random in prop::collection::vec(any::<u64>(), 200)) {
        let enough = pattern.bytes().filter(|&b| b == b'X').count() >= 16;
        prop_assert_eq!(Pattern::parse(&pattern).is_ok(), enough);
        let pattern = format!("{pattern}XXXXXXXXXXXXXXXX");
        let mut words = random.into_iter().cycle();
        // A word that is no letter is drawn again: what is drawn from has letters in it, or this would never end.
        prop_assume!(words.clone().take(200).any(|word| word >> 59 < 30));
        let key = Pattern::parse(&pattern).unwrap().generate(|| words.next().unwrap());
        prop_assert_eq!(key.expose().len(), pattern.len());
        for (made, asked) in key.expose().chars().zip(pattern.chars()) {
            let fits = if asked == 'X' { "23456789ABCDEFGHJKMNPQRSTVWXYZ".contains(made) } else { made == asked };
            prop_assert!(fits, "{} for {}", made, asked);
        }
    }
}
