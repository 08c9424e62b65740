//! Money, against whole numbers that cannot overflow.

use common::money::{AmountError, Currency, MINOR_MAX, Minor};
use proptest::prelude::*;

use crate::drawn::{cases, currency};

fn minor() -> impl Strategy<Value = i64> {
    prop_oneof![0..=MINOR_MAX, 0_i64..1_000, MINOR_MAX - 1_000..=MINOR_MAX]
}

fn expected(value: i128) -> Result<i64, AmountError> {
    if (0..=i128::from(MINOR_MAX)).contains(&value) { Ok(value as i64) } else { Err(AmountError) }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn sums_are_exact_or_refused(a in minor(), b in minor(), quantity in prop_oneof![any::<u32>(), 0_u32..2_000], any: i64) {
        let (left, right) = (Minor::new(a).unwrap(), Minor::new(b).unwrap());
        let (a, b) = (i128::from(a), i128::from(b));
        prop_assert_eq!(left.checked_add(right).map(Minor::get), expected(a + b));
        prop_assert_eq!(left.checked_sub(right).map(Minor::get), expected(a - b));
        prop_assert_eq!(left.checked_mul(quantity).map(Minor::get), expected(a * i128::from(quantity)));
        prop_assert_eq!(Minor::new(any).map(Minor::get), expected(any.into()));
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        prop_assert_eq!(serde_json::from_str::<Minor>(&serde_json::to_string(&left).unwrap()).unwrap(), left);
        prop_assert_eq!(serde_json::from_str::<Minor>(&any.to_string()).is_ok(), expected(any.into()).is_ok());
    }

    #[test]
    fn a_decimal_is_the_minor_units_with_a_point_in_them(amount in minor(), currency in currency()) {
        let shown = Minor::new(amount).unwrap().decimal(currency);
        let digits = shown.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        prop_assert_eq!(digits, currency.exponent() as usize);
        prop_assert_eq!(shown.replace('.', "").parse::<i64>().unwrap(), amount);
        prop_assert!(!shown.starts_with('.') && (shown.starts_with("0.") || !shown.starts_with('0') || shown == "0"), "{}", shown);
    }

    #[test]
    fn a_currency_is_itself_in_any_case_and_nothing_else_is_one(text in "[A-Za-z]{3}", other in ".{0,5}") {
        if let Ok(currency) = Currency::parse(&text) {
            prop_assert_eq!(currency.as_str(), text.to_ascii_uppercase());
            prop_assert_eq!(Currency::parse(&text.to_ascii_lowercase()), Ok(currency));
            prop_assert!(currency.exponent() <= 4);
            let json = serde_json::to_string(&currency).unwrap();
            prop_assert_eq!(serde_json::from_str::<Currency>(&json).unwrap(), currency);
        }
        let three_letters = other.len() == 3 && other.bytes().all(|b| b.is_ascii_alphabetic());
        prop_assert!(three_letters || Currency::parse(&other).is_err());
    }
}
