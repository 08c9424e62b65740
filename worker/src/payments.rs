//! What becomes of orders because of their payment: facts are merged into what is known, license keys are given out once there is money,
//! and partners are told, all in one transaction for each order. What cannot be done now is done later; nothing is done twice, because
//! merging the same again changes nothing.

use std::sync::Arc;

use common::cart::Line;
use common::clock::{Clock, rfc3339};
use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use common::money::Currency;
use common::order::facts::{News, OrderFacts};
use common::order::{Order, OrderStatus};
use common::stripe::{Fact, Happened, Subject};
use storage::crash_point::reach;
use storage::pg::Transaction;
use storage::pg::events::{self, Happening};
use storage::pg::license_keys::Busy;
use storage::pg::order_items;
use storage::pg::order_payments::{self, Known};
use storage::pg::stripe_events::{self, Waiting};
use storage::{Pg, StorageError};

use crate::allocation::{Allocator, Catalogue};
use crate::webhooks::Dispatcher;

/// Applies what is known of payments.
pub struct Payments {
    /// Where the truth is.
    pub pg: Pg,
    /// Gives out license keys.
    pub allocator: Allocator,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Delivers events as soon as they are committed.
    pub dispatcher: Option<Dispatcher>,
}

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is part of what is known of its order.
    Merged,
    /// Its order is not there yet.
    Parked,
    /// It will never be part of anything.
    Refused,
}

impl Applied {
    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Parked => "parked",
            Self::Refused => "refused",
        }
    }
}

impl Payments {
    /// Applies events of Stripe's about one order, whichever it is. An error means that nothing is known to have happened.
    pub async fn apply(&self, mode: Mode, subject: &Subject, waiting: &[&Waiting]) -> Result<Vec<Applied>, StorageError> {
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        let ids: Vec<&str> = waiting.iter().map(|event| event.id.as_str()).collect();
        let known = order_payments::lock(&tx, mode, subject).await?;
        // An order that was paid elsewhere and is just being worked on is there in a moment.
        let Some(mut known) = known.filter(|known| known.order.status != OrderStatus::Processing) else {
            stripe_events::park(&tx, &ids).await?;
            tx.commit().await?;
            return Ok(vec![Applied::Parked; ids.len()]);
        };
        reach("apply.locked").await;
        let before = known.facts.clone();
        let (mut outcomes, mut merged) = (Vec::with_capacity(waiting.len()), Vec::new());
        for event in waiting {
            let addition = match Addition::of(event, &known.order) {
                Ok(addition) if addition.is_of_another(&tx, &known.order).await? => Err("it is about another order's payment".to_owned()),
                addition => addition,
            };
            match addition {
                Ok(addition) => {
                    addition.to(&mut known);
                    merged.push(event.id.as_str());
                    outcomes.push(Applied::Merged);
                }
                Err(reason) => {
                    tracing::error!(event = event.id, order_id = %known.order.id, reason, "an event of Stripe's cannot be applied");
                    stripe_events::refuse(&tx, &event.id, &reason).await?;
                    outcomes.push(Applied::Refused);
                }
            }
        }
        let expected = self.dispatcher.as_ref().and_then(|dispatcher| dispatcher.expect(&[known.order.store_id].into()));
        let born = self.follow(&tx, &mut known, &before, false, expected.as_ref().map(|expected| &expected.wish)).await?;
        stripe_events::applied(&tx, &merged).await?;
        reach("apply.committing").await;
        tx.commit().await?;
        reach("apply.committed").await;
        self.deliver(expected, born);
        Ok(outcomes)
    }

    /// Gives an order the license keys for which it has waited, if there are enough of them now. Returns whether it has them.
    pub async fn fill(&self, mode: Mode, id: &OrderId) -> Result<bool, StorageError> {
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        let subject = Subject { order_id: Some(id.clone()), payment_intent: None };
        let Some(mut known) = order_payments::lock(&tx, mode, &subject).await? else { return Ok(false) };
        let before = known.facts.clone();
        let expected = self.dispatcher.as_ref().and_then(|dispatcher| dispatcher.expect(&[known.order.store_id].into()));
        let born = self.follow(&tx, &mut known, &before, true, expected.as_ref().map(|expected| &expected.wish)).await?;
        tx.commit().await?;
        self.deliver(expected, born);
        Ok(known.facts.is_allocated)
    }

