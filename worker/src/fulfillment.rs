//! Fulfilling orders: many at once where that goes well, one by one where it does not. Every path ends in a transaction that either
//! makes an order with all of its license keys and its events, or changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use common::clock::{Clock, rfc3339};
use common::event::EventKind;
use common::fulfill::{Existing, FulfillOutcome, FulfillRequest};
use common::ids::OrderId;
use common::job::NewOrder;
use common::order::{Failure, OrderStatus};
use common::seal::Sealer;
use storage::crash_point::reach;
use storage::pg::events::{self, Born};
use storage::pg::license_keys::Busy;
use storage::pg::order_items::{self, Item};
use storage::pg::orders::{self, ProcessingOrder};
use storage::pg::{Transaction, dead_letters};
use storage::{Pg, StorageError};
use uuid::Uuid;

use crate::allocation::{Allocator, Catalogue, Sale};
use crate::webhooks::{Dispatcher, Expected};

/// How often a lone order is tried again when the stock looked short and then was not. Each time somebody else got ahead.
const LONE_TRIES: u32 = 10;

/// Fulfills orders.
pub struct Fulfillment {
    /// Where the truth is.
    pub pg: Pg,
    /// Gives out license keys.
    pub allocator: Allocator,
    /// Opens the requests of orders that edges wrote down.
    pub requests: Sealer,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Delivers events as soon as they are committed; without it workers find them by themselves, within the second.
    pub dispatcher: Option<Dispatcher>,
    /// Starts of one order before it is given up.
    pub starts_max: i32,
}

