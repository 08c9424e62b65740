//! What a worker counts. Names and meanings are the metrics page; labels are bounded.

use common::job::{COMPUTE_TAX, CREATE_PAYMENT, FULFILL_ORDER};
use ops::prometheus::{Counter, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use storage::pg::dead_letters::ORDER_REQUEST;

ops::metrics! {
    /// The worker's own metrics.
    pub struct WorkerMetrics {
        /// Jobs that ended, by kind and outcome.
        pub jobs_total: IntCounterVec["kind", "outcome"],
        /// Jobs taken together into one transaction.
        pub batch_jobs: Histogram = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
        /// Seconds that one batch took, from being taken out of the queue to being answered.
        pub batch_seconds: Histogram = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0],
        /// Seconds that jobs waited in their queue, by Redis' clock.
        pub queue_wait_seconds: HistogramVec["queue" in [FULFILL_ORDER, COMPUTE_TAX, CREATE_PAYMENT]] = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        /// License keys allocated.
        pub license_keys_allocated_total: IntCounter,
        /// Jobs that had been given to a worker before, by queue.
        pub redelivered_total: IntCounterVec["queue" in [FULFILL_ORDER, COMPUTE_TAX, CREATE_PAYMENT]],
        /// Dead letters written, by queue.
        pub dead_letters_total: IntCounterVec[
            "queue" in [FULFILL_ORDER, COMPUTE_TAX, CREATE_PAYMENT, ORDER_REQUEST]
        ],
        /// Entries in a queue, waiting or in work.
        pub queue_entries: IntGaugeVec["queue"],
        /// Age in seconds of a queue's oldest entry, by Redis' clock; 0 where it is empty.
        pub queue_oldest_seconds: IntGaugeVec["queue"],
        /// Orders in status processing.
        pub orders_processing: IntGauge,
        /// Age in seconds of the oldest order in status processing.
        pub orders_processing_oldest_seconds: IntGauge,
        /// Attempts to deliver a webhook, by outcome: delivered, refused (any other answer), gone, or why there was no answer.
        pub webhook_attempts_total: IntCounterVec[
            "outcome" in [
                "delivered", "refused", "gone", "timeout", "connect_timeout", "dns", "refused_address", "connection", "tls", "protocol",
                "answer_too_large", "url"
            ]
        ],
        /// Seconds that an attempt took, until the answer or until it was given up.
        pub webhook_attempt_seconds: Histogram = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        /// Seconds from the moment at which a first attempt to deliver an event was due, its commit unless its endpoint or an earlier event
        /// of its order held it back, to that attempt. None where the endpoint does not answer and so is left in peace for a while.
        pub webhook_wait_seconds: Histogram = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0],
        /// Attempts of this worker that are under way.
        pub webhook_in_flight: IntGauge,
        /// Deliveries that this worker has claimed and that wait for their turn.
        pub webhook_waiting: IntGauge,
        /// Deliveries that are not settled, those kept for disabled endpoints included.
        pub webhook_pending: IntGauge,
        /// Deliveries that are kept for endpoints that are disabled.
        pub webhook_kept: IntGauge,
        /// Age in seconds of the oldest delivery that is not settled, to an endpoint that is enabled.
        pub webhook_oldest_pending_seconds: IntGauge,
        /// Seconds for which the first of the deliveries has been due that no worker has claimed, of endpoints that are enabled and answer.
        pub webhook_due_oldest_seconds: IntGauge,
        /// Endpoints that are disabled because they failed.
        pub webhook_endpoints_disabled: IntGauge,
        /// Events of Stripe's, by what came of them: merged, parked (their order is not there yet), refused (never to be applied) or broken (to be
        /// tried again).
        pub stripe_events_total: IntCounterVec["outcome" in ["merged", "parked", "refused", "broken"]],
        /// Events of Stripe's that are to be applied.
        pub stripe_events_waiting: IntGauge,
        /// Age in seconds of the oldest event of Stripe's that is to be applied.
        pub stripe_events_waiting_oldest_seconds: IntGauge,
        /// Events of Stripe's whose order is not there yet.
        pub stripe_events_parked: IntGauge,
        /// Age in seconds of the oldest event of Stripe's whose order is not there yet.
        pub stripe_events_parked_oldest_seconds: IntGauge,
        /// Questions to Stripe, by what came of them: answered, denied (there is no key, or it is not let in), refused (asking again brings
        /// the same) or unavailable.
        pub stripe_requests_total: IntCounterVec["outcome" in ["answered", "denied", "refused", "unavailable"]],
        /// Seconds that a question to Stripe took, until the answer or until it was given up.
        pub stripe_request_seconds: Histogram = vec![0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        /// Orders that were given up because nobody paid them.
        pub orders_expired_total: IntCounter,
        /// Paid orders that wait for license keys.
        pub orders_awaiting_stock: IntGauge,
        /// Seconds for which the first of them has waited.
        pub orders_awaiting_stock_oldest_seconds: IntGauge,
        /// Products sold of late of which no license key is left.
        pub products_sold_out: IntGauge,
        /// Products whose license keys, as they sold of late, are used up within so many days, those sold out included: 1, 3 or 7.
        pub products_running_out: IntGaugeVec["days"],
        /// Paid orders that got the license keys for which they had waited.
        pub orders_filled_total: IntCounter,
        /// Unix time of the day on which the oldest of the tax rates in force was last known to be right; 0 before they are loaded.
        pub tax_oldest_as_of_timestamp_seconds: IntGauge,
        /// Tax rates that were given an end, which has come without anybody having said what holds since.
        pub tax_rates_ended: IntGauge,
        /// Rows that were let go because of their age, by kind.
        pub pruned_rows_total: IntCounterVec["kind"],
        /// Unix time at which this worker last found that nothing old was left; 0 before.
        pub prune_round_timestamp_seconds: IntGauge,
        /// Open connections to Postgres.
        pub postgres_connections: IntGauge,
        /// Callers waiting for a connection to Postgres.
        pub postgres_waiting: IntGauge,
        /// Seconds that callers have waited for a connection to Postgres, all of them together.
        pub postgres_wait_seconds_total: Counter,
    }
}
