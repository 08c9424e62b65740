//! Bodies that no honest caller sends: too large, not JSON, the wrong shape. Always told which field, never a 5xx.

use http::Method;
use serde_json::{Value, json};
use testkit::http::{Client, Response};

use crate::stage::{FULFILL, ORDERS, SESSION, Stage, WEBHOOKS, fields, order, problem, session};
use crate::wire::{Wire, post};

const JSON: (&str, &str) = ("content-type", "application/json");
const BODY_MAX: usize = 65_536;

async fn send(client: &Client, path: &str, body: impl Into<bytes::Bytes>) -> Response {
    client.send(Method::POST, path, &[JSON], body).await.unwrap()
}

#[tokio::test]
async fn a_body_may_have_64_kib_and_not_one_byte_more() {
    let stage = Stage::new().await;
    let padded = |len: usize| {
        let mut body = session().to_string().into_bytes();
        body.resize(len, b' ');
        body
    };
    assert_eq!(send(&stage.partner(), SESSION, padded(BODY_MAX)).await.status, 201);
    // Whether the connection is new or not: the answer must arrive, and not be lost in a reset.
    for _ in 0..20 {
        problem(&send(&stage.partner(), SESSION, padded(BODY_MAX + 1)).await, 413, "body_too_large");
    }
    for http2 in [false, true] {
        let client = Client::new(stage.address, http2).with_key(&stage.key);
        problem(&send(&client, SESSION, padded(1_000_000)).await, 413, "body_too_large");
        assert_eq!(send(&client, SESSION, padded(BODY_MAX)).await.status, 201);
    }
    // In chunks, of which nobody knows how many will come.
    for (len, status) in [(BODY_MAX, 201), (BODY_MAX + 1, 413)] {
        let mut wire = Wire::connect(stage.address).await;
        let head =
            format!("host: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked", stage.key);
        wire.say(format!("POST {SESSION} HTTP/1.1\r\n{head}\r\n\r\n")).await;
        for piece in padded(len).chunks(8_000) {
            wire.say([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        wire.try_say("0\r\n\r\n").await;
        assert_eq!(wire.hear().await.status, status, "{len}");
    }
}

#[tokio::test]
async fn who_is_refused_before_the_body_is_read_is_told_that_the_connection_ends() {
    let stage = Stage::new().await;
    let ends = |answer: &Response| answer.headers.get("connection").is_some_and(|value| value == "close");
    for http2 in [false, true] {
        let partner = Client::new(stage.address, http2).with_key(&stage.key);
        let stranger = Client::new(stage.address, http2).with_key("ap_live_nobodys");
        // Again and again on what should be one connection, or a new one each time, and never on one that is about to end.
        for _ in 0..20 {
            let large = send(&partner, SESSION, vec![b' '; 1_000_000]).await;
            problem(&large, 413, "body_too_large");
            assert_eq!(ends(&large), !http2);
            let unread = send(&stranger, SESSION, vec![b' '; BODY_MAX]).await;
            problem(&unread, 401, "invalid_api_key");
            assert_eq!(ends(&unread), !http2);
            let small = send(&partner, SESSION, "{").await;
            problem(&small, 400, "invalid_request");
            assert!(!ends(&small), "a mistake does not end the connection");
        }
    }
}

#[tokio::test]
async fn what_is_not_json_is_told_so() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let deep = |open: &str, close: &str| format!("{{\"cart\":{}1{}}}", open.repeat(10_000), close.repeat(10_000)).into_bytes();
    let with = |text: &str| text.as_bytes().to_vec();
    let cases: Vec<Vec<u8>> = vec![
        with(""),
        with(" \n\t "),
        with("{"),
        with("}"),
        with("nonsense"),
        with("{'cart':{}}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\",}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\"} x"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\"}{}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\"}\0"),
        with("\u{feff}{\"cart\":{\"MADE\":1},\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":01},\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":+1},\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":NaN},\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":1e400},\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"G\u{0}P\"}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"\\ud800\"}"),
        with("{\"cart\":{\"\\udc00\\ud800\":1},\"currency\":\"GBP\"}"),
        b"{\"cart\":{\"MADE\":1},\"currency\":\"GB\xff\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        with(&"[".repeat(60_000)),
        // Twice the same member, at every level, however it is spelled.
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\",\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\",\"\\u0063urrency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":1,\"MADE\":1},\"currency\":\"GBP\"}"),
        with("{\"cart\":{\"MADE\":1},\"currency\":\"GBP\",\"metadata\":{\"a\":\"1\",\"a\":\"1\"}}"),
        with("{\"x\":{\"deep\":[{\"a\":1,\"a\":2}]},\"cart\":{\"MADE\":1},\"currency\":\"GBP\"}"),
        with("{\"items\":[{\"sku\":\"MADE\",\"sku\":\"MADE\",\"quantity\":1}],\"customer_email\":\"a@b\",\"external_reference\":\"r\"}"),
    ];
    for body in cases {
        for path in [SESSION, FULFILL, WEBHOOKS] {
            let told = problem(&send(&partner, path, body.clone()).await, 400, "invalid_request");
            assert_eq!(fields(&told), ["body"], "{}", String::from_utf8_lossy(&body));
        }
    }
    let told = problem(&send(&partner, SESSION, "{\"cart\":{\"A\":1,\"A\":2}}").await, 400, "invalid_request");
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("\"A\" is there twice"), "{told}");
    // Revoking takes no body, an empty object, and nothing else.
    let revoke = format!("{ORDERS}ORD-000000000000000000/revoke/");
    problem(&send(&partner, &revoke, "").await, 404, "order_not_found");
    problem(&send(&partner, &revoke, "{}").await, 404, "order_not_found");
    problem(&send(&partner, &revoke, "{\"reason\":\"x\"}").await, 400, "invalid_request");
    problem(&send(&partner, &revoke, "[]").await, 400, "invalid_request");
    problem(&send(&partner, &revoke, "{").await, 400, "invalid_request");
}

