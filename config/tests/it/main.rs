//! What operators see of the configuration: how layers lie over each other, what is refused and how it is told, what is
//! printed, and that the manual is whole.

mod layers;
mod manual;
mod problems;
mod redaction;

use std::io::Write as _;

use config::{Problems, Settings};
use tempfile::NamedTempFile;

/// The least environment that makes a good configuration.
const NEEDED: [(&str, &str); 7] = [
    ("ANONYMOUSPAY_HTTP__PUBLIC_BASE_URL", "https://pay.example.com"),
    ("ANONYMOUSPAY_POSTGRES__URL", "postgres://edge:pg-pass-w0rd@db.example.com/pay"),
    ("ANONYMOUSPAY_REDIS__URL", "redis://edge:redis-pass-w0rd@cache.example.com"),
    ("ANONYMOUSPAY_SECRETS__API_KEY_PEPPER", "pepper:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ("ANONYMOUSPAY_SECRETS__SESSION_SIGNING", "session:EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE="),
    ("ANONYMOUSPAY_SECRETS__SEALING", "seal:IIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII="),
    ("ANONYMOUSPAY_SECRETS__LICENSE_DIGEST", "digest:MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM="),
];

/// Pieces of the values above, and of others in these tests, that may never be printed.
const SECRET_PIECES: [&str; 6] = ["pass-w0rd", "AAAAAAAA", "EEEEEEEE", "IIIIIIII", "MMMMMMMM", "QQQQQQQQ"];

/// [`NEEDED`] with other values on top, given as the knob's name in capitals.
fn environment(extra: &[(&str, &str)]) -> Vec<(String, String)> {
    let needed = NEEDED.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let extra = extra.iter().map(|(name, value)| (format!("ANONYMOUSPAY_{name}"), value.to_string()));
    needed.chain(extra).collect()
}

fn load(extra: &[(&str, &str)]) -> Result<Settings, Problems> {
    Settings::load(None, environment(extra))
}

fn load_file(text: &str, extra: &[(&str, &str)]) -> Result<Settings, Problems> {
    Settings::load(Some(file(text).path()), environment(extra))
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn lines(result: Result<Settings, Problems>) -> Vec<String> {
    let text = result.expect_err("this configuration has problems").to_string();
    for piece in SECRET_PIECES {
        assert!(!text.contains(piece), "{text}");
    }
    text.lines().map(str::to_owned).collect()
}
