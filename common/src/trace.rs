//! The trace that a request belongs to, as its caller says in W3C Trace Context's `traceparent` and `tracestate`
//! (<https://www.w3.org/TR/trace-context/>). We record no spans, so both are carried on as they came: what a webhook sets off hangs below
//! the call that made the order. Whoever sends none has none; no trace is begun here, as that would decide for the partner what is sampled.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// The header that names the trace and the caller's span.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what is their own.
pub const TRACESTATE: &str = "tracestate";
/// A longer `tracestate` is left behind; the standard asks for that much.
pub const TRACESTATE_MAX: usize = 512;

const PARENT_LEN: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;

/// Names a trace, and the span in it that is the parent of whatever comes next. As text, `traceparent` and, behind a space, `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Trace {
    parent: String,
    state: String,
}

/// Text that is not a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATrace;

impl Trace {
    /// Reads the two headers. A malformed `traceparent` is none; a malformed or overlong `tracestate` is empty.
    pub fn parse(parent: &[u8], state: &[u8]) -> Option<Self> {
        let (head, rest) = parent.split_at_checked(PARENT_LEN)?;
        let head = std::str::from_utf8(head).ok()?;
        let bytes = head.as_bytes();
        let is_hex = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| *b == b'0');
        let dashes = [2, 35, 52].iter().all(|&at| bytes[at] == b'-');
        let well_formed = dashes && is_hex(0..2) && is_hex(TRACE_ID) && is_hex(SPAN_ID) && is_hex(53..PARENT_LEN);
        // Later versions may add fields behind these, and nothing else.
        let known = match &head[..2] {
            "00" => rest.is_empty(),
            "ff" => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !well_formed || !known || is_zero(TRACE_ID) || is_zero(SPAN_ID) {
            return None;
        }
        // What a later version says in its flags is not known in this one, but for the first two, which we do not set ourselves.
        let flags =
            if &head[..2] == "00" { head[53..].to_owned() } else { format!("{:02x}", u8::from_str_radix(&head[53..], 16).ok()? & 0b11) };
        let parent = format!("00{}{flags}", &head[2..53]);
        let state = std::str::from_utf8(state)
            .ok()
            .map(str::trim)
            .filter(|state| state.len() <= TRACESTATE_MAX && state.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')));
        Some(Self { parent, state: state.unwrap_or_default().to_owned() })
    }

    /// For the header `traceparent`.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// For the header `tracestate`; empty if there is nothing to send.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The trace's id, 32 hex digits: what logs are searched for.
    pub fn id(&self) -> &str {
        &self.parent[TRACE_ID]
    }
}

impl Display for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parent)?;
        if self.state.is_empty() { Ok(()) } else { write!(f, " {}", self.state) }
    }
}

impl From<Trace> for String {
    fn from(trace: Trace) -> Self {
        trace.to_string()
    }
}

impl TryFrom<String> for Trace {
    type Error = NotATrace;

    fn try_from(text: String) -> Result<Self, NotATrace> {
        let (parent, state) = text.split_once(' ').unwrap_or((&text, ""));
        Self::parse(parent.as_bytes(), state.as_bytes()).ok_or(NotATrace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_standard_allows_is_carried_on() {
        let trace = Trace::parse(PARENT.as_bytes(), b" congo=t61rcWkgMzE,rojo=00f067aa0ba902b7 ").unwrap();
        assert_eq!((trace.parent(), trace.state()), (PARENT, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(Trace::try_from(String::from(trace.clone())), Ok(trace));
        let bare = Trace::parse(PARENT.as_bytes(), b"").unwrap();
        assert_eq!(bare.to_string(), PARENT);
        assert_eq!(Trace::try_from(bare.to_string()), Ok(bare));
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for later in [PARENT.replacen("00", "cc", 1), PARENT.replacen("00", "cc", 1) + "-what-the-future-will-be-like"] {
            assert_eq!(Trace::parse(later.as_bytes(), b"").unwrap().parent(), PARENT, "{later}");
        }
        let flags = PARENT.replacen("00", "cc", 1).replace("-01", "-f5");
        assert_eq!(Trace::parse(flags.as_bytes(), b"").unwrap().parent(), PARENT, "flags that are not known");
        assert_eq!(Trace::parse((PARENT.replacen("00", "cc", 1) + ".what").as_bytes(), b""), None);
    }

    #[test]
    fn what_it_does_not_allow_is_no_trace() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        for not in [
            "",
            "00",
            zero_trace,
            zero_span,
            &PARENT[..54],
            &PARENT.to_uppercase().replace("00-4BF", "00-4Bf"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replacen("00", "0g", 1),
            &PARENT.replacen('-', "_", 1),
            &(PARENT.to_owned() + "-"),
            &(PARENT.to_owned() + "0"),
            &PARENT.replace("-01", "-0x"),
            &PARENT.replace("4bf9", "4bü"),
        ] {
            assert_eq!(Trace::parse(not.as_bytes(), b"a=b"), None, "{not}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_or_not_printable_is_left_behind() {
        let longest = "a=".to_owned() + &"b".repeat(TRACESTATE_MAX - 2);
        assert_eq!(Trace::parse(PARENT.as_bytes(), longest.as_bytes()).unwrap().state(), longest);
        for bad in [longest.clone() + "b", "a=\u{e9}".into(), "a=\n".to_owned() + "b=c"] {
            assert_eq!(Trace::parse(PARENT.as_bytes(), bad.as_bytes()).unwrap().state(), "", "{bad}");
        }
    }
}
