//! Direct links into a store's cart, which partners write into their pages: `?add=SKU-001&currency=GBP` and
//! `?items=SKU1:1,SKU2:2&currency=GBP`. A link obeys the same bounds as a checkout session's body; nothing in it is signed, so it can
//! say what to buy, and never at which price. A session token in the same query wins; whoever reads it looks for that first.

use std::borrow::Cow;

use url::form_urlencoded;

use super::{LINES_MAX, Line, QUANTITY_MAX, Sku, check_external_reference, read_currency, read_locale};
use crate::fulfill::read_email;
use crate::json::{FieldErrors, Json};
use crate::money::Currency;

/// The parameters of a direct link. Others are left alone, as trackers add their own.
const PARAMETERS: [&str; 6] = ["add", "items", "currency", "external_reference", "email", "locale"];

/// What a direct link asks for, well-formed and normalized. The catalogue has not been asked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartLink {
    /// 1 to [`LINES_MAX`] lines, sorted by SKU, each SKU once: what is named twice was added up.
    pub cart: Vec<Line>,
    /// What to pay in.
    pub currency: Currency,
    /// The partner's own name for the payment.
    pub external_reference: Option<String>,
    /// The customer's e-mail address, where the partner knows it already.
    pub email: Option<String>,
    /// BCP 47 language tag for the hosted pages.
    pub locale: Option<String>,
}

impl CartLink {
    /// Reads a query string, as it follows the question mark.
    pub fn parse(query: &str) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let mut values: [Option<Cow<'_, str>>; PARAMETERS.len()] = Default::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(index) = PARAMETERS.iter().position(|parameter| *parameter == name) else { continue };
            if values[index].is_some() {
                errors.add(PARAMETERS[index], "may be there once");
            } else if value.contains(char::REPLACEMENT_CHARACTER) {
                // Decoding puts it where the bytes were not UTF-8: the partner would look for another reference than we keep.
                errors.add(PARAMETERS[index], "must be UTF-8");
            }
            values[index] = Some(value);
        }
        let [add, items, currency, external_reference, email, locale] = values;

        let cart = match (add, items) {
            (Some(add), None) => read_add(&add, &mut errors),
            (None, Some(items)) => read_items(&items, &mut errors),
            (None, None) => complain(&mut errors, "items", "is required, or add: items=SKU-1:1,SKU-2:2 or add=SKU-1"),
            (Some(_), Some(_)) => complain(&mut errors, "items", "cannot be there beside add: name everything in items"),
        };
        let currency = match currency {
            Some(currency) => read_currency(Json::String(currency), &mut errors),
            None => complain(&mut errors, "currency", "is required"),
        };
        if let Some(reference) = &external_reference {
            check_external_reference("external_reference", reference, &mut errors);
        }
        let email = email.and_then(|email| read_email("email", Json::String(email), &mut errors));
        let locale = locale.and_then(|locale| read_locale(Json::String(locale), &mut errors));
        let link = cart.zip(currency).map(|(cart, currency)| Self {
            cart,
            currency,
            external_reference: external_reference.map(Cow::into_owned),
            email,
            locale,
        });
        errors.into_result(link)
    }
}

fn complain<T>(errors: &mut FieldErrors, field: &str, message: &str) -> Option<T> {
    errors.add(field, message);
    None
}

fn read_add(text: &str, errors: &mut FieldErrors) -> Option<Vec<Line>> {
    let sku = Sku::parse(text).map_err(|error| errors.add("add", error.to_string())).ok()?;
    Some(vec![Line { sku, quantity: 1 }])
}

/// `SKU:quantity`, separated by commas; a SKU has neither of the two characters in it.
fn read_items(text: &str, errors: &mut FieldErrors) -> Option<Vec<Line>> {
    let count = text.split(',').count();
    if count > LINES_MAX {
        return complain(errors, "items", &format!("must have 1 to {LINES_MAX} items, and has {count}"));
    }
    let mut lines: Vec<Line> = Vec::with_capacity(count);
    for (index, item) in text.split(',').enumerate() {
        let path = || format!("items[{index}]");
        let Some((sku, quantity)) = item.split_once(':') else {
            errors.add(path(), "must be SKU:quantity, such as SKU-1:1");
            continue;
        };
        let sku = Sku::parse(sku).map_err(|error| errors.add(path(), error.to_string())).ok();
        let quantity = read_quantity(quantity);
        if quantity.is_none() {
            errors.add(path(), format!("must have a quantity from 1 to {QUANTITY_MAX} behind the colon"));
        }
        let Some((sku, quantity)) = sku.zip(quantity) else { continue };
        let line = match lines.iter_mut().find(|line| line.sku == sku) {
            Some(line) => {
                line.quantity += quantity;
                line
            }
            None => lines.push_mut(Line { sku, quantity }),
        };
        if i64::from(line.quantity) > QUANTITY_MAX {
            errors.add(path(), format!("brings {} to {}, and it may be {QUANTITY_MAX}", line.sku, line.quantity));
        }
    }
    lines.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
    Some(lines)
}

