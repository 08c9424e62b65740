//! What endpoints and deliveries are called outside: `wh_` and the endpoint's UUID without dashes, `whd_` and the delivery's number. Written
//! in one way only, so that equal ids are equal text.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use uuid::Uuid;

const ENDPOINT_PREFIX: &str = "wh_";
const DELIVERY_PREFIX: &str = "whd_";

/// A webhook endpoint's public id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointId(pub Uuid);

/// A delivery's public id. Later deliveries have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId(pub i64);

/// Something that cannot be the id of an endpoint or a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedId {
    /// No endpoint's.
    #[error("a webhook endpoint's id is wh_ and 32 of 0-9 and a-f")]
    Endpoint,
    /// No delivery's.
    #[error("a delivery's id is whd_ and a number")]
    Delivery,
}

impl FromStr for EndpointId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let digits = text.strip_prefix(ENDPOINT_PREFIX).ok_or(MalformedId::Endpoint)?;
        // What the parser of UUIDs takes beside these: braces, dashes, upper case.
        if digits.len() != 32 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(MalformedId::Endpoint);
        }
        Uuid::parse_str(digits).map(Self).map_err(|_| MalformedId::Endpoint)
    }
}

impl FromStr for DeliveryId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let digits = text.strip_prefix(DELIVERY_PREFIX).ok_or(MalformedId::Delivery)?;
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MalformedId::Delivery);
        }
        digits.parse().map(Self).map_err(|_| MalformedId::Delivery)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ENDPOINT_PREFIX}{}", self.0.simple())
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DELIVERY_PREFIX}{}", self.0)
    }
}

impl Serialize for EndpointId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_in_no_other_way() {
        let endpoint = EndpointId(Uuid::from_u128(0x0193_0000_abcd));
        assert_eq!(endpoint.to_string(), "wh_0000000000000000000001930000abcd");
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        for number in [1, 42, i64::MAX] {
            assert_eq!(DeliveryId(number).to_string().parse(), Ok(DeliveryId(number)));
        }
        let dashed = format!("wh_{}", endpoint.0);
        let upper = endpoint.to_string().to_uppercase();
        for text in ["", "wh_", "0000000000000000000001930000abcd", &dashed, &upper, "wh_0000000000000000000001930000abcg", "whd_1"] {
            assert_eq!(text.parse::<EndpointId>(), Err(MalformedId::Endpoint), "{text}");
        }
        for text in ["", "whd_", "1", "whd_0", "whd_01", "whd_-1", "whd_+1", "whd_1 ", "whd_9223372036854775808", "wh_1"] {
            assert_eq!(text.parse::<DeliveryId>(), Err(MalformedId::Delivery), "{text}");
        }
    }
}