/// A value of every kind, and numbers of every size.
fn kinds() -> Vec<Value> {
    let numbers = ["-1", "0", "1.5", "1e2", "1e300", "9223372036854775808", "18446744073709551616", "1000000000000000000000000000000"];
    let others = [json!(true), json!(""), json!("x".repeat(10_000)), json!("a\u{0}b"), json!([]), json!([1]), json!({}), json!({"a": {}})];
    others.into_iter().chain(numbers.into_iter().map(|number| serde_json::from_str(number).unwrap())).collect()
}

#[tokio::test]
async fn every_member_of_every_wrong_kind_is_named() {
    let stage = Stage::new().await;
    let partner = stage.partner();
    let full_session = json!({"cart": {"MADE": 1}, "currency": "GBP", "locale": "en", "expires_in": 3600,
        "metadata": {"external_reference": "r", "return_url_success": "https://a.example/", "return_url_cancel": "https://b.example/", "own": "x"}});
    let mut full_order = order("r");
    full_order["currency"] = "GBP".into();
    full_order["total_minor"] = 2_999.into();
    let full_webhook = json!({"url": "https://a.example/", "events": ["order.created"], "secret": "sixteen-letters!"});
    let cases = [
        (WEBHOOKS, &full_webhook, vec!["url", "events", "events[0]", "secret"]),
        (
            SESSION,
            &full_session,
            vec![
                "cart",
                "cart.MADE",
                "currency",
                "locale",
                "expires_in",
                "metadata",
                "metadata.external_reference",
                "metadata.return_url_success",
                "metadata.return_url_cancel",
                "metadata.own",
            ],
        ),
        (
            FULFILL,
            &full_order,
            vec![
                "customer_email",
                "items",
                "items[0]",
                "items[0].sku",
                "items[0].quantity",
                "external_reference",
                "currency",
                "total_minor",
            ],
        ),
    ];
    for (path, full, members) in cases {
        for member in members {
            let pointer = format!("/{}", member.replace(['.', '['], "/").replace(']', ""));
            for kind in kinds() {
                let may_be = match member {
                    "metadata" => kind == json!({}),
                    "metadata.own" => kind == json!(""),
                    "total_minor" => kind == json!(0),
                    "events" => kind == json!([]),
                    _ => false,
                };
                if may_be {
                    continue;
                }
                let mut body = full.clone();
                *body.pointer_mut(&pointer).unwrap() = kind.clone();
                let told = problem(&send(&partner, path, body.to_string()).await, 400, "invalid_request");
                // Pairs of one's own are bounded together.
                let named = |field: &&str| field.starts_with(member) || (member == "metadata.own" && *field == "metadata");
                let kind = kind.to_string();
                assert!(fields(&told).iter().any(named), "{member} as {:.60}: {told}", kind);
            }
            let mut body = full.clone();
            *body.pointer_mut(&pointer).unwrap() = Value::Null;
            let answer = send(&partner, path, body.to_string()).await;
            assert!(
                answer.status == 400
                    || matches!(member, "locale" | "expires_in" | "currency" | "total_minor" | "events" | "secret")
                    || member.starts_with("metadata"),
                "{member} as null"
            );
        }
        for other in ["[]", "[{}]", "1", "\"text\"", "null", "true"] {
            let told = problem(&send(&partner, path, other).await, 400, "invalid_request");
            assert_eq!(fields(&told), ["body"]);
        }
        let told = problem(&send(&partner, path, "{}").await, 400, "invalid_request");
        assert!(fields(&told).len() >= if path == WEBHOOKS { 1 } else { 2 }, "everything that is missing is told at once: {told}");
        let mut unknown = full.clone();
        unknown["extra"] = json!(1);
        assert_eq!(fields(&problem(&send(&partner, path, unknown.to_string()).await, 400, "invalid_request")), ["extra"]);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_nobodys_order() {
    let stage = Stage::new().await;
    let whole = post(FULFILL, &stage.key, "", &order("broken").to_string());
    let wire = Wire::connect(stage.address).await;
    let mut wire = wire;
    wire.say(&whole[..whole.len() - 5]).await;
    drop(wire);
    // A chunk whose size is no number.
    let mut wire = Wire::connect(stage.address).await;
    let head = format!("host: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked", stage.key);
    let answer = wire.ask(format!("POST {FULFILL} HTTP/1.1\r\n{head}\r\n\r\nZZ\r\n{{}}\r\n0\r\n\r\n")).await;
    problem(&answer, 400, "invalid_request");
    let orders = stage.partner().get(ORDERS).await.unwrap();
    assert_eq!(orders.json(), json!({"data": [], "has_more": false}));
}
