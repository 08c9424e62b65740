//! Logs: one event, one line, on standard error, so that a command's output on standard
//! output stays clean. Times are RFC 3339 in UTC.
//!
//! Whoever logs passes `request_id` as a field; in JSON it stands beside `message`. A
//! failure is logged once, where it leaves the system, not at every layer it crosses.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic;
use std::thread;

use prometheus::IntCounter;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, event fields at the top level: for machines.
    Json,
    /// One line of text, colored on a terminal: for development.
    Text,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not mean anything, or not what its author thought.
    #[error("log filter {filter:?}: {reason}; write a level (error, warn, info, debug, trace, off) or target=level, separated by commas")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else in this process already receives the logs.
    #[error("logging is already initialized in this process; initialize it once, first thing in main")]
    AlreadyInitialized,
}

/// Starts logging for the whole process. `filter` is a list such as `info,hyper=warn`.
///
/// # Errors
/// [`LogError::Filter`] for a filter that cannot be read, [`LogError::AlreadyInitialized`] the second time.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(io::stderr)
        // Otherwise a closed standard error would make every log line a panic.
        .log_internal_errors(false);
    let started = match format {
        Format::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|_| LogError::AlreadyInitialized)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter { filter: filter.to_owned(), reason };
    let directives: Vec<_> = filter.split(',').map(str::trim).collect();
    for directive in &directives {
        let level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
        // A bare word that is no level would be taken for a target, and `inof` would silence everything.
        if !level && !directive.contains(['=', '[']) {
            return Err(wrong(format!("{directive:?} is not a level")));
        }
    }
    EnvFilter::builder().parse(directives.join(",")).map_err(|error| wrong(error.to_string()))
}

/// Makes every panic, on any thread, one log line and one step of `panics`.
///
/// Where no log takes the line (not initialized, or filtered away), the previous hook prints it.
pub fn install_panic_hook(panics: IntCounter) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        panics.inc();
        if !tracing::enabled!(Level::ERROR) {
            return previous(panic);
        }
        let backtrace = Backtrace::capture();
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("(not a text)"),
            location = panic.location().map(tracing::field::display),
            thread = thread::current().name(),
            backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace)),
            "panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_say_something_are_taken() {
        for filter in ["info", "WARN", "off", "info,hyper=warn", "info, edge::gate=debug", "warn,edge[request{code=500}]=trace,edge[job]"] {
            assert!(parse(filter).is_ok(), "{filter:?}");
        }
    }

    #[test]
    fn filters_that_would_silence_by_mistake_are_refused() {
        for filter in ["", "inof", "hyper", "info,", "edge=loud", "info,edge"] {
            let error = parse(filter).expect_err(filter).to_string();
            assert!(error.contains(&format!("log filter {filter:?}")) && error.contains("target=level"), "{error}");
        }
    }
}
