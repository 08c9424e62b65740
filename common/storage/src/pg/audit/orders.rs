//! Orders that are to be completed, and the story that each order's events tell. Orders come one after another with their events in
//! sequence, so that no more than one is in memory.

use std::borrow::Cow;

use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::order::{Allocated, OrderStatus};
use common::seal::{Purpose, Sealer};
use serde::Deserialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Audit, Check, StorageError};

const KINDS: [EventKind; 4] = [EventKind::Created, EventKind::Fulfilled, EventKind::Refunded, EventKind::Disputed];

/// Every order with its events, in sequence; an order without events has one row.
const ORDERS_AND_EVENTS: &str = "
    select o.id, o.store_id, o.live, o.status, o.external_reference, o.total_minor, o.currency, o.customer_email,
           e.id, e.store_id, e.live, e.sequence, e.kind, e.body
    from orders o left join events e on e.order_id = o.id order by o.id, e.sequence";

const PROCESSING: &str = "
    select id, sealed_request, next_attempt_at is not null, fingerprint, external_reference, total_minor, currency, customer_email
    from orders where status = 'processing'";

/// An event's body, as partners read it. Later versions may say more.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    order_id: Cow<'a, str>,
    #[serde(borrow)]
    external_reference: Option<Cow<'a, str>>,
    status: OrderStatus,
    total_minor: Option<i64>,
    #[serde(borrow)]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    customer_email: Cow<'a, str>,
    event_id: Uuid,
    sequence: i32,
    livemode: bool,
}

impl Audit<'_> {
    /// Opens the requests of orders that are to be completed.
    pub(super) async fn processing_orders(&self) -> Result<Check, StorageError> {
        let mut check = Check::new(
            "processing_orders",
            "An order that is being processed can be completed: its request opens, is the one it was made for, and is due some time.",
        );
        let sealer = Sealer::new(&self.secrets.sealing, Purpose::OrderRequest, rand::random());
        let mut pages = self.pages(PROCESSING).await?;
        while let Some(rows) = pages.next().await? {
            check.examined += rows.len() as u64;
            self.say(&format!("opening requests: {} so far", check.examined));
            for row in &rows {
                if let Err(why) = can_be_completed(&sealer, row) {
                    check.violated(|| format!("order {}: {why}", row.get::<_, &str>(0)));
                }
            }
        }
        Ok(check)
    }

    /// Reads every event of every order.
    pub(super) async fn order_events(&self) -> Result<[Check; 3], StorageError> {
        let mut checks = Checks {
            sequences: Check::new("event_sequences", "An order's events are numbered from 1 without a gap."),
            bodies: Check::new("event_bodies", "An event's body can be read and agrees with its row and its order."),
            story: Check::new(
                "events_fit_orders",
                "An order's events tell how it came to stand where it stands, by ways that orders may go.",
            ),
        };
        let mut current: Option<Story> = None;
        let mut pages = self.pages(ORDERS_AND_EVENTS).await?;
        while let Some(rows) = pages.next().await? {
            for row in &rows {
                let id: &str = row.get(0);
                if current.as_ref().is_none_or(|story| story.order_id != id) {
                    if let Some(story) = current.take() {
                        story.end(&mut checks);
                    }
                    current = Some(Story::new(row));
                }
                if let (Some(story), Some(event_id)) = (&mut current, row.get::<_, Option<Uuid>>(8)) {
                    story.event(event_id, row, &mut checks);
                }
            }
            self.say(&format!("reading events: {} so far", checks.bodies.examined));
        }
        if let Some(story) = current {
            story.end(&mut checks);
        }
        let Checks { sequences, bodies, story } = checks;
        Ok([sequences, bodies, story])
    }
}

/// Why a worker that takes this order could not complete it. Nothing of the request is told.
fn can_be_completed(sealer: &Sealer, row: &Row) -> Result<(), String> {
    let id: &str = row.get(0);
    let sealed: &[u8] = row.get::<_, Option<_>>(1).ok_or("it has no request")?;
    let json = sealer.open(id.as_bytes(), sealed).map_err(|error| format!("its request: {error}"))?;
    let request: FulfillRequest = serde_json::from_slice(&json).map_err(|_| "its request cannot be read")?;
    if !row.get::<_, bool>(2) {
        return Err("it has no time of its next attempt, so no worker will ever take it".into());
    }
    let same = request.fingerprint().as_slice() == row.get::<_, &[u8]>(3)
        && row.get::<_, Option<&str>>(4) == Some(&request.external_reference)
        && row.get::<_, Option<i64>>(5) == request.total_minor
        && row.get::<_, Option<&str>>(6) == request.currency.map(|currency| currency.as_str())
        && row.get::<_, &str>(7) == request.customer_email;
    if same { Ok(()) } else { Err("its request is not the one that the order was made for".into()) }
}

struct Checks {
    sequences: Check,
    bodies: Check,
    story: Check,
}

