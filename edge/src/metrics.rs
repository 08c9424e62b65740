//! What an edge counts. Names and meanings are the metrics page; labels are bounded.

use common::job::{COMPUTE_TAX, CREATE_PAYMENT, FULFILL_ORDER};
use ops::prometheus::{Counter, Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge};

ops::metrics! {
    /// The edge's own metrics.
    pub struct EdgeMetrics {
        /// Requests, by route, method and status code; 499 where the caller hung up before there was an answer. Unknown paths count under the
        /// route none.
        pub requests_total: IntCounterVec["route", "method", "code"],
        /// Seconds from the whole head being there to the answer being ready, by route.
        pub request_seconds: HistogramVec["route"] = vec![0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
        /// Requests that the gate refused, by the problem's code: no key, a wrong one, one without the scope, an empty bucket. All others were let in.
        pub gate_refusals_total: IntCounterVec["code"],
        /// Requests refused because a bucket was empty, by quota.
        pub rate_limited_total: IntCounterVec["quota"],
        /// Open connections.
        pub connections: IntGauge,
        /// Connections refused or ended by us, by reason.
        pub connections_ended_total: IntCounterVec[
            "reason" in ["too_many", "too_many_of_address", "timeout", "flood", "malformed", "broken", "accept_error"]
        ],
        /// Fulfill requests that wait for a worker.
        pub fulfill_waiting: IntGauge,
        /// Fulfill requests by how they were answered: replied (by a worker), existing (it was there already), written_down (by the edge, and
        /// kept by a worker in time), accepted (with 202), shed, database_down, database_slow.
        pub fulfill_answers_total: IntCounterVec[
            "how" in ["replied", "existing", "written_down", "accepted", "shed", "database_down", "database_slow"]
        ],
        /// Events of Stripe's, by what came of them: stored, ignored (of no use), unsigned, malformed or unstored.
        pub stripe_events_total: IntCounterVec["outcome" in ["stored", "ignored", "unsigned", "malformed", "unstored"]],
        /// Events of Stripe's that were there already.
        pub stripe_duplicates_total: IntCounter,
        /// Questions for the tax of an order, by how they were answered: quoted, refused, unavailable (a worker without rates), no_answer
        /// (in time), not_asked (Redis is away), shed.
        pub tax_quotes_total: IntCounterVec["how" in ["quoted", "refused", "unavailable", "no_answer", "not_asked", "shed"]],
        /// Entries in the queue of tax questions, as last seen.
        pub tax_queue_depth: IntGauge,
        /// Questions for the payment of an order, by how they were answered: ready, settled (there is nothing left to pay), refused, unavailable
        /// (Stripe does not answer), no_answer (in time), not_asked (Redis is away), shed.
        pub payments_asked_total: IntCounterVec[
            "how" in ["ready", "settled", "refused", "unavailable", "no_answer", "not_asked", "shed"]
        ],
        /// Entries in the queue of questions for payments, as last seen.
        pub payment_queue_depth: IntGauge,
        /// Orders that customers have made in the hosted cart, by where: cart or market.
        pub orders_placed_total: IntCounterVec["where" in ["cart", "market"]],
        /// Buckets of addresses that are remembered.
        pub address_buckets: IntGauge,
        /// API keys in the snapshot.
        pub snapshot_keys: IntGauge,
        /// Stores in the snapshot.
        pub snapshot_stores: IntGauge,
        /// Seconds since the database last confirmed that the snapshot is up to date.
        pub snapshot_age_seconds: Gauge,
        /// Entries in the fulfill queue, as last seen.
        pub queue_depth: IntGauge,
        /// Seconds from a question's being asked to a worker's reply, by queue. Questions that got none in time are not in it.
        pub reply_seconds: HistogramVec["queue" in [FULFILL_ORDER, COMPUTE_TAX, CREATE_PAYMENT]] = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        /// Replies of workers that came when nobody waited for them any more.
        pub replies_late_total: IntCounter,
        /// Open connections to Postgres.
        pub postgres_connections: IntGauge,
        /// Callers waiting for a connection to Postgres.
        pub postgres_waiting: IntGauge,
        /// Seconds that callers have waited for a connection to Postgres, all of them together.
        pub postgres_wait_seconds_total: Counter,
        /// Usage reports that could not be written; the counts are kept for the next one.
        pub usage_failures_total: IntCounter,
    }
}
