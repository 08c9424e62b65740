//! Turns one knob into one typed value. A reader that fails records the problem and gives a value that nobody will see, so
//! that all knobs are read and all problems told. Every reader also notes how its value is printed; a secret as `***`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use common::secret::SecretList;
use common::stripe::SigningSecret;
use ipnet::IpNet;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::Mode;
use crate::dsn::Dsn;
use crate::layers::{Entry, Layers, Origin, Value, read_bounded, variable};
use crate::problems::Problem;

/// Stripe has two at once while one is rolled; more are a mistake.
const SIGNING_SECRETS_MAX: usize = 8;
/// The longest key of somebody else's service. Stripe's have about 110 characters.
const SECRET_KEY_MAX: usize = 512;
/// Eight secrets of any sane size.
const SECRET_FILE_MAX_BYTES: u64 = 64 << 10;
/// How much of a wrong value a problem repeats.
const FOUND_MAX_CHARS: usize = 64;

/// All layers, with what was wrong with them so far.
pub(crate) struct Reader {
    pub layers: Layers,
    pub problems: Vec<Problem>,
    /// What is printed for a knob, as TOML.
    shown: BTreeMap<String, String>,
}

impl Reader {
    pub fn new(layers: Layers, problems: Vec<Problem>) -> Self {
        Self { layers, problems, shown: BTreeMap::new() }
    }

    /// The knobs of one section; of none with an empty name.
    pub fn section(&mut self, name: &'static str) -> Section<'_> {
        Section { reader: self, name }
    }

    /// Tells of knobs that do not go together: `message` stands beside the first of them. Silent when one of them has a
    /// problem of its own, or may have another value in a file that could not be read.
    pub fn contradiction(&mut self, knobs: &[&str], message: String) {
        if !self.layers.file_unread && !knobs.iter().any(|knob| self.failed(knob)) {
            self.problem(knobs[0], message);
        }
    }

    /// The effective configuration as TOML with the origin of each value beside it, in the order of `default.toml`.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        let mut last_section = "";
        for full in &self.layers.order {
            let (section, knob) = full.split_once('.').unwrap_or(("", full));
            if section != last_section {
                text.push_str(&format!("\n[{section}]\n"));
                last_section = section;
            }
            let value = self.shown.get(full).map_or("\"\"", String::as_str);
            text.push_str(&format!("{knob} = {value} # {}\n", self.entry(full).origin));
        }
        text
    }

    /// Every knob that is read stands in `default.toml`; a forgotten line fails the first test that loads anything.
    fn entry(&self, full: &str) -> &Entry {
        self.layers.entries.get(full).unwrap_or_else(|| panic!("default.toml has no line for {full}"))
    }

    fn problem(&mut self, full: &str, message: String) {
        let origin = self.entry(full).origin.to_string();
        self.problems.push(Problem { about: full.to_owned(), origin, message });
    }

    fn failed(&self, full: &str) -> bool {
        self.problems.iter().any(|problem| problem.about == full)
    }
}

/// The knobs of one section.
pub(crate) struct Section<'a> {
    reader: &'a mut Reader,
    name: &'static str,
}

