//! The kinds of work that between them pass every crash point, and what each must have come to in the end, whatever ended on the way.

use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;

use crate::system::order;

/// License keys are taken from stock for this one, and there are always enough.
pub const POOLED: &str = "POOLED";
/// License keys are made for this one.
pub const GENERATED: &str = "GENERATED";
/// One license key is in stock for this one, for good.
pub const SCARCE: &str = "SCARCE";

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Through the queue to an order.
    Sold,
    /// Through the queue to a refusal.
    Refused,
    /// Asked once more for what has been sold.
    Replayed,
    /// An answer too large for a reply.
    Large,
    /// Nobody answers the edge, which writes the order down.
    WrittenDown,
    /// The same, and the stock turns out to be short.
    WrittenDownShort,
    /// Asked once more for what has been sold, and nobody answers the edge.
    ReplayedByEdge,
    /// The worker that is given the job ends, and another is given it.
    Redelivered,
    /// An order was written down whose product has gone.
    ProductGone,
    /// An order was written down whose request nobody can read.
    UnreadableOrder,
    /// A job that nobody can read.
    UnreadableJob,
    /// What was sold is revoked.
    Revoked,
    /// An event that a partner's server is to be told of.
    Told,
    /// Stripe says that an order is paid.
    Paid,
}

/// How it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// A caller asks, until the answer is the last one.
    ByAsking,
    /// Something is there, as an edge may have left it.
    ByLeaving,
}

impl Kind {
    /// All of them. A point's first kind in this order is the one whose pairs are walked.
    pub const ALL: [Self; 14] = [
        Self::Sold,
        Self::Refused,
        Self::Replayed,
        Self::WrittenDown,
        Self::WrittenDownShort,
        Self::ReplayedByEdge,
        Self::Redelivered,
        Self::ProductGone,
        Self::UnreadableOrder,
        Self::UnreadableJob,
        Self::Revoked,
        Self::Told,
        Self::Paid,
        Self::Large,
    ];

    /// How it begins.
    pub fn begun(self) -> Begun {
        match self {
            Self::ProductGone | Self::UnreadableOrder | Self::UnreadableJob | Self::Told => Begun::ByLeaving,
            _ => Begun::ByAsking,
        }
    }

    /// What is asked for.
    pub fn items(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::Refused | Self::WrittenDownShort => &[(SCARCE, 2), (GENERATED, 1)],
            Self::Large => &[(GENERATED, 640)],
            Self::ProductGone => &[("GONE", 1)],
            Self::Paid => &[(POOLED, 1)],
            _ => &[(POOLED, 2), (GENERATED, 1)],
        }
    }

    /// Whether the order was made before.
    pub fn is_about_a_sold_order(self) -> bool {
        matches!(self, Self::Replayed | Self::ReplayedByEdge | Self::Revoked)
    }

    /// Whether no worker is there at first.
    pub fn has_no_worker(self) -> bool {
        matches!(self, Self::WrittenDown | Self::WrittenDownShort | Self::ReplayedByEdge)
    }

    /// What the caller hears in the end.
    pub fn last_status(self) -> u16 {
        match self {
            Self::Refused | Self::WrittenDownShort => 409,
            Self::Revoked | Self::Paid => 200,
            _ => 201,
        }
    }

    /// What the order is in the end that has the reference; `None` when there is none.
    pub fn last_order(self) -> Option<&'static str> {
        match self {
            Self::Refused | Self::WrittenDownShort | Self::ProductGone | Self::UnreadableOrder | Self::UnreadableJob | Self::Told => None,
            Self::Revoked => Some("revoked"),
            _ => Some("fulfilled"),
        }
    }

    /// Why orders end as failed, if any do.
    pub fn failure(self) -> Option<&'static str> {
        match self {
            Self::Refused | Self::WrittenDownShort => Some("out_of_stock"),
            Self::ProductGone => Some("product_not_found"),
            Self::UnreadableOrder => Some("internal_error"),
            _ => None,
        }
    }

    /// Whether a dead letter is what must become of it: one.
    pub fn dead_letters(self) -> i64 {
        i64::from(matches!(self, Self::UnreadableOrder | Self::UnreadableJob))
    }

    /// The order as an edge would have it.
    pub fn new_order(self, store_id: i64, reference: &str) -> NewOrder {
        let body = order(reference, self.items()).to_string();
        NewOrder {
            order_id: OrderId::new(1_700_000_000_000, rand::random()),
            store_id,
            mode: Mode::Live,
            idempotency_key: None,
            request: FulfillRequest::parse(body.as_bytes()).expect("a good request"),
            trace: None,
        }
    }
}
