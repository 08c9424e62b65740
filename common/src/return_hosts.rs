//! The hosts that a store's customers may be sent back to. A partner who lists their own makes a key that was stolen useless for sending
//! customers elsewhere. What a return URL must be like besides is `cart`'s.

use serde::Serialize;
use url::{Host, Url};

use crate::json::FieldErrors;

/// The most hosts of a store.
pub const RETURN_HOSTS_MAX: usize = 20;

/// Hosts as URLs have them: lower case, Punycode, without port. None means any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ReturnHosts(Vec<String>);

/// What is no list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHosts {
    /// One of them is none.
    #[error("{0:?} is not a host: write shop.example, without https:// and without a port")]
    NotAHost(String),
    /// There are more than may be.
    #[error("a store may have {RETURN_HOSTS_MAX} hosts")]
    TooMany,
}

impl ReturnHosts {
    /// Reads hosts that white space or commas are between. Each is kept once.
    pub fn parse(text: &str) -> Result<Self, MalformedHosts> {
        let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let mut hosts = Vec::new();
        for word in words {
            if hosts.len() > RETURN_HOSTS_MAX {
                break;
            }
            let not_a_host = || MalformedHosts::NotAHost(word.chars().filter(|c| !c.is_control()).take(64).collect());
            let host = Host::parse(word).map_err(|_| not_a_host())?.to_string();
            // What the parser takes beside names and addresses, as `*.shop.example`, would never match.
            if !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'[' | b']')) {
                return Err(not_a_host());
            }
            hosts.push(host);
        }
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > RETURN_HOSTS_MAX { Err(MalformedHosts::TooMany) } else { Ok(Self(hosts)) }
    }

    /// Hosts that were read before, as they are kept.
    pub fn of_kept(hosts: Vec<String>) -> Self {
        Self(hosts)
    }

    /// The hosts in order.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Complains about each return URL in a session's metadata that leads elsewhere.
    pub fn check(&self, metadata: &[(String, String)]) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        if self.0.is_empty() {
            return Ok(());
        }
        for (name, url) in metadata.iter().filter(|(name, _)| matches!(name.as_str(), "return_url_success" | "return_url_cancel")) {
            let url = Url::parse(url).ok();
            let host = url.as_ref().and_then(Url::host_str);
            if !host.is_some_and(|host| self.0.iter().any(|known| known == host)) {
                errors.add(
                    format!("metadata.{name}"),
                    "must lead to one of the store's return-URL hosts; owners list them in the Partner Portal",
                );
            }
        }
        errors.into_result(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(hosts: &str, url: &str) -> bool {
        ReturnHosts::parse(hosts)
            .unwrap()
            .check(&[("return_url_cancel".into(), url.into()), ("note".into(), "https://x.example".into())])
            .is_ok()
    }

    #[test]
    fn hosts_are_kept_as_urls_have_them() {
        let hosts = ReturnHosts::parse(" Shop.EXAMPLE,shop.example\nbücher.example\r\n127.0.0.1 [::1] ").unwrap();
        assert_eq!(hosts.as_slice(), ["127.0.0.1", "[::1]", "shop.example", "xn--bcher-kva.example"]);
        assert_eq!(ReturnHosts::parse(" \n").unwrap(), ReturnHosts::default());
        for not in ["https://shop.example", "shop.example:443", "shop.example/", "*.shop.example", "a@b", "a\u{0}b", "::1", "a%zz"] {
            assert!(matches!(ReturnHosts::parse(not), Err(MalformedHosts::NotAHost(_))), "{not}");
        }
        let many = |count: usize| (0..count).map(|n| format!("s{n}.example ")).collect::<String>();
        assert!(ReturnHosts::parse(&many(RETURN_HOSTS_MAX)).is_ok());
        assert_eq!(ReturnHosts::parse(&many(RETURN_HOSTS_MAX + 1)), Err(MalformedHosts::TooMany));
        assert_eq!(ReturnHosts::parse(&many(100_000)), Err(MalformedHosts::TooMany));
    }

    #[test]
    fn a_return_url_leads_to_a_host_of_the_store() {
        for url in ["https://shop.example/done?o={ORDER_ID}", "https://SHOP.example:8443", "https://bücher.example/"] {
            assert!(is_taken("shop.example xn--bcher-kva.example", url) && is_taken("", url), "{url}");
        }
        for url in [
            "https://evil.example/",
            "https://shop.example.evil.example/",
            "https://www.shop.example/",
            "https://evil.example/#@shop.example",
            "shop.example",
        ] {
            assert!(!is_taken("shop.example", url), "{url}");
        }
    }
}
