//! `[secrets]`: what hashes, signs, seals and digests. Each purpose has secrets of its own, so that one that leaks or is
//! replaced touches nothing else. No value of a secret leaves this file but inside [`SecretList`].

use common::secret::SecretList;

use crate::Mode;
use crate::reader::Section;

/// `[secrets]`; of each list the first writes, all read.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Hashes API keys.
    pub api_key_pepper: SecretList,
    /// Signs checkout session tokens.
    pub session_signing: SecretList,
    /// Encrypts license keys, webhook secrets, jobs and replies.
    pub sealing: SecretList,
    /// Digests license keys.
    pub license_digest: SecretList,
}

impl Secrets {
    pub(crate) fn read(mut from: Section<'_>, mode: Mode) -> Option<Self> {
        let api_key_pepper = from.secrets("api_key_pepper", "api_key_pepper_file", mode);
        let session_signing = from.secrets("session_signing", "session_signing_file", mode);
        let sealing = from.secrets("sealing", "sealing_file", mode);
        let license_digest = from.secrets("license_digest", "license_digest_file", mode);
        let purposes = [
            ("api_key_pepper", &api_key_pepper),
            ("session_signing", &session_signing),
            ("sealing", &sealing),
            ("license_digest", &license_digest),
        ];
        for (index, (knob, list)) in purposes.iter().enumerate() {
            for (earlier_knob, earlier) in &purposes[..index] {
                if let (Some(list), Some(earlier)) = (list, earlier) {
                    check_apart(&mut from, (knob, list), (earlier_knob, earlier));
                }
            }
        }
        Some(Self {
            api_key_pepper: api_key_pepper?,
            session_signing: session_signing?,
            sealing: sealing?,
            license_digest: license_digest?,
        })
    }
}

/// One secret for two purposes would let what one makes be taken for what the other makes.
fn check_apart(from: &mut Section<'_>, (knob, list): (&str, &SecretList), (other_knob, other): (&str, &SecretList)) {
    for secret in list.iter() {
        if let Some(same) = other.iter().find(|same| same.expose() == secret.expose()) {
            let message = format!(
                "secret {:?} is the same as {:?} of secrets.{other_knob}; each purpose needs secrets of its own",
                secret.id(),
                same.id()
            );
            from.problem(knob, message);
        }
    }
}
