//! Why a command failed: one sentence for whoever typed it, saying what to do, and the code that scripts look at. Never a secret.

use std::fmt;

use storage::StorageError;

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const EXISTS: u8 = 9;
const LAGGING: u8 = 10;
const VIOLATED: u8 = 11;
/// `EX_TEMPFAIL` of sysexits.
const TEMPORARY: u8 = 75;
/// `EX_NOPERM` of sysexits.
const FORBIDDEN: u8 = 77;

/// Why a command failed, and the code the process ends with: 1, or 2 wrong usage, 9 exists already, 10 not all edges have followed,
/// 11 the audit found that something does not hold, 75 Postgres or Redis cannot be reached (try again), 77 the login of `postgres.url` may
/// not do this, 78 wrong configuration.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Something that no other code says better.
    pub fn other(message: impl Into<String>) -> Self {
        Self { code: OTHER, message: message.into() }
    }

    /// Arguments that contradict each other.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// Edges that may not know yet what they must.
    pub(super) fn lagging(message: String) -> Self {
        Self { code: LAGGING, message }
    }

    /// Data that is not as it must be.
    pub(super) fn violated(checks: &[&str]) -> Self {
        let message = format!(
            "the data is not as it must be: {}; keep a copy of the database as it is before you change anything",
            checks.join(", ")
        );
        Self { code: VIOLATED, message }
    }

    /// What a creation failed with: `what` exists already, or anything else.
    pub(super) fn of_creation(error: StorageError, what: impl FnOnce() -> String) -> Self {
        if error.is_unique_violation() { Self { code: EXISTS, message: format!("{} exists already", what()) } } else { error.into() }
    }

    /// The same, with more to say to whoever typed the command.
    pub(super) fn and(self, more: &str) -> Self {
        Self { message: format!("{}; {more}", self.message), ..self }
    }

    /// The code the process ends with.
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        // Postgres may add lines of detail, which repeat the values of a row.
        let said = error.to_string().lines().next().unwrap_or_default().to_owned();
        match error {
            StorageError::Unavailable(_) => Self { code: TEMPORARY, message: format!("{said}; check postgres.url and try again") },
            StorageError::Redis(_) => Self { code: TEMPORARY, message: format!("{said}; check redis.url and try again") },
            StorageError::Forbidden(_) => Self { code: FORBIDDEN, message: said },
            StorageError::Settings(_) => Self { code: config::EXIT_CONFIG, message: said },
            _ => Self::other(said),
        }
    }
}

impl From<config::Problems> for Failure {
    fn from(problems: config::Problems) -> Self {
        Self { code: config::EXIT_CONFIG, message: format!("the configuration cannot be used:\n{problems}") }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<StorageError>() {
            Ok(error) => error.into(),
            Err(error) => Self::other(format!("{error:#}")),
        }
    }
}
