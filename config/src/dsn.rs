//! The URLs of the configuration: where a server is and who asks it. Only as much is understood as settings must judge;
//! the clients read the whole. A password is neither shown nor part of any error.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use secrecy::{ExposeSecret as _, SecretString};

/// Query parameters that are shown; others may hold a password.
const SHOWN_PARAMETERS: [&str; 6] = ["application_name", "dbname", "host", "hostaddr", "port", "user"];

/// The URL of Postgres or Redis, with its password. `Debug` and [`Dsn::redacted`] hide the password.
#[derive(Clone)]
pub struct Dsn {
    url: SecretString,
    redacted: String,
    hosts: Vec<String>,
    parameters: Vec<(String, String)>,
}

impl Dsn {
    /// The whole URL, password included. Never log it.
    pub fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// The URL with `***` for its password.
    pub fn redacted(&self) -> &str {
        &self.redacted
    }

    /// The hosts, decoded; a Unix socket's directory begins with a slash. Not empty.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads a URL with one of `schemes`, or says what is wrong with it without repeating it.
    pub(crate) fn parse(text: &str, schemes: &[&str]) -> Result<Self, String> {
        let parts = Parts::of(text)?;
        if !schemes.contains(&parts.scheme) {
            return Err("it begins otherwise".into());
        }
        let parameters = parts.query.map_or(Ok(Vec::new()), parameters)?;
        let mut hosts = hosts(parts.hosts)?;
        let named = parameters.iter().filter(|(key, _)| key == "host" || key == "hostaddr");
        hosts.extend(named.flat_map(|(_, value)| value.split(',').map(str::to_owned)));
        if hosts.is_empty() || hosts.iter().any(String::is_empty) {
            return Err("it names no host".into());
        }
        let redacted = redacted(&parts, &parameters);
        Ok(Self { url: text.into(), redacted, hosts, parameters })
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

/// Whether a host of a [`Dsn`] is this machine.
pub(crate) fn is_local(host: &str) -> bool {
    host.starts_with('/') || host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether this is `http(s)://host[:port]` and nothing more.
pub(crate) fn is_base_url(text: &str) -> bool {
    let Ok(parts) = Parts::of(text) else { return false };
    matches!(parts.scheme, "http" | "https")
        && parts.user.is_none()
        && parts.path.is_empty()
        && parts.query.is_none()
        && !parts.hosts.contains('%')
        && hosts(parts.hosts).is_ok_and(|hosts| hosts.len() == 1)
}

/// `scheme://[user[:password]@]hosts[path][?query]`, still encoded.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        // Clients differ on where such a URL is cut, so it is not accepted at all: nobody can be sent to another host.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>')) {
            return Err("it has characters that a URL must percent-encode".into());
        }
        let (scheme, rest) = text.split_once("://").ok_or("it has no ://")?;
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if path_and_query.contains('@') || authority.matches('@').count() > 1 {
            return Err("it has an @ or / in its password that must be percent-encoded (%40, %2F)".into());
        }
        let (user, hosts) = authority.split_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(path, query)| (path, Some(query)));
        Ok(Self { scheme, user, hosts, path, query })
    }
}

/// The hosts of an authority, decoded and without ports. Empty for an empty one.
fn hosts(authority: &str) -> Result<Vec<String>, String> {
    if authority.is_empty() {
        return Ok(Vec::new());
    }
    authority.split(',').map(host).collect()
}

fn host(text: &str) -> Result<String, String> {
    let wrong = "it names a host that is no name, no address and no path";
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']').ok_or(wrong)?;
            address.parse::<Ipv6Addr>().map_err(|_| wrong)?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(wrong)?) };
            (address.to_owned(), port)
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            let name = decoded(name)?;
            let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if name.is_empty() || !(name.starts_with('/') || name.bytes().all(of_name)) {
                return Err(wrong.into());
            }
            (name, port)
        }
    };
    match port {
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Err("its port is not a number from 1 to 65535".into())
        }
        _ => Ok(host),
    }
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or("it has a query parameter without a value")?;
            Ok((decoded(key)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Result<String, String> {
    let wrong = "it has a broken percent-encoding";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, encoded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = encoded.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())).ok_or(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong)?);
        rest = &encoded[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| wrong.into())
}

