//! What is known of an order's payment, and where the order stands because of it. Facts are merged, never applied: whatever the order in
//! which they come, and however often, the same ones make the same whole ([`OrderFacts::merge`] is commutative, associative and
//! idempotent). Status, and whether license keys may be used, follow from the whole.

use std::collections::BTreeMap;

use crate::money::Currency;
use crate::stripe::{DisputeNews, DisputeStatus, Happened};

use super::OrderStatus;

/// What a store wants to happen to license keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Policy {
    /// When all of the money went back, they are taken back.
    pub revoke_when_refunded: bool,
    /// While a dispute is open, they cannot be used.
    pub suspend_while_disputed: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { revoke_when_refunded: true, suspend_while_disputed: true }
    }
}

/// A dispute, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispute {
    /// The furthest that it has come.
    pub status: DisputeStatus,
    /// The most that it was ever about, in minor units.
    pub amount_minor: i64,
}

impl Dispute {
    fn merge(self, other: Self) -> Self {
        Self { status: self.status.max(other.status), amount_minor: self.amount_minor.max(other.amount_minor) }
    }
}

/// Everything that is known of an order's payment. The default is an order that somebody has made and not paid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFacts {
    /// All that was asked for is there, or the order was paid elsewhere.
    pub is_paid: bool,
    /// It was not paid in time. Says nothing once there is money.
    pub is_expired: bool,
    /// Its license keys are allocated.
    pub is_allocated: bool,
    /// The partner has taken them back.
    pub is_revoked: bool,
    /// What went back of the money in all, minor units.
    pub refunded_minor: i64,
    /// What a refund said there was to give back, minor units. 0 while there was none.
    pub charged_minor: i64,
    /// By Stripe's id.
    pub disputes: BTreeMap<String, Dispute>,
}

/// Money that is not what the order asks for. It pays for nothing, and a person has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{received_minor} {received} were paid for an order over {total_minor} {currency}")]
pub struct WrongPayment {
    /// What came, minor units.
    pub received_minor: i64,
    /// Its currency.
    pub received: Currency,
    /// What was asked for, minor units.
    pub total_minor: i64,
    /// Its currency.
    pub currency: Currency,
}

impl OrderFacts {
    /// What `happened` says about an order over `total`. One that was paid elsewhere may have none: then there is nothing to compare with,
    /// and nothing that could still be paid.
    pub fn of(happened: &Happened, total: Option<(i64, Currency)>) -> Result<Self, WrongPayment> {
        match happened {
            Happened::Paid { received_minor, currency: received } => match total {
                None => Ok(Self::default()),
                Some(total) if total == (*received_minor, *received) => Ok(Self { is_paid: true, ..Self::default() }),
                Some((total_minor, currency)) => {
                    Err(WrongPayment { received_minor: *received_minor, received: *received, total_minor, currency })
                }
            },
            Happened::Refunded(refund) => {
                Ok(Self { refunded_minor: refund.refunded_minor, charged_minor: refund.charged_minor, ..Self::default() })
            }
            Happened::Disputed(DisputeNews { id, status, amount_minor, funds_withdrawn, .. }) => {
                // Nobody takes money for a question.
                let status = if *funds_withdrawn { (*status).max(DisputeStatus::Open) } else { *status };
                let dispute = Dispute { status, amount_minor: *amount_minor };
                Ok(Self { disputes: BTreeMap::from([(id.clone(), dispute)]), ..Self::default() })
            }
        }
    }

    /// What both know.
    pub fn merge(mut self, other: Self) -> Self {
        for (id, dispute) in other.disputes {
            let merged = self.disputes.get(&id).map_or(dispute, |known| known.merge(dispute));
            self.disputes.insert(id, merged);
        }
        Self {
            is_paid: self.is_paid || other.is_paid,
            is_expired: self.is_expired || other.is_expired,
            is_allocated: self.is_allocated || other.is_allocated,
            is_revoked: self.is_revoked || other.is_revoked,
            refunded_minor: self.refunded_minor.max(other.refunded_minor),
            charged_minor: self.charged_minor.max(other.charged_minor),
            disputes: self.disputes,
        }
    }

