//! The request to fulfill an order that was paid elsewhere, as far as it can be judged without asking anybody, and what may come of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cart::{self, LINES_MAX, Line, Sku};
use crate::ids::OrderId;
use crate::job::NewOrder;
use crate::json::{self, FieldErrors, Json};
use crate::money::{Currency, MINOR_MAX};
use crate::order::{Order, OrderStatus, SoldItem};

/// The most license keys one order may ask for, all items together.
pub const KEYS_MAX: i64 = 1_000;
/// The longest e-mail address, in bytes.
pub const EMAIL_MAX_BYTES: usize = 254;
/// The longest `Idempotency-Key`, in visible ASCII characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A request to fulfill, well-formed. `Debug` hides the customer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FulfillRequest {
    /// Who bought.
    pub customer_email: String,
    /// What, each SKU once, in the order the partner named them.
    pub items: Vec<Line>,
    /// The partner's own name for the payment, unique per store and mode.
    pub external_reference: String,
    /// What it was paid in, when the partner says so.
    pub currency: Option<Currency>,
    /// What was paid, in minor units, when the partner says so.
    pub total_minor: Option<i64>,
}

impl FulfillRequest {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let mut members = json::parse(body)?.into_members("body", &mut errors);
        if !errors.as_slice().is_empty() {
            return Err(errors);
        }
        let customer_email =
            members.require("", "customer_email", &mut errors).and_then(|value| read_email("customer_email", value, &mut errors));
        let items = members.require("", "items", &mut errors).and_then(|value| read_items(value, &mut errors));
        let reference = members.require("", "external_reference", &mut errors).and_then(|value| {
            let text = value.into_string("external_reference", &mut errors)?;
            cart::check_external_reference("external_reference", &text, &mut errors);
            Some(text.into_owned())
        });
        let currency = members.take("currency").and_then(|value| cart::read_currency(value, &mut errors));
        let total_minor = members.take("total_minor").and_then(|value| value.into_integer("total_minor", 0..=MINOR_MAX, &mut errors));
        members.finish("", &mut errors);
        let required = customer_email.zip(items).zip(reference);
        let request = required.map(|((customer_email, items), external_reference)| Self {
            customer_email,
            items,
            external_reference,
            currency,
            total_minor,
        });
        errors.into_result(request)
    }

    /// A digest that two requests share exactly when they ask for the same: the order of members and items, the case of the currency
    /// and a SKU split over several items make no difference.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut normal = self.clone();
        normal.items.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        Sha256::digest(serde_json::to_vec(&normal).unwrap_or_default()).into()
    }

    /// How many license keys the order needs in all.
    pub fn keys_needed(&self) -> usize {
        self.items.iter().map(|item| item.quantity as usize).sum()
    }
}

impl std::fmt::Debug for FulfillRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FulfillRequest").field("items", &self.items).finish_non_exhaustive()
    }
}

/// Whether a text is an e-mail address as orders take it.
pub fn is_email(text: &str) -> bool {
    let local_ok = |local: &str| {
        (1..=64).contains(&local.len()) && local.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"@".contains(c))
    };
    let domain_ok = |domain: &str| {
        let label = |label: &str| {
            let inner = |c: char| c.is_alphanumeric() || c == '-';
            (1..=63).contains(&label.len()) && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        };
        domain.split('.').all(label)
    };
    text.len() <= EMAIL_MAX_BYTES && text.rsplit_once('@').is_some_and(|(local, domain)| local_ok(local) && domain_ok(domain))
}

/// An e-mail address, or a complaint at `path`.
pub(crate) fn read_email(path: &str, value: Json<'_>, errors: &mut FieldErrors) -> Option<String> {
    let text = value.into_string(path, errors)?;
    let good = is_email(&text);
    if !good {
        errors.add(path, format!("must be an e-mail address of at most {EMAIL_MAX_BYTES} bytes"));
    }
    good.then(|| text.into_owned())
}

