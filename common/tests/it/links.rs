//! Direct links, with as much percent-encoding as the one who wrote them saw fit.

use common::cart::link::CartLink;
use proptest::prelude::*;

use crate::drawn::{cart, cases, chance, currency, email, locale, text};

/// Percent-encodes what must be, and whatever `chance` adds.
fn encode(text: &str, chance: &mut impl FnMut() -> u8) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"._-:,@".contains(&byte);
        match byte {
            b' ' if chance().is_multiple_of(2) => out.push('+'),
            _ if plain && !chance().is_multiple_of(4) => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_link_is_what_its_query_says(
        cart in cart(50), currency in currency(), reference in prop::option::of(text(60)), email in prop::option::of(email()),
        locale in prop::option::of(locale()), seed: u64,
    ) {
        prop_assume!(reference.as_ref().is_none_or(|reference| !reference.contains(char::REPLACEMENT_CHARACTER)));
        let mut chance = chance(seed);
        let mut items: Vec<String> = cart.iter().map(|line| format!("{}:{}", line.sku, line.quantity)).collect();
        for index in (1..items.len()).rev() {
            items.swap(index, usize::from(chance()) % (index + 1));
        }
        let (items, code) = (items.join(","), currency.as_str().to_owned());
        let pairs = [("items", Some(&items)), ("currency", Some(&code)), ("external_reference", reference.as_ref()), ("email", email.as_ref()), ("locale", locale.as_ref())];
        let mut pairs: Vec<String> =
            pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value?, &mut chance)))).collect();
        pairs.rotate_left(usize::from(chance()) % 2);
        let query = pairs.join("&");
        let link = CartLink::parse(&query).map_err(|errors| TestCaseError::fail(format!("{errors}: {query}")))?;
        prop_assert_eq!(link, CartLink { cart, currency, external_reference: reference, email, locale });
    }

    #[test]
    fn one_line_or_one_piece_too_many_is_refused(lines in 45_usize..56, quantities in prop::collection::vec(1_u32..=600, 1..4)) {
        let items: Vec<String> = (0..lines).map(|n| format!("S{n}:1")).collect();
        prop_assert_eq!(CartLink::parse(&format!("items={}&currency=GBP", items.join(","))).is_ok(), lines <= 50);
        let items: Vec<String> = quantities.iter().map(|quantity| format!("S:{quantity}")).collect();
        let read = CartLink::parse(&format!("items={}&currency=GBP", items.join(",")));
        prop_assert_eq!(read.is_ok(), quantities.iter().sum::<u32>() <= 1_000);
    }
}
