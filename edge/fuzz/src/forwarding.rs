//! Forwarding headers. A caller sends whatever it likes; honest proxies of ours add what they see, in any of the usual ways. The address
//! that counts is the caller's own, always. The first byte says how many proxies there are and how they write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use edge::client_address::{self, ClientAddress};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bounds::measured;
use crate::knowledge::TRUSTED;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// What a chain of proxies makes of a caller's headers, and what we make of that.
pub fn check(data: &[u8]) {
    let Some(([how, caller], lines)) = data.split_first_chunk::<2>() else { return };
    let caller = caller_address(*caller);
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n').take(16) {
        let Some((&name, value)) = line.split_first() else { continue };
        let name = if name % 2 == 0 { X_FORWARDED_FOR } else { FORWARDED };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }

    let direct = measured(data.len(), 256, || client_address::of(caller, &headers, &*TRUSTED));
    assert_eq!(direct, caller.ip().to_canonical(), "a caller that no proxy stands before was believed");

    let proxies = 1 + how % 3;
    let mut peer = caller;
    for hop in 0..proxies {
        write(&mut headers, peer, how >> 2);
        peer = SocketAddr::new(proxy_address(hop, *how), 40_000);
    }
    let seen = measured(data.len() + 300, 256, || client_address::of(peer, &headers, &*TRUSTED));
    assert_eq!(seen, caller.ip().to_canonical(), "{headers:?}");
    assert_eq!(ClientAddress::of(seen), ClientAddress::of(caller.ip()));
}

/// Somebody outside of our networks.
fn caller_address(byte: u8) -> SocketAddr {
    let ip = match byte % 3 {
        0 => IpAddr::from(Ipv4Addr::new(203, 0, 113, byte)),
        1 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(byte), 0, 0, 0, 9)),
        // As a socket that takes both families tells of IPv4.
        _ => IpAddr::from(Ipv4Addr::new(198, 51, 100, byte).to_ipv6_mapped()),
    };
    SocketAddr::new(ip, 50_000)
}

fn proxy_address(hop: u8, how: u8) -> IpAddr {
    if how & 0x80 == 0 { IpAddr::from([10, 0, 0, hop]) } else { IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(hop))) }
}

/// What an honest proxy does: it adds whom it sees at the right end, on the last line or on one of its own, with or without the port. One
/// that writes `Forwarded` takes the other header away, as it would speak first.
fn write(headers: &mut HeaderMap, peer: SocketAddr, how: u8) {
    let (own_line, with_port, standard) = (how & 1 == 0, how & 2 == 0, how & 4 == 0);
    let address = match (peer.ip(), with_port) {
        (_, true) => peer.to_string(),
        (IpAddr::V6(ip), false) if standard => format!("[{ip}]"),
        (ip, false) => ip.to_string(),
    };
    let (name, element) = if standard {
        headers.remove(X_FORWARDED_FOR);
        (FORWARDED, format!("for=\"{address}\";proto=https"))
    } else {
        (X_FORWARDED_FOR, address)
    };
    let mut lines: Vec<Vec<u8>> = headers.get_all(&name).iter().map(|line| line.as_bytes().to_vec()).collect();
    match lines.last_mut().filter(|_| !own_line) {
        Some(last) => last.extend_from_slice(format!(", {element}").as_bytes()),
        None => lines.push(element.into_bytes()),
    }
    headers.remove(&name);
    for line in lines {
        headers.append(&name, HeaderValue::from_bytes(&line).expect("it was a value before"));
    }
}