fn read_items(value: Json<'_>, errors: &mut FieldErrors) -> Option<Vec<Line>> {
    let Json::Array(values) = value else {
        errors.add("items", format!("must be an array, not {}", value.kind()));
        return None;
    };
    if values.is_empty() || values.len() > LINES_MAX {
        errors.add("items", format!("must have 1 to {LINES_MAX} items, and has {}", values.len()));
        return None;
    }
    let mut items: Vec<Line> = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let path = format!("items[{index}]");
        let Json::Object(_) = value else {
            errors.add(path, format!("must be an object with sku and quantity, not {}", value.kind()));
            continue;
        };
        let mut members = value.into_members("items", errors);
        let sku = members.require(&path, "sku", errors).and_then(|value| {
            let path = format!("{path}.sku");
            let text = value.into_string(&path, errors)?;
            Sku::parse(&text).map_err(|error| errors.add(path, error.to_string())).ok()
        });
        let quantity = members
            .require(&path, "quantity", errors)
            .and_then(|value| value.into_integer(&format!("{path}.quantity"), 1..=KEYS_MAX, errors))
            .and_then(|quantity| u32::try_from(quantity).ok());
        members.finish(&path, errors);
        let Some((sku, quantity)) = sku.zip(quantity) else { continue };
        match items.iter_mut().find(|item| item.sku == sku) {
            Some(item) => item.quantity += quantity,
            None => items.push(Line { sku, quantity }),
        }
    }
    let keys: i64 = items.iter().map(|item| i64::from(item.quantity)).sum();
    if keys > KEYS_MAX {
        errors.add("items", format!("may ask for {KEYS_MAX} license keys in all, and asks for {keys}"));
    }
    Some(items)
}

/// What came of a request to fulfill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FulfillOutcome {
    /// The order stands; these are its items, with license keys while they are usable.
    Order {
        /// The order's id.
        order_id: OrderId,
        /// Where it stands now: `fulfilled` unless something happened to it since.
        status: OrderStatus,
        /// What was sold.
        items: Vec<SoldItem>,
        /// Whether an earlier request made it.
        replayed: bool,
    },
    /// The order stands, and is too large to be told here: read it from the database.
    Stored {
        /// The order's id.
        order_id: OrderId,
        /// Whether an earlier request made it.
        replayed: bool,
    },
    /// The order is recorded and being worked on.
    Processing {
        /// The order's id.
        order_id: OrderId,
    },
    /// The reference belongs to an order with other content.
    ReferenceConflict,
    /// The `Idempotency-Key` belongs to an order with other content.
    IdempotencyConflict,
    /// Not enough license keys. Nothing was taken.
    OutOfStock {
        /// Every SKU that fell short.
        shortages: Vec<Shortage>,
    },
    /// The store does not sell this.
    UnknownProduct {
        /// What was asked for.
        sku: Sku,
    },
    /// Nothing is known to have happened; the same request again is safe.
    Unknown,
}

impl FulfillOutcome {
    /// The same, where it is too large to be told whole.
    pub fn without_license_keys(self) -> Self {
        match self {
            Self::Order { order_id, replayed, .. } => Self::Stored { order_id, replayed },
            other => other,
        }
    }
}

/// What an existing order means for a request that could not make one.
#[derive(Debug)]
pub enum Existing<'a> {
    /// It is what the request asks for.
    Same(&'a Order),
    /// It has the request's reference and other content.
    OtherReference,
    /// It has the request's `Idempotency-Key` and other content.
    OtherKey,
}

impl<'a> Existing<'a> {
    /// Which of these orders answers a request, or stands in its way. The idempotency key speaks first: it is the caller's own word that
    /// two requests are the same.
    pub fn of(wanted: &NewOrder, orders: &'a [Order]) -> Option<Self> {
        let fingerprint = wanted.request.fingerprint();
        let mut ours = orders.iter().filter(|order| order.store_id == wanted.store_id && order.mode == wanted.mode);
        let same_key = |order: &&Order| wanted.idempotency_key.is_some() && order.idempotency_key == wanted.idempotency_key;
        if let Some(order) = ours.clone().find(same_key) {
            return Some(if order.fingerprint == fingerprint { Existing::Same(order) } else { Existing::OtherKey });
        }
        let order = ours.find(|order| order.external_reference.as_deref() == Some(&wanted.request.external_reference))?;
        Some(if order.fingerprint == fingerprint { Existing::Same(order) } else { Existing::OtherReference })
    }
}

