//! Webhooks: takes deliveries that are due, gives each endpoint its fair share of attempts, and settles what came of them. Everything
//! here may be lost at any moment: a delivery that was claimed and not settled is due again when its lease is over.
//!
//! [`lanes`] decides who is next; [`attempt`] makes one attempt; [`Dispatcher`] holds them together. What is due is told by
//! [`crate::jobs::deliver_webhook`] and found by [`crate::jobs::poll_webhooks`].

pub mod attempt;
pub mod hints;
pub mod lanes;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::clock::Clock;
use common::seal::Sealer;
use common::trace::Trace;
use common::webhook_target::Rules;
use ops::descriptors;
use storage::crash_point::reach;
use storage::pg::events::{Due, Wish};
use storage::pg::webhook_deliveries::{self, Claimed, Ended, Outcome};
use storage::{Pg, StorageError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::WorkerMetrics;
use crate::outgoing::Outgoing;
use attempt::Recipient;
use hints::Hints;
use lanes::{Address, Caps, Lanes, Sign};

/// How much longer a claim lasts than three attempts, of which two are for waiting in a lane and one for its own: the time to write down
/// how it went. All of it is what a crash costs a delivery.
const LEASE_BEYOND: Duration = Duration::from_secs(5);
/// The most attempts settled in one transaction.
const SETTLE_MAX: usize = 256;
/// The wait before a transaction that failed is tried again.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// Endpoints whose secrets are kept opened.
const RECIPIENTS_MAX: usize = 10_000;

/// What it takes to deliver.
pub struct Parts {
    /// Where deliveries are.
    pub pg: Pg,
    /// Sends.
    pub outgoing: Outgoing,
    /// Opens endpoints' secrets.
    pub secrets: Sealer,
    /// What an endpoint's URL may be.
    pub rules: Rules,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Tells other workers what there is no room for here; without it they find it by themselves, within the second.
    pub hints: Option<Hints>,
    /// Counts.
    pub metrics: WorkerMetrics,
}

/// Gives deliveries to endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// How long one attempt may take.
    timeout: Duration,
    lease: Duration,
    lanes: Mutex<Lanes<Work>>,
    recipients: Mutex<HashMap<Uuid, Arc<Recipient>>>,
    ended: mpsc::UnboundedSender<Ended>,
    ends: tokio::sync::Mutex<mpsc::UnboundedReceiver<Ended>>,
    /// Said when there is room again for what was left in the database.
    room: Notify,
    /// Claims under way.
    claiming: AtomicUsize,
    is_closing: AtomicBool,
}

/// A claimed delivery that waits for its turn.
struct Work {
    claimed: Claimed,
    recipient: Arc<Recipient>,
    claimed_at: Instant,
    /// Since when nothing but its turn has stood in its way.
    due_at: Instant,
}

