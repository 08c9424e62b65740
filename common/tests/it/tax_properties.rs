//! What holds for every quote, whatever the place and the amount: nothing is lost or made by rounding.

use common::cart::Sku;
use common::money::Minor;
use common::tax::Category;
use common::tax::quote::{QuoteLine, QuoteRequest, TaxQuote};
use proptest::prelude::*;

use crate::drawn::cases;
use crate::tax_examples::{request, table};

const PLACES: [&str; 14] = ["GB", "DE", "FR", "US-CA", "US-OR", "CA-ON", "CA-QC", "CA-BC", "AU", "CH", "JP", "HU", "KW", "AE"];

fn line() -> impl Strategy<Value = QuoteLine> {
    let category = prop::sample::select(vec![Category::Standard, Category::Reduced, Category::SuperReduced, Category::Parking]);
    let amount = prop_oneof![0..1_000_i64, 0..10_000_000_i64, 0..=10_000_000_000_000_i64];
    (amount, 1..1_000_u32, category).prop_map(|(amount, quantity, category)| QuoteLine {
        sku: Sku::parse("SKU").unwrap(),
        quantity,
        amount_minor: Minor::new(amount).unwrap(),
        category,
    })
}

fn asked() -> impl Strategy<Value = QuoteRequest> {
    let lines = prop::collection::vec(line(), 1..6);
    (prop::sample::select(&PLACES[..]), lines, any::<Option<bool>>(), any::<bool>()).prop_map(|(place, lines, include, business)| {
        QuoteRequest {
            lines,
            prices_include_tax: include,
            seller_country: business.then(|| crate::tax_examples::country("AT")),
            vat_id: (business && place == "DE").then(|| "DE123456789".to_owned()),
            ..request(place, "EUR", 0)
        }
    })
}

/// Twice the difference to the exact tax, as a fraction: `(numerator, denominator)`; at most half a unit is at most 1.
fn twice_off(tax: i64, amount: i64, ppm: u32, base_ppm: u32) -> (i128, i128) {
    let (exact, base) = (i128::from(amount) * i128::from(ppm), i128::from(base_ppm));
    (2 * (i128::from(tax) * base - exact).abs(), base)
}

fn check(quote: &TaxQuote, asked: &QuoteRequest) -> Result<(), TestCaseError> {
    let total = |of: fn(&common::tax::quote::QuotedLine) -> Minor| quote.lines.iter().map(|line| of(line).get()).sum::<i64>();
    prop_assert_eq!(total(|line| line.net_minor), quote.net_minor.get());
    prop_assert_eq!(total(|line| line.tax_minor), quote.tax_minor.get());
    prop_assert_eq!(total(|line| line.gross_minor), quote.gross_minor.get());
    prop_assert_eq!(quote.rates.iter().map(|rate| rate.tax_minor.get()).sum::<i64>(), quote.tax_minor.get());
    for (line, wanted) in quote.lines.iter().zip(&asked.lines) {
        let parts: i64 = line.parts.iter().map(|part| part.tax_minor.get()).sum();
        prop_assert_eq!(parts, line.tax_minor.get());
        prop_assert_eq!(line.net_minor.get() + parts, line.gross_minor.get());
        if quote.reverse_charged {
            prop_assert_eq!((line.tax_minor, line.net_minor), (Minor::ZERO, line.gross_minor));
            prop_assert!(line.gross_minor <= wanted.amount_minor);
            continue;
        }
        let kept = if quote.prices_include_tax { line.gross_minor } else { line.net_minor };
        prop_assert_eq!(kept, wanted.amount_minor, "the price is what the store said");
        let total_ppm: u32 = line.parts.iter().map(|part| part.rate_ppm).sum();
        let base_ppm = if quote.prices_include_tax { 1_000_000 + total_ppm } else { 1_000_000 };
        for part in &line.parts {
            let (off, whole) = twice_off(part.tax_minor.get(), wanted.amount_minor.get(), part.rate_ppm, base_ppm);
            prop_assert!(off <= whole, "more than half a unit: {:?}", part);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn parts_add_up_prices_stay_and_no_tax_is_off_by_more_than_half_a_unit(asked in asked()) {
        check(&TABLE.quote(&asked).unwrap(), &asked)?;
    }

    #[test]
    fn more_money_is_never_less_tax(asked in asked(), more in 0..1_000_i64) {
        let mut dearer = asked.clone();
        dearer.lines[0].amount_minor = asked.lines[0].amount_minor.checked_add(Minor::new(more).unwrap()).unwrap();
        let (cheap, dear) = (TABLE.quote(&asked).unwrap(), TABLE.quote(&dearer).unwrap());
        prop_assert!(cheap.tax_minor <= dear.tax_minor && cheap.gross_minor <= dear.gross_minor);
        // Of a price with two taxes in it, both may be rounded up at once.
        let taxes = dear.lines[0].parts.len() as i64;
        prop_assert!(cheap.net_minor.get() <= dear.net_minor.get() + (taxes - 1).max(0));
    }

    #[test]
    fn the_order_of_lines_changes_no_sum(asked in asked()) {
        let mut turned = asked.clone();
        turned.lines.reverse();
        let (one, other) = (TABLE.quote(&asked).unwrap(), TABLE.quote(&turned).unwrap());
        prop_assert_eq!((one.net_minor, one.tax_minor, one.gross_minor), (other.net_minor, other.tax_minor, other.gross_minor));
    }

    /// A line's amount is all that counts: its tax is at most half a unit for each tax and piece away from that of its pieces.
    #[test]
    fn many_of_one_are_taxed_like_the_pieces_within_the_rounding(place in prop::sample::select(&PLACES[..]), price in 0..100_000_i64, quantity in 1..50_u32) {
        let quote = |amount: i64, quantity: u32| {
            let mut asked = request(place, "EUR", amount);
            asked.lines[0].quantity = quantity;
            TABLE.quote(&asked).unwrap()
        };
        let (one, many) = (quote(price, 1), quote(price * i64::from(quantity), quantity));
        let taxes = many.lines[0].parts.len() as i64;
        let off = (one.tax_minor.get() * i64::from(quantity) - many.tax_minor.get()).abs();
        prop_assert!(2 * off <= taxes * (i64::from(quantity) + 1), "{} of {}: off by {}", quantity, price, off);
        prop_assert_eq!(many.lines[0].quantity, quantity);
    }
}

static TABLE: std::sync::LazyLock<common::tax::TaxTable> = std::sync::LazyLock::new(table);