/// A SKU that has too few license keys in stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// What.
    pub sku: Sku,
    /// How many were asked for.
    pub requested: u32,
    /// How many there were.
    pub available: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(items: &str) -> String {
        format!(r#"{{"customer_email":"a@b.example","items":[{items}],"external_reference":"r1","currency":"gbp","total_minor":2999}}"#)
    }

    fn parse(body: &str) -> Result<FulfillRequest, String> {
        FulfillRequest::parse(body.as_bytes()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn reads_the_documented_body() {
        let request = parse(&body(r#"{"sku":"PRODUCT-SKU","quantity":1}"#)).unwrap();
        assert_eq!((request.keys_needed(), request.total_minor), (1, Some(2_999)));
        assert_eq!(request.currency.unwrap().as_str(), "GBP");
        let bare =
            parse(r#"{"customer_email":"a@b","items":[{"sku":"A","quantity":2}],"external_reference":"r","currency":null}"#).unwrap();
        assert_eq!((bare.currency, bare.total_minor), (None, None));
    }

    #[test]
    fn the_same_sku_twice_is_summed() {
        let request = parse(&body(r#"{"sku":"B","quantity":1},{"sku":"A","quantity":2},{"sku":"B","quantity":3}"#)).unwrap();
        let items: Vec<_> = request.items.iter().map(|item| (item.sku.as_str(), item.quantity)).collect();
        assert_eq!(items, [("B", 4), ("A", 2)]);
    }

    #[test]
    fn equal_requests_have_equal_fingerprints() {
        let first = parse(&body(r#"{"sku":"A","quantity":1},{"sku":"B","quantity":2}"#)).unwrap();
        let same = parse(
            r#"{"total_minor":2999,"currency":"GBP","items":[{"quantity":1,"sku":"B"},{"sku":"A","quantity":1},{"sku":"B","quantity":1}],
                "external_reference":"r1","customer_email":"a@b.example"}"#,
        )
        .unwrap();
        assert_eq!(first.fingerprint(), same.fingerprint());
        for (from, to) in [("gbp", "usd"), ("2999", "2998"), ("r1", "r2"), ("a@b", "b@b")] {
            let other = parse(&body(r#"{"sku":"A","quantity":1},{"sku":"B","quantity":2}"#).replace(from, to)).unwrap();
            assert_ne!(first.fingerprint(), other.fingerprint(), "{from} -> {to}");
        }
    }

    #[test]
    fn every_bound_and_one_beyond_it() {
        let item = |sku: &str, quantity: i64| format!(r#"{{"sku":"{sku}","quantity":{quantity}}}"#);
        let items = |count: usize| (0..count).map(|n| item(&format!("S{n}"), 1)).collect::<Vec<_>>().join(",");
        assert!(parse(&body(&items(LINES_MAX))).is_ok());
        assert!(parse(&body(&items(LINES_MAX + 1))).unwrap_err().contains("1 to 50 items"));
        assert!(parse(&body("")).is_err());
        assert!(parse(&body(&item("A", 1_000))).is_ok());
        assert!(parse(&body(&item("A", 1_001))).is_err());
        assert!(parse(&body(&item("A", 0))).is_err());
        assert!(parse(&body(&format!("{},{}", item("A", 600), item("B", 401)))).unwrap_err().contains("1000 license keys in all"));
        assert!(parse(&body(&item("A", 1)).replace("2999", "0")).is_ok());
        assert!(parse(&body(&item("A", 1)).replace("2999", "-1")).is_err());
        assert!(parse(&body(&item("A", 1)).replace("2999", &MINOR_MAX.to_string())).is_ok());
        assert!(parse(&body(&item("A", 1)).replace("2999", &(MINOR_MAX + 1).to_string())).is_err());
        assert!(parse(&body(&item("A", 1)).replace("2999", "1e400")).unwrap_err().starts_with("body: not valid JSON"));
    }

    #[test]
    fn emails() {
        let email = |email: &str| parse(&body(r#"{"sku":"A","quantity":1}"#).replace("a@b.example", email)).is_ok();
        assert!(["a@b", "first.last+tag@sub.domain.example", "jörg@müller.example", "o'neil@x.ie"].into_iter().all(email));
        let longest = format!("{}@{}.{}.{}", "a".repeat(64), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        assert_eq!(longest.len(), EMAIL_MAX_BYTES);
        assert!(email(&longest));
        assert!(!email(&format!("{longest}d")));
        let bad = ["", "a", "@b", "a@", "a b@c", "a@b..c", "a@-b", "a@@b", "a@b\\n", "a@b.", "<a@b>", "[email protected]", "a@b\\u0000c"];
        for text in bad {
            assert!(!email(text), "{text:?}");
        }
    }

    #[test]
    fn says_everything_that_is_wrong_at_once() {
        let errors = FulfillRequest::parse(br#"{"items":[{"sku":"A B"},7,{"sku":"A","quantity":1,"x":2}],"total_minor":"1"}"#).unwrap_err();
        let fields: Vec<_> = errors.as_slice().iter().map(|error| error.field.as_str()).collect();
        let expected =
            ["customer_email", "items[0].sku", "items[0].quantity", "items[1]", "items[2].x", "external_reference", "total_minor"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn debug_hides_the_customer() {
        let shown = format!("{:?}", parse(&body(r#"{"sku":"A","quantity":1}"#)).unwrap());
        assert!(!shown.contains("a@b") && !shown.contains("r1"), "{shown}");
    }
}
