//! Every field at its limit, where it is good, and one beyond it, where it is told.

use http::Method;
use serde_json::{Value, json};
use testkit::http::Client;

use crate::stage::{Backstage, FULFILL, SESSION, Stage, fields, order, problem, session};
use crate::wire::{Wire, get, post};

/// A stage on which accepted orders are accepted at once, as nobody waits for a worker.
async fn hasty(products: &[String]) -> Stage {
    let backstage = Backstage::new().await.unlimited_addresses();
    let backstage = backstage.set("EDGE__FULFILL_FALLBACK_MS", "1").set("EDGE__FULFILL_DEADLINE_MS", "2");
    for sku in products {
        backstage.shop.generated(&backstage.pg, sku).await.unwrap();
    }
    backstage.start().await
}

struct Case {
    path: &'static str,
    body: Value,
    /// The field that is told, or none when the body is good.
    field: Option<&'static str>,
}

async fn check(partner: &Client, case: Case) {
    let answer = partner.post(case.path, &case.body).await.unwrap();
    match case.field {
        None => assert!(answer.status == 201 || answer.status == 202, "{} {}: {:?}", case.path, case.body, answer.body),
        Some(field) => assert_eq!(fields(&problem(&answer, 400, "invalid_request")), [field], "{}", case.body),
    }
}

/// A session with one member set; a path of two leads into metadata.
fn session_with(member: &str, value: Value) -> Value {
    let mut body = session();
    body[member] = value;
    body
}

#[tokio::test]
async fn of_a_checkout_session() {
    let longest = "S".repeat(64);
    let products: Vec<String> = (0..50).map(|n| format!("S{n}")).chain([longest.clone(), "a.B_c-9".to_owned()]).collect();
    let stage = hasty(&products).await;
    let lines = |count: usize| Value::Object((0..count).map(|n| (format!("S{n}"), json!(1))).collect());
    let metadata = |name: &str, value: String| json!({name: value});
    let pairs = |count: usize| Value::Object((0..count).map(|n| (format!("k{n:02}"), json!("v"))).collect());
    let url = |len: usize| format!("https://a.example/{}", "x".repeat(len - 18));
    let cases = [
        ("cart", lines(50), None),
        ("cart", lines(51), Some("cart")),
        ("cart", json!({}), Some("cart")),
        ("cart", json!({longest.as_str(): 1}), None),
        ("cart", json!({"a.B_c-9": 1}), None),
        ("cart", json!({"MADE": 1_000}), None),
        ("cart", json!({"MADE": 1_001}), Some("cart.MADE")),
        ("cart", json!({"MADE": 1}), None),
        ("cart", json!({"MADE": 0}), Some("cart.MADE")),
        ("cart", json!({"A B": 1}), Some("cart.A B")),
        ("cart", json!({"": 1}), Some("cart.")),
        ("cart", json!({"A\u{0}\n": 1}), Some("cart.A")),
        ("currency", json!("gBp"), None),
        ("currency", json!("GB"), Some("currency")),
        ("currency", json!("GBPP"), Some("currency")),
        ("currency", json!("ZZZ"), Some("currency")),
        ("currency", json!("£££"), Some("currency")),
        ("locale", json!("zh-Hant-TW"), None),
        ("locale", json!(format!("en-{}", ["abcdefgh"; 3].join("-") + "-abcde")), None),
        ("locale", json!(format!("en-{}", ["abcdefgh"; 3].join("-") + "-abcdef")), Some("locale")),
        ("expires_in", json!(1_800), None),
        ("expires_in", json!(1_799), Some("expires_in")),
        ("expires_in", json!(86_400), None),
        ("expires_in", json!(86_401), Some("expires_in")),
        ("metadata", metadata("external_reference", "é".repeat(255)), None),
        ("metadata", metadata("external_reference", "é".repeat(256)), Some("metadata.external_reference")),
        ("metadata", metadata("external_reference", String::new()), Some("metadata.external_reference")),
        ("metadata", metadata("external_reference", "a\u{0}".into()), Some("metadata.external_reference")),
        ("metadata", metadata("return_url_success", "http://shop.example/".into()), None),
        ("metadata", metadata("return_url_success", "ftp://shop.example/".into()), Some("metadata.return_url_success")),
        ("metadata", metadata("return_url_cancel", "/cancel".into()), Some("metadata.return_url_cancel")),
        ("metadata", metadata("return_url_success", url(2_048 - 18)), None),
        ("metadata", metadata("return_url_success", url(2_048 - 17)), Some("metadata")),
        ("metadata", pairs(20), None),
        ("metadata", pairs(21), Some("metadata")),
        ("metadata", metadata("k", "x".repeat(2_047)), None),
        ("metadata", metadata("k", "x".repeat(2_048)), Some("metadata")),
        ("metadata", metadata(&"k".repeat(64), "x".into()), None),
        ("metadata", metadata("k", "a\u{0}b".into()), Some("metadata.k")),
        ("metadata", metadata("k", "a\u{1b}[31m".into()), Some("metadata.k")),
        ("metadata", metadata("k", "two\nlines".into()), None),
    ];
    for (member, value, field) in cases {
        check(&stage.partner(), Case { path: SESSION, body: session_with(member, value), field }).await;
    }
    for beyond in ["S".repeat(65), "k".repeat(65)] {
        let body = if beyond.starts_with('S') {
            session_with("cart", json!({beyond.as_str(): 1}))
        } else {
            session_with("metadata", json!({beyond.as_str(): "x"}))
        };
        problem(&stage.partner().post(SESSION, &body).await.unwrap(), 400, "invalid_request");
    }
}