fn redacted(parts: &Parts<'_>, parameters: &[(String, String)]) -> String {
    let user = parts.user.map_or(String::new(), |user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:***@"),
        // Redis users often write the password alone.
        None if parts.scheme.starts_with("redis") => "***@".into(),
        None => format!("{user}@"),
    });
    let shown = |(key, value): &(String, String)| {
        let value = if SHOWN_PARAMETERS.contains(&key.as_str()) { value } else { "***" };
        format!("{key}={value}")
    };
    let query: Vec<String> = parameters.iter().map(shown).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}://{user}{}{}{mark}{}", parts.scheme, parts.hosts, parts.path, query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> Result<Dsn, String> {
        Dsn::parse(text, &["postgres", "postgresql"])
    }

    #[test]
    fn finds_hosts_wherever_they_stand() {
        let hosts = |text| postgres(text).unwrap().hosts().to_vec();
        assert_eq!(hosts("postgres://u:p@db.example.com/x"), ["db.example.com"]);
        assert_eq!(hosts("postgres://u:p@one:5432,[::1]:5433/x"), ["one", "::1"]);
        assert_eq!(hosts("postgres://%2Frun%2Fpostgresql/x"), ["/run/postgresql"]);
        assert_eq!(hosts("postgres://localhost/x?hostaddr=192.0.2.1"), ["localhost", "192.0.2.1"]);
        assert_eq!(hosts("postgresql:///x?h%6Fst=/tmp"), ["/tmp"]);
    }

    #[test]
    fn knows_this_machine() {
        for host in ["localhost", "127.0.0.9", "::1", "/run/postgresql"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "::ffff:10.0.0.1", "db"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn refuses_what_clients_read_differently_and_never_repeats_it() {
        for text in [
            "pass-w0rd",
            "mysql://u:pass-w0rd@db/x",
            "postgres://u:pass-w0rd@evil@db/x",
            "postgres://u:pass-w0rd/a@db/x",
            "postgres://db/x?application_name=pass-w0rd@evil",
            "postgres://u:pass-w0rd@db\\evil/x",
            "postgres://u:pass-w0rd@db /x",
            "postgres://u:pass-w0rd@/x",
            "postgres://u:pass-w0rd@db:0/x",
            "postgres://u:pass-w0rd@db:+1/x",
            "postgres://u:pass-w0rd@[db]/x",
            "postgres://u:pass-w0rd@[::1]5432/x",
            "postgres://u:pass-w0rd@d%2/x",
            "postgres://u:pass-w0rd@d%+1/x",
            "postgres://u:pass-w0rd@db/x?password",
            "postgres://u:pass-w0rd@one,,two/x",
        ] {
            let error = postgres(text).expect_err(text);
            assert!(!error.contains("pass-w0rd") && !error.contains("evil"), "{error}");
        }
    }

    #[test]
    fn redacts_every_password() {
        let redis = |text| Dsn::parse(text, &["redis", "rediss"]).unwrap();
        let shown = "postgres://u:***@db:5432/x?user=v&password=***&application_name=edge";
        let dsn = postgres("postgres://u:s3cr3t:2@db:5432/x?user=v&p%61ssword=s3cr3t&application_name=edge").unwrap();
        assert_eq!(dsn.redacted(), shown);
        assert_eq!(format!("{dsn:?}"), shown);
        assert!(dsn.expose().contains("s3cr3t:2@"));
        assert_eq!(postgres("postgres://u@db/x").unwrap().redacted(), "postgres://u@db/x");
        assert_eq!(redis("rediss://:s3cr3t@cache/0").redacted(), "rediss://:***@cache/0");
        assert_eq!(redis("redis://s3cr3t@cache").redacted(), "redis://***@cache");
    }

    #[test]
    fn a_base_url_is_scheme_host_and_port() {
        for text in ["https://pay.example.com", "http://192.0.2.1:8000", "http://[2001:db8::1]:8000", "http://pay_lan"] {
            assert!(is_base_url(text), "{text}");
        }
        for text in [
            "pay.example.com",
            "ftp://pay.example.com",
            "https://",
            "https://pay.example.com/",
            "https://pay.example.com/shop",
            "https://pay.example.com?x=1",
            "https://pay.example.com#x",
            "https://me@pay.example.com",
            "https://pay.example.com:99999",
            "https://one,two",
            "https://%2Ftmp",
        ] {
            assert!(!is_base_url(text), "{text}");
        }
    }
}
