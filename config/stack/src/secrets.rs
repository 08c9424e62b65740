//! The four secrets of this machine's stack: made once, kept in files that only we may read.

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
}

const NAMES: [&str; 4] = ["api_key_pepper", "session_signing", "sealing", "license_digest"];

impl Secrets {
    /// Reads them; the ones that are not there are made.
    pub fn read_or_make(folder: &Folder) -> Result<Self> {
        let secret = |name: &str| read_or_make(&folder.secrets().join(name).with_extension("txt"));
        let [api_key_pepper, session_signing, sealing, license_digest] = NAMES.map(secret);
        Ok(Self { api_key_pepper: api_key_pepper?, session_signing: session_signing?, sealing: sealing?, license_digest: license_digest? })
    }

    /// Whether none is missing.
    pub fn are_there(folder: &Folder) -> bool {
        NAMES.iter().all(|name| folder.secrets().join(name).with_extension("txt").exists())
    }

    /// For `--fresh`.
    pub fn forget(folder: &Folder) -> Result<()> {
        NAMES.iter().try_for_each(|name| Ok(remove_if_there(&folder.secrets().join(name).with_extension("txt"))?))
    }
}

fn read_or_make(path: &Path) -> Result<String> {
    if !path.exists() {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        write_private(path, &format!("k1:{}\n", STANDARD.encode(bytes)))?;
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_stay_and_can_be_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("stack")).unwrap();
        assert!(!Secrets::are_there(&folder));
        let first = Secrets::read_or_make(&folder).unwrap();
        assert!(Secrets::are_there(&folder));
        assert_ne!(first.api_key_pepper, first.sealing);
        assert_eq!(STANDARD.decode(first.sealing.strip_prefix("k1:").unwrap()).unwrap().len(), 32);
        assert_eq!(Secrets::read_or_make(&folder).unwrap().sealing, first.sealing);
        Secrets::forget(&folder).unwrap();
        assert_ne!(Secrets::read_or_make(&folder).unwrap().sealing, first.sealing);
    }
}
