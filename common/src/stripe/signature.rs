//! `Stripe-Signature`: `t=<Unix seconds>,v1=<hex>[,v1=<hex>…]`, where each `v1` is an HMAC-SHA256 over `<t>.<body>` under the whole text of
//! a signing secret, prefix included. Other schemes, `v0` among them, are not looked at. Documented at
//! <https://docs.stripe.com/webhooks#verify-manually>.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Seconds that the time of a signature may be away from ours, either way.
pub const TOLERANCE_S: u64 = 300;
/// The longest header that is read. Stripe sends one signature for each secret that is in force, of 69 bytes.
pub const HEADER_MAX: usize = 2_048;
/// Signatures of one header that are looked at.
const SIGNATURES_MAX: usize = 16;
/// How long a secret's text may be. Stripe's have 38 characters, those of its command line 70.
const TEXT: std::ops::RangeInclusive<usize> = 16..=256;

/// A signing secret of Stripe's, such as `whsec_…`. `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<String>);

/// A text that is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {} to {} visible ASCII characters, such as whsec_…", TEXT.start(), TEXT.end())]
pub struct NoSigningSecret;

impl SigningSecret {
    /// Takes one as Stripe shows it.
    pub fn parse(text: &str) -> Result<Self, NoSigningSecret> {
        let well_formed = TEXT.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        well_formed.then(|| Self(Zeroizing::new(text.to_owned()))).ok_or(NoSigningSecret)
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(***)")
    }
}

/// Why a body is not taken for Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No time, or none that can be read.
    #[error("Stripe-Signature must be t=<Unix seconds>,v1=<hex>")]
    Malformed,
    /// Signed too long ago, or in times to come.
    #[error("Stripe-Signature is more than {TOLERANCE_S} seconds away from now: check the clock")]
    OtherTime,
    /// No `v1` under any of our secrets.
    #[error("Stripe-Signature is not of this body under a signing secret of ours")]
    Mismatch,
}

/// Checks signatures under any of several secrets, their HMACs keyed once.
#[derive(Clone)]
pub struct Verifier(Vec<Hmac<Sha256>>);

impl Verifier {
    /// For these secrets. Without any, nothing is ever right.
    pub fn new(secrets: &[SigningSecret]) -> Self {
        let keyed = |secret: &SigningSecret| Hmac::new_from_slice(secret.0.as_bytes()).expect("HMAC takes a key of any length");
        Self(secrets.iter().map(keyed).collect())
    }

    /// Whether there is any secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `body` was signed by Stripe, as `header` says, around `now_unix_s`. Takes the same time for a signature that is wrong in its
    /// first digit and in its last.
    pub fn verify(&self, header: &[u8], body: &[u8], now_unix_s: u64) -> Result<(), SignatureError> {
        let signed = Signed::read(header).ok_or(SignatureError::Malformed)?;
        let is_ours = self.0.iter().any(|keyed| {
            let tag = keyed.clone().chain_update(signed.time).chain_update(b".").chain_update(body);
            signed.tags().any(|theirs| tag.clone().verify_slice(&theirs).is_ok())
        });
        // Whoever cannot sign need not learn what time it is here.
        if !is_ours {
            return Err(SignatureError::Mismatch);
        }
        if signed.unix_s.abs_diff(now_unix_s) > TOLERANCE_S {
            return Err(SignatureError::OtherTime);
        }
        Ok(())
    }

    /// A header as Stripe would send it, under the first secret: for the test payment, which sends a genuine event. `None` without a secret.
    pub fn sign(&self, body: &[u8], unix_s: u64) -> Option<String> {
        let tag = self.0.first()?.clone().chain_update(unix_s.to_string()).chain_update(b".").chain_update(body);
        let mut header = format!("t={unix_s},v1=");
        for byte in tag.finalize().into_bytes() {
            for digit in [byte >> 4, byte & 15] {
                header.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        Some(header)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} secrets)", self.0.len())
    }
}

/// What a header says.
struct Signed<'h> {
    /// As it was signed.
    time: &'h str,
    unix_s: u64,
    header: &'h str,
}

impl<'h> Signed<'h> {
    fn read(header: &'h [u8]) -> Option<Self> {
        let header = std::str::from_utf8(header).ok().filter(|header| header.len() <= HEADER_MAX)?;
        let mut times = items(header, "t");
        let time = times.next()?;
        // One time: of two nobody knows which was meant.
        if times.next().is_some() || time.is_empty() || !time.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { time, unix_s: time.parse().ok()?, header })
    }

    fn tags(&self) -> impl Iterator<Item = [u8; 32]> {
        items(self.header, "v1").take(SIGNATURES_MAX).filter_map(decode)
    }
}

