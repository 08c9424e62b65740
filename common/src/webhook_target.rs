//! Which URLs may be webhook endpoints, and which addresses may be connected to for them. A partner chooses the URL and owns the name, so
//! neither may lead into the platform's own network.
//!
//! A name's address is known only when it is connected to: whoever connects asks [`Rules::admit`] for every address that was looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The longest URL, in bytes, as written and as normalized.
pub const URL_MAX: usize = 2_048;
/// The longest name of a host that DNS knows.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Names that are never anybody's on the Internet. (`.test`, `.invalid` and `.example` only fail to resolve, which says it better.)
const PRIVATE_SUFFIXES: [&str; 5] = ["local", "internal", "home.arpa", "onion", "localhost"];

/// What is admitted where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// `https` to public addresses.
    Production,
    /// Also `http`, and also 127.0.0.0/8 and ::1.
    Development,
}

impl Rules {
    /// Whether a connection to this address may be made.
    pub fn admit(self, address: IpAddr) -> bool {
        is_public(address) || (self == Self::Development && address.is_loopback())
    }
}

/// Why a URL cannot be an endpoint, in words for the partner who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`URL_MAX`].
    #[error("the URL is longer than {URL_MAX} bytes: use a shorter one")]
    TooLong,
    /// Not a URL, or not one that everybody reads the same way.
    #[error("this is not a valid URL: write it as https://host/path, without spaces and backslashes")]
    Malformed,
    /// A scheme other than `https`.
    #[error("the URL must begin with https://")]
    Scheme,
    /// A user's name or password before the host.
    #[error("the URL must not hold a user name or password: remove what stands before the @, and verify signatures instead")]
    UserInfo,
    /// Something after `#`.
    #[error("the URL must not have a fragment: remove the # and what follows it")]
    Fragment,
    /// Port 0.
    #[error("port 0 cannot be connected to: use another port, or none")]
    Port,
    /// A name that DNS could not hold.
    #[error("the host's name is not valid: use letters, digits, hyphens and dots")]
    Name,
    /// A name without a dot.
    #[error("the host's name must be complete, as in hooks.example.com")]
    SingleLabel,
    /// A name that only a private network knows.
    #[error("the host's name belongs to private networks: use one that can be reached from the Internet")]
    PrivateName,
    /// An address that only a private network knows, or nobody.
    #[error("the host's address is not public: use one that can be reached from the Internet")]
    PrivateAddress,
}

/// The URL of an endpoint, normalized. Its path and query may hold a partner's secret: `Debug` and `Display` show only where it leads.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    url: Url,
}

/// The host of a [`Target`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetHost<'a> {
    /// A name, in lower case and ASCII, without a dot at its end.
    Name(&'a str),
    /// An address.
    Address(IpAddr),
}

impl Target {
    /// Reads an endpoint's URL. Notations of addresses (decimal, octal, hexadecimal, short, full-width, percent-encoded) are resolved before
    /// they are judged.
    pub fn parse(text: &str, rules: Rules) -> Result<Self, TargetError> {
        if text.len() > URL_MAX {
            return Err(TargetError::TooLong);
        }
        // What a lenient parser would drop or turn, and a strict one would read as another host.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(TargetError::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Malformed)?;
        let is_http = scheme.eq_ignore_ascii_case("http") && rules == Rules::Development;
        if !is_http && !scheme.eq_ignore_ascii_case("https") {
            return Err(TargetError::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(TargetError::Malformed);
        }
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let mut url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        if url.port() == Some(0) {
            return Err(TargetError::Port);
        }
        let name = match url.host() {
            None => return Err(TargetError::Malformed),
            Some(Host::Ipv4(address)) => return Self::admitted(url, rules.admit(address.into())),
            Some(Host::Ipv6(address)) => return Self::admitted(url, rules.admit(address.into())),
            Some(Host::Domain(name)) => name,
        };
        // The dot at the end says that a name is complete. Without it there is one spelling, and certificates are written that way.
        if let Some(complete) = name.strip_suffix('.') {
            let complete = complete.to_owned();
            url.set_host(Some(&complete)).map_err(|_| TargetError::Name)?;
        }
        let Some(Host::Domain(name)) = url.host() else { return Err(TargetError::Name) };
        check_name(name, rules)?;
        Self::admitted(url, true)
    }

    fn admitted(url: Url, admitted: bool) -> Result<Self, TargetError> {
        match admitted {
            false => Err(TargetError::PrivateAddress),
            true if url.as_str().len() > URL_MAX => Err(TargetError::TooLong),
            true => Ok(Self { url }),
        }
    }

    /// The whole URL, normalized. May hold a secret.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// Whether it is spoken to by TLS.
    pub fn is_https(&self) -> bool {
        self.scheme() == "https"
    }

    /// Its host.
    pub fn host(&self) -> TargetHost<'_> {
        match self.url.host() {
            Some(Host::Ipv4(address)) => TargetHost::Address(address.into()),
            Some(Host::Ipv6(address)) => TargetHost::Address(address.into()),
            Some(Host::Domain(name)) => TargetHost::Name(name),
            // Never made without one.
            None => TargetHost::Name(""),
        }
    }

