//! Names that people read over the phone: Crockford's base32 has no I, L, O or U, and sorts like the number it writes.

use std::fmt;

use serde::{Deserialize, Serialize};

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_CHARS: usize = 9;
const RANDOM_CHARS: usize = 9;
const PREFIX: &str = "ORD-";

/// An order's public id: `ORD-`, 9 characters of Unix milliseconds and 9 of chance (45 bits). Ids made later sort later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderId(String);

impl OrderId {
    /// The length of every order id in bytes.
    pub const LEN: usize = PREFIX.len() + TIME_CHARS + RANDOM_CHARS;

    /// An id from the time and 64 random bits, of which the low 45 are used.
    pub fn new(unix_ms: u64, random: u64) -> Self {
        let mut id = String::with_capacity(Self::LEN);
        id.push_str(PREFIX);
        push_base32(&mut id, unix_ms, TIME_CHARS);
        push_base32(&mut id, random, RANDOM_CHARS);
        Self(id)
    }

    /// Reads an id as people type it: any case.
    pub fn parse(text: &str) -> Result<Self, MalformedOrderId> {
        let upper = text.to_ascii_uppercase();
        let digits = upper.strip_prefix(PREFIX).ok_or(MalformedOrderId)?;
        if upper.len() != Self::LEN || !digits.bytes().all(|b| CROCKFORD.contains(&b)) {
            return Err(MalformedOrderId);
        }
        Ok(Self(upper))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn push_base32(text: &mut String, value: u64, chars: usize) {
    for position in (0..chars).rev() {
        text.push(CROCKFORD[(value >> (5 * position)) as usize & 31] as char);
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for OrderId {
    type Error = MalformedOrderId;

    fn try_from(text: String) -> Result<Self, MalformedOrderId> {
        Self::parse(&text)
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> String {
        id.0
    }
}

/// A cart's id, as it stands in its address: 26 characters, 128 bits of chance. Who does not know it cannot guess it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CartId(String);

impl CartId {
    /// The length of every cart id in bytes.
    pub const LEN: usize = 26;

    /// An id from 128 random bits.
    pub fn new(random: u128) -> Self {
        let mut id = String::with_capacity(Self::LEN);
        push_base32(&mut id, (random >> 64) as u64, 13);
        push_base32(&mut id, random as u64, 13);
        Self(id)
    }

    /// Reads an id as it stands in an address.
    pub fn parse(text: &str) -> Result<Self, MalformedCartId> {
        if text.len() != Self::LEN || !text.bytes().all(|b| CROCKFORD.contains(&b)) {
            return Err(MalformedCartId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that cannot be a cart id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cart id is 26 digits and upper-case letters")]
pub struct MalformedCartId;

/// Something that cannot be an order id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order id is ORD- and 18 letters and digits")]
pub struct MalformedOrderId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ids_sort_later() {
        let ids: Vec<_> = [0, 1, 31, 32, 1_700_000_000_000, 1_700_000_000_001].map(|ms| OrderId::new(ms, u64::MAX - ms)).into();
        assert!(ids.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()), "{ids:?}");
    }

    #[test]
    fn reads_what_it_writes_in_any_case() {
        let id = OrderId::new(1_772_452_800_000, 0x1234_5678_9abc);
        assert_eq!(id.as_str().len(), OrderId::LEN);
        assert_eq!(OrderId::parse(&id.as_str().to_lowercase()), Ok(id));
    }

    #[test]
    fn cart_ids_keep_every_bit_of_chance() {
        let id = CartId::new(u128::MAX - 5);
        assert_eq!(CartId::parse(id.as_str()), Ok(id.clone()));
        let others: Vec<CartId> = (0..128).map(|bit| CartId::new((u128::MAX - 5) ^ (1 << bit))).collect();
        assert!(others.iter().all(|other| *other != id && other.as_str().len() == CartId::LEN));
        for text in ["", &id.as_str()[1..], &id.as_str().to_lowercase(), "IIIIIIIIIIIIIIIIIIIIIIIIII"] {
            assert_eq!(CartId::parse(text), Err(MalformedCartId), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_id() {
        for text in ["", "ORD-", "ORD-ABC123", "XXX-000000000000000000", "ORD-00000000000000000I", "ORD-0000000000000000000"] {
            assert_eq!(OrderId::parse(text), Err(MalformedOrderId), "{text}");
        }
    }
}