/// Digits alone: no sign, no blank, and not as many zeros in front as one likes.
fn read_quantity(text: &str) -> Option<u32> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let quantity: u32 = text.parse().ok().filter(|_| digits)?;
    (1..=QUANTITY_MAX).contains(&i64::from(quantity)).then_some(quantity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<CartLink, String> {
        CartLink::parse(query).map_err(|errors| errors.to_string())
    }

    fn lines(query: &str) -> Vec<(String, u32)> {
        parse(query).unwrap().cart.into_iter().map(|line| (line.sku.into(), line.quantity)).collect()
    }

    #[test]
    fn reads_the_documented_links() {
        assert_eq!(lines("add=SKU-001&currency=GBP"), [("SKU-001".to_owned(), 1)]);
        assert_eq!(lines("items=SKU2:2,SKU1:1&currency=gbp"), [("SKU1".to_owned(), 1), ("SKU2".to_owned(), 2)]);
        let link =
            parse("items=A%3A1%2CB%3A2&currency=GBP&external_reference=order+7&email=j%C3%B6rg%40b.example&locale=pt-BR&utm_source=x")
                .unwrap();
        assert_eq!((link.cart.len(), link.currency.as_str()), (2, "GBP"));
        assert_eq!(link.external_reference.as_deref(), Some("order 7"));
        assert_eq!((link.email.as_deref(), link.locale.as_deref()), (Some("jörg@b.example"), Some("pt-BR")));
    }

    #[test]
    fn a_sku_named_twice_is_added_up() {
        assert_eq!(lines("items=A:1,B:1,A:2&currency=GBP"), [("A".to_owned(), 3), ("B".to_owned(), 1)]);
        assert_eq!(lines("items=A:999,A:1&currency=GBP"), [("A".to_owned(), 1_000)]);
        assert_eq!(parse("items=A:999,A:2&currency=GBP").unwrap_err(), "items[1]: brings A to 1001, and it may be 1000");
    }

    #[test]
    fn every_bound_and_one_beyond_it() {
        let items = |count: usize| (0..count).map(|n| format!("S{n}:1")).collect::<Vec<_>>().join(",");
        assert!(parse(&format!("items={}&currency=GBP", items(LINES_MAX))).is_ok());
        assert!(parse(&format!("items={}&currency=GBP", items(LINES_MAX + 1))).unwrap_err().contains("1 to 50 items, and has 51"));
        for (quantity, good) in [
            ("1", true),
            ("1000", true),
            ("0007", true),
            ("0", false),
            ("1001", false),
            ("00001", false),
            ("%2B1", false),
            ("-1", false),
            ("", false),
            ("1.5", false),
            ("1:1", false),
            ("4294967297", false),
            ("%D9%A1", false),
        ] {
            assert_eq!(parse(&format!("items=A:{quantity}&currency=GBP")).is_ok(), good, "{quantity}");
        }
        for (len, good) in [(0, false), (1, true), (64, true), (65, false)] {
            let sku = "x".repeat(len);
            assert_eq!(parse(&format!("items={sku}:1&currency=GBP")).is_ok(), good, "{len}");
            assert_eq!(parse(&format!("add={sku}&currency=GBP")).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn says_everything_that_is_wrong_at_once() {
        let errors = CartLink::parse("items=A,B%20:1,C:x,:&external_reference=&email=x&locale=e&locale=en").unwrap_err();
        let fields: Vec<_> = errors.as_slice().iter().map(|error| error.field.as_str()).collect();
        let expected = ["locale", "items[0]", "items[1]", "items[2]", "items[3]", "items[3]", "currency", "external_reference", "email"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_missing_doubled_or_in_another_encoding_is_named() {
        assert!(parse("currency=GBP").unwrap_err().starts_with("items: is required"));
        assert!(parse("items=&currency=GBP").unwrap_err().starts_with("items[0]: must be SKU:quantity"));
        assert!(parse("items=A:1,&currency=GBP").unwrap_err().starts_with("items[1]"));
        assert_eq!(parse("add=A").unwrap_err(), "currency: is required");
        assert!(parse("add=A&items=B:1&currency=GBP").unwrap_err().contains("beside add"));
        assert_eq!(parse("add=A&add=A&currency=GBP").unwrap_err(), "add: may be there once");
        assert_eq!(parse("add=A&currency=GBP&external_reference=%E9").unwrap_err(), "external_reference: must be UTF-8");
    }
}
