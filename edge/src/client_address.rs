//! Who is calling, as far as an address tells: the socket's peer, or what a proxy that we run says. Anything that a caller can write into
//! a header by itself is worth nothing here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address for counting: IPv4 whole, IPv6 by its /64, since that is what one customer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(u64);

impl ClientAddress {
    /// The address to count for `ip`.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self((ip.to_bits() >> 64) as u64),
        }
    }

    /// IPv4 addresses are put where no IPv6 network is: 0000::/16 is reserved.
    fn of_v4(ip: Ipv4Addr) -> Self {
        Self(1 << 32 | u64::from(ip.to_bits()))
    }
}

/// The address of whoever sent this: the peer's, unless the peer is a trusted proxy; then the right-most address in the forwarding
/// headers that is not one.
pub fn of(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.ip().to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut nearest = peer;
    for hop in hops_back(headers) {
        // What cannot be read was not written by a proxy of ours.
        let Some(ip) = hop else { break };
        nearest = ip;
        if !is_trusted(ip, trusted) {
            break;
        }
    }
    nearest
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&ip))
}

/// The addresses that the proxies wrote down, the last one first. `X-Forwarded-For` where there is one, `Forwarded` otherwise. Each is read
/// by itself: what a caller wrote in front of it, on the same line or another, must not make it unreadable.
fn hops_back(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let is_common = headers.contains_key(&X_FORWARDED_FOR);
    let (name, read) = if is_common { (X_FORWARDED_FOR, address as fn(&[u8]) -> _) } else { (FORWARDED, node as _) };
    headers.get_all(name).into_iter().rev().flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b',')).map(read)
}

/// The address in an element of `Forwarded`.
fn node(element: &[u8]) -> Option<IpAddr> {
    let value = element.split(|&byte| byte == b';').find_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked("for=".len())?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })?;
    address(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let ip = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    ip.or_else(bracketed).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, headers: &[(&str, &str)]) -> String {
        seen_bytes(peer, &headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect::<Vec<_>>())
    }

    fn seen_bytes(peer: &str, headers: &[(&str, &[u8])]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), http::HeaderValue::from_bytes(value).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        of(SocketAddr::new(peer.parse().unwrap(), 1), &map, &trusted).to_string()
    }

    #[test]
    fn an_untrusted_peer_can_say_what_it_likes() {
        assert_eq!(seen("203.0.113.9", &[("x-forwarded-for", "198.51.100.1")]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", &[("forwarded", "for=198.51.100.1")]), "203.0.113.9");
    }

    #[test]
    fn behind_proxies_the_right_most_untrusted_hop_counts() {
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, 198.51.100.7, 10.0.0.2")]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.7")]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")]), "10.0.0.3");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "198.51.100.7:4711")]), "198.51.100.7");
        assert_eq!(seen("fd00::1", &[("forwarded", "for=1.1.1.1, for=\"[2001:db8::7]:80\";proto=https")]), "2001:db8::7");
        assert_eq!(seen("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:198.51.100.7")]), "198.51.100.7");
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "198.51.100.7, unknown, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(seen("10.0.0.1", &[("forwarded", "for=198.51.100.7, by=x")]), "10.0.0.1");
    }

    #[test]
    fn what_a_caller_writes_hides_nothing_that_a_proxy_writes_behind_it() {
        assert_eq!(seen_bytes("10.0.0.1", &[("x-forwarded-for", b"\xff, 198.51.100.7, 10.0.0.2")]), "198.51.100.7");
        assert_eq!(seen_bytes("10.0.0.1", &[("x-forwarded-for", b"\xe9"), ("x-forwarded-for", b"198.51.100.7")]), "198.51.100.7");
        assert_eq!(seen_bytes("10.0.0.1", &[("forwarded", b"for=\"\xff\";by=\", for=198.51.100.7")]), "198.51.100.7");
    }

    #[test]
    fn one_customer_is_one_address() {
        let of = |text: &str| ClientAddress::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("198.51.100.7"), of("198.51.100.8"));
        assert_eq!(of("198.51.100.7"), of("::ffff:198.51.100.7"));
        assert_ne!(of("0.0.0.1"), of("::1"));
    }
}
