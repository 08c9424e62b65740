//! `[stripe]`: what proves that events come from Stripe, and how Stripe is asked for payments. No value of a secret leaves this file but
//! inside a type that hides it.

use std::time::Duration;

use common::mode::Mode as Livemode;
use common::stripe::SigningSecret;
use secrecy::SecretString;

use crate::Mode;
use crate::dsn::is_base_url;
use crate::reader::Section;

/// More than any of Stripe's has.
const PUBLISHABLE_KEY_MAX: usize = 255;

/// `[stripe]`.
#[derive(Debug, Clone)]
pub struct Stripe {
    /// Any of these may have signed an event about real money. None means that there are no such events.
    pub live_signing_secrets: Vec<SigningSecret>,
    /// The same for test mode.
    pub test_signing_secrets: Vec<SigningSecret>,
    /// Where Stripe is asked: `http(s)://host[:port]`, without a slash at the end.
    pub api_base_url: String,
    /// For one question as a whole.
    pub timeout: Duration,
    /// Asks for payments of real money.
    pub live_secret_key: Option<SecretString>,
    /// The same for test mode.
    pub test_secret_key: Option<SecretString>,
    /// What browsers are told in live mode.
    pub live_publishable_key: Option<String>,
    /// The same for test mode.
    pub test_publishable_key: Option<String>,
}

impl Stripe {
    pub(crate) fn read(mut from: Section<'_>, mode: Mode) -> Self {
        let live_signing_secrets = from.signing_secrets("live_signing_secrets", "live_signing_secrets_file", mode);
        let test_signing_secrets = from.signing_secrets("test_signing_secrets", "test_signing_secrets_file", mode);
        // The secret says whether there is real money behind an event.
        if test_signing_secrets.iter().any(|secret| live_signing_secrets.contains(secret)) {
            from.problem("test_signing_secrets", "has a secret that stripe.live_signing_secrets has too; each mode has its own".into());
        }
        let (base_url, is_allowed): (_, fn(&str) -> bool) = match mode {
            Mode::Development => ("http://host or https://host, with :port if need be, without a path", is_base_url),
            Mode::Production => {
                ("https://host, with :port if need be, without a path", |url| is_base_url(url) && url.starts_with("https:"))
            }
        };
        Self {
            live_signing_secrets,
            test_signing_secrets,
            api_base_url: from.text("api_base_url", base_url, is_allowed),
            timeout: from.millis("timeout_ms", 100..=60_000),
            live_secret_key: from.secret_key("live_secret_key", "live_secret_key_file", &["sk_live_", "rk_live_"], mode),
            test_secret_key: from.secret_key("test_secret_key", "test_secret_key_file", &["sk_test_", "rk_test_"], mode),
            live_publishable_key: publishable_key(&mut from, "live_publishable_key", "pk_live_"),
            test_publishable_key: publishable_key(&mut from, "test_publishable_key", "pk_test_"),
        }
    }

    /// What asks for payments in this mode.
    pub fn secret_key(&self, mode: Livemode) -> Option<&SecretString> {
        match mode {
            Livemode::Live => self.live_secret_key.as_ref(),
            Livemode::Test => self.test_secret_key.as_ref(),
        }
    }

    /// What browsers are told in this mode.
    pub fn publishable_key(&self, mode: Livemode) -> Option<&str> {
        match mode {
            Livemode::Live => self.live_publishable_key.as_deref(),
            Livemode::Test => self.test_publishable_key.as_deref(),
        }
    }
}

fn publishable_key(from: &mut Section<'_>, knob: &str, prefix: &str) -> Option<String> {
    let key = from.text(knob, &format!("a publishable key of Stripe's, {prefix}…"), |_| true);
    let rest = key.strip_prefix(prefix).unwrap_or_default();
    let is_key = !rest.is_empty() && key.len() <= PUBLISHABLE_KEY_MAX && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !key.is_empty() && !is_key {
        // Not repeated: it may be the secret one.
        from.problem(knob, format!("expected a publishable key of Stripe's, {prefix}…"));
    }
    Some(key).filter(|key| !key.is_empty())
}
