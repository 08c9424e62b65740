//! The four secrets of this machine's stack, the passwords of its edges' and workers' logins to our own Postgres, and what Stripe's events are
//! signed with: made once, kept in files that only we may read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore;

use crate::folder::{Folder, remove_if_there, write_private};

/// In the form the binaries' configuration reads: `id:base64`.
pub struct Secrets {
    pub api_key_pepper: String,
    pub session_signing: String,
    pub sealing: String,
    pub license_digest: String,
    /// Letters and digits.
    pub postgres_edge: String,
    /// Letters and digits.
    pub postgres_worker: String,
    /// As if Stripe had given them: by them the test payment of this stack is signed, and load tests sign their events.
    pub stripe_live: String,
    /// The same for test mode.
    pub stripe_test: String,
}

const NAMES: [&str; 4] = ["api_key_pepper", "session_signing", "sealing", "license_digest"];
/// Nothing hangs on these: a login whose password is gone gets another one.
const PASSWORDS: [&str; 2] = ["postgres_edge", "postgres_worker"];
/// What was signed with these was signed for minutes.
const SIGNING: [&str; 2] = ["stripe_live", "stripe_test"];

impl Secrets {
    /// Reads them; the ones that are not there are made.
    pub fn read_or_make(folder: &Folder) -> Result<Self> {
        let path = |name: &str| folder.secrets().join(name).with_extension("txt");
        let [api_key_pepper, session_signing, sealing, license_digest] =
            NAMES.map(|name| read_or_make(&path(name), |bytes| format!("k1:{}", STANDARD.encode(bytes))));
        let [postgres_edge, postgres_worker] = PASSWORDS.map(|name| read_or_make(&path(name), hex));
        let [stripe_live, stripe_test] = SIGNING.map(|name| read_or_make(&path(name), |bytes| format!("whsec_{}", hex(bytes))));
        Ok(Self {
            api_key_pepper: api_key_pepper?,
            session_signing: session_signing?,
            sealing: sealing?,
            license_digest: license_digest?,
            postgres_edge: postgres_edge?,
            postgres_worker: postgres_worker?,
            stripe_live: stripe_live?,
            stripe_test: stripe_test?,
        })
    }

    /// Whether none of those is missing that something hangs on.
    pub fn are_there(folder: &Folder) -> bool {
        NAMES.iter().all(|name| folder.secrets().join(name).with_extension("txt").exists())
    }

    /// For `--fresh`.
    pub fn forget(folder: &Folder) -> Result<()> {
        NAMES
            .iter()
            .chain(&PASSWORDS)
            .chain(&SIGNING)
            .try_for_each(|name| Ok(remove_if_there(&folder.secrets().join(name).with_extension("txt"))?))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_or_make(path: &Path, shown: impl Fn(&[u8]) -> String) -> Result<String> {
    if !path.exists() {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        write_private(path, &(shown(&bytes) + "\n"))?;
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_differ_stay_and_can_be_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("stack")).unwrap();
        assert!(!Secrets::are_there(&folder));
        let first = Secrets::read_or_make(&folder).unwrap();
        assert!(Secrets::are_there(&folder));
        assert_ne!(first.api_key_pepper, first.sealing);
        assert_ne!(first.postgres_edge, first.postgres_worker);
        assert!(first.postgres_edge.len() == 64 && first.postgres_edge.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for entry in fs::read_dir(folder.secrets()).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(STANDARD.decode(first.sealing.strip_prefix("k1:").unwrap()).unwrap().len(), 32);
        assert_eq!(Secrets::read_or_make(&folder).unwrap().sealing, first.sealing);
        Secrets::forget(&folder).unwrap();
        let second = Secrets::read_or_make(&folder).unwrap();
        assert!(second.sealing != first.sealing && second.postgres_worker != first.postgres_worker);
    }
}
