//! Clients that would be many: whatever they write into headers, each is admitted what one bucket holds.

use std::net::SocketAddr;

use crate::stage::{Backstage, GEO};
use crate::wire::{Wire, get};

/// Different ones.
const LIES: usize = 10_000;
/// Sent before the first answer is read.
const AT_ONCE: usize = 100;
/// What a bucket for subdivisions holds.
const CAPACITY: usize = 300;

/// How many of these requests are admitted, and how many are refused for their bucket. Each is what its header lines say.
async fn admitted(edge: SocketAddr, peer: &str, lines: impl Iterator<Item = String>) -> (usize, usize) {
    let mut wire = Wire::connect_from(peer, edge).await;
    let (mut admitted, mut refused) = (0, 0);
    let all: Vec<String> = lines.map(|lines| get(GEO, &lines)).collect();
    for some in all.chunks(AT_ONCE) {
        wire.say(some.concat()).await;
        for _ in some {
            match wire.hear().await.status.as_u16() {
                200 => admitted += 1,
                429 => refused += 1,
                status => panic!("{status}"),
            }
        }
    }
    (admitted, refused)
}

/// The `n`th address of a documentation network, as far as they go.
fn address(n: usize) -> String {
    if n.is_multiple_of(2) {
        format!("{}.{}.{}.7", 1 + n % 200, n / 200, n % 251)
    } else {
        format!("2001:db8:{:x}:{:x}::1", n / 100, n % 100)
    }
}

/// Headers that are said to tell an address, one after another.
fn lie(n: usize) -> String {
    const NAMES: [&str; 14] = [
        "x-forwarded-for",
        "X-Forwarded-For",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "fastly-client-ip",
        "x-originating-ip",
        "x-remote-addr",
        "x-envoy-external-address",
        "x-azure-clientip",
    ];
    let (name, ip) = (NAMES[n % NAMES.len()], address(n));
    match name {
        "forwarded" => format!("forwarded: for=\"[{ip}]\";proto=https, for={ip}\r\n"),
        "x-forwarded-for" => format!("x-forwarded-for: {ip}, {}\r\n", address(n + 1)),
        _ => format!("{name}: {ip}\r\n"),
    }
}

#[tokio::test]
async fn ten_thousand_names_and_one_bucket() {
    let stage = Backstage::new().await.start().await;
    assert_eq!(admitted(stage.address, "127.0.0.7", (0..LIES).map(lie)).await, (CAPACITY, LIES - CAPACITY));
    assert_eq!(stage.running.edge.gate.address_buckets(), 1);
}

#[tokio::test]
async fn ten_thousand_names_behind_a_proxy_and_one_bucket() {
    let stage = Backstage::new().await.set("EDGE__TRUSTED_PROXIES", "127.0.0.1").start().await;
    // As a proxy passes them on: what the client said, and then the client's address, on the same line or one of its own.
    let passed_on = |n: usize| match lie(n).strip_suffix("\r\n") {
        Some(told) if told.starts_with("x-forwarded-for") && n.is_multiple_of(3) => format!("{told}, 203.0.113.9\r\n"),
        told => format!("{}\r\nx-forwarded-for: 203.0.113.9\r\n", told.unwrap_or_default()),
    };
    assert_eq!(admitted(stage.address, "127.0.0.1", (0..LIES).map(passed_on)).await, (CAPACITY, LIES - CAPACITY));
    assert_eq!(stage.running.edge.gate.address_buckets(), 1);
}

#[tokio::test]
async fn a_network_of_64_bits_is_one_customer_and_a_thousand_are_a_thousand() {
    let stage = Backstage::new().await.set("EDGE__TRUSTED_PROXIES", "127.0.0.1").start().await;
    let from = |ip: String| format!("x-forwarded-for: {ip}\r\n");
    let one = (0..1_000).map(|n| from(format!("2001:db8:1:2:{n:x}::{n:x}")));
    assert_eq!(admitted(stage.address, "127.0.0.1", one).await, (CAPACITY, 1_000 - CAPACITY));
    let many = (0..1_000).map(|n| from(format!("2001:db8:2:{n:x}::1")));
    assert_eq!(admitted(stage.address, "127.0.0.1", many).await, (1_000, 0));
    assert_eq!(stage.running.edge.gate.address_buckets(), 1_001);
}
