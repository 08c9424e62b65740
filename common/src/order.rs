//! What an order is to the outside, and which way it may go.

pub mod facts;

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

    /// Where an order may go from here, in one step. An order's status is a merge of facts, and facts of a payment come in any order: so
    /// whatever follows from the payment may be known before the payment itself.
    pub fn successors(self) -> &'static [OrderStatus] {
        use OrderStatus::*;
        match self {
            // Paid, with or without stock to serve it; or never paid. The last four say that it was paid, and what became of the money.
            Pending => &[Fulfilled, AwaitingStock, Expired, PartiallyRefunded, Refunded, Disputed, Revoked],
            // Paid elsewhere: it gets all of its license keys, or comes to nothing and frees its reference. Nothing in between.
            Processing => &[Fulfilled, Failed],
            // Stock came in; or the customer would not wait for it.
            AwaitingStock => &[Fulfilled, PartiallyRefunded, Refunded, Disputed, Revoked],
            // Money goes back, is taken back for now, or the partner takes the license keys back.
            Fulfilled => &[PartiallyRefunded, Refunded, Disputed, Revoked],
            // The rest goes back too, and all else that may happen to an order whose keys are usable.
            PartiallyRefunded => &[Refunded, Disputed, Revoked],
            // Won: it is again what it was. Lost, or the partner does not wait for the end: revoked. Or the money goes back by itself.
            Disputed => &[AwaitingStock, Fulfilled, PartiallyRefunded, Revoked, Refunded],
            // That all of the money went back says more than that the keys did. Anything less would make them usable again.
            Revoked => &[Refunded],
            // Whoever was too late may have paid all the same: then it is as if nobody had given him up.
            Expired => &[Fulfilled, AwaitingStock, PartiallyRefunded, Refunded, Disputed, Revoked],
            // Nothing is left to happen: no money, no license keys, or a reference that may belong to another order by now.
            Failed | Refunded => &[],
        }
    }

    /// Whether an order may go from here to `next` in one step. To stay is no step.
    pub fn may_become(self, next: OrderStatus) -> bool {
        self.successors().contains(&next)
    }

    /// Whether an order that stands here may stand at `later` some day, in any number of steps, none included.
    pub fn leads_to(self, later: OrderStatus) -> bool {
        let mut reached = vec![self];
        let mut looked_at = 0;
        while let Some(&status) = reached.get(looked_at) {
            looked_at += 1;
            let new: Vec<_> = status.successors().iter().copied().filter(|next| !reached.contains(next)).collect();
            reached.extend(new);
        }
        reached.contains(&later)
    }

    /// Whether an order may begin its life here: made by a customer, written down to be worked on, or fulfilled in the transaction that
    /// makes it.
    pub fn may_begin(self) -> bool {
        matches!(self, OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Fulfilled)
    }

    /// How many license keys belong to an order that stands here, usable or not.
    pub fn allocated(self) -> Allocated {
        match self {
            OrderStatus::Fulfilled => Allocated::Everything,
            OrderStatus::Pending | OrderStatus::Processing | OrderStatus::AwaitingStock | OrderStatus::Failed | OrderStatus::Expired => {
                Allocated::Nothing
            }
            OrderStatus::PartiallyRefunded | OrderStatus::Refunded | OrderStatus::Disputed | OrderStatus::Revoked => Allocated::Either,
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

/// How many license keys belong to an order. Never a part of them: an order gets all of its keys or none, and what was sold never goes
/// back to the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocated {
    /// None.
    Nothing,
    /// As many as its items say.
    Everything,
    /// Everything if it was fulfilled once, else nothing.
    Either,
}

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
    /// Its license keys may be used although its status says otherwise: its store wishes so.
    pub keys_kept: bool,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: u64,
    /// When it last changed, Unix milliseconds.
    pub updated_at_ms: u64,
}

impl Order {
    /// Whether its license keys may be shown and used.
    pub fn keys_usable(&self) -> bool {
        self.status.keys_usable() || self.keys_kept
    }
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
    fn what_is_over_is_over() {
        let ends: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.successors().is_empty()).collect();
        assert_eq!(ends, [OrderStatus::Failed, OrderStatus::Refunded]);
    }

    #[test]
    fn an_order_begins_in_few_ways_and_never_again() {
        let first: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.may_begin()).collect();
        assert_eq!(first, [OrderStatus::Pending, OrderStatus::Processing, OrderStatus::Fulfilled]);
        for status in OrderStatus::ALL {
            assert!(first.iter().any(|first| first.leads_to(status)), "{status} is never reached");
            assert!(!status.may_become(status), "to stay is no step");
            for once in [OrderStatus::Pending, OrderStatus::Processing] {
                assert!(!status.may_become(once), "{status} -> {once}");
            }
        }
    }

    #[test]
    fn only_an_order_that_is_being_worked_on_fails() {
        let failing: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.may_become(OrderStatus::Failed)).collect();
        assert_eq!(failing, [OrderStatus::Processing]);
        assert!(!OrderStatus::Processing.leads_to(OrderStatus::Expired), "what was paid cannot expire");
    }

    #[test]
    fn license_keys_that_were_taken_back_are_never_usable_again() {
        for taken_back in [OrderStatus::Revoked, OrderStatus::Refunded] {
            let later = OrderStatus::ALL.into_iter().filter(|later| taken_back.leads_to(*later));
            assert!(later.into_iter().all(|later| !later.keys_usable()), "{taken_back}");
        }
    }

    #[test]
    fn no_step_loses_license_keys() {
        for status in OrderStatus::ALL.into_iter().filter(|status| status.allocated() == Allocated::Everything) {
            let to_nothing = status.successors().iter().find(|next| next.allocated() == Allocated::Nothing);
            assert_eq!(to_nothing, None, "{status}");
        }
    }

    #[test]
    fn revoking_and_the_graph_agree() {
        for status in OrderStatus::ALL {
            // Besides the partner, a dispute that is lost revokes, which may be known before anything else.
            let by_dispute = matches!(status, OrderStatus::Pending | OrderStatus::AwaitingStock | OrderStatus::Expired);
            assert_eq!(status.may_become(OrderStatus::Revoked), status.revocation() == Revocation::Revokes || by_dispute, "{status}");
        }
    }

    #[test]
    fn facts_may_come_in_any_order_and_to_the_same_end() {
        use OrderStatus::*;
        for path in [[Pending, Fulfilled, Refunded], [Pending, Disputed, Refunded], [Fulfilled, Revoked, Refunded]] {
            assert!(path.windows(2).all(|step| step[0].may_become(step[1])), "{path:?}");
        }
        assert!(Disputed.may_become(Fulfilled) && Fulfilled.leads_to(Fulfilled) && Disputed.leads_to(Refunded));
        assert!(!Revoked.leads_to(Disputed) && !Failed.leads_to(Fulfilled));
    }

    #[test]
    fn only_what_has_usable_keys_or_may_get_them_back_can_be_revoked() {
        let revocable: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.revocation() == Revocation::Revokes).collect();
        assert_eq!(revocable, [OrderStatus::Fulfilled, OrderStatus::PartiallyRefunded, OrderStatus::Disputed]);
        assert_eq!(OrderStatus::Revoked.revocation(), Revocation::AlreadyRevoked);
        assert!(OrderStatus::ALL.into_iter().all(|status| !status.keys_usable() || status.revocation() == Revocation::Revokes));
    }
}