impl Dispatcher {
    /// A dispatcher with nothing to do.
    pub fn new(parts: Parts, settings: &config::Webhooks) -> Self {
        let caps = Caps {
            in_flight: descriptors::that_fit("webhooks.in_flight_max", settings.in_flight_max),
            per_endpoint: settings.in_flight_per_endpoint_max,
            per_destination: settings.in_flight_per_destination_max,
        };
        let (ended, ends) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            parts,
            timeout: settings.timeout,
            lease: 3 * settings.timeout + LEASE_BEYOND,
            lanes: Mutex::new(Lanes::new(caps)),
            recipients: Mutex::default(),
            ended,
            ends: tokio::sync::Mutex::new(ends),
            room: Notify::new(),
            claiming: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
        }))
    }

    /// For whoever is about to write events of these stores: what he may claim with them. `None` when nothing more is begun here.
    pub fn expect(&self, stores: &HashSet<i64>) -> Option<Expected<'_>> {
        let claiming = Claiming::begin(&self.0)?;
        let lanes = self.0.lanes();
        // What comes of a batch is not bounded by the room in all, which therefore is to be ample.
        if lanes.is_half_full() {
            return None;
        }
        let room = i32::try_from(lanes.room_of_unknown()).unwrap_or(i32::MAX);
        let wish = Wish { lease: self.0.lease, room, rooms: lanes.rooms_of(stores) };
        drop(lanes);
        Some(Expected { shared: &self.0, claiming, began: Instant::now(), wish })
    }

    /// Tells other workers of deliveries that are due.
    pub fn tell(&self, due: &[Due]) {
        if let Some(hints) = &self.0.parts.hints {
            hints.send(due);
        }
    }

    /// Claims and begins those of these deliveries that there is room for. The others stay due.
    pub async fn deliver(&self, due: &[(i64, Uuid)]) -> Result<(), StorageError> {
        let Some(_claiming) = Claiming::begin(&self.0) else { return Ok(()) };
        let fitting = self.fitting(due);
        if fitting.is_empty() {
            return Ok(());
        }
        let claimed = webhook_deliveries::claim(&*self.0.parts.pg.client().await?, &fitting, self.0.lease).await?;
        self.begin(claimed).await;
        Ok(())
    }

    fn fitting(&self, due: &[(i64, Uuid)]) -> Vec<i64> {
        let mut lanes = self.0.lanes();
        let mut in_all = lanes.room_in_all();
        let mut rooms: HashMap<Uuid, usize> = HashMap::new();
        let mut fitting = Vec::with_capacity(due.len());
        let mut left = false;
        for &(id, endpoint_id) in due {
            let room = rooms.entry(endpoint_id).or_insert_with(|| lanes.room_of(endpoint_id));
            if *room > 0 && in_all > 0 {
                *room -= 1;
                in_all -= 1;
                fitting.push(id);
            } else {
                left = true;
                lanes.set_more(endpoint_id, true);
            }
        }
        if left {
            self.0.room.notify_one();
        }
        fitting
    }

    /// Claims and begins what is due, at most `limit`. Returns how many those were.
    pub async fn poll(&self, limit: usize) -> Result<usize, StorageError> {
        let Some(_claiming) = Claiming::begin(&self.0) else { return Ok(0) };
        let (limit, unknown, rooms) = {
            let mut lanes = self.0.lanes();
            (limit.min(lanes.room_in_all()), lanes.room_of_unknown(), lanes.rooms(Instant::now()))
        };
        if limit == 0 {
            return Ok(0);
        }
        let client = self.0.parts.pg.client().await?;
        let (limit, unknown) = (i64::try_from(limit).unwrap_or(i64::MAX), i32::try_from(unknown).unwrap_or(i32::MAX));
        let claimed = webhook_deliveries::claim_due(&*client, limit, unknown, &rooms, self.0.lease).await?;
        drop(client);
        let count = claimed.len();
        let mut of_endpoint: HashMap<Uuid, i32> = HashMap::new();
        for claimed in &claimed {
            *of_endpoint.entry(claimed.endpoint_id).or_default() += 1;
        }
        self.begin(claimed).await;
        let mut lanes = self.0.lanes();
        for (endpoint_id, count) in of_endpoint {
            let room = rooms.iter().find(|room| room.endpoint_id == endpoint_id).map_or(unknown, |room| room.deliveries);
            lanes.set_more(endpoint_id, count >= room);
        }
        Ok(count)
    }

    /// Resolves when there is room again for what was left in the database.
    pub async fn room(&self) {
        self.0.room.notified().await;
    }

    async fn begin(&self, claimed: Vec<Claimed>) {
        if !claimed.is_empty() {
            reach("deliver.claimed").await;
            self.0.begin(claimed, Instant::now());
        }
    }

    /// Settles attempts as they end, until `stop`; then sends nothing more, waits for what is under way, and settles that too.
    pub async fn settle(&self, stop: CancellationToken) -> Result<(), StorageError> {
        let shared = &self.0;
        let mut ends = shared.ends.lock().await;
        let mut batch = Vec::with_capacity(SETTLE_MAX);
        loop {
            tokio::select! {
                biased;
                count = ends.recv_many(&mut batch, SETTLE_MAX) => if count == 0 { return Ok(()) },
                () = stop.cancelled(), if !shared.is_closing.load(Ordering::Acquire) => {
                    shared.close();
                    continue;
                }
                () = tokio::time::sleep(Duration::from_millis(20)), if shared.is_closing.load(Ordering::Acquire) => {
                    if shared.is_at_rest() && ends.is_empty() {
                        return Ok(());
                    }
                    continue;
                }
            }
            let next = loop {
                match webhook_deliveries::settle(&shared.parts.pg, &batch, shared.lease).await {
                    Ok(next) => break next,
                    // What is said here was sent: it is kept until it can be written down. The health check tells of the outage.
                    Err(error) if error.is_unavailable() || error.is_forbidden() => tracing::debug!(%error, "settling deliveries"),
                    Err(error) => tracing::error!(%error, deliveries = batch.len(), "settling deliveries; they are tried again"),
                }
                tokio::time::sleep(SETTLE_AGAIN).await;
            };
            batch.clear();
            shared.begin(next, Instant::now());
            // Whoever else is about to end does so now, and is settled together with the others.
            tokio::task::yield_now().await;
        }
    }

    /// Attempts under way, and deliveries that wait for their turn.
    pub fn load(&self) -> (usize, usize) {
        let lanes = self.0.lanes();
        (lanes.in_flight(), lanes.waiting())
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes<Work>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what was claimed at some moment to its lanes: due since then, or for as long as it says.
    fn begin(self: &Arc<Self>, claimed: impl IntoIterator<Item = Claimed>, claimed_at: Instant) {
        let due = |claimed: &Claimed| claimed_at.checked_sub(Duration::from_secs_f64(claimed.due_s.max(0.0))).unwrap_or(claimed_at);
        self.begin_due(claimed.into_iter().map(|claimed| (due(&claimed), claimed)), claimed_at);
    }

    fn begin_due(self: &Arc<Self>, claimed: impl IntoIterator<Item = (Instant, Claimed)>, claimed_at: Instant) {
        for (due_at, claimed) in claimed {
            if self.is_closing.load(Ordering::Acquire) {
                self.give_back(&claimed);
                continue;
            }
            match self.recipient(&claimed) {
                Ok(recipient) => {
                    let (store_id, endpoint_id) = (claimed.store_id, claimed.endpoint_id);
                    let address = Address { store_id, endpoint_id, destination: recipient.destination.clone() };
                    self.lanes().add(address, Work { claimed, recipient, claimed_at, due_at }, claimed_at);
                }
                Err(why) => {
                    let trace_id = claimed.trace.as_ref().map(Trace::id);
                    tracing::error!(endpoint = %claimed.endpoint_id, event = %claimed.event_id, order_id = claimed.order_id, trace_id, %why, "a webhook cannot be sent");
                    self.end(attempt::impossible(&claimed, why));
                    self.keep_waiting(&claimed.followers);
                }
            }
        }
        self.start();
    }

    /// Starts whatever may be started.
    fn start(self: &Arc<Self>) {
        loop {
            // The lock is not held while a task is made.
            let Some((address, work)) = self.lanes().take_turn() else { return };
            tokio::spawn(self.clone().run(address, work));
        }
    }

    async fn run(self: Arc<Self>, address: Address, mut work: Work) {
        // Even if the attempt panics, its lane goes on.
        let mut lane = InLane { shared: &self, address, sign: Sign::None };
        let ended = if work.claimed_at.elapsed() + self.timeout > self.lease {
            // Others may claim it any moment.
            attempt::not_made(&work.claimed)
        } else {
            // For as long as its server was silent it was not we who kept it waiting.
            let due_at = self.lanes().silent_at(work.claimed.endpoint_id).map_or(work.due_at, |silent_at| work.due_at.max(silent_at));
            let (ended, sign) = attempt::make(&self.parts, &work.claimed, due_at, &work.recipient).await;
            lane.sign = sign;
            ended
        };
        reach("deliver.answered").await;
        let mut followers = std::mem::take(&mut work.claimed.followers);
        let is_settled = matches!(ended.outcome, Outcome::Delivered | Outcome::Failed(None));
        self.end(ended);
        if !is_settled {
            self.keep_waiting(&followers);
        } else if let Some(mut next) = followers.pop_front() {
            next.followers = followers;
            self.begin_due([(Instant::now(), next)], work.claimed_at);
        }
        // Not before: a stop takes lanes without work for its end.
        drop(lane);
        self.start();
    }

    fn give_back(&self, claimed: &Claimed) {
        self.end(attempt::not_made(claimed));
        self.keep_waiting(&claimed.followers);
    }

    fn keep_waiting(&self, followers: &VecDeque<Claimed>) {
        followers.iter().for_each(|follower| self.end(attempt::too_early(follower)));
    }

    fn end(&self, ended: Ended) {
        // The receiver lives as long as we do.
        let _ = self.ended.send(ended);
    }

    fn recipient(&self, claimed: &Claimed) -> Result<Arc<Recipient>, String> {
        let mut recipients = self.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = recipients.get(&claimed.endpoint_id)
            && known.is_of(claimed)
        {
            return Ok(known.clone());
        }
        if recipients.len() >= RECIPIENTS_MAX {
            recipients.clear();
        }
        let recipient = Arc::new(Recipient::of(claimed, &self.parts.secrets, self.parts.rules)?);
        recipients.insert(claimed.endpoint_id, recipient.clone());
        Ok(recipient)
    }

    fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        let waiting = self.lanes().clear();
        waiting.iter().for_each(|work| self.give_back(&work.claimed));
    }

    fn is_at_rest(&self) -> bool {
        self.claiming.load(Ordering::Acquire) == 0 && self.lanes().in_flight() == 0
    }
}

