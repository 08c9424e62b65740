//! The body that asks to fulfill an order. What is accepted is within every bound, says the same to another reader of JSON, and is the
//! same request, fingerprint and all, when it is written anew: a partner that sends it twice gets one order.

use common::cart::LINES_MAX;
use common::fulfill::{EMAIL_MAX_BYTES, FulfillRequest, KEYS_MAX};
use common::money::MINOR_MAX;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::bounds::{check_errors, measured};
use crate::cart_body::{check_currency, check_reference, check_sku};

/// The body's reader.
pub fn check(data: &[u8]) {
    match measured(data.len(), 128, || FulfillRequest::parse(data)) {
        Ok(request) => {
            check_limits(&request);
            check_content(data, &request);
            check_again(&request);
        }
        Err(errors) => check_errors(&errors),
    }
}

/// An e-mail address that a mail server would not stumble over, and that hides no second one.
pub fn check_email(email: &str) {
    assert!(email.len() <= EMAIL_MAX_BYTES, "{email:?}");
    let (local, domain) = email.split_once('@').expect("an address has an @");
    assert!((1..=64).contains(&local.len()) && !domain.contains('@'), "{email:?}");
    assert!(!email.chars().any(|c| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c)), "{email:?}");
    assert!(
        domain.split('.').all(|label| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')),
        "{email:?}"
    );
}

fn check_limits(request: &FulfillRequest) {
    check_email(&request.customer_email);
    check_reference(&request.external_reference);
    request.currency.inspect(|&currency| check_currency(currency));
    assert!(request.total_minor.is_none_or(|total| (0..=MINOR_MAX).contains(&total)));
    assert!((1..=LINES_MAX).contains(&request.items.len()));
    assert!((1..=KEYS_MAX as usize).contains(&request.keys_needed()), "{} license keys", request.keys_needed());
    for (index, item) in request.items.iter().enumerate() {
        check_sku(item.sku.as_str());
        assert!(item.quantity >= 1 && !request.items[..index].iter().any(|other| other.sku == item.sku), "{item:?}");
    }
    assert!(!format!("{request:?}").contains(&format!("{:?}", request.customer_email)), "the customer was shown");
}

fn check_content(data: &[u8], request: &FulfillRequest) {
    let body: Value = serde_json::from_slice(data).expect("another reader takes it too");
    let known = ["customer_email", "items", "external_reference", "currency", "total_minor"];
    assert!(body.as_object().expect("an object").keys().all(|name| known.contains(&name.as_str())), "{body}");

    assert_eq!(body["customer_email"].as_str(), Some(request.customer_email.as_str()));
    assert_eq!(body["external_reference"].as_str(), Some(request.external_reference.as_str()));
    assert_eq!(body["currency"].as_str().map(str::to_ascii_uppercase).as_deref(), request.currency.map(|currency| currency.as_str()));
    assert_eq!(body["total_minor"].as_i64(), request.total_minor);
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for item in body["items"].as_array().expect("an array") {
        assert_eq!(item.as_object().map(|members| members.len()), Some(2));
        *sums.entry(item["sku"].as_str().expect("a string")).or_default() += item["quantity"].as_u64().expect("a number");
    }
    assert_eq!(sums, request.items.iter().map(|item| (item.sku.as_str(), u64::from(item.quantity))).collect());
}

fn check_again(request: &FulfillRequest) {
    let items = |of: &mut dyn Iterator<Item = &common::cart::Line>| {
        of.map(|item| json!({"quantity": item.quantity, "sku": item.sku.as_str()})).collect::<Vec<Value>>()
    };
    let body = |items: Vec<Value>| {
        let body = json!({
            "total_minor": request.total_minor, "currency": request.currency.map(|currency| currency.as_str().to_ascii_lowercase()),
            "external_reference": request.external_reference, "items": items, "customer_email": request.customer_email,
        });
        FulfillRequest::parse(body.to_string().as_bytes()).expect("what was accepted is accepted in other words")
    };
    assert_eq!(&body(items(&mut request.items.iter())), request);
    let fingerprint = request.fingerprint();
    assert_eq!(body(items(&mut request.items.iter().rev())).fingerprint(), fingerprint, "the order of items makes no difference");
    let stored = serde_json::to_vec(request).expect("a request is JSON");
    assert_eq!(&serde_json::from_slice::<FulfillRequest>(&stored).expect("what was stored is read"), request);
    let other = FulfillRequest { external_reference: format!("{}x", request.external_reference), ..request.clone() };
    assert_ne!(other.fingerprint(), fingerprint);
}
