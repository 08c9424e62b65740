//! `apply_stripe_events`: what Stripe says becomes part of what is known of orders. A notification starts it, a sweep makes sure; parked
//! events are looked at again when their order has appeared, and orders that wait for license keys when there are enough of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::mode::Mode;
use common::stripe::Subject;
use storage::crash_point::reach;
use storage::pg::listener::{self, Notice};
use storage::pg::order_payments;
use storage::pg::stripe_events::{self, CHANNEL, Waiting};
use storage::{Pg, StorageError};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::WorkerMetrics;
use crate::payments::{Applied, Payments};

/// The job's name, as a label.
pub const NAME: &str = "apply_stripe_events";
/// The most events taken at once.
const CLAIM_MAX: i64 = 256;
/// Transactions at once: each order is one.
const AT_ONCE: usize = 8;
/// The wait after a first try that came to nothing; later ones wait four times as long.
const AGAIN: Duration = Duration::from_secs(5);
/// Tries after which an event is refused: it ends whoever takes it.
const TRIES_MAX: i32 = 20;
/// Orders filled, and events looked at again, in one step.
const STEP: i64 = 100;

/// What the job needs.
#[derive(Clone)]
pub struct ApplyStripeEvents {
    /// Where the events are.
    pub pg: Pg,
    /// Applies them.
    pub payments: Arc<Payments>,
    /// What is counted.
    pub metrics: WorkerMetrics,
}

impl ApplyStripeEvents {
    /// Works until `stop`, each `interval` and whenever an edge says that there is something.
    pub async fn run(
        self,
        mut notices: broadcast::Receiver<Notice>,
        interval: Duration,
        stop: CancellationToken,
    ) -> Result<(), StorageError> {
        loop {
            match self.sweep(&stop).await {
                Ok(()) => {}
                // The health check tells the operator; the next sweep tries again.
                Err(error) if error.is_unavailable() => tracing::debug!(%error, "applying events of Stripe's"),
                Err(error) if error.is_forbidden() => tracing::error!(%error, "applying events of Stripe's"),
                Err(error) => return Err(error),
            }
            let said = listener::heard(&mut notices, CHANNEL);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = said => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    async fn sweep(&self, stop: &CancellationToken) -> Result<(), StorageError> {
        stripe_events::unpark(&*self.pg.client().await?, STEP).await?;
        while !stop.is_cancelled() {
            let waiting = stripe_events::claim(&*self.pg.client().await?, CLAIM_MAX, AGAIN).await?;
            if waiting.is_empty() {
                break;
            }
            reach("apply.claimed").await;
            self.apply(waiting).await?;
        }
        while !stop.is_cancelled() {
            let fillable = order_payments::fillable(&*self.pg.client().await?, STEP).await?;
            let mut filled = 0;
            for (mode, id) in &fillable {
                match self.payments.fill(*mode, id).await {
                    Ok(is_filled) => filled += u64::from(is_filled),
                    Err(error) if error.is_unavailable() || error.is_forbidden() => return Err(error),
                    // Nobody else waits for this one.
                    Err(error) => tracing::error!(%error, order_id = %id, "giving license keys to an order that waits for them"),
                }
            }
            self.metrics.orders_filled_total.inc_by(filled);
            if filled == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Order by order, several at once. What fails is left to its next try.
    async fn apply(&self, waiting: Vec<Waiting>) -> Result<(), StorageError> {
        let mut groups: BTreeMap<(bool, String), (Subject, Vec<Waiting>)> = BTreeMap::new();
        for event in waiting {
            if event.tries > TRIES_MAX {
                tracing::error!(event = event.id, "giving up an event of Stripe's: it ended every worker that took it");
                stripe_events::refuse(&*self.pg.client().await?, &event.id, "it could not be applied in many tries").await?;
                self.count(&[Applied::Refused]);
                continue;
            }
            let subject = match &event.fact {
                Ok(fact) => fact.subject.clone(),
                Err(reason) => {
                    stripe_events::refuse(&*self.pg.client().await?, &event.id, reason).await?;
                    self.count(&[Applied::Refused]);
                    continue;
                }
            };
            let name = match (&subject.order_id, &subject.payment_intent) {
                (Some(id), _) => id.as_str().to_owned(),
                (None, payment) => payment.clone().unwrap_or_default(),
            };
            groups.entry((event.mode == Mode::Live, name)).or_insert_with(|| (subject, Vec::new())).1.push(event);
        }
        let mut groups = groups.into_values();
        let (mut running, mut failed) = (JoinSet::new(), None);
        loop {
            while running.len() < AT_ONCE
                && let Some((subject, events)) = groups.next()
            {
                let payments = self.payments.clone();
                running.spawn(async move {
                    let mode = events[0].mode;
                    payments.apply(mode, &subject, &events.iter().collect::<Vec<_>>()).await
                });
            }
            match running.join_next().await {
                None => break,
                Some(Ok(Ok(outcomes))) => self.count(&outcomes),
                Some(Ok(Err(error))) if error.is_unavailable() || error.is_forbidden() => failed = Some(error),
                Some(Ok(Err(error))) => {
                    tracing::error!(%error, "applying events of Stripe's; they are tried again");
                    self.metrics.stripe_events_total.with_label_values(&["broken"]).inc();
                }
                Some(Err(panicked)) => {
                    tracing::error!(%panicked, "applying events of Stripe's; they are tried again");
                    self.metrics.stripe_events_total.with_label_values(&["broken"]).inc();
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn count(&self, outcomes: &[Applied]) {
        for outcome in outcomes {
            self.metrics.stripe_events_total.with_label_values(&[outcome.as_str()]).inc();
        }
    }
}
