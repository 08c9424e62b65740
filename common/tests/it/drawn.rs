//! What the properties draw: well-formed values of every kind, and the many ways in which JSON can write one.

use common::cart::{Line, Sku};
use common::mode::Mode;
use common::money::Currency;
use common::secret::{Secret, SecretList};
use proptest::prelude::*;
use serde_json::Value;

/// As many cases as cost a second or so in all.
pub fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

pub fn secrets(ids: &[&str]) -> SecretList {
    SecretList::new(ids.iter().map(|id| Secret::new(id, id.repeat(32).into_bytes()).unwrap()).collect()).unwrap()
}

pub fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Live, Mode::Test])
}

pub fn currency() -> impl Strategy<Value = Currency> {
    let codes = ["GBP", "USD", "EUR", "JPY", "KWD", "CHF", "VED", "XOF", "ISK", "CLP"];
    prop::sample::select(codes.map(|code| Currency::parse(code).unwrap()).to_vec())
}

pub fn sku() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._-]{1,64}"
}

/// Lines sorted by SKU, each SKU once.
pub fn cart(lines_max: usize) -> impl Strategy<Value = Vec<Line>> {
    let lines = prop::collection::btree_map(sku(), 1_u32..=1_000, 1..=lines_max);
    lines.prop_map(|lines| lines.into_iter().map(|(sku, quantity)| Line { sku: Sku::parse(&sku).unwrap(), quantity }).collect())
}

/// Text without control characters.
pub fn text(chars_max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>().prop_filter("a control character", |c| !c.is_control()), 1..=chars_max)
        .prop_map(|chars| chars.into_iter().collect())
}

pub fn locale() -> impl Strategy<Value = String> {
    "[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,2}"
}

pub fn email() -> impl Strategy<Value = String> {
    ("[a-zé.+'_-]{1,30}", "[a-zü0-9]{1,20}(\\.[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?){0,3}")
        .prop_map(|(local, domain)| format!("{local}@{domain}"))
}

/// Writes a value as JSON with white space, escapes and an order of members that `chance` decides, over and over.
pub fn spell(value: &Value, chance: &mut impl FnMut() -> u8) -> String {
    let blank = |chance: &mut dyn FnMut() -> u8| ["", "", " ", "\n\t", "\r\n"][usize::from(chance()) % 5];
    let mut out = String::from(blank(chance));
    match value {
        Value::String(text) => out.push_str(&spell_text(text, chance)),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(|value| spell(value, chance)).collect();
            out.push_str(&format!("[{}]", values.join(",")));
        }
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}{}{}:{}", blank(chance), spell_text(name, chance), blank(chance), spell(value, chance)))
                .collect();
            for index in (1..members.len()).rev() {
                members.swap(index, usize::from(chance()) % (index + 1));
            }
            out.push_str(&format!("{{{}}}", members.join(",")));
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(blank(chance));
    out
}

fn spell_text(text: &str, chance: &mut impl FnMut() -> u8) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if chance().is_multiple_of(4) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            let quoted = serde_json::to_string(&c).unwrap();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    out.push('"');
    out
}

/// Chance that is the same for the same seed.
pub fn chance(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }
}
