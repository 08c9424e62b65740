//! What is wrong with a configuration, told all at once: an operator restarts once, not once per mistake.
//! A problem names the knob, where its value came from and what is expected, and never holds a secret's value.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The knob as `section.knob`; for an unknown name that name; or `configuration file` when it cannot be read.
    pub about: String,
    /// Where the value came from: `default`, a file and line, or an environment variable.
    pub origin: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.about, self.origin, self.message)
    }
}

/// All that is wrong, in the order of `default.toml` after what could not be placed. Never empty. `Display` gives one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