/// What the events of one order have told so far.
struct Story {
    order_id: String,
    store_id: i64,
    live: bool,
    /// `None` when nobody knows it, which is another check's.
    status: Option<OrderStatus>,
    events: i32,
    in_sequence: bool,
    /// How many of each of [`KINDS`].
    told: [u32; KINDS.len()],
    /// Where the order stood at the last event whose body could be read.
    stood: Option<OrderStatus>,
    wrong: Vec<String>,
}

/// Reasons that are told of one order; a damaged one may have any number.
const WRONG_MAX: usize = 4;

impl Story {
    fn new(row: &Row) -> Self {
        Self {
            order_id: row.get(0),
            store_id: row.get(1),
            live: row.get(2),
            status: row.get::<_, &str>(3).parse().ok(),
            events: 0,
            in_sequence: true,
            told: [0; KINDS.len()],
            stood: None,
            wrong: Vec::new(),
        }
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what());
        }
    }

    fn event(&mut self, event_id: Uuid, row: &Row, checks: &mut Checks) {
        let (sequence, kind): (i32, &str) = (row.get(11), row.get(12));
        self.events = self.events.saturating_add(1);
        self.in_sequence &= sequence == self.events;
        if (row.get::<_, i64>(9), row.get::<_, bool>(10)) != (self.store_id, self.live) {
            self.wrong(|| format!("event {event_id} belongs to another store or mode"));
        }
        match KINDS.iter().position(|known| known.as_str() == kind) {
            Some(index) => self.told[index] = self.told[index].saturating_add(1),
            None => self.wrong(|| format!("event {event_id} is of no known kind")),
        }
        if (self.events == 1) != (kind == EventKind::Created.as_str()) {
            self.wrong(|| format!("event {event_id} stands in the wrong place: order.created comes first, and once"));
        }
        checks.bodies.examined += 1;
        match read_body(event_id, row) {
            Ok(status) => self.step(status),
            Err(why) => checks.bodies.violated(|| format!("event {event_id} of order {}: {why}", self.order_id)),
        }
    }

    /// The order stands at `status` now.
    fn step(&mut self, status: OrderStatus) {
        match self.stood.replace(status) {
            None if !status.may_begin() => self.wrong(|| format!("it is told to have begun as {status}")),
            Some(before) if !before.leads_to(status) => self.wrong(|| format!("it is told to have been {before}, then {status}")),
            _ => {}
        }
    }

    fn end(mut self, checks: &mut Checks) {
        checks.sequences.examined += 1;
        checks.story.examined += 1;
        if self.events == 0 {
            checks.sequences.violated(|| format!("order {} has no event", self.order_id));
        } else if !self.in_sequence {
            let events = self.events;
            checks.sequences.violated(|| format!("order {} has {events} events, not numbered 1 to {events}", self.order_id));
        }
        self.judge();
        if !self.wrong.is_empty() {
            checks.story.violated(|| format!("order {}: {}", self.order_id, self.wrong.join("; ")));
        }
    }

    /// Whether what was told is enough for where the order stands, and not too much.
    fn judge(&mut self) {
        let Some(status) = self.status else { return };
        if let Some(stood) = self.stood.filter(|stood| !stood.leads_to(status)) {
            self.wrong(|| format!("it was {stood} at its last event and is {status}, where that does not lead"));
        }
        let [_, fulfilled, refunded, disputed] = self.told;
        let fulfilled_fits = match status.allocated() {
            Allocated::Nothing => fulfilled == 0,
            Allocated::Everything => fulfilled == 1,
            Allocated::Either => fulfilled <= 1,
        };
        if !fulfilled_fits {
            self.wrong(|| format!("it is {status}, and order.fulfilled was told {fulfilled} times"));
        }
        let money_back = matches!(status, OrderStatus::PartiallyRefunded | OrderStatus::Refunded);
        if money_back && refunded == 0 || status == OrderStatus::Disputed && disputed == 0 {
            self.wrong(|| format!("it is {status}, which was never told"));
        }
    }
}

/// Where the order stood, by the body of one of its events; or in what the body is wrong, without a word of it.
fn read_body(event_id: Uuid, row: &Row) -> Result<OrderStatus, String> {
    let body: Body<'_> = serde_json::from_str(row.get(13)).map_err(|_| "its body cannot be read")?;
    let members = [
        ("event", body.event == row.get::<_, &str>(12)),
        ("order_id", body.order_id == row.get::<_, &str>(0)),
        ("external_reference", body.external_reference.as_deref() == row.get(4)),
        ("total_minor", body.total_minor == row.get(5)),
        ("currency", body.currency.as_deref() == row.get(6)),
        ("customer_email", body.customer_email == row.get::<_, &str>(7)),
        ("event_id", body.event_id == event_id),
        ("sequence", body.sequence == row.get::<_, i32>(11)),
        ("livemode", body.livemode == row.get::<_, bool>(10)),
    ];
    let other: Vec<&str> = members.iter().filter(|(_, agrees)| !agrees).map(|(member, _)| *member).collect();
    if other.is_empty() { Ok(body.status) } else { Err(format!("its body says something else about {}", other.join(", "))) }
}