    /// Its port, the scheme's own when none is written.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// `host:port` in lower case: equal for all URLs that lead to the same server, whatever their scheme.
    pub fn destination(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.port())
    }

    /// What stands in the request's first line: the path, and the query if there is one. May hold a secret.
    pub fn path_and_query(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.destination())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

fn check_name(name: &str, rules: Rules) -> Result<(), TargetError> {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LABEL_MAX && label.bytes().all(plain)
    };
    if name.len() > NAME_MAX || !name.split('.').all(is_label) {
        return Err(TargetError::Name);
    }
    let is_below = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if is_below("localhost") && rules == Rules::Development {
        return Ok(());
    }
    if PRIVATE_SUFFIXES.into_iter().any(is_below) {
        return Err(TargetError::PrivateName);
    }
    match name.contains('.') || rules == Rules::Development {
        true => Ok(()),
        false => Err(TargetError::SingleLabel),
    }
}

/// Whether an address is one of the Internet's own: by IANA's registries of special-purpose addresses, and by refusing whatever carries
/// another address inside (mapped, translated, tunneled), for it may end anywhere.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            !SPECIAL_V4.iter().any(|&(network, length)| (bits ^ network.to_bits()) >> (32 - length) == 0)
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let is_in = |&(network, length): &(Ipv6Addr, u32)| (bits ^ network.to_bits()) >> (128 - length) == 0;
            is_in(&GLOBAL_V6) && !SPECIAL_V6.iter().any(is_in)
        }
    }
}

/// Network and length of its prefix, 1 to 32.
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared by carriers
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, and the clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocols
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // relays of 6to4
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
    (Ipv4Addr::new(168, 63, 129, 16), 32), // one cloud's public-looking address for its hosts' own services
];

