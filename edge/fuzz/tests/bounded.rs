//! The shapes that make a careless reader slow, as large as the edge lets them in: whatever is quadratic somewhere takes seconds here.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const BODY_BYTES: usize = 64 * 1024;
const HEAD_BYTES: usize = 16 * 1024;
/// What one input may take, unoptimized and with all properties: more than ten times what the slowest of them takes.
const CPU_MAX: Duration = Duration::from_millis(500);

/// Time that this thread has worked. Time on the wall would also measure who else is at work.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("below a second"))
}

/// `head`, as many parts as fit, numbered where they have a `#`, and `tail`.
fn shape(bytes: usize, head: &str, part: &str, tail: &str) -> Vec<u8> {
    let mut text = head.to_owned();
    for number in 0.. {
        let part = part.replace('#', &number.to_string());
        if text.len() + part.len() + tail.len() > bytes {
            break;
        }
        text.push_str(&part);
    }
    (text + tail).into_bytes()
}

fn all_within(check: fn(&[u8]), bytes: usize, shapes: &[(&str, &str, &str)]) {
    for &(head, part, tail) in shapes {
        let data = shape(bytes, head, part, tail);
        assert!(data.len() > bytes - 200, "{head}{part}{tail} has {} bytes", data.len());
        let started = cpu_time();
        check(&data);
        let used = cpu_time() - started;
        println!("{used:?} for {head}{part}{tail}");
        assert!(used < CPU_MAX, "{head}{part}{tail}: {used:?} for {} bytes", data.len());
    }
}

const JSON: [(&str, &str, &str); 10] = [
    ("", "[", ""),
    ("", "{\"a\":", ""),
    ("{", "\"m#\":0,", "\"z\":0}"),
    ("{", "\"m#\":0,", "\"m0\":0}"),
    ("{\"\\u0000", "\\u0000", "\":1}"),
    ("{\"currency\":\"", "\\ud83d\\ude00", "\"}"),
    ("{\"external_reference\":\"", "é", "\"}"),
    ("[", "1e300,", "1]"),
    ("", " ", "{}"),
    ("{\"total_minor\":1", "0", "}"),
];

#[test]
fn bodies_of_sessions() {
    all_within(fuzz::cart_body::check, BODY_BYTES, &JSON);
    let shapes = [
        ("{\"currency\":\"GBP\",\"cart\":{", "\"S#\":1,", "\"A\":1}}"),
        ("{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"locale\":\"en", "-a", "\"}"),
        ("{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"metadata\":{", "\"k#\":\"v\",", "\"a\":\"b\"}}"),
        ("{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"metadata\":{", "\"k#\":[],", "\"a\":\"b\"}}"),
        ("{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"metadata\":{\"return_url_success\":\"https://", "a.", "\"}}"),
        ("{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"metadata\":{\"return_url_success\":\"https://a/", "../", "\"}}"),
        ("{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"metadata\":{\"return_url_success\":\"https://xn--", "a@", "\"}}"),
    ];
    all_within(fuzz::cart_body::check, BODY_BYTES, &shapes);
}

#[test]
fn bodies_of_orders() {
    all_within(fuzz::fulfill_body::check, BODY_BYTES, &JSON);
    let shapes = [
        ("{\"customer_email\":\"a@b\",\"external_reference\":\"r\",\"items\":[", "{\"sku\":\"A\",\"quantity\":1},", "1]}"),
        ("{\"customer_email\":\"a@b\",\"external_reference\":\"r\",\"items\":[{", "\"m#\":1,", "\"sku\":\"A\"}]}"),
        ("{\"external_reference\":\"r\",\"items\":[1],\"customer_email\":\"a", "@a.", "\"}"),
        ("{\"external_reference\":\"r\",\"items\":[1],\"customer_email\":\"a@", "ü.", "\"}"),
    ];
    all_within(fuzz::fulfill_body::check, BODY_BYTES, &shapes);
}

#[test]
fn links() {
    let shapes = [
        ("", "&", ""),
        ("", "%", ""),
        ("", "items=A:1&", ""),
        ("", "x#=&", ""),
        ("currency=GBP&items=", "S#:1,", ""),
        ("currency=GBP&items=", "A:1,", ""),
        ("currency=GBP&items=", ":", ""),
        ("currency=GBP&external_reference=", "%E9", ""),
        ("currency=GBP&add=", "+", ""),
        ("currency=GBP&email=a@", "a.", ""),
        ("currency=GBP&locale=en", "-en", ""),
    ];
    all_within(fuzz::cart_link::check, HEAD_BYTES, &shapes);
}

#[test]
fn heads() {
    let forwarded = [
        ("\u{1}\u{1}0", ",", ""),
        ("\u{1}\u{1}0", "10.0.0.1,", ""),
        ("\u{4}\u{1}1", "for=10.0.0.1,", ""),
        ("\u{4}\u{1}1", "for=10.0.0.1;", ""),
        ("\u{4}\u{1}1", "\"", ""),
        ("\u{4}\u{1}1", "=;,", ""),
    ];
    all_within(fuzz::forwarding::check, HEAD_BYTES, &forwarded);
    let keys = [("Bearer ", " ", ""), ("Bearer ", "A", ""), ("", "\n", ""), ("Bearer", "\t", "")];
    all_within(fuzz::key_header::check, HEAD_BYTES, &keys);
    let heads = [
        ("GET ", "/", " HTTP/1.1\r\n\r\n"),
        ("GET /api/v1/stores/", "a/", " HTTP/1.1\r\n\r\n"),
        ("GET /api/v1/geo/subdivisions?", "country=&", " HTTP/1.1\r\n\r\n"),
        ("GET /api/v1/geo/subdivisions?", "%25#=a&", " HTTP/1.1\r\n\r\n"),
        ("GET / HTTP/1.1\r\nX-Forwarded-For: ", "10.0.0.1,", "\r\n\r\n"),
        ("GET / HTTP/1.1\r\nAuthorization: Bearer ", "a", "\r\n\r\n"),
        ("GET / HTTP/1.1\r\nIdempotency-Key: ", "a", "\r\n\r\n"),
    ];
    all_within(fuzz::request_head::check, HEAD_BYTES, &heads);
}

#[test]
fn tokens() {
    let shapes = [
        ("\u{0}", ".", ""),
        ("\u{0}cs1.k1.", "A", ""),
        ("\u{2}", "[", ""),
        ("\u{2}{\"s\":7,\"m\":\"live\",\"c\":[", "{\"sku\":\"A\",\"quantity\":1},", "1]}"),
        ("\u{1}\u{1}\u{1}\u{1}{\"currency\":\"GBP\",\"cart\":{\"A\":1},\"metadata\":{\"a\":\"", "\\u0022", "\"}}"),
    ];
    all_within(fuzz::session_token::check, HEAD_BYTES, &shapes);
}
