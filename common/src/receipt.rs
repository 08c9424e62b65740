//! Links to receipts: whoever has one sees the order and its license keys, so nobody else can make one. `rc1.<key id>.<mode>.<order
//! id>.<signature>`, the signature over everything before it, by the secrets that sign sessions, and for nothing that a session is good for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;

use crate::ids::OrderId;
use crate::mac::KeyedMacs;
use crate::mode::Mode;
use crate::secret::SecretList;

const PURPOSE: &str = "rc1";
/// The longest link that is looked at.
const LINK_MAX_CHARS: usize = 128;

/// Makes and verifies links. The first secret makes, all verify.
#[derive(Clone, Debug)]
pub struct ReceiptSigner {
    keys: KeyedMacs,
}

impl ReceiptSigner {
    /// A signer over these keys.
    pub fn new(keys: &SecretList) -> Self {
        Self { keys: KeyedMacs::new(keys) }
    }

    /// The last part of the address of an order's receipt.
    pub fn sign(&self, mode: Mode, order_id: &OrderId) -> String {
        let mac = self.keys.first();
        let signed = format!("{PURPOSE}.{}.{mode}.{order_id}", mac.id());
        let signature = mac.begin().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The order of a link that we made.
    pub fn verify(&self, link: &str) -> Option<(Mode, OrderId)> {
        if link.len() > LINK_MAX_CHARS {
            return None;
        }
        let (signed, signature) = link.rsplit_once('.')?;
        let mut parts = signed.split('.');
        let (Some(PURPOSE), Some(key_id), Some(mode), Some(order_id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.keys.get(key_id)?.begin().chain_update(signed).verify_slice(&signature).ok()?;
        Some((mode.parse().ok()?, OrderId::parse(order_id).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn signer(ids: &[&str]) -> ReceiptSigner {
        let secret = |id: &&str| Secret::new(id, id.repeat(32).into_bytes()).unwrap();
        ReceiptSigner::new(&SecretList::new(ids.iter().map(secret).collect()).unwrap())
    }

    #[test]
    fn a_link_is_good_for_its_order_alone_and_outlives_the_rotation_of_its_secret() {
        let order = OrderId::new(1, 2);
        let link = signer(&["a"]).sign(Mode::Test, &order);
        assert_eq!(signer(&["b", "a"]).verify(&link), Some((Mode::Test, order)));
        assert_eq!(signer(&["b"]).verify(&link), None);
        for index in 0..link.len() {
            let mut bytes = link.clone().into_bytes();
            bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(signer(&["a"]).verify(&changed), None, "{changed}");
        }
        for text in ["", "rc1", "rc1.a.live.ORD-0.", &format!("{link}x"), &"x".repeat(200)] {
            assert_eq!(signer(&["a"]).verify(text), None, "{text}");
        }
    }
}