impl Section<'_> {
    /// A whole number.
    pub fn number<T>(&mut self, knob: &str, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i64>,
    {
        let found = match self.value(knob) {
            Value::Integer(number) => Some(*number),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = found.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number)) else {
            self.unexpected(knob, &format!("a whole number from {} to {}", range.start(), range.end()));
            return *range.start();
        };
        self.show(knob, number.to_string());
        number
    }

    /// A span of time from a knob in milliseconds.
    pub fn millis(&mut self, knob: &str, range: RangeInclusive<u64>) -> Duration {
        debug_assert!(knob.ends_with("_ms"), "{knob} is not in milliseconds");
        Duration::from_millis(self.number(knob, range))
    }

    /// A span of time from a knob in seconds.
    pub fn seconds(&mut self, knob: &str, range: RangeInclusive<u64>) -> Duration {
        debug_assert!(knob.ends_with("_s") && !knob.ends_with("_ms"), "{knob} is not in seconds");
        Duration::from_secs(self.number(knob, range))
    }

    /// A span of time from a knob in days.
    pub fn days(&mut self, knob: &str, range: RangeInclusive<u64>) -> Duration {
        debug_assert!(knob.ends_with("_days"), "{knob} is not in days");
        Duration::from_secs(self.number(knob, range) * 86_400)
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, knob: &str, words: &[(&str, T)]) -> T {
        let expected: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        self.parsed(knob, &expected.join(" or "), find).unwrap_or(words[0].1)
    }

    /// A text for which `valid` holds; `expected` says in words for which it does.
    pub fn text(&mut self, knob: &str, expected: &str, valid: impl FnOnce(&str) -> bool) -> String {
        self.parsed(knob, expected, |text| valid(text).then(|| text.to_owned())).unwrap_or_default()
    }

    /// Like [`Section::text`], for what has no default.
    pub fn needed_text(&mut self, knob: &str, expected: &str, valid: impl FnOnce(&str) -> bool) -> String {
        if self.set_text(knob) == Some("") {
            self.missing(knob, expected, &[knob]);
            return String::new();
        }
        self.text(knob, expected, valid)
    }

    /// An address and port to listen on.
    pub fn socket(&mut self, knob: &str) -> SocketAddr {
        let parsed = self.parsed(knob, "an IP address and a port, such as 127.0.0.1:8000 or [::]:8000", |text| text.parse().ok());
        parsed.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The path of a file, if one is set. The file is not opened.
    pub fn path(&mut self, knob: &str) -> Option<PathBuf> {
        let path = self.parsed(knob, "the path of a file", |text| Some(PathBuf::from(text)))?;
        (!path.as_os_str().is_empty()).then_some(path)
    }

    /// Addresses and CIDR networks, `items_max` at most. None may hold every address.
    pub fn networks(&mut self, knob: &str, items_max: usize) -> Vec<IpNet> {
        let items: Option<Vec<String>> = match self.value(knob) {
            Value::List(items) => Some(items.clone()),
            Value::Raw(text) => Some(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()),
            _ => None,
        };
        let network = |item: &String| {
            let network = item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).ok()?;
            (network.prefix_len() > 0).then(|| network.trunc())
        };
        let networks = items.filter(|items| items.len() <= items_max).and_then(|items| items.iter().map(network).collect());
        let Some(networks): Option<Vec<IpNet>> = networks else {
            self.unexpected(knob, &format!("a list of up to {items_max} addresses or CIDR networks, none of them of length /0"));
            return Vec::new();
        };
        let shown: Vec<String> = networks.iter().map(|network| quoted(&network.to_string())).collect();
        self.show(knob, format!("[{}]", shown.join(", ")));
        networks
    }

    /// Where a server is and who asks it. Needed. What is wrong is told without the value, which may hold a password.
    pub fn dsn(&mut self, knob: &str, schemes: &[&str]) -> Option<Dsn> {
        let expected =
            format!("a URL that begins with {}", schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or "));
        let parsed = match self.set_text(knob) {
            None => Err(format!("expected {expected}")),
            Some("") => {
                self.missing(knob, &expected, &[knob]);
                return None;
            }
            Some(text) => Dsn::parse(text, schemes).map_err(|wrong| format!("expected {expected}; {wrong}")),
        };
        match parsed {
            Ok(dsn) => {
                self.show(knob, quoted(dsn.redacted()));
                Some(dsn)
            }
            Err(message) => {
                self.problem(knob, message);
                None
            }
        }
    }

    /// A list of secrets, from `knob` itself or from the file that `file_knob` names. Needed.
    pub fn secrets(&mut self, knob: &str, file_knob: &str, mode: Mode) -> Option<SecretList> {
        let (source, text) = self.secret_text(knob, file_knob)?;
        self.refuse_in_file(source, knob, file_knob, mode);
        match SecretList::parse(&text) {
            Ok(secrets) => {
                let ids: Vec<String> = secrets.iter().map(|secret| format!("{}:***", secret.id())).collect();
                self.show(knob, quoted(&ids.join(", ")));
                let origin = self.origin(source).clone();
                self.reader.layers.entries.entry(self.full(knob)).and_modify(|entry| entry.origin = origin);
                Some(secrets)
            }
            Err(error) => {
                self.problem(source, error.to_string());
                None
            }
        }
    }

    /// Stripe's signing secrets, newest first or in any order, from `knob` itself or from the file that `file_knob` names. May be none.
    pub fn signing_secrets(&mut self, knob: &str, file_knob: &str, mode: Mode) -> Vec<SigningSecret> {
        let Some((source, text)) = self.optional_secret_text(knob, file_knob, mode) else { return Vec::new() };
        let parts = text.split([',', ' ', '\t', '\r', '\n']).filter(|part| !part.is_empty());
        match parts.map(SigningSecret::parse).collect::<Result<Vec<_>, _>>() {
            Ok(secrets) if secrets.len() <= SIGNING_SECRETS_MAX => {
                self.show(knob, quoted(&vec!["***"; secrets.len()].join(", ")));
                let origin = self.origin(source).clone();
                self.reader.layers.entries.entry(self.full(knob)).and_modify(|entry| entry.origin = origin);
                secrets
            }
            Ok(_) => {
                self.problem(source, format!("has more than {SIGNING_SECRETS_MAX} secrets"));
                Vec::new()
            }
            Err(error) => {
                self.problem(source, format!("each secret {error}"));
                Vec::new()
            }
        }
    }

    /// A key to somebody else's service that begins with one of `prefixes`, from `knob` itself or from the file that `file_knob` names. May
    /// be none.
    pub fn secret_key(&mut self, knob: &str, file_knob: &str, prefixes: &[&str], mode: Mode) -> Option<SecretString> {
        let (source, text) = self.optional_secret_text(knob, file_knob, mode)?;
        let key = text.trim();
        let well_formed = key.len() <= SECRET_KEY_MAX && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !well_formed || !prefixes.iter().any(|prefix| key.len() > prefix.len() && key.starts_with(prefix)) {
            self.problem(source, format!("expected a key that begins with {}, on one line", prefixes.join(" or ")));
            return None;
        }
        self.show(knob, quoted("***"));
        let origin = self.origin(source).clone();
        self.reader.layers.entries.entry(self.full(knob)).and_modify(|entry| entry.origin = origin);
        Some(key.to_owned().into())
    }

    fn refuse_in_file(&mut self, source: &str, knob: &str, file_knob: &str, mode: Mode) {
        if source == knob && mode == Mode::Production && matches!(self.origin(knob), Origin::File { .. }) {
            let (variable, file_variable) = (variable(&self.full(knob)), variable(&self.full(file_knob)));
            let message = format!("a secret stands in the configuration file only in development; use {variable} or {file_variable}");
            self.problem(knob, message);
        }
    }

    /// As [`Section::secret_text`], for what need not be there.
    fn optional_secret_text<'k>(&mut self, knob: &'k str, file_knob: &'k str, mode: Mode) -> Option<(&'k str, Zeroizing<String>)> {
        let is_set = |this: &Self, knob| this.set_text(knob).is_some_and(|text| !text.is_empty());
        if !is_set(self, knob) && !is_set(self, file_knob) {
            self.show(knob, quoted(""));
            self.path(file_knob);
            return None;
        }
        let (source, text) = self.secret_text(knob, file_knob)?;
        self.refuse_in_file(source, knob, file_knob, mode);
        Some((source, text))
    }

    /// The text of a list of secrets, and which of the two knobs it came by.
    fn secret_text<'k>(&mut self, knob: &'k str, file_knob: &'k str) -> Option<(&'k str, Zeroizing<String>)> {
        let file = self.path(file_knob);
        let Some(text) = self.set_text(knob).map(|text| Zeroizing::new(text.to_owned())) else {
            self.problem(knob, "expected a text of secrets".into());
            return None;
        };
        match file {
            Some(_) if !text.is_empty() => {
                let message = format!("is set, and so is {}; leave one of them empty", self.full(file_knob));
                self.contradiction(&[knob, file_knob], message);
                None
            }
            Some(path) => match read_bounded(&path, SECRET_FILE_MAX_BYTES) {
                Ok(text) => Some((file_knob, text)),
                Err(message) => {
                    self.problem(file_knob, format!("{:?} {message}", path.display().to_string()));
                    None
                }
            },
            None if !text.is_empty() => Some((knob, text)),
            None => {
                if !self.reader.failed(&self.full(file_knob)) {
                    self.missing(knob, "id:base64 of 32 random bytes or more (openssl rand -base64 32)", &[knob, file_knob]);
                }
                None
            }
        }
    }

    /// Records a contradiction between knobs of this section unless `holds`. `relation` reads between the two: "must be less than".
    pub fn relate(&mut self, knob: &str, relation: &str, other: &str, holds: bool) {
        if !holds {
            let (other, shown) = (self.full(other), |full: &str| self.reader.shown.get(full).cloned().unwrap_or_default());
            let message = format!(
                "is {}, and {relation} {other}, which is {} ({})",
                shown(&self.full(knob)),
                shown(&other),
                self.reader.entry(&other).origin,
            );
            self.reader.contradiction(&[&self.full(knob), &other], message);
        }
    }

    /// [`Reader::contradiction`] among knobs of this section.
    pub fn contradiction(&mut self, knobs: &[&str], message: String) {
        let full: Vec<String> = knobs.iter().map(|knob| self.full(knob)).collect();
        self.reader.contradiction(&full.iter().map(String::as_str).collect::<Vec<_>>(), message);
    }

    /// Records a problem of a knob.
    pub fn problem(&mut self, knob: &str, message: String) {
        self.reader.problem(&self.full(knob), message);
    }

    fn full(&self, knob: &str) -> String {
        if self.name.is_empty() { knob.to_owned() } else { format!("{}.{knob}", self.name) }
    }

    fn value(&self, knob: &str) -> &Value {
        &self.reader.entry(&self.full(knob)).value
    }

    fn origin(&self, knob: &str) -> &Origin {
        &self.reader.entry(&self.full(knob)).origin
    }

    /// The value, if it is a text at all.
    fn set_text(&self, knob: &str) -> Option<&str> {
        match self.value(knob) {
            Value::Text(text) | Value::Raw(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// A text of printable characters that `parse` understands.
    fn parsed<T>(&mut self, knob: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.set_text(knob).map(str::to_owned);
        let parsed = text.as_deref().filter(|text| !text.contains(char::is_control)).and_then(parse);
        match (&parsed, text) {
            (Some(_), Some(text)) => self.show(knob, quoted(&text)),
            _ => self.unexpected(knob, expected),
        }
        parsed
    }

    fn show(&mut self, knob: &str, toml: String) {
        self.reader.shown.insert(self.full(knob), toml);
    }

    /// Nothing is set where something must be; silent when it may stand in a file that could not be read.
    /// One of `knobs` would do.
    fn missing(&mut self, knob: &str, expected: &str, knobs: &[&str]) {
        if !self.reader.layers.file_unread {
            let variables: Vec<String> = knobs.iter().map(|knob| variable(&self.full(knob))).collect();
            self.problem(knob, format!("missing; expected {expected}, by {}", variables.join(" or ")));
        }
    }

    /// The value is not what is expected. Not for secrets: it repeats what was found.
    fn unexpected(&mut self, knob: &str, expected: &str) {
        let found = match self.value(knob) {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) | Value::Raw(text) => format!("{:?}", clipped(text)),
            Value::List(items) => format!("{:?}", clipped(&items.join(","))),
            Value::Other(what) => (*what).to_owned(),
        };
        self.problem(knob, format!("expected {expected}; found {found}"));
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(FOUND_MAX_CHARS).collect()
}

/// A text as TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