    /// Gives up an order that nobody has paid. Returns whether it was still to be paid.
    pub async fn expire(&self, mode: Mode, id: &OrderId) -> Result<bool, StorageError> {
        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        let subject = Subject { order_id: Some(id.clone()), payment_intent: None };
        let known = order_payments::lock(&tx, mode, &subject).await?;
        // Meanwhile it may have been paid.
        let Some(mut known) = known.filter(|known| known.order.status == OrderStatus::Pending) else { return Ok(false) };
        known.facts.is_expired = true;
        order_payments::store(&tx, &known).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Does what follows from the facts: license keys, status, events.
    async fn follow(
        &self,
        tx: &Transaction<'_>,
        known: &mut Known,
        before: &OrderFacts,
        waited: bool,
        wish: Option<&events::Wish>,
    ) -> Result<events::Born, StorageError> {
        let mut happened: Vec<Happening<'_>> = Vec::new();
        let allocates = known.facts.wants_keys(waited || known.awaits_keys) && self.allocate(tx, &known.order).await?;
        if allocates {
            known.facts.is_allocated = true;
            happened.push((EventKind::Fulfilled, None));
        }
        order_payments::store(tx, known).await?;
        reach("apply.stored").await;
        let news = before.news(&known.facts);
        for news in &news {
            let kind = match news {
                News::Refunded { .. } => EventKind::Refunded,
                News::Disputed { .. } => EventKind::Disputed,
            };
            happened.push((kind, Some(news)));
        }
        if happened.is_empty() {
            return Ok(events::Born::default());
        }
        let status = known.facts.status();
        let order = Order { status, ..known.order.clone() };
        let born = events::insert_of_order(tx, &order, &happened, &rfc3339(self.clock.now().unix_ms), wish).await?;
        Ok(born)
    }

    /// Gives an order all of its license keys, or none. Returns whether it has them.
    async fn allocate(&self, tx: &Transaction<'_>, order: &Order) -> Result<bool, StorageError> {
        let items = order_items::of_orders(tx, std::slice::from_ref(&order.id)).await?.remove(order.id.as_str()).unwrap_or_default();
        let line = |item: &order_items::Item| Line { sku: item.sku.clone(), quantity: u32::try_from(item.quantity).unwrap_or(0) };
        let request = FulfillRequest {
            customer_email: order.customer_email.clone(),
            items: items.iter().map(line).collect(),
            external_reference: order.external_reference.clone().unwrap_or_default(),
            currency: None,
            total_minor: None,
        };
        let (order_id, store_id, mode) = (order.id.clone(), order.store_id, order.mode);
        let wanted = NewOrder { order_id, store_id, mode, idempotency_key: None, request, trace: None };
        let catalogue = Catalogue::of(tx, &[&wanted]).await?;
        if items.is_empty() || catalogue.unknown(&wanted).is_some() {
            // It stays where it is, and the metric of what waits for license keys tells of it.
            tracing::error!(order_id = %order.id, "a paid order has items that its store does not sell any more");
            return Ok(false);
        }
        let sale = self.allocator.allocate(tx, &[&wanted], &catalogue, Busy::Wait).await?.pop().flatten();
        let Some(sale) = sale else { return Ok(false) };
        order_items::insert_keys(tx, &[(&order.id, sale.items.as_slice())]).await?;
        Ok(true)
    }

    fn deliver(&self, expected: Option<crate::webhooks::Expected<'_>>, born: events::Born) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.tell(&born.due);
        }
        if let Some(expected) = expected {
            expected.begin(born.claimed);
        }
    }
}

/// What an event adds to what is known.
struct Addition<'e> {
    facts: OrderFacts,
    payment_intent: Option<&'e str>,
    dispute_id: Option<&'e str>,
}

impl<'e> Addition<'e> {
    /// The error says why the event does not belong to this order.
    fn of(event: &'e Waiting, order: &Order) -> Result<Self, String> {
        let Fact { subject, happened } = event.fact.as_ref().map_err(Clone::clone)?;
        if order.status == OrderStatus::Failed {
            return Err("its order came to nothing".to_owned());
        }
        let total = order.total_minor.zip(order.currency.as_deref().and_then(|code| Currency::parse(code).ok()));
        let facts = OrderFacts::of(happened, total).map_err(|wrong| wrong.to_string())?;
        let dispute_id = if let Happened::Disputed(news) = happened { Some(news.id.as_str()) } else { None };
        Ok(Self { facts, payment_intent: subject.payment_intent.as_deref(), dispute_id })
    }

    /// Whether what it is about is known to be another order's.
    async fn is_of_another(&self, tx: &Transaction<'_>, order: &Order) -> Result<bool, StorageError> {
        order_payments::is_of_another(tx, order, self.payment_intent, self.dispute_id).await
    }

    /// Adds it. By the first payment that names the order, those are found that do not.
    fn to(self, known: &mut Known) {
        known.facts = std::mem::take(&mut known.facts).merge(self.facts);
        if known.payment_intent.is_none() {
            known.payment_intent = self.payment_intent.map(str::to_owned);
        }
    }
}
