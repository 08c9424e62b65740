//! Sealed values: they open for their purpose and in their place, and not when any bit of them was touched; what is none is said to be
//! none, in good order.

use common::seal::{Purpose, SALT_LEN, Sealer};
use proptest::prelude::*;

use crate::drawn::{cases, secrets};

const PURPOSES: [Purpose; 4] = [Purpose::License, Purpose::OrderRequest, Purpose::Job, Purpose::Reply];

fn bytes(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=len_max)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn opens_for_its_purpose_and_in_its_place_alone(
        plain in bytes(2_000), place in bytes(60), other in bytes(60), salt: [u8; SALT_LEN], purpose in 0_usize..4, turn in 1_usize..4,
    ) {
        let sealed = Sealer::new(&secrets(&["s1"]), PURPOSES[purpose], salt).seal(&place, &plain);
        let elsewhere = Sealer::new(&secrets(&["s2", "s1"]), PURPOSES[purpose], [9; SALT_LEN]);
        prop_assert_eq!(&*elsewhere.open(&place, &sealed).unwrap(), &plain);
        prop_assert_eq!(elsewhere.open(&other, &sealed).is_ok(), other == place);
        let misused = Sealer::new(&secrets(&["s1"]), PURPOSES[(purpose + turn) % 4], salt);
        prop_assert!(misused.open(&place, &sealed).is_err());
        prop_assert!(Sealer::new(&secrets(&["s2"]), PURPOSES[purpose], salt).open(&place, &sealed).is_err());
        if plain.len() >= 8 {
            prop_assert!(!sealed.windows(8).any(|window| window == &plain[..8]), "what was sealed can be read");
        }
    }

    #[test]
    fn any_bytes_are_opened_or_refused_and_nothing_else(bytes in bytes(200), id in "[a-z0-9-]{0,17}", rest in bytes(80)) {
        let sealer = Sealer::new(&secrets(&["s1"]), Purpose::Job, [1; SALT_LEN]);
        prop_assert!(sealer.open(b"", &bytes).is_err());
        // With a head that is well-formed, up to where the key is derived and the tag does not fit.
        for id in [id.as_str(), "s1"] {
            let headed = [&[1, id.len() as u8], id.as_bytes(), &rest].concat();
            prop_assert!(sealer.open(b"", &headed).is_err());
            prop_assert_eq!(sealer.is_newest(&headed), id == "s1" && rest.len() >= SALT_LEN + 12);
        }
    }
}

proptest! {
    #![proptest_config(cases(12))]

    /// Every bit and every cut.
    #[test]
    fn any_bit_flipped_is_refused(plain in bytes(60), place in bytes(20), salt: [u8; SALT_LEN], known: bool) {
        let sealed = Sealer::new(&secrets(&["s1"]), Purpose::License, salt).seal(&place, &plain);
        let sealer = Sealer::new(&secrets(&["s1"]), Purpose::License, if known { salt } else { [7; SALT_LEN] });
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(sealer.open(&place, &changed).is_err(), "bit {bit}");
        }
        for end in 0..sealed.len() {
            prop_assert!(sealer.open(&place, &sealed[..end]).is_err(), "cut at {end}");
        }
        prop_assert!(sealer.open(&place, &[sealed, vec![0]].concat()).is_err());
    }
}
