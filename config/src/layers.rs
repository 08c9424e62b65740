//! Lays `default.toml`, the configuration file and the environment over each other. The result holds one value for every
//! knob of `default.toml`, with its origin; what the layers name beyond that is a problem. Meaning and ranges are not known
//! here: that is the reader's business.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::problems::Problem;
use crate::suggest::nearest;

/// The manual: every knob with its default and its reason. The bottom layer.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// What every environment variable of ours begins with.
const VARIABLE_PREFIX: &str = "ANONYMOUSPAY_";
/// Far above any honest configuration, and small enough to read whole.
const FILE_MAX_BYTES: u64 = 256 << 10;

/// A value as its layer wrote it. No `Debug`, since it may be a secret.
pub(crate) enum Value {
    Integer(i64),
    Text(String),
    List(Vec<String>),
    /// From the environment, where everything is text: the reader decides what it is.
    Raw(String),
    /// Something no knob takes, in words.
    Other(&'static str),
}

/// Where a value came from.
#[derive(Clone)]
pub(crate) enum Origin {
    Default,
    File { path: Rc<str>, line: usize },
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "file {path} line {line}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
        }
    }
}

pub(crate) struct Entry {
    pub value: Value,
    pub origin: Origin,
}

/// One value for every knob.
pub(crate) struct Layers {
    /// By `section.knob`.
    pub entries: BTreeMap<String, Entry>,
    /// All `section.knob`, as `default.toml` has them.
    pub order: Vec<String>,
    /// The file is not in `entries`, so whatever seems to be missing may well stand in it.
    pub file_unread: bool,
}

impl Layers {
    /// The layers, and what was wrong with them.
    pub fn gather(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> (Self, Vec<Problem>) {
        let defaults = DeTable::parse(DEFAULT_TOML).expect("default.toml is compiled in and is TOML");
        let knobs = flatten(defaults.get_ref());
        let order: Vec<String> = knobs.iter().map(|(_, name, _)| name.clone()).collect();
        let entries = knobs.into_iter().map(|(_, name, value)| (name, Entry { value, origin: Origin::Default })).collect();
        let mut layers = Self { entries, order, file_unread: false };
        let mut problems = Vec::new();
        if let Some(path) = file {
            layers.lay_file(path, &mut problems);
        }
        layers.lay_environment(environment, &mut problems);
        (layers, problems)
    }

    fn lay_file(&mut self, path: &Path, problems: &mut Vec<Problem>) {
        let shown: Rc<str> = path.display().to_string().escape_debug().to_string().into();
        let text = match read_bounded(path, FILE_MAX_BYTES) {
            Ok(text) => text,
            Err(message) => {
                self.file_unread = true;
                problems.push(Problem { about: "configuration file".into(), origin: format!("file {shown}"), message });
                return;
            }
        };
        let line_at = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let (table, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            // A recovered table may take a piece of an unquoted secret for a name, so nothing of it is used or told.
            self.file_unread = true;
            problems.extend(errors.iter().map(|error| {
                let origin = Origin::File { path: shown.clone(), line: line_at(error.span().map_or(0, |span| span.start)) };
                Problem { about: "configuration file".into(), origin: origin.to_string(), message: error.message().to_owned() }
            }));
            return;
        }
        for (offset, name, value) in flatten(table.get_ref()) {
            let origin = Origin::File { path: shown.clone(), line: line_at(offset) };
            match self.entries.get_mut(&name) {
                Some(entry) => *entry = Entry { value, origin },
                None => problems.push(unknown(&name, origin.to_string(), self.order.iter().map(String::as_str), ".")),
            }
        }
    }

    fn lay_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>, problems: &mut Vec<Problem>) {
        let knobs: BTreeMap<String, String> = self.order.iter().map(|name| (variable(name), name.clone())).collect();
        for (name, value) in environment {
            if !name.starts_with(VARIABLE_PREFIX) || is_service_link(&name) {
                continue;
            }
            let Some(knob) = knobs.get(&name) else {
                problems.push(unknown(&name, "environment".into(), knobs.keys().map(String::as_str), "__"));
                continue;
            };
            let value = if value.contains('\u{fffd}') { Value::Other("text that is not UTF-8") } else { Value::Raw(value) };
            self.entries.insert(knob.clone(), Entry { value, origin: Origin::Environment(name) });
        }
    }
}

/// The environment variable of a knob.
pub(crate) fn variable(knob: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", knob.replace('.', "__").to_ascii_uppercase())
}

/// Kubernetes tells every pod of a service `anonymouspay-…` about it in variables that look like ours, as in
/// `ANONYMOUSPAY_EDGE_SERVICE_HOST` and `ANONYMOUSPAY_EDGE_PORT_8000_TCP`. They are nobody's typo.
fn is_service_link(name: &str) -> bool {
    let marks = ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP", "_SCTP"];
    !name.contains("__") && (name.ends_with("_PORT") || marks.iter().any(|mark| name.contains(mark)))
}

fn unknown<'a>(name: &str, origin: String, known: impl Iterator<Item = &'a str>, separator: &str) -> Problem {
    let message = match nearest(name, known, separator) {
        Some(known) => format!("no such knob; did you mean {known}?"),
        None => "no such knob; default.toml lists them all".into(),
    };
    // A name may hold anything, and a problem is one line.
    Problem { about: name.chars().take(96).flat_map(char::escape_debug).collect(), origin, message }
}

/// A table's knobs as `section.knob`, one level deep, with their place in the text and in that order.
fn flatten(table: &DeTable<'_>) -> Vec<(usize, String, Value)> {
    let mut knobs = Vec::new();
    for (name, value) in table {
        match value.get_ref() {
            DeValue::Table(section) => {
                knobs.extend(section.iter().map(|(knob, value)| {
                    (knob.span().start, format!("{}.{}", name.get_ref(), knob.get_ref()), self::value(value.get_ref()))
                }))
            }
            other => knobs.push((name.span().start, name.get_ref().to_string(), self::value(other))),
        }
    }
    knobs.sort_by_key(|(offset, ..)| *offset);
    knobs
}

fn value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("a number that is too large"),
        },
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Value::Other("a list of something else"), Value::List)
        }
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Boolean(_) => Value::Other("a boolean"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Table(_) => Value::Other("a section"),
    }
}

/// A whole text file of at most `max_bytes`, or in words why not.
pub(crate) fn read_bounded(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let count = File::open(path)
        .and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if count as u64 > max_bytes {
        return Err(format!("is larger than {max_bytes} bytes"));
    }
    str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| "is not UTF-8 text".into())
}
