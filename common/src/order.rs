//! What an order is to the outside, and which way it may go.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cart::Sku;
use crate::fulfill::Shortage;
use crate::ids::OrderId;
use crate::license::LicenseKey;
use crate::mode::Mode;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Made by a customer, not paid.
    Pending,
    /// Accepted; license keys are being allocated.
    Processing,
    /// Paid, and waiting for license keys to come in.
    AwaitingStock,
    /// License keys are allocated and usable.
    Fulfilled,
    /// Came to nothing; its reference is free again.
    Failed,
    /// Part of the money went back.
    PartiallyRefunded,
    /// All of the money went back.
    Refunded,
    /// The customer's bank has taken the money back for now.
    Disputed,
    /// The partner took the license keys back.
    Revoked,
    /// Never paid.
    Expired,
}

impl OrderStatus {
    /// All statuses, in the order the documentation lists them.
    pub const ALL: [OrderStatus; 10] = [
        OrderStatus::Pending,
        OrderStatus::Processing,
        OrderStatus::AwaitingStock,
        OrderStatus::Fulfilled,
        OrderStatus::Failed,
        OrderStatus::PartiallyRefunded,
        OrderStatus::Refunded,
        OrderStatus::Disputed,
        OrderStatus::Revoked,
        OrderStatus::Expired,
    ];

    /// The status as URLs, answers and the database spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderStatus::Pending => "pending",
            OrderStatus::Processing => "processing",
            OrderStatus::AwaitingStock => "awaiting_stock",
            OrderStatus::Fulfilled => "fulfilled",
            OrderStatus::Failed => "failed",
            OrderStatus::PartiallyRefunded => "partially_refunded",
            OrderStatus::Refunded => "refunded",
            OrderStatus::Disputed => "disputed",
            OrderStatus::Revoked => "revoked",
            OrderStatus::Expired => "expired",
        }
    }

    /// Whether the order's license keys may be shown and used.
    pub fn keys_usable(self) -> bool {
        matches!(self, OrderStatus::Fulfilled | OrderStatus::PartiallyRefunded)
    }

    /// What revoking does to an order that stands here.
    pub fn revocation(self) -> Revocation {
        match self {
            OrderStatus::Fulfilled | OrderStatus::PartiallyRefunded | OrderStatus::Disputed => Revocation::Revokes,
            OrderStatus::Revoked => Revocation::AlreadyRevoked,
            _ => Revocation::Refused,
        }
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for OrderStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// A word that is no order status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of pending, processing, awaiting_stock, fulfilled, failed, partially_refunded, refunded, disputed, revoked and expired"
)]
pub struct UnknownStatus;

/// What revoking an order would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Its license keys become unusable.
    Revokes,
    /// Nothing; it was revoked before.
    AlreadyRevoked,
    /// Nothing; it has no usable license keys to take back.
    Refused,
}

/// An item of an order and the license keys that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoldItem {
    /// What.
    pub sku: Sku,
    /// Its license keys; none while they are not usable.
    pub license_keys: Vec<LicenseKey>,
}

/// An order as it stands. `Debug` hides the customer.
#[derive(Clone)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// The partner's name for it.
    pub external_reference: Option<String>,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Digest of the request.
    pub fingerprint: [u8; 32],
    /// Where it stands.
    pub status: OrderStatus,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Minor units.
    pub total_minor: Option<i64>,
    /// Who bought.
    pub customer_email: String,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: u64,
    /// When it last changed, Unix milliseconds.
    pub updated_at_ms: u64,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why an order came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The same code that a direct answer would have had.
    pub code: String,
    /// What was short, when the stock was.
    pub shortages: Vec<Shortage>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_as_it_is_written() {
        for status in OrderStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!("Fulfilled".parse::<OrderStatus>(), Err(UnknownStatus));
    }

    #[test]
    fn only_what_has_usable_keys_or_may_get_them_back_can_be_revoked() {
        let revocable: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.revocation() == Revocation::Revokes).collect();
        assert_eq!(revocable, [OrderStatus::Fulfilled, OrderStatus::PartiallyRefunded, OrderStatus::Disputed]);
        assert_eq!(OrderStatus::Revoked.revocation(), Revocation::AlreadyRevoked);
        assert!(OrderStatus::ALL.into_iter().all(|status| !status.keys_usable() || status.revocation() == Revocation::Revokes));
    }
}
