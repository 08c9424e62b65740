//! Live or test. Keys, stock, orders and events belong to one of the two and never meet those of the other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of a store's two worlds something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Real money, real stock.
    Live,
    /// For trying out.
    Test,
}

impl Mode {
    /// `live` or `test`, as keys, tokens and the command line spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Live => "live",
            Mode::Test => "test",
        }
    }

    /// What payloads call `livemode`, and what the database stores.
    pub fn is_live(self) -> bool {
        self == Mode::Live
    }

    /// The reverse of [`Mode::is_live`].
    pub fn from_live(live: bool) -> Self {
        if live { Mode::Live } else { Mode::Test }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "live" => Ok(Mode::Live),
            "test" => Ok(Mode::Test),
            _ => Err(UnknownMode),
        }
    }
}

/// Neither `live` nor `test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write live or test")]
pub struct UnknownMode;