impl Fulfillment {
    /// Fulfills orders that do not exist yet. One outcome each, in the same order. An error means that nothing is known to have happened.
    pub async fn fulfill(&self, wanted: &[NewOrder]) -> Result<Vec<FulfillOutcome>, StorageError> {
        let references: Vec<&NewOrder> = wanted.iter().collect();
        let mut outcomes = self.attempt(&references, Busy::Skip).await?;
        let short: Vec<usize> = (0..wanted.len()).filter(|&index| outcomes[index].is_none()).collect();
        if !short.is_empty() {
            let orders: Vec<&NewOrder> = short.iter().map(|&index| &wanted[index]).collect();
            for (index, refused) in short.iter().zip(self.refuse(&orders).await?) {
                outcomes[*index] = Some(match refused {
                    Some(refused) => refused,
                    None => self.fulfill_alone(&wanted[*index]).await?,
                });
            }
        }
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(FulfillOutcome::Unknown)).collect())
    }

    /// For an order that fell short although there is enough: others hold keys just now, and it waits for them.
    async fn fulfill_alone(&self, order: &NewOrder) -> Result<FulfillOutcome, StorageError> {
        for _ in 0..LONE_TRIES {
            let outcome = match self.attempt(&[order], Busy::Wait).await?.pop().flatten() {
                Some(outcome) => Some(outcome),
                None => self.refuse(&[order]).await?.pop().flatten(),
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
        Ok(FulfillOutcome::Unknown)
    }

    /// Out of stock is a hard word, spoken only when the stock as everybody sees it, with keys that others only hold, does not suffice.
    /// `None` for those who may yet be served. An equal order that was made meanwhile is the answer for those who may not.
    async fn refuse(&self, wanted: &[&NewOrder]) -> Result<Vec<Option<FulfillOutcome>>, StorageError> {
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        reach("refuse.begun").await;
        let catalogue = Catalogue::of(&tx, wanted).await?;
        let shortages = self.allocator.shortages(&tx, wanted, &catalogue).await?;
        reach("refuse.counted").await;
        let mut outcomes: Vec<Option<FulfillOutcome>> = wanted.iter().map(|_| None).collect();
        let short: Vec<usize> = (0..wanted.len()).filter(|&index| !shortages[index].is_empty()).collect();
        if short.is_empty() {
            return Ok(outcomes);
        }
        // After counting: whoever took the last keys under the same reference has committed by now.
        self.find_existing(&tx, wanted, &short, &catalogue, &mut outcomes).await?;
        for (index, shortages) in shortages.into_iter().enumerate() {
            if !shortages.is_empty() && outcomes[index].is_none() {
                outcomes[index] = Some(FulfillOutcome::OutOfStock { shortages });
            }
        }
        Ok(outcomes)
    }

    /// One transaction for all of these orders. `None` for those that fell short, which are as if they had never been asked for.
    async fn attempt(&self, wanted: &[&NewOrder], busy: Busy) -> Result<Vec<Option<FulfillOutcome>>, StorageError> {
        let expected = self.expect(wanted);
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        reach("attempt.begun").await;
        let catalogue = Catalogue::of(&tx, wanted).await?;
        reach("attempt.catalogue_read").await;
        let inserted = self.insert(&tx, wanted, &catalogue).await?;
        reach("attempt.inserted").await;
        let orders: Vec<&NewOrder> = inserted.iter().map(|&index| wanted[index]).collect();
        let sales = self.allocator.allocate(&tx, &orders, &catalogue, busy).await?;
        let short: Vec<OrderId> =
            orders.iter().zip(&sales).filter(|(_, sale)| sale.is_none()).map(|(order, _)| order.order_id.clone()).collect();
        if !short.is_empty() {
            orders::delete(&tx, &short).await?;
            reach("attempt.short_deleted").await;
        }
        let sold: Vec<(&NewOrder, &Sale)> =
            orders.iter().zip(&sales).filter_map(|(order, sale)| sale.as_ref().map(|sale| (*order, sale))).collect();
        let born = self.record(&tx, &sold, true, expected.as_ref()).await?;

        let mut outcomes: Vec<Option<FulfillOutcome>> = wanted.iter().map(|_| None).collect();
        let others: Vec<usize> = (0..wanted.len()).filter(|index| !inserted.contains(index)).collect();
        if !others.is_empty() {
            self.find_existing(&tx, wanted, &others, &catalogue, &mut outcomes).await?;
        }
        reach("attempt.committing").await;
        tx.commit().await?;
        reach("attempt.committed").await;
        self.deliver(expected, born);
        for ((&index, order), sale) in inserted.iter().zip(orders).zip(sales) {
            let (order_id, status) = (order.order_id.clone(), OrderStatus::Fulfilled);
            outcomes[index] = sale.map(|sale| FulfillOutcome::Order { order_id, status, items: sale.sold, replayed: false });
        }
        Ok(outcomes)
    }

    /// Inserts what can be inserted. Returns the indices of the orders that now exist.
    async fn insert(&self, tx: &Transaction<'_>, wanted: &[&NewOrder], catalogue: &Catalogue) -> Result<Vec<usize>, StorageError> {
        let mut known: Vec<usize> = (0..wanted.len()).filter(|&index| catalogue.unknown(wanted[index]).is_none()).collect();
        if known.is_empty() {
            return Ok(known);
        }
        // Everybody inserts in the same order, so that two batches with the same references wait for each other and never in a circle.
        let key = |index: &usize| {
            let order = wanted[*index];
            (order.store_id, order.mode, &order.request.external_reference)
        };
        known.sort_by(|a, b| key(a).cmp(&key(b)));
        let orders: Vec<&NewOrder> = known.iter().map(|&index| wanted[index]).collect();
        let inserted = orders::insert_fulfilled(tx, &orders).await?;
        let by_id: HashMap<&str, usize> = known.iter().map(|&index| (wanted[index].order_id.as_str(), index)).collect();
        Ok(inserted.iter().filter_map(|id| by_id.get(id.as_str()).copied()).collect())
    }

    /// Items, keys and events of orders that got everything; returns what is to be delivered. `made_now` says that the order itself is new,
    /// so that its first event is too.
    async fn record(
        &self,
        tx: &Transaction<'_>,
        sold: &[(&NewOrder, &Sale)],
        made_now: bool,
        expected: Option<&Expected<'_>>,
    ) -> Result<Born, StorageError> {
        if sold.is_empty() {
            return Ok(Born::default());
        }
        let items: Vec<(&OrderId, &[Item])> = sold.iter().map(|(order, sale)| (&order.order_id, sale.items.as_slice())).collect();
        order_items::insert(tx, &items).await?;
        reach("record.items_inserted").await;
        let created_at = rfc3339(self.clock.now().unix_ms);
        let mut happened = Vec::with_capacity(sold.len() * 2);
        for (order, _) in sold {
            if made_now {
                happened.push((EventKind::Created, *order));
            }
            happened.push((EventKind::Fulfilled, *order));
        }
        let wish = expected.map(|expected| &expected.wish);
        let born = events::insert_of_fulfillment(tx, &happened, &created_at, wish).await?;
        reach("record.events_inserted").await;
        Ok(born)
    }

    /// What may be claimed of the events of these orders. Asked before the transaction begins, whose clock stands from then on.
    fn expect(&self, orders: &[&NewOrder]) -> Option<Expected<'_>> {
        self.dispatcher.as_ref()?.expect(&orders.iter().map(|order| order.store_id).collect())
    }

    fn deliver(&self, expected: Option<Expected<'_>>, born: Born) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.tell(&born.due);
        }
        if let Some(expected) = expected {
            expected.begin(born.claimed);
        }
    }

    /// What the orders already are that stood in the way of `others`.
    async fn find_existing(
        &self,
        tx: &Transaction<'_>,
        wanted: &[&NewOrder],
        others: &[usize],
        catalogue: &Catalogue,
        outcomes: &mut [Option<FulfillOutcome>],
    ) -> Result<(), StorageError> {
        let others_wanted: Vec<&NewOrder> = others.iter().map(|&index| wanted[index]).collect();
        let existing = orders::find(tx, &others_wanted).await?;
        reach("existing.found").await;
        let items = order_items::of_orders(tx, &existing.iter().map(|order| order.id.clone()).collect::<Vec<_>>()).await?;
        reach("existing.items_read").await;
        let mut sold = HashMap::new();
        for order in &existing {
            let items = items.get(order.id.as_str()).map(Vec::as_slice).unwrap_or_default();
            sold.insert(order.id.as_str(), order_items::reveal(&self.allocator.sealer, order, items)?);
        }
        for &index in others {
            let order = wanted[index];
            outcomes[index] = match Existing::of(order, &existing) {
                Some(Existing::Same(same)) if same.status == OrderStatus::Processing => {
                    Some(FulfillOutcome::Processing { order_id: same.id.clone() })
                }
                Some(Existing::Same(same)) => {
                    let items = sold.get(same.id.as_str()).cloned().unwrap_or_default();
                    Some(FulfillOutcome::Order { order_id: same.id.clone(), status: same.status, items, replayed: true })
                }
                Some(Existing::OtherReference) => Some(FulfillOutcome::ReferenceConflict),
                Some(Existing::OtherKey) => Some(FulfillOutcome::IdempotencyConflict),
                // It was there when we tried to insert and is not now: it fell short, or failed. Alone this order may do better.
                None => catalogue.unknown(order).map(|sku| FulfillOutcome::UnknownProduct { sku: sku.clone() }),
            };
        }
        Ok(())
    }

    /// Completes orders that an edge wrote down as `processing` and that were just claimed. Those that have ended a worker too often are
    /// given up.
    pub async fn complete(&self, claimed: Vec<ProcessingOrder>) -> Result<Completed, StorageError> {
        let mut completed = Completed::default();
        let mut batch = Vec::new();
        for order in claimed {
            if order.starts > self.starts_max {
                self.give_up(&order, "it ended every worker that took it").await?;
                completed.dead_letters += 1;
                continue;
            }
            let request = self.requests.open(order.id.as_str().as_bytes(), &order.sealed_request).map_err(|error| error.to_string());
            match request.and_then(|json| serde_json::from_slice::<FulfillRequest>(&json).map_err(|error| error.to_string())) {
                Ok(request) => {
                    let (order_id, store_id, mode) = (order.id.clone(), order.store_id, order.mode);
                    // Its first event, which is written, has the trace.
                    let new = NewOrder { order_id, store_id, mode, idempotency_key: None, request, trace: None };
                    batch.push(new);
                }
                Err(error) => {
                    self.give_up(&order, &format!("its request cannot be read: {error}")).await?;
                    completed.dead_letters += 1;
                }
            }
        }
        if !batch.is_empty() {
            let orders: Vec<&NewOrder> = batch.iter().collect();
            let short = self.complete_group(&orders, Busy::Skip, &mut completed).await?;
            for order in self.fail_short(&short, &mut completed).await? {
                self.complete_alone(order, &mut completed).await?;
            }
        }
        Ok(completed)
    }

    /// One transaction for all of these. Returns the ones that fell short.
    async fn complete_group<'a>(
        &self,
        wanted: &[&'a NewOrder],
        busy: Busy,
        completed: &mut Completed,
    ) -> Result<Vec<&'a NewOrder>, StorageError> {
        let expected = self.expect(wanted);
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        reach("complete.begun").await;
        let ids: Vec<OrderId> = wanted.iter().map(|order| order.order_id.clone()).collect();
        let locked = orders::lock_processing(&tx, &ids).await?;
        reach("complete.locked").await;
        let held: Vec<&'a NewOrder> =
            wanted.iter().filter(|order| locked.iter().any(|locked| locked.id == order.order_id)).copied().collect();
        let catalogue = Catalogue::of(&tx, &held).await?;
        reach("complete.catalogue_read").await;
        let mut settled = Vec::new();
        let (known, unknown): (Vec<&'a NewOrder>, Vec<&'a NewOrder>) =
            held.into_iter().partition(|order| catalogue.unknown(order).is_none());
        for order in unknown {
            let failure = Failure { code: "product_not_found".into(), shortages: Vec::new() };
            orders::fail(&tx, &order.order_id, &failure).await?;
            reach("complete.unknown_failed").await;
            settled.push(order.order_id.clone());
            completed.failed += 1;
        }
        let sales = self.allocator.allocate(&tx, &known, &catalogue, busy).await?;
        let (mut sold, mut short) = (Vec::new(), Vec::new());
        for (order, sale) in known.iter().zip(&sales) {
            match sale {
                Some(sale) => sold.push((*order, sale)),
                None => short.push(*order),
            }
        }
        let born = self.record(&tx, &sold, false, expected.as_ref()).await?;
        let fulfilled: Vec<OrderId> = sold.iter().map(|(order, _)| order.order_id.clone()).collect();
        orders::set_status(&tx, &fulfilled, OrderStatus::Fulfilled).await?;
        reach("complete.status_set").await;
        completed.fulfilled += fulfilled.len() as u64;
        completed.license_keys += sold.iter().map(|(order, _)| order.request.keys_needed() as u64).sum::<u64>();
        settled.extend(fulfilled);
        orders::notify_settled(&tx, &settled).await?;
        reach("complete.committing").await;
        tx.commit().await?;
        reach("complete.committed").await;
        self.deliver(expected, born);
        Ok(short)
    }

    async fn complete_alone(&self, order: &NewOrder, completed: &mut Completed) -> Result<(), StorageError> {
        for _ in 0..LONE_TRIES {
            let short = self.complete_group(&[order], Busy::Wait, completed).await?;
            if self.fail_short(&short, completed).await?.is_empty() {
                return Ok(());
            }
        }
        // Others were quicker every time. The order stays due.
        Ok(())
    }

    /// Ends those of these orders for which there really is too little stock. Returns the others.
    async fn fail_short<'a>(&self, wanted: &[&'a NewOrder], completed: &mut Completed) -> Result<Vec<&'a NewOrder>, StorageError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        reach("fail_short.begun").await;
        let catalogue = Catalogue::of(&tx, wanted).await?;
        let shortages = self.allocator.shortages(&tx, wanted, &catalogue).await?;
        reach("fail_short.counted").await;
        let (short, others): (Vec<_>, Vec<_>) = wanted.iter().zip(shortages).partition(|(_, shortages)| !shortages.is_empty());
        let ids: Vec<OrderId> = short.iter().map(|(order, _)| order.order_id.clone()).collect();
        // Somebody else may have completed some of them meanwhile.
        let locked: Vec<OrderId> = orders::lock_processing(&tx, &ids).await?.into_iter().map(|order| order.id).collect();
        reach("fail_short.locked").await;
        for (order, shortages) in short {
            if locked.contains(&order.order_id) {
                orders::fail(&tx, &order.order_id, &Failure { code: "out_of_stock".into(), shortages }).await?;
                reach("fail_short.failed").await;
            }
        }
        orders::notify_settled(&tx, &locked).await?;
        reach("fail_short.committing").await;
        tx.commit().await?;
        reach("fail_short.committed").await;
        completed.failed += locked.len() as u64;
        Ok(others.into_iter().map(|(order, _)| *order).collect())
    }

    async fn give_up(&self, order: &ProcessingOrder, reason: &str) -> Result<(), StorageError> {
        tracing::error!(order_id = %order.id, reason, "giving an order up; its request is a dead letter now");
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        reach("give_up.begun").await;
        if !orders::lock_processing(&tx, std::slice::from_ref(&order.id)).await?.is_empty() {
            reach("give_up.locked").await;
            dead_letters::insert(
                &tx,
                Uuid::now_v7(),
                dead_letters::ORDER_REQUEST,
                &format!("order {}: {reason}", order.id),
                &order.sealed_request,
            )
            .await?;
            reach("give_up.dead_letter_kept").await;
            orders::fail(&tx, &order.id, &Failure { code: "internal_error".into(), shortages: Vec::new() }).await?;
            reach("give_up.failed").await;
            orders::notify_settled(&tx, std::slice::from_ref(&order.id)).await?;
            reach("give_up.committing").await;
        }
        tx.commit().await?;
        reach("give_up.committed").await;
        Ok(())
    }

    /// Writes an order down as `processing`, so that from now on its starts are counted in the database.
    pub async fn write_down(&self, order: &NewOrder) -> Result<(), StorageError> {
        let json = serde_json::to_vec(&order.request).map_err(|error| StorageError::Corrupt(error.to_string()))?;
        let sealed = self.requests.seal(order.order_id.as_str().as_bytes(), &json);
        orders::write_down(&self.pg, order, &sealed, &rfc3339(self.clock.now().unix_ms)).await?;
        Ok(())
    }
}

/// What came of completing orders.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// Orders that got their license keys.
    pub fulfilled: u64,
    /// Orders that ended without.
    pub failed: u64,
    /// Orders that were given up.
    pub dead_letters: u64,
    /// License keys given out.
    pub license_keys: u64,
}