#[tokio::test]
async fn of_an_order() {
    let products: Vec<String> = (0..50).map(|n| format!("S{n}")).collect();
    let stage = hasty(&products).await;
    let items = |count: usize| Value::Array((0..count).map(|n| json!({"sku": format!("S{n}"), "quantity": 1})).collect());
    let item = |sku: &str, quantity: i64| json!([{"sku": sku, "quantity": quantity}]);
    let longest = format!("{}@{}.{}.{}", "a".repeat(64), "b".repeat(63), "c".repeat(63), "d".repeat(61));
    let cases = [
        ("items", items(50), None),
        ("items", items(51), Some("items")),
        ("items", json!([]), Some("items")),
        ("items", item("MADE", 1_000), None),
        ("items", item("MADE", 1_001), Some("items[0].quantity")),
        ("items", item("MADE", 0), Some("items[0].quantity")),
        ("items", json!([{"sku": "MADE", "quantity": 600}, {"sku": "S1", "quantity": 400}]), None),
        ("items", json!([{"sku": "MADE", "quantity": 600}, {"sku": "S1", "quantity": 401}]), Some("items")),
        ("items", json!([{"sku": "MADE", "quantity": 600}, {"sku": "MADE", "quantity": 401}]), Some("items")),
        ("items", item(&"S".repeat(65), 1), Some("items[0].sku")),
        ("items", item("", 1), Some("items[0].sku")),
        ("items", item("A\u{0}", 1), Some("items[0].sku")),
        ("external_reference", json!("r".repeat(255)), None),
        ("external_reference", json!("r".repeat(256)), Some("external_reference")),
        ("external_reference", json!("😀".repeat(255)), None),
        ("external_reference", json!("😀".repeat(256)), Some("external_reference")),
        ("external_reference", json!(""), Some("external_reference")),
        ("external_reference", json!("a\u{0}b"), Some("external_reference")),
        ("external_reference", json!("a\u{85}b"), Some("external_reference")),
        ("external_reference", json!("a\tb"), Some("external_reference")),
        ("customer_email", json!(longest), None),
        ("customer_email", json!(format!("{longest}d")), Some("customer_email")),
        ("customer_email", json!(format!("{}@b.example", "a".repeat(65))), Some("customer_email")),
        ("customer_email", json!("a\u{0}@b.example"), Some("customer_email")),
        ("customer_email", json!("a\r\nbcc: x@b.example"), Some("customer_email")),
        ("customer_email", json!("nobody"), Some("customer_email")),
        ("total_minor", json!(0), None),
        ("total_minor", json!(-1), Some("total_minor")),
        ("total_minor", json!(1_000_000_000_000_000_i64), None),
        ("total_minor", json!(1_000_000_000_000_001_i64), Some("total_minor")),
        ("currency", json!("usd"), None),
        ("currency", json!("us"), Some("currency")),
    ];
    for (n, (member, value, field)) in cases.into_iter().enumerate() {
        let mut body = order(&format!("r{n}"));
        body[member] = value;
        check(&stage.partner(), Case { path: FULFILL, body, field }).await;
    }
}

