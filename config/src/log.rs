//! `[log]`: what is logged, and how it looks.

use crate::reader::Section;

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// For collectors or for eyes.
    pub format: LogFormat,
    /// A level or directives, as `tracing-subscriber`'s `EnvFilter` reads them; not checked here.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for eyes.
    Text,
}

impl Log {
    pub(crate) fn read(mut from: Section<'_>) -> Self {
        let is_filter = |text: &str| (1..=1_024).contains(&text.len());
        Self {
            format: from.word("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]),
            filter: from.text("filter", "a level or directives of 1 to 1024 bytes, such as info,edge=debug", is_filter),
        }
    }
}