/// An attempt's place in its lane, given back when it ends, however that is.
struct InLane<'a> {
    shared: &'a Arc<Shared>,
    address: Address,
    sign: Sign,
}

impl Drop for InLane<'_> {
    fn drop(&mut self) {
        let (given_back, wants_more) = {
            let mut lanes = self.shared.lanes();
            let given_back = lanes.done(&self.address, self.sign, Instant::now());
            (given_back, lanes.wants_more(self.address.endpoint_id))
        };
        if wants_more {
            self.shared.room.notify_one();
        }
        given_back.iter().for_each(|work| self.shared.give_back(&work.claimed));
    }
}

/// Events that are being written, whose deliveries are claimed with them. A stop waits for it.
pub struct Expected<'a> {
    shared: &'a Arc<Shared>,
    claiming: Claiming<'a>,
    began: Instant,
    /// What may be claimed.
    pub wish: Wish,
}

impl Expected<'_> {
    /// They are committed: begins what was claimed.
    pub fn begin(self, claimed: Vec<Claimed>) {
        self.shared.begin(claimed, self.began);
        drop(self.claiming);
    }
}

/// A claim that is under way: a stop waits for what it brings.
struct Claiming<'a>(&'a Shared);

impl<'a> Claiming<'a> {
    /// `None` when nothing new is to be claimed.
    fn begin(shared: &'a Shared) -> Option<Self> {
        shared.claiming.fetch_add(1, Ordering::AcqRel);
        let claiming = Self(shared);
        (!shared.is_closing.load(Ordering::Acquire)).then_some(claiming)
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.0.claiming.fetch_sub(1, Ordering::AcqRel);
    }
}