#[tokio::test]
async fn of_an_idempotency_key() {
    let stage = hasty(&[]).await;
    let longest = "k".repeat(255);
    for (n, (lines, good)) in [
        (format!("idempotency-key: {longest}\r\n"), true),
        (format!("idempotency-key: {longest}k\r\n"), false),
        ("idempotency-key: !~\"{}\r\n".to_owned(), true),
        ("idempotency-key:\r\n".to_owned(), false),
        ("idempotency-key: two words\r\n".to_owned(), false),
        ("idempotency-key: schlüssel\r\n".to_owned(), false),
        ("idempotency-key: a\tb\r\n".to_owned(), false),
        ("idempotency-key: a\r\nidempotency-key: a\r\n".to_owned(), false),
    ]
    .into_iter()
    .enumerate()
    {
        for (path, body) in [(SESSION, session()), (FULFILL, order(&format!("i{n}")))] {
            let answer = Wire::connect(stage.address).await.ask(post(path, &stage.key, &lines, &body.to_string())).await;
            if good {
                assert!(answer.status.is_success(), "{lines}: {answer:?}");
            } else {
                assert_eq!(fields(&problem(&answer, 400, "invalid_request")), ["Idempotency-Key"], "{lines}");
            }
        }
    }
}

#[tokio::test]
async fn of_a_request_id() {
    let stage = Stage::new().await;
    let longest = "i".repeat(128);
    for kept in ["a", "req_0-1.2", "0123456789ABCDEFabcdef", &longest] {
        let answer = stage.anyone().send(Method::GET, "/api/v1/x", &[("x-request-id", kept)], "").await.unwrap();
        assert_eq!(problem(&answer, 404, "not_found")["request_id"], kept);
    }
    let mut given = std::collections::BTreeSet::new();
    for replaced in ["", "a b", "a/b", "{}", "<script>", "é", &format!("{longest}i")] {
        let answer = Wire::connect(stage.address).await.ask(get("/api/v1/x", &format!("x-request-id: {replaced}\r\n"))).await;
        let id = problem(&answer, 404, "not_found")["request_id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("req_") && id.len() == 28, "{replaced}: {id}");
        assert!(given.insert(id), "an id of its own for every request");
    }
}

#[tokio::test]
async fn of_a_head() {
    let stage = Stage::new().await;
    let path = "/api/v1/geo/subdivisions/?country=US&x=";
    let filled = |len: usize, first: &str| format!("{first}{}", "y".repeat(len - first.len()));
    for (len, status) in [(8_704, 200), (8_705, 414)] {
        assert_eq!(stage.anyone().get(&filled(len, path)).await.unwrap().status, status, "{len} bytes of target");
    }
    // `get` writes one field of its own.
    for (count, status) in [(63, 200), (64, 431), (99, 431)] {
        let answer = Wire::connect(stage.address).await.ask(get("/api/v1/geo/subdivisions/?country=US", &"x: y\r\n".repeat(count))).await;
        assert_eq!(answer.status, status, "{} fields", count + 1);
    }
    let head = |len: usize| {
        let empty = get("/api/v1/geo/subdivisions/?country=US", "x: \r\n").len();
        get("/api/v1/geo/subdivisions/?country=US", &format!("x: {}\r\n", "y".repeat(len - empty)))
    };
    for (len, status) in [(16_384, 200), (16_385, 431), (32_768, 431)] {
        let answer = Wire::connect(stage.address).await.ask(head(len)).await;
        assert_eq!(answer.status, status, "{len} bytes of head");
        if status == 431 {
            problem(&answer, 431, "head_too_large");
        }
    }
    // Far beyond, nothing is made of it any more, whether it ends or not.
    for beyond in [head(40_000), head(40_000).trim_end().to_owned(), get("/", &"x: y\r\n".repeat(200))] {
        let mut wire = Wire::connect(stage.address).await;
        wire.try_say(beyond).await;
        let said = wire.ended().await;
        assert!(said.starts_with(b"HTTP/1.1 431 "), "{:?}", String::from_utf8_lossy(&said));
    }
}
