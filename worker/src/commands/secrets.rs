//! `worker secrets …`: making new secrets. What is printed here is the only copy.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use common::clock::{Clock as _, SystemClock, rfc3339};
use common::secret::SECRET_MIN_BYTES;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::Serialize;

use super::Failure;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Print four fresh secrets as environment variables; what stands behind each = may also be the content of a file
    Generate,
    /// Seal and digest everything anew under the newest secrets, after which older ones can be taken away.
    /// Give every running edge and worker both secrets first, the new one in front
    Rewrap,
}

#[derive(Serialize)]
struct Generated {
    api_key_pepper: String,
    session_signing: String,
    sealing: String,
    license_digest: String,
}

pub fn generate(output: Output) -> Result<(), Failure> {
    // The day says how old a secret is; four letters tell apart two of one day.
    let day = rfc3339(SystemClock::new().now().unix_ms).chars().take(10).filter(|c| *c != '-').collect::<String>();
    let suffix: String = random::<4>()?.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let id = format!("{day}-{suffix}");
    let secret = || Ok::<_, Failure>(format!("{id}:{}", STANDARD.encode(random::<SECRET_MIN_BYTES>()?)));
    let generated = Generated { api_key_pepper: secret()?, session_signing: secret()?, sealing: secret()?, license_digest: secret()? };
    output.show(&generated, || {
        let Generated { api_key_pepper, session_signing, sealing, license_digest } = &generated;
        format!(
            "ANONYMOUSPAY_SECRETS__API_KEY_PEPPER={api_key_pepper}\nANONYMOUSPAY_SECRETS__SESSION_SIGNING={session_signing}\n\
             ANONYMOUSPAY_SECRETS__SEALING={sealing}\nANONYMOUSPAY_SECRETS__LICENSE_DIGEST={license_digest}"
        )
    })
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| Failure::other(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}
