//! Settings as a test wants them: development mode, fixed secrets, ports chosen by the system, and whatever else it says.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};

/// Secrets that are the same in every test. Four different ones, as the configuration demands.
const SECRETS: [(&str, &str); 4] = [
    ("API_KEY_PEPPER", "t1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="),
    ("SESSION_SIGNING", "t1:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="),
    ("SEALING", "t1:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="),
    ("LICENSE_DIGEST", "t1:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ="),
];

/// Settings under construction, as environment variables: the same way for a test in this process and for a binary it starts.
#[derive(Debug, Clone)]
pub struct Settings(BTreeMap<String, String>);

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Settings {
    /// Everything a binary needs but its servers, which point to where nobody listens.
    pub fn new() -> Self {
        let settings = Self(BTreeMap::new())
            .set("MODE", "development")
            .set("HTTP__PUBLIC_BASE_URL", "http://localhost:8000")
            .set("EDGE__LISTEN", "127.0.0.1:0")
            .set("EDGE__ADMIN_LISTEN", "127.0.0.1:0")
            .set("WORKER__ADMIN_LISTEN", "127.0.0.1:0")
            .set("POSTGRES__TLS", "disable")
            .set("LOG__FORMAT", "text")
            .postgres("postgres://nobody:nothing@127.0.0.1:1/none")
            .redis("redis://127.0.0.1:1");
        SECRETS.iter().fold(settings, |settings, (name, value)| settings.set(&format!("SECRETS__{name}"), value))
    }

    /// Sets one knob, named as in the environment without `ANONYMOUSPAY_`: `EDGE__LISTEN`.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.0.insert(format!("ANONYMOUSPAY_{name}"), value.to_owned());
        self
    }

    /// Uses this Postgres.
    pub fn postgres(self, url: &str) -> Self {
        self.set("POSTGRES__URL", url)
    }

    /// Uses this Redis.
    pub fn redis(self, url: &str) -> Self {
        self.set("REDIS__URL", url)
    }

    /// The variables, for a binary's environment.
    pub fn environment(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// The settings, checked.
    pub fn load(&self) -> Result<config::Settings> {
        config::Settings::load(None, self.0.clone()).map_err(|problems| anyhow!("{problems}"))
    }
}
