//! The edge's side of fulfilling: ask the workers and wait; if nobody answers in time, write the order down and wait a little longer; in the
//! end say what is known. Whatever is promised here is a row in the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::clock::{Clock, rfc3339};
use common::fulfill::{Existing, FulfillOutcome};
use common::ids::OrderId;
use common::job::{FULFILL_ORDER, FulfillJob, JOB_VERSION, NewOrder};
use common::order::OrderStatus;
use common::seal::Sealer;
use dashmap::DashMap;
use ops::prometheus::IntGauge;
use storage::crash_point::reach;
use storage::pg::listener::Notice;
use storage::pg::{order_items, orders};
use storage::replies::Waiter;
use storage::{Pg, StorageError};
use tokio::sync::{Semaphore, broadcast, oneshot};
use tokio::time::Instant;

use crate::asking::Asking;
use crate::error::{ApiError, Code};
use crate::metrics::EdgeMetrics;

/// How long it may take to see, at the deadline, how an order stands.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Asks workers to fulfill.
pub struct Fulfillment {
    /// Where the truth is.
    pub pg: Pg,
    /// Puts the question.
    pub asking: Asking,
    /// Seals what is written down.
    pub requests: Sealer,
    /// Opens license keys.
    pub licenses: Sealer,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who waits for which order that was written down.
    pub settled: Settled,
    /// Room for this many to wait.
    pub waiters: Semaphore,
    /// Entries in the queue, as last seen.
    pub depth: Arc<AtomicU64>,
    /// What is counted.
    pub metrics: EdgeMetrics,
    /// How long to wait for whom.
    pub patience: Patience,
}

/// How long to wait for whom.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a worker, until the order is written down.
    pub fallback: Duration,
    /// In all.
    pub deadline: Duration,
    /// Beyond so many entries in the queue callers are told to come back.
    pub depth_max: u64,
}

impl Fulfillment {
    /// What comes of an order, as far as can be known in time. `Processing` only when a row says so.
    pub async fn fulfill(&self, order: NewOrder, request_id: &str) -> Result<FulfillOutcome, ApiError> {
        let crowded =
            self.pg.is_crowded() || self.asking.queue.is_connected() && self.depth.load(Ordering::Relaxed) > self.patience.depth_max;
        let Some(_room) = self.waiters.try_acquire().ok().filter(|_| !crowded) else {
            self.count("shed");
            return Err(ApiError::new(Code::Unavailable, "Too many requests are waiting for an answer. Send this one again."));
        };
        let _waiting = Waiting::begin(&self.metrics.fulfill_waiting);
        // Whoever has a row is answered in time below. This is for those who wait for a database that is neither there nor known to be away.
        let answered = tokio::time::timeout(self.patience.deadline + LAST_LOOK, self.ask_or_write_down(order, request_id)).await;
        answered.unwrap_or_else(|_| {
            self.count("database_slow");
            Err(database_down())
        })
    }

    async fn ask_or_write_down(&self, order: NewOrder, request_id: &str) -> Result<FulfillOutcome, ApiError> {
        if !self.pg.is_up() {
            self.count("database_down");
            return Err(database_down());
        }
        let started = Instant::now();
        let mut waiter = self.asking.wait();
        if self.ask(&waiter, &order, request_id).await {
            let reply = tokio::time::timeout_at(started + self.patience.fallback, waiter.reply());
            tokio::select! {
                Ok(reply) = reply => {
                    reach("ask.replied").await;
                    self.metrics.reply_seconds.with_label_values(&[FULFILL_ORDER]).observe(started.elapsed().as_secs_f64());
                    if !matches!(reply.outcome, FulfillOutcome::Processing { .. }) {
                        self.count("replied");
                        return Ok(reply.outcome);
                    }
                }
                () = self.pg.down() => {
                    self.count("database_down");
                    return Err(database_down());
                }
                () = tokio::time::sleep_until(started + self.patience.fallback) => {}
            }
        }
        self.write_down(order, waiter, started).await
    }

    /// Puts the question into the queue. `false` when it certainly will not be answered.
    async fn ask(&self, waiter: &Waiter, order: &NewOrder, request_id: &str) -> bool {
        let job = FulfillJob {
            v: JOB_VERSION,
            id: waiter.id(),
            reply_to: self.asking.reply_to(),
            request_id: request_id.to_owned(),
            ttl_ms: self.patience.deadline.as_millis() as u64,
            order: order.clone(),
        };
        self.asking.put(&job, request_id, self.patience.fallback).await
    }

