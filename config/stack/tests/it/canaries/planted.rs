//! Words that are told from all others, and the search for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where somebody might look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The log of an edge.
    EdgeLog,
    /// The log of a worker.
    WorkerLog,
    /// `/metrics` and `/readyz`.
    AdminPages,
    /// Answers other than 2xx, heads included.
    Errors,
    /// What lies in Redis, and every command it got.
    Redis,
    /// A dump of the whole database.
    Dump,
    /// What the servers themselves log.
    ServerLogs,
    /// What commands print that end in an error, and `check-config`.
    Commands,
    /// Command lines, which everybody on the machine may read.
    CommandLines,
    /// The settings' `Debug`.
    Debug,
}

/// A word that is put somewhere, and the places where it may be.
pub struct Canary {
    pub what: &'static str,
    pub text: String,
    pub may_be_in: &'static [Place],
}

#[derive(Default)]
pub struct Canaries(pub Vec<Canary>);

impl Canaries {
    /// A new word of its own, put into `what`.
    pub fn word(&mut self, what: &'static str, may_be_in: &'static [Place]) -> String {
        static WORDS: AtomicU32 = AtomicU32::new(0);
        let text = format!("canary{:02}{:016x}", WORDS.fetch_add(1, Ordering::Relaxed), rand::random::<u64>());
        self.known(what, &text, may_be_in);
        text
    }

    /// Something that is unique already.
    pub fn known(&mut self, what: &'static str, text: &str, may_be_in: &'static [Place]) {
        assert!(text.len() >= 12, "{what} is too short to be told from anything else");
        self.0.push(Canary { what, text: text.to_owned(), may_be_in });
    }

    /// Every leak in these places, in words; and that each canary which may be somewhere was seen at all.
    pub fn leaks(&self, places: &BTreeMap<Place, Vec<u8>>) -> Vec<String> {
        let mut leaks = Vec::new();
        for (place, bytes) in places {
            for Canary { what, text, may_be_in } in &self.0 {
                if may_be_in.contains(place) {
                    continue;
                }
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                for form in [text.as_str(), &hex, STANDARD.encode(text).trim_end_matches('=')] {
                    if let Some(at) = find(bytes, form) {
                        let around =
                            String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + form.len() + 60).min(bytes.len())]).into_owned();
                        leaks.push(format!("{what} in {place:?}: …{around}…"));
                    }
                }
            }
        }
        for Canary { what, text, may_be_in } in self.0.iter().filter(|canary| !canary.may_be_in.is_empty()) {
            let seen = may_be_in.iter().any(|place| places.get(place).is_some_and(|bytes| find(bytes, text).is_some()));
            if !seen {
                leaks.push(format!(
                    "{what} was not even seen where it may be ({may_be_in:?}): nothing was looked at, or the table says too much"
                ));
            }
        }
        leaks
    }
}

/// Where `text` begins.
pub fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}
