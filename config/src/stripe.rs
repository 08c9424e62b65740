//! `[stripe]`: what proves that events come from Stripe. No value of a secret leaves this file but inside [`SigningSecret`].

use common::stripe::SigningSecret;

use crate::Mode;
use crate::reader::Section;

/// `[stripe]`.
#[derive(Debug, Clone)]
pub struct Stripe {
    /// Any of these may have signed an event about real money. None means that there are no such events.
    pub live_signing_secrets: Vec<SigningSecret>,
    /// The same for test mode.
    pub test_signing_secrets: Vec<SigningSecret>,
}

impl Stripe {
    pub(crate) fn read(mut from: Section<'_>, mode: Mode) -> Self {
        let live_signing_secrets = from.signing_secrets("live_signing_secrets", "live_signing_secrets_file", mode);
        let test_signing_secrets = from.signing_secrets("test_signing_secrets", "test_signing_secrets_file", mode);
        // The secret says whether there is real money behind an event.
        if test_signing_secrets.iter().any(|secret| live_signing_secrets.contains(secret)) {
            from.problem("test_signing_secrets", "has a secret that stripe.live_signing_secrets has too; each mode has its own".into());
        }
        Self { live_signing_secrets, test_signing_secrets }
    }
}
