//! Good bodies with something wrong done to them, thousands of them: the answer is never a 5xx, and a 400 always says where it hurts.
//! Nobody works on the orders that remain good; they are written down at once, so that whatever passes the reading reaches Postgres.

use std::sync::Arc;

use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use testkit::http::Client;

use crate::stage::{Backstage, FULFILL, SESSION, WEBHOOKS, fields, whole_problem};

/// Something done to a body.
#[derive(Debug, Clone)]
enum Mutation {
    /// Puts a value where another was: the place is counted in a walk through the body.
    Replace(prop::sample::Index, Value),
    /// Takes a member or an item out.
    Remove(prop::sample::Index),
    /// Renames or adds a member.
    Name(prop::sample::Index, String),
    /// Writes bytes over others, in place of `len` of them.
    Splice(prop::sample::Index, usize, Vec<u8>),
    /// Cuts the rest off.
    Cut(prop::sample::Index),
    /// Says a part twice.
    Repeat(prop::sample::Index, usize),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..1_010).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(text(), inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text as it comes, with a liking for what hurts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[A-Za-z0-9._-]{0,70}",
        "[a-z.]{1,10}@[a-z.-]{1,10}",
        prop::sample::select(vec![
            "MADE",
            "GBP",
            "usd",
            "JPY",
            "en-GB",
            "\0",
            "a\0b",
            "\u{85}",
            "\u{202e}",
            "\u{fffe}",
            "';--",
            "%00",
            "https://x/"
        ])
        .prop_map(str::to_owned),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), value()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        1 => index().prop_map(Mutation::Remove),
        1 => (index(), text()).prop_map(|(at, name)| Mutation::Name(at, name)),
        2 => (index(), 0_usize..4, prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(at, len, bytes)| Mutation::Splice(at, len, bytes)),
        1 => index().prop_map(Mutation::Cut),
        1 => (index(), 1_usize..40).prop_map(|(at, len)| Mutation::Repeat(at, len)),
    ]
}

/// Every place in a value, as pointers.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| places(value, format!("{at}/{}", escaped(name)), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| places(value, format!("{at}/{index}"), found)),
        _ => {}
    }
    found.push(at);
}

fn apply(mutations: &[Mutation], mut body: Value) -> Vec<u8> {
    let mut bytes = None::<Vec<u8>>;
    for mutation in mutations {
        let mut all = Vec::new();
        places(&body, String::new(), &mut all);
        let place = |at: &prop::sample::Index| all[at.index(all.len())].as_str();
        let raw = || bytes.clone().unwrap_or_else(|| body.to_string().into_bytes());
        match mutation {
            Mutation::Replace(at, value) => *body.pointer_mut(place(at)).expect("a place") = value.clone(),
            Mutation::Remove(at) => match body.pointer_mut(place(at)).expect("a place") {
                Value::Object(members) => drop(members.clone().keys().next().map(|name| members.remove(name))),
                Value::Array(items) => drop(items.pop()),
                other => *other = Value::Null,
            },
            Mutation::Name(at, name) => match body.pointer_mut(place(at)).expect("a place") {
                Value::Object(members) => drop(members.insert(name.clone(), json!(1))),
                other => *other = Value::from(name.clone()),
            },
            Mutation::Splice(at, len, with) => {
                let mut text = raw();
                let start = at.index(text.len() + 1);
                let end = (start + len).min(text.len());
                text.splice(start..end, with.iter().copied());
                bytes = Some(text);
            }
            Mutation::Cut(at) => {
                let mut text = raw();
                text.truncate(at.index(text.len() + 1));
                bytes = Some(text);
            }
            Mutation::Repeat(at, len) => {
                let mut text = raw();
                let start = at.index(text.len() + 1);
                let part = text[start..(start + len).min(text.len())].to_vec();
                text.splice(start..start, part);
                bytes = Some(text);
            }
        }
    }
    bytes.unwrap_or_else(|| body.to_string().into_bytes())
}

fn a_session() -> Value {
    json!({"cart": {"MADE": 2}, "currency": "GBP", "locale": "en-GB", "expires_in": 3600,
        "metadata": {"external_reference": "r-1", "return_url_success": "https://shop.example/yes", "campaign": "spring"}})
}

fn an_order() -> Value {
    json!({"customer_email": "customer@example.com", "items": [{"sku": "MADE", "quantity": 1}], "external_reference": "r-1",
        "currency": "GBP", "total_minor": 2999})
}

fn a_webhook() -> Value {
    json!({"url": "https://shop.example/hooks?a=b", "events": ["order.created", "order.fulfilled"], "secret": "sixteen-letters!"})
}

/// Sends mutated bodies. Returns how many were good, and how many were not.
fn run(client: Client, path: &'static str, good: fn() -> Value, cases: u32) -> (u32, u32) {
    let runtime = tokio::runtime::Handle::current();
    let (mut taken, mut refused) = (0, 0);
    let counts = std::cell::RefCell::new((&mut taken, &mut refused));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 256, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(mutation(), 1..4), |mutations| {
        let body = apply(&mutations, good());
        let sent = client.send(Method::POST, path, &[("content-type", "application/json")], body);
        let answer = runtime.block_on(sent).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let status = answer.status.as_u16();
        prop_assert!(matches!(status, 201 | 202 | 400 | 404 | 409), "{status}: {}", String::from_utf8_lossy(&answer.body));
        let mut counts = counts.borrow_mut();
        // 409 too was understood: the first order of these has the reference, and five endpoints are all there may be.
        if matches!(status, 400 | 404) {
            *counts.1 += 1;
        } else {
            *counts.0 += 1;
        }
        if answer.code() == "invalid_request" {
            prop_assert!(!fields(&whole_problem(&answer, 400, "invalid_request")).is_empty());
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    (taken, refused)
}

async fn mutate(path: &'static str, good: fn() -> Value) {
    let backstage = Backstage::new().await.set("EDGE__FULFILL_FALLBACK_MS", "1").set("EDGE__FULFILL_DEADLINE_MS", "2");
    let stage = Arc::new(backstage.start().await);
    let client = stage.partner();
    assert!(client.post(path, &good()).await.unwrap().status.is_success());
    let (taken, refused) = tokio::task::spawn_blocking(move || run(client, path, good, 1_500)).await.unwrap();
    assert!(taken > 20 && refused > 500, "{taken} understood, {refused} refused: mutations that show little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_checkout_session() {
    mutate(SESSION, a_session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_webhook_endpoint() {
    mutate(WEBHOOKS, a_webhook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_order() {
    mutate(FULFILL, an_order).await;
}