fn items<'h>(header: &'h str, name: &'static str) -> impl Iterator<Item = &'h str> {
    header.split(',').filter_map(move |item| item.trim_matches(' ').split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: u64 = 1_795_400_000;

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).unwrap()
    }

    fn verifier(texts: &[&str]) -> Verifier {
        Verifier::new(&texts.iter().map(|text| secret(text)).collect::<Vec<_>>())
    }

    const FIRST: &str = "whsec_first_secret_of_ours";
    const SECOND: &str = "whsec_second_secret_of_ours";

    #[test]
    fn a_secret_is_taken_or_told_why_not_and_never_shown() {
        for bad in ["", "whsec_", "fifteen-letters", "sixteen letters!", &"x".repeat(257)] {
            assert_eq!(SigningSecret::parse(bad), Err(NoSigningSecret), "{bad:?}");
        }
        assert_eq!(format!("{:?} {:?}", secret(FIRST), verifier(&[FIRST])), "SigningSecret(***) Verifier(1 secrets)");
    }

    /// The value was computed with Python's `hmac` and `hashlib`.
    #[test]
    fn the_header_is_what_stripe_sends() {
        let expected = "t=1795400000,v1=6db945326553d293ff44101deec7995ccf885abf5c5bbc3aa7999c77bc9155fd";
        assert_eq!(verifier(&[FIRST]).sign(BODY, NOW).unwrap(), expected);
        assert_eq!(verifier(&[]).sign(BODY, NOW), None);
    }

    #[test]
    fn any_signature_may_be_of_any_secret() {
        let both = verifier(&[FIRST, SECOND]);
        let (by_first, by_second) = (verifier(&[FIRST]).sign(BODY, NOW).unwrap(), verifier(&[SECOND]).sign(BODY, NOW).unwrap());
        let tag = |header: &str| header.split_once("v1=").unwrap().1.to_owned();
        for header in
            [&by_first, &by_second, &format!("{by_first},v1={}", tag(&by_second)), &format!("t={NOW}, v1=ab, v0=x ,v1={}", tag(&by_second))]
        {
            assert_eq!(both.verify(header.as_bytes(), BODY, NOW), Ok(()), "{header}");
        }
        assert_eq!(verifier(&[SECOND]).verify(by_first.as_bytes(), BODY, NOW), Err(SignatureError::Mismatch));
        assert_eq!(verifier(&[]).verify(by_first.as_bytes(), BODY, NOW), Err(SignatureError::Mismatch));
        assert_eq!(
            both.verify(by_first.to_uppercase().replace("T=", "t=").replace("V1=", "v1=").as_bytes(), BODY, NOW),
            Ok(()),
            "hex in any case"
        );
    }

    #[test]
    fn a_signature_is_of_its_time() {
        let ours = verifier(&[FIRST]);
        for (signed_at, expected) in [
            (NOW - 300, Ok(())),
            (NOW + 300, Ok(())),
            (NOW - 301, Err(SignatureError::OtherTime)),
            (NOW + 301, Err(SignatureError::OtherTime)),
            (0, Err(SignatureError::OtherTime)),
        ] {
            assert_eq!(ours.verify(ours.sign(BODY, signed_at).unwrap().as_bytes(), BODY, NOW), expected, "{signed_at}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let ours = verifier(&[FIRST]);
        let good = ours.sign(BODY, NOW).unwrap();
        let tag = good.split_once("v1=").unwrap().1;
        for (header, expected) in [
            (String::new(), SignatureError::Malformed),
            (format!("v1={tag}"), SignatureError::Malformed),
            (format!("t=,v1={tag}"), SignatureError::Malformed),
            (format!("t=+{NOW},v1={tag}"), SignatureError::Malformed),
            (format!("t={NOW},t={NOW},v1={tag}"), SignatureError::Malformed),
            (format!("t=99999999999999999999999,v1={tag}"), SignatureError::Malformed),
            (format!("t={NOW},v1={tag}{}", " ".repeat(HEADER_MAX)), SignatureError::Malformed),
            (format!("t={NOW}"), SignatureError::Mismatch),
            (format!("t={NOW},v0={tag}"), SignatureError::Mismatch),
            (format!("t={NOW},v1={}", &tag[..62]), SignatureError::Mismatch),
            (format!("t={NOW},v1={tag}00"), SignatureError::Mismatch),
            (format!("t=0{NOW},v1={tag}"), SignatureError::Mismatch),
            (format!("t={NOW},{}v1={tag}", "v1=00,".repeat(SIGNATURES_MAX)), SignatureError::Mismatch),
        ] {
            assert_eq!(ours.verify(header.as_bytes(), BODY, NOW), Err(expected), "{header}");
        }
        for at in 0..BODY.len() {
            let mut changed = BODY.to_vec();
            changed[at] ^= 1;
            assert_eq!(ours.verify(good.as_bytes(), &changed, NOW), Err(SignatureError::Mismatch));
        }
    }
}
