//! The edge's side of being paid: how customers of each mode pay, and the question to a worker that has Stripe make the payment. Nothing is
//! written down here: asked again, there is the same payment.

use common::ids::OrderId;
use common::job::{JOB_VERSION, PaymentJob, PaymentOutcome};
use common::mode::Mode;

use crate::asking::Asker;
use crate::metrics::EdgeMetrics;

/// How customers pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// With what Stripe offers them.
    Stripe {
        /// What their browsers are told.
        publishable_key: String,
    },
    /// With a button, on a development system.
    Test,
    /// Not at all: nothing is set up.
    Nothing,
}

/// Asks workers for payments.
pub struct Payments {
    /// Puts the question.
    pub asker: Asker,
    /// Of live mode.
    pub live: Means,
    /// Of test mode.
    pub test: Means,
    /// What is counted.
    pub metrics: EdgeMetrics,
}

impl Means {
    /// What is set up for a mode.
    pub fn of(settings: &config::Settings, mode: Mode) -> Self {
        let signs = match mode {
            Mode::Live => &settings.stripe.live_signing_secrets,
            Mode::Test => &settings.stripe.test_signing_secrets,
        };
        match settings.stripe.publishable_key(mode) {
            Some(key) => Self::Stripe { publishable_key: key.to_owned() },
            None if settings.mode == config::Mode::Development && !signs.is_empty() => Self::Test,
            None => Self::Nothing,
        }
    }
}

impl Payments {
    /// How customers of a mode pay.
    pub fn means(&self, mode: Mode) -> &Means {
        match mode {
            Mode::Live => &self.live,
            Mode::Test => &self.test,
        }
    }

    /// The payment of an order.
    pub async fn payment(&self, mode: Mode, order_id: &OrderId, request_id: &str) -> PaymentOutcome {
        let answer = self.asker.ask(request_id, |slip| PaymentJob {
            v: JOB_VERSION,
            id: slip.id,
            reply_to: slip.reply_to,
            request_id: request_id.to_owned(),
            ttl_ms: slip.ttl_ms,
            mode,
            order_id: order_id.clone(),
        });
        let (how, outcome) = match answer.await {
            Ok::<PaymentOutcome, _>(outcome) => (outcome.as_str(), outcome),
            Err(none) => (none.as_str(), PaymentOutcome::Unavailable),
        };
        self.metrics.payments_asked_total.with_label_values(&[how]).inc();
        outcome
    }
}