    /// Makes the promise ourselves, on the reference, and waits for a worker to keep it.
    async fn write_down(&self, order: NewOrder, mut waiter: Waiter, started: Instant) -> Result<FulfillOutcome, ApiError> {
        let json = serde_json::to_vec(&order.request).map_err(|_| ApiError::plain(Code::Internal))?;
        let sealed = self.requests.seal(order.order_id.as_str().as_bytes(), &json);
        let created_at = rfc3339(self.clock.now().unix_ms);
        let settled = self.settled.wait_for(&order.order_id);
        reach("promise.begun").await;
        let written = tokio::select! {
            biased;
            () = self.pg.down() => Err(StorageError::Unavailable("the database went away".into())),
            written = orders::write_down(&self.pg, &order, &sealed, &created_at) => written,
        };
        let (order_id, settled, replayed) = match written {
            Ok(true) => (order.order_id.clone(), settled, false),
            Ok(false) => match self.existing(&order).await? {
                (FulfillOutcome::Processing { order_id }, replayed) => {
                    let settled = self.settled.wait_for(&order_id);
                    (order_id, settled, replayed)
                }
                (known, _) => {
                    self.count("existing");
                    return Ok(known);
                }
            },
            Err(error) => {
                self.count("database_down");
                return Err(error.into());
            }
        };
        // From here on there is a row, and whatever happens it is the truth: also if the database goes away now.
        let deadline = started + self.patience.deadline;
        tokio::select! {
            () = settled.wait() => {}
            () = kept(&mut waiter, &order_id) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        reach("promise.waited").await;
        let look = tokio::time::timeout(LAST_LOOK, self.look(&order, &order_id, replayed));
        let outcome = tokio::select! {
            Ok(Ok(outcome)) = look => outcome,
            else => FulfillOutcome::Processing { order_id },
        };
        reach("promise.looked").await;
        self.count(if matches!(outcome, FulfillOutcome::Processing { .. }) { "accepted" } else { "written_down" });
        Ok(outcome)
    }

    /// What the order is that has the reference or the idempotency key, and whether it is an earlier request's.
    async fn existing(&self, order: &NewOrder) -> Result<(FulfillOutcome, bool), ApiError> {
        let client = self.pg.client().await?;
        let existing = orders::find(&*client, &[order]).await?;
        reach("promise.existing_found").await;
        let outcome = match Existing::of(order, &existing) {
            Some(Existing::Same(same)) => {
                let replayed = same.id != order.order_id;
                if same.status == OrderStatus::Processing {
                    return Ok((FulfillOutcome::Processing { order_id: same.id.clone() }, replayed));
                }
                return Ok((self.sold(&client, same, replayed).await?, replayed));
            }
            Some(Existing::OtherReference) => FulfillOutcome::ReferenceConflict,
            Some(Existing::OtherKey) => FulfillOutcome::IdempotencyConflict,
            // It failed in this very moment. The same request again may do better.
            None => FulfillOutcome::Unknown,
        };
        Ok((outcome, false))
    }

    /// How an order stands that was written down.
    async fn look(&self, wanted: &NewOrder, id: &OrderId, replayed: bool) -> Result<FulfillOutcome, StorageError> {
        let client = self.pg.client().await?;
        let Some(order) = orders::get(&*client, wanted.store_id, wanted.mode, id).await? else { return Ok(FulfillOutcome::Unknown) };
        match (order.status, &order.failure) {
            (OrderStatus::Processing, _) => Ok(FulfillOutcome::Processing { order_id: id.clone() }),
            (OrderStatus::Failed, Some(failure)) if !failure.shortages.is_empty() => {
                Ok(FulfillOutcome::OutOfStock { shortages: failure.shortages.clone() })
            }
            (OrderStatus::Failed, _) => Ok(FulfillOutcome::Unknown),
            _ => self.sold(&client, &order, replayed).await,
        }
    }

    async fn sold(
        &self,
        client: &storage::pg::Client,
        order: &common::order::Order,
        replayed: bool,
    ) -> Result<FulfillOutcome, StorageError> {
        let id = std::slice::from_ref(&order.id);
        let items = order_items::of_orders(&**client, id).await?.remove(order.id.as_str()).unwrap_or_default();
        reach("promise.sold_read").await;
        let items = order_items::reveal(&self.licenses, order, &items)?;
        Ok(FulfillOutcome::Order { order_id: order.id.clone(), status: order.status, items, replayed })
    }

    fn count(&self, how: &str) {
        self.metrics.fulfill_answers_total.with_label_values(&[how]).inc();
    }
}

/// Counts one who waits, until it is dropped: whoever hangs up waits no more, and nothing after an `await` is reached then.
struct Waiting<'m>(&'m IntGauge);

impl<'m> Waiting<'m> {
    fn begin(gauge: &'m IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn database_down() -> ApiError {
    ApiError::new(Code::Unavailable, "The database cannot be reached right now. Send the same request again: that is always safe.")
}

/// A reply that comes after all, saying that this very order stands. Any other is about a moment before there was a row.
async fn kept(waiter: &mut Waiter, id: &OrderId) {
    let reply = waiter.reply().await;
    match reply.outcome {
        FulfillOutcome::Order { order_id, .. } | FulfillOutcome::Stored { order_id, .. } if order_id == *id => {}
        _ => std::future::pending().await,
    }
}

/// Who waits for which order to be settled by a worker.
#[derive(Debug, Clone, Default)]
pub struct Settled(Arc<DashMap<String, Vec<oneshot::Sender<()>>>>);

/// Somebody waiting. Dropping it stops the waiting.
#[derive(Debug)]
pub struct SettledWaiter {
    order_id: String,
    settled: oneshot::Receiver<()>,
    waiting: Settled,
}

impl Settled {
    fn wait_for(&self, id: &OrderId) -> SettledWaiter {
        let (sender, settled) = oneshot::channel();
        self.0.entry(id.as_str().to_owned()).or_default().push(sender);
        SettledWaiter { order_id: id.as_str().to_owned(), settled, waiting: self.clone() }
    }

    /// Passes on what the database says, until it is dropped.
    pub async fn follow(self, mut notices: broadcast::Receiver<Notice>) {
        loop {
            match notices.recv().await {
                Ok(Notice::Said { channel, payload }) if channel == orders::SETTLED_CHANNEL => self.tell(&payload),
                // What was missed, or said before the connection was there, is found by looking at the deadline.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    fn tell(&self, order_id: &str) {
        for sender in self.0.remove(order_id).into_iter().flat_map(|(_, senders)| senders) {
            // One that has stopped waiting needs to hear nothing.
            let _ = sender.send(());
        }
    }
}

impl SettledWaiter {
    async fn wait(mut self) {
        if (&mut self.settled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for SettledWaiter {
    fn drop(&mut self) {
        self.settled.close();
        self.waiting.0.remove_if_mut(&self.order_id, |_, senders| {
            senders.retain(|sender| !sender.is_closed());
            senders.is_empty()
        });
    }
}
