//! Why a partner's server gave no answer: a short name that never changes, and a sentence for the partner. Neither tells what the
//! platform's own network looks like: no address that was refused, no resolver's name.

use std::error::Error;
use std::io;

/// The longest detail of an explanation, in characters.
const DETAIL_MAX: usize = 200;

/// Why there is no answer. `Display` is one line for the partner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The whole attempt took too long.
    #[error("no complete answer came in time")]
    Timeout,
    /// Looking the name up, connecting and TLS took too long together.
    #[error("no connection could be made in time")]
    ConnectTimeout,
    /// The name has no address, or could not be looked up.
    #[error("the host's name could not be looked up: {0}")]
    Dns(String),
    /// The host is, or leads to, an address that is not connected to.
    #[error("the host leads to an address that is not public, or to too many addresses")]
    RefusedAddress,
    /// No connection, or one that ended before the answer did.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// No agreement on TLS, or a certificate that is not good for this host.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// What came is not HTTP/1.1.
    #[error("the answer is not valid HTTP/1.1: {0}")]
    Protocol(String),
    /// More headers, or more before them, than is read.
    #[error("the head of the answer is too large: at most 64 headers and 16 KiB are read")]
    AnswerTooLarge,
    /// The URL cannot be written into a request.
    #[error("the URL cannot be used in a request: {0}")]
    Url(String),
}

impl Failure {
    /// Its name: a metric's label, and a partner's search word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::Dns(_) => "dns",
            Self::RefusedAddress => "refused_address",
            Self::Connection(_) => "connection",
            Self::Tls(_) => "tls",
            Self::Protocol(_) => "protocol",
            Self::AnswerTooLarge => "answer_too_large",
            Self::Url(_) => "url",
        }
    }

    /// What the client's error is about: the innermost cause that one of us, or hyper, has put there.
    pub(super) fn of(error: &hyper_util::client::legacy::Error) -> Self {
        for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
            if let Some(failure) = Self::inside(cause) {
                return failure;
            }
            let Some(error) = cause.downcast_ref::<hyper::Error>() else { continue };
            if error.is_parse_too_large() {
                return Self::AnswerTooLarge;
            }
            if error.is_parse() {
                return Self::Protocol(detail(error));
            }
            if error.is_incomplete_message() {
                return Self::Connection("closed before the answer was complete".into());
            }
        }
        let innermost = std::iter::successors(Some(error as &(dyn Error + 'static)), |&cause| cause.source()).last();
        Self::Connection(innermost.map(detail).unwrap_or_default())
    }

    fn inside(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(failure) = cause.downcast_ref::<Self>() {
            return Some(failure.clone());
        }
        let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        if let Some(failure) = inner.downcast_ref::<Self>() {
            return Some(failure.clone());
        }
        inner.downcast_ref::<rustls::Error>().map(|error| Self::Tls(detail(error)))
    }
}

/// One line of bounded length: parts of it were written by strangers.
pub(super) fn detail(error: &(impl Error + ?Sized)) -> String {
    let text = error.to_string();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_bounded_line() {
        let text = detail(&io::Error::other(format!("a\r\nb{}", "é".repeat(1_000))));
        assert!(text.starts_with("a  bé") && text.chars().count() == DETAIL_MAX, "{text}");
    }
}
