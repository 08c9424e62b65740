//! What was asked and what was answered: one line before every call and one after it, so that of a call without its second line it is
//! known that nothing is known.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Ask {
    /// To have an order fulfilled.
    Fulfill {
        /// The partner's name for it.
        reference: String,
        /// The `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
        /// Which of the contents that a reference is ever sent with: 0 is the one it was first sent with.
        content: u32,
        /// Whether the order needs something that may run out.
        scarce: bool,
    },
    /// To take an order's license keys back.
    Revoke {
        /// Which.
        order_id: String,
    },
    /// How an order stands.
    Read {
        /// Which.
        order_id: String,
    },
    /// A checkout session.
    Session,
}

/// The line before a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The call's number.
    pub intent: u64,
    /// Milliseconds since the run began.
    pub at_ms: u64,
    /// Which store's path.
    pub store: usize,
    /// What it asks for.
    #[serde(flatten)]
    pub ask: Ask,
}

/// The line after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The call's number.
    pub answer: u64,
    /// Milliseconds since the run began.
    pub at_ms: u64,
    /// The status; none when the connection broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A problem's code.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The order it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The order's status, as told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order_status: String,
    /// The license keys that it shows, in the order of items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub license_keys: Vec<String>,
    /// A digest of the whole body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body_digest: String,
    /// Of a session: whether its token is one of ours, for this cart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_verifies: Option<bool>,
    /// Why there is no status.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A call, with what came of it as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub intent: Intent,
    /// What was answered; none when the run ended before there was anything.
    pub answer: Option<Answer>,
}

impl Call {
    /// The status, when there is one.
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().and_then(|answer| answer.status)
    }

    /// Whether it was acknowledged: answered with 2xx.
    pub fn acknowledged(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }
}

/// The file. Clones of an `Arc` write to the same one.
#[derive(Debug)]
pub struct Ledger(Mutex<BufWriter<File>>);

impl Ledger {
    /// Begins a new file; one of this name is replaced.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path);
        Ok(Self(Mutex::new(BufWriter::new(file.with_context(|| format!("cannot write the ledger {}", path.display()))?))))
    }

    /// Writes a line, to the system, before it returns.
    pub fn write(&self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)?;
        Ok(file.flush()?)
    }
}

/// Reads a ledger. Calls come in the order of their numbers. A last line that was cut off is left out; any other that cannot be read is
/// an error.
pub fn read(path: &Path) -> Result<Vec<Call>> {
    let file = File::open(path).with_context(|| format!("cannot read the ledger {}", path.display()))?;
    let lines: Vec<String> = BufReader::new(file).lines().collect::<Result<_, _>>()?;
    let mut calls: Vec<Call> = Vec::new();
    let mut place: HashMap<u64, usize> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        if let Ok(intent) = serde_json::from_str::<Intent>(line) {
            place.insert(intent.intent, calls.len());
            calls.push(Call { intent, answer: None });
        } else if let Ok(answer) = serde_json::from_str::<Answer>(line) {
            let Some(&index) = place.get(&answer.answer) else { bail!("line {}: an answer to a call that was not made", number + 1) };
            calls[index].answer = Some(answer);
        } else if number + 1 < lines.len() {
            bail!("line {} of {} is neither an intent nor an answer", number + 1, path.display());
        }
    }
    calls.sort_by_key(|call| call.intent.intent);
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_call_without_its_answer_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ask = Ask::Fulfill { reference: "r".into(), idempotency_key: None, content: 0, scarce: false };
        let first = Intent { intent: 1, at_ms: 5, store: 2, ask };
        let second = Intent { intent: 2, at_ms: 6, store: 0, ask: Ask::Revoke { order_id: "ORD-1".into() } };
        let answer = Answer { answer: 2, at_ms: 9, status: Some(200), license_keys: vec!["K".into()], ..Answer::default() };
        let ledger = Ledger::create(&path).unwrap();
        ledger.write(&first).unwrap();
        ledger.write(&second).unwrap();
        ledger.write(&answer).unwrap();
        let calls = read(&path).unwrap();
        assert_eq!(calls, [Call { intent: first, answer: None }, Call { intent: second, answer: Some(answer) }]);
        assert!(!calls[0].acknowledged() && calls[1].acknowledged());
    }

    #[test]
    fn only_the_last_line_may_be_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        std::fs::write(&path, "{\"intent\":1,\"at_ms\":0,\"store\":0,\"what\":\"session\"}\n{\"ans").unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        std::fs::write(&path, "{\"ans\n{\"intent\":1,\"at_ms\":0,\"store\":0,\"what\":\"session\"}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1"));
    }
}
