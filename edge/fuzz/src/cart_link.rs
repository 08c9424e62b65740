//! Direct links into the cart. What is accepted obeys the bounds of a checkout session, asks for what an independent reading of the query
//! asks for, and is the same link when it is written anew.

use std::collections::BTreeMap;

use common::cart::link::CartLink;
use url::form_urlencoded::{self, Serializer};

use crate::bounds::{check_errors, measured};
use crate::cart_body::{check_currency, check_lines, check_locale, check_reference};
use crate::fulfill_body::check_email;

/// The query's reader. The data is the query.
pub fn check(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    match measured(query.len(), 64, || CartLink::parse(query)) {
        Ok(link) => {
            check_lines(&link.cart);
            check_currency(link.currency);
            link.external_reference.as_deref().inspect(|reference| check_reference(reference));
            link.email.as_deref().inspect(|email| check_email(email));
            link.locale.as_deref().inspect(|locale| check_locale(locale));
            check_content(query, &link);
            check_again(&link);
        }
        Err(errors) => check_errors(&errors),
    }
}

fn check_content(query: &str, link: &CartLink) {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let get = |wanted: &str| {
        let mut values = pairs.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{wanted} is there twice");
        value
    };
    let mut wanted: BTreeMap<&str, u32> = BTreeMap::new();
    match (get("add"), get("items")) {
        (Some(sku), None) => drop(wanted.insert(sku, 1)),
        (None, Some(items)) => {
            for item in items.split(',') {
                let (sku, quantity) = item.split_once(':').expect("a pair");
                *wanted.entry(sku).or_default() += quantity.parse::<u32>().expect("a number");
            }
        }
        other => panic!("neither or both: {other:?}"),
    }
    assert_eq!(wanted, link.cart.iter().map(|line| (line.sku.as_str(), line.quantity)).collect());
    assert_eq!(get("currency").map(str::to_ascii_uppercase).as_deref(), Some(link.currency.as_str()));
    assert_eq!(get("external_reference"), link.external_reference.as_deref());
    assert_eq!(get("email"), link.email.as_deref());
    assert_eq!(get("locale"), link.locale.as_deref());
}

fn check_again(link: &CartLink) {
    let items: Vec<String> = link.cart.iter().rev().map(|line| format!("{}:{}", line.sku, line.quantity)).collect();
    let mut query = Serializer::new(String::new());
    query.append_pair("utm_source", "x").append_pair("currency", link.currency.as_str()).append_pair("items", &items.join(","));
    for (name, value) in [("external_reference", &link.external_reference), ("email", &link.email), ("locale", &link.locale)] {
        query.extend_pairs(value.iter().map(|value| (name, value)));
    }
    assert_eq!(CartLink::parse(&query.finish()).as_ref(), Ok(link), "what was accepted is accepted in other words");
}
