//! Amounts as Stripe writes them. They are minor units as ours are, but for a few currencies whose minor unit Stripe took differently
//! before ISO 4217 did. Documented at <https://docs.stripe.com/currencies#special-cases> and `#zero-decimal`.

use crate::money::{Currency, MINOR_MAX};

/// An amount that Stripe cannot charge exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Stripe cannot charge {minor} minor units of {currency}: they must be a multiple of {step}")]
pub struct NotChargeable {
    /// The amount, minor units.
    pub minor: i64,
    /// Its currency.
    pub currency: Currency,
    /// What Stripe charges whole multiples of, minor units.
    pub step: i64,
}

/// Our amount as Stripe wants to be told it.
pub fn to_stripe(minor: i64, currency: Currency) -> Result<i64, NotChargeable> {
    let step = match currency.as_str() {
        // Two decimals in ISO 4217, of which Stripe knows none.
        "MGA" => 100,
        _ if currency.exponent() == 3 => 10,
        _ => 1,
    };
    if minor % step != 0 {
        return Err(NotChargeable { minor, currency, step });
    }
    Ok(match currency.as_str() {
        "MGA" => minor / 100,
        // None in ISO 4217, where Stripe stays with two.
        "ISK" | "UGX" => minor * 100,
        _ => minor,
    })
}

/// Stripe's amount in our minor units; `None` where it is none of ours.
pub fn from_stripe(amount: i64, currency: Currency) -> Option<i64> {
    let minor = match currency.as_str() {
        "MGA" => amount.checked_mul(100)?,
        "ISK" | "UGX" if amount % 100 == 0 => amount / 100,
        "ISK" | "UGX" => return None,
        _ => amount,
    };
    (0..=MINOR_MAX).contains(&minor).then_some(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_stripe_wants_them() {
        let table = [
            ("GBP", 2999, Some(2999)),
            ("JPY", 500, Some(500)),
            ("ISK", 5, Some(500)),
            ("UGX", 5, Some(500)),
            ("MGA", 500, Some(5)),
            ("MGA", 510, None),
            ("KWD", 5120, Some(5120)),
            ("KWD", 5123, None),
        ];
        for (currency, minor, stripe) in table {
            let currency = Currency::parse(currency).unwrap();
            assert_eq!(to_stripe(minor, currency).ok(), stripe, "{minor} {currency}");
            if let Some(amount) = stripe {
                assert_eq!(from_stripe(amount, currency), Some(minor), "{amount} {currency}");
            }
        }
    }

    #[test]
    fn what_is_no_amount_of_ours_is_none() {
        for (currency, amount) in [("GBP", -1), ("GBP", MINOR_MAX + 1), ("ISK", 501), ("MGA", MINOR_MAX), ("MGA", i64::MAX)] {
            assert_eq!(from_stripe(amount, Currency::parse(currency).unwrap()), None, "{amount} {currency}");
        }
    }
}