    fn furthest(&self, is: impl Fn(DisputeStatus) -> bool) -> bool {
        self.disputes.values().any(|dispute| is(dispute.status))
    }

    /// All of the money went back.
    pub fn is_refunded(&self) -> bool {
        self.refunded_minor > 0 && self.refunded_minor >= self.charged_minor
    }

    /// A bank has the money for now.
    pub fn is_disputed(&self) -> bool {
        self.furthest(|status| status == DisputeStatus::Open)
    }

    /// A bank has it for good.
    pub fn is_lost(&self) -> bool {
        self.furthest(|status| status == DisputeStatus::Lost)
    }

    /// Where the order stands. What says more about the money says it before anything else.
    pub fn status(&self) -> OrderStatus {
        if self.is_refunded() {
            OrderStatus::Refunded
        } else if self.is_revoked || self.is_lost() {
            OrderStatus::Revoked
        } else if self.is_disputed() {
            OrderStatus::Disputed
        } else if self.refunded_minor > 0 {
            OrderStatus::PartiallyRefunded
        } else if self.is_allocated {
            OrderStatus::Fulfilled
        } else if self.is_paid || self.furthest(|status| told(status) != Told::Nothing) {
            // There is no dispute without a payment: the word of it is still under way.
            OrderStatus::AwaitingStock
        } else if self.is_expired {
            OrderStatus::Expired
        } else {
            OrderStatus::Pending
        }
    }

    /// Whether license keys that are allocated may be shown and used.
    pub fn keys_usable(&self, policy: Policy) -> bool {
        let refunded = self.is_refunded() && policy.revoke_when_refunded;
        let suspended = self.is_disputed() && policy.suspend_while_disputed;
        self.is_allocated && !self.is_revoked && !self.is_lost() && !refunded && !suspended
    }

    /// Whether license keys are to be allocated as soon as there are any. A payment gets its keys even when it is known by then that the
    /// money went back: what is known first must not decide how an order ends. Who has waited for stock and has no money here any more
    /// waits no longer.
    pub fn wants_keys(&self, waited: bool) -> bool {
        let gone = self.is_refunded() || self.is_revoked || self.is_lost() || self.is_disputed();
        self.is_paid && !self.is_allocated && !(waited && gone)
    }

    /// What partners are to be told of, now that these facts have become `later`.
    pub fn news(&self, later: &Self) -> Vec<News> {
        let mut news = Vec::new();
        if later.refunded_minor > self.refunded_minor {
            news.push(News::Refunded { refunded_minor: later.refunded_minor });
        }
        for (id, dispute) in &later.disputes {
            let before = self.disputes.get(id).map(|dispute| told(dispute.status));
            let now = told(dispute.status);
            if now != Told::Nothing && before.is_none_or(|before| before < now) {
                news.push(News::Disputed { id: id.clone(), dispute: *dispute });
            }
        }
        news
    }
}

/// How much of a dispute partners have been told: that it was opened, and how it ended, once each. What was never more than an inquiry is
/// not told. Should a bank think again after a dispute was won, that is told too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Opened,
    Won,
    Lost,
}

fn told(status: DisputeStatus) -> Told {
    match status {
        DisputeStatus::Inquiry | DisputeStatus::InquiryClosed => Told::Nothing,
        DisputeStatus::Open => Told::Opened,
        DisputeStatus::Won => Told::Won,
        DisputeStatus::Lost => Told::Lost,
    }
}

/// Something that partners are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// More money went back.
    Refunded {
        /// In all, minor units.
        refunded_minor: i64,
    },
    /// A dispute was opened, or it ended.
    Disputed {
        /// Stripe's id.
        id: String,
        /// As it is known now.
        dispute: Dispute,
    },
}

#[cfg(test)]
mod tests;