/// The only part of IPv6 that is given out for the Internet. Outside of it: loopback, mapped and translated IPv4, 100::/64, 5f00::/16,
/// fc00::/7, fe80::/10, fec0::/10, ff00::/8.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Within [`GLOBAL_V6`]: network and length of its prefix.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocols: Teredo, ORCHID, benchmarks, …
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_are_public_or_special_up_to_the_boundaries() {
        // First and last of each special network, then the neighbors that are public (None: the neighbor is special too).
        let networks = [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "239.255.255.255", Some("223.255.255.255"), None),
            ("240.0.0.0", "255.255.255.255", None, None),
        ];
        check(&networks);
        for text in ["169.254.169.254", "100.100.100.200", "192.0.0.192"] {
            assert!(!is_public(text.parse().unwrap()), "{text} answers metadata");
        }
        for text in ["1.1.1.1", "8.8.8.8", "192.31.196.1", "192.175.48.6"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn ipv6_addresses_are_public_or_special_up_to_the_boundaries() {
        let last = |prefix: &str| format!("{prefix}:ffff:ffff:ffff:ffff:ffff:ffff");
        let networks = [
            ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2000::")),
            ("2001::", &last("2001:1ff"), Some("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some("2001:200::")),
            ("2001:db8::", &last("2001:db8"), Some(&*last("2001:db7")), Some("2001:db9::")),
            ("2002::", &last("2002:ffff"), Some(&*last("2001:ffff")), Some("2003::")),
            ("3fff::", &last("3fff:fff"), Some(&*last("3ffe:ffff")), Some("3fff:1000::")),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), None),
        ];
        check(&networks);
        let special = [
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2002:808:808::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff02::1",
        ];
        for text in special {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["2606:4700:4700::1111", "2a00:1450:4001::1", "2620:4f:8000::1", "2400:cb00::1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    fn check(networks: &[(&str, &str, Option<&str>, Option<&str>)]) {
        for (first, last, before, after) in networks {
            for text in [first, last] {
                assert!(!is_public(text.parse().unwrap()), "{text} is special");
            }
            for text in [before, after].into_iter().flatten() {
                assert!(is_public(text.parse().unwrap()), "{text} is public");
            }
        }
    }

    #[test]
    fn development_admits_loopback_and_nothing_else() {
        for text in ["127.0.0.1", "127.255.255.255", "::1", "8.8.8.8"] {
            assert!(Rules::Development.admit(text.parse().unwrap()), "{text}");
        }
        for text in ["::ffff:127.0.0.1", "0.0.0.0", "::", "10.0.0.1", "169.254.169.254", "fe80::1", "::127.0.0.1"] {
            assert!(!Rules::Development.admit(text.parse().unwrap()), "{text}");
        }
        assert!(!Rules::Production.admit("127.0.0.1".parse().unwrap()));
        assert!(!Rules::Production.admit("::1".parse().unwrap()));
    }

    #[test]
    fn good_urls_are_normalized() {
        let target = Target::parse("HTTPS://Hooks.Example.COM.:443/a/../b%20c?token=x&y=%7e", Rules::Production).unwrap();
        assert_eq!(target.as_str(), "https://hooks.example.com/b%20c?token=x&y=%7e");
        assert_eq!(target.host(), TargetHost::Name("hooks.example.com"));
        assert_eq!((target.scheme(), target.port(), target.is_https()), ("https", 443, true));
        assert_eq!(target.destination(), "hooks.example.com:443");
        assert_eq!(target.path_and_query(), "/b%20c?token=x&y=%7e");
        assert_eq!(Target::parse(target.as_str(), Rules::Production).as_ref(), Ok(&target));

        let bare = Target::parse("https://example.com", Rules::Production).unwrap();
        assert_eq!((bare.as_str(), bare.path_and_query()), ("https://example.com/", "/"));
        let literal = Target::parse("https://[2606:4700::1111]:8443/x", Rules::Production).unwrap();
        assert_eq!(literal.host(), TargetHost::Address("2606:4700::1111".parse().unwrap()));
        assert_eq!(literal.destination(), "[2606:4700::1111]:8443");
        let plain = Target::parse("http://127.0.0.1:8080/x", Rules::Development).unwrap();
        assert_eq!((plain.is_https(), plain.port()), (false, 8080));
        let international = Target::parse("https://bücher.example/", Rules::Production).unwrap();
        assert_eq!(international.destination(), "xn--bcher-kva.example:443");
        for text in ["https://a.test/", "https://a.invalid/", "https://mylocal.com/", "https://8.8.8.8/", "https://a_b.example.org/"] {
            assert!(Target::parse(text, Rules::Production).is_ok(), "{text}");
        }
        for text in ["http://localhost:9000/", "http://x.localhost/", "http://receiver:9000/", "http://[::1]:1/", "http://2130706433/"] {
            assert!(Target::parse(text, Rules::Development).is_ok(), "{text}");
        }
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        let target = Target::parse("https://example.com/hooks/s3cret?token=s3cret", Rules::Production).unwrap();
        assert_eq!(format!("{target} {target:?}"), "https://example.com:443 Target(https://example.com:443)");
    }

    #[test]
    fn bad_urls_are_refused_for_their_own_reason() {
        let long = format!("https://example.com/{}", "a".repeat(URL_MAX));
        // 1,500 bytes as written, 4,500 when percent-encoded.
        let grows = format!("https://example.com/{}", "é".repeat(750));
        let name = format!("https://{}.com/", "a".repeat(64));
        let table = [
            (long.as_str(), TargetError::TooLong),
            (grows.as_str(), TargetError::TooLong),
            ("", TargetError::Malformed),
            ("example.com/x", TargetError::Malformed),
            ("https:example.com", TargetError::Malformed),
            ("https:/example.com", TargetError::Malformed),
            ("https:///example.com", TargetError::Malformed),
            ("https://", TargetError::Malformed),
            ("https://exa mple.com/", TargetError::Malformed),
            (" https://example.com/", TargetError::Malformed),
            ("https://example.com/\n", TargetError::Malformed),
            ("https://exam\tple.com/", TargetError::Malformed),
            ("https:\\\\example.com\\", TargetError::Malformed),
            ("https://example.com:99999/", TargetError::Malformed),
            ("https://1.2.3.4.5/", TargetError::Malformed),
            ("https://256.0.0.1/", TargetError::Malformed),
            ("http://example.com/", TargetError::Scheme),
            ("ftp://example.com/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("gopher://example.com/", TargetError::Scheme),
            ("https://user@example.com/", TargetError::UserInfo),
            ("https://user:pass@example.com/", TargetError::UserInfo),
            ("https://@example.com/", TargetError::UserInfo),
            ("https://example.com/#x", TargetError::Fragment),
            ("https://example.com/#", TargetError::Fragment),
            ("https://example.com:0/", TargetError::Port),
            (name.as_str(), TargetError::Name),
            ("https://a..com/", TargetError::Name),
            ("https://example.com../", TargetError::Name),
            ("https://a!b.com/", TargetError::Name),
            ("https://intranet/", TargetError::SingleLabel),
            ("https://intranet./", TargetError::SingleLabel),
            ("https://localhost/", TargetError::PrivateName),
            ("https://LOCALHOST./", TargetError::PrivateName),
            ("https://a.localhost/", TargetError::PrivateName),
            ("https://printer.local/", TargetError::PrivateName),
            ("https://metadata.google.internal/", TargetError::PrivateName),
            ("https://router.home.arpa/", TargetError::PrivateName),
            ("https://a.onion/", TargetError::PrivateName),
            ("https://10.1.2.3/", TargetError::PrivateAddress),
            ("https://[::1]/", TargetError::PrivateAddress),
        ];
        for (text, refusal) in table {
            assert_eq!(Target::parse(text, Rules::Production).err(), Some(refusal), "{text}");
        }
        for text in ["http://printer.local/", "http://10.0.0.1/", "ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://0/"] {
            assert!(Target::parse(text, Rules::Development).is_err(), "{text}");
        }
    }
}
