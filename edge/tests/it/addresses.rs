//! Whose address a request is charged to: the socket's, or what a proxy of ours says. A caller cannot choose it.

use std::net::SocketAddr;

use crate::stage::{Backstage, GEO};
use crate::wire::{Wire, get};

/// What is left of the bucket that a request from `peer` with these headers is charged to.
async fn left(edge: SocketAddr, peer: &str, lines: &str) -> u32 {
    let answer = Wire::connect_from(peer, edge).await.ask(get(GEO, lines)).await;
    answer.header("x-ratelimit-remaining").parse().expect("a number")
}

#[tokio::test]
async fn without_proxies_only_the_socket_counts() {
    let stage = Backstage::new().await.start().await;
    for (expected, lines) in [
        (299, ""),
        (298, "x-forwarded-for: 198.51.100.1\r\n"),
        (297, "x-forwarded-for: 198.51.100.2\r\n"),
        (296, "forwarded: for=198.51.100.3\r\n"),
        (295, "x-real-ip: 198.51.100.4\r\n"),
        (294, "x-forwarded-for: 127.0.0.2\r\n"),
    ] {
        assert_eq!(left(stage.address, "127.0.0.1", lines).await, expected, "{lines}");
    }
    assert_eq!(left(stage.address, "127.0.0.2", "").await, 299, "another address has a bucket of its own");
}

#[tokio::test]
async fn behind_a_proxy_the_right_most_untrusted_hop_counts() {
    let stage = Backstage::new().await.set("EDGE__TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8").start().await;
    for (expected, lines) in [
        (299, "x-forwarded-for: 198.51.100.1\r\n"),
        (298, "x-forwarded-for: 203.0.113.77, 198.51.100.1\r\n"),
        (297, "x-forwarded-for: 198.51.100.1, 10.1.2.3\r\n"),
        (296, "x-forwarded-for: 203.0.113.77\r\nx-forwarded-for: 198.51.100.1\r\n"),
        (295, "forwarded: for=203.0.113.77;proto=https, for=\"198.51.100.1:4711\"\r\n"),
        (294, "forwarded: For=198.51.100.1\r\n"),
        (293, "x-forwarded-for: ::ffff:198.51.100.1\r\n"),
        (299, "x-forwarded-for: 198.51.100.2\r\n"),
        // The proxy itself, when it names nobody or something that is no address.
        (299, ""),
        (298, "x-forwarded-for: 198.51.100.1, unknown\r\n"),
    ] {
        assert_eq!(left(stage.address, "127.0.0.1", lines).await, expected, "{lines}");
    }
    // A peer that is no proxy of ours is charged itself, whatever it says.
    assert_eq!(left(stage.address, "127.0.0.2", "x-forwarded-for: 198.51.100.1\r\n").await, 299);
    assert_eq!(left(stage.address, "127.0.0.2", "x-forwarded-for: 198.51.100.9\r\n").await, 298);
    assert_eq!(left(stage.address, "127.0.0.2", "forwarded: for=198.51.100.9\r\n").await, 297);
}

#[tokio::test]
async fn a_customer_of_ipv6_is_its_network_of_64_bits() {
    let stage = Backstage::new().await.set("EDGE__TRUSTED_PROXIES", "127.0.0.1").start().await;
    for (expected, lines) in [
        (299, "x-forwarded-for: 2001:db8:1:2::1\r\n"),
        (298, "x-forwarded-for: 2001:db8:1:2:ffff:ffff:ffff:ffff\r\n"),
        (297, "forwarded: for=\"[2001:db8:1:2::9]:443\"\r\n"),
        (299, "x-forwarded-for: 2001:db8:1:3::1\r\n"),
        (299, "x-forwarded-for: 2001:db8:1:1::1\r\n"),
    ] {
        assert_eq!(left(stage.address, "127.0.0.1", lines).await, expected, "{lines}");
    }
}
