//! Who is sent what next. Every endpoint has a lane: what waits for it, and how many attempts it may have under way. Lanes take fair turns,
//! store by store, so that nobody's backlog is in anybody's way; a lane whose server does not answer shrinks to one attempt and pauses. No
//! I/O and no clock: whoever asks says what time it is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::pg::webhook_deliveries::Room;
use uuid::Uuid;

/// Attempts that an endpoint may have under way before anything is known of it. Each success allows one more.
const PERMITS_AT_FIRST: usize = 4;
/// Failures in a row, without any answer, after which a lane pauses.
const FAILURES_BEFORE_PAUSE: u32 = 5;
/// A lane's first pause. It doubles with each failure after it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A lane that has had nothing to do for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// How much may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// In all.
    pub in_flight: usize,
    /// To one endpoint.
    pub per_endpoint: usize,
    /// To one destination.
    pub per_destination: usize,
}

/// Where a piece of work goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose turn it takes.
    pub store_id: i64,
    /// Its lane.
    pub endpoint_id: Uuid,
    /// Host and port, which other endpoints may share.
    pub destination: Arc<str>,
}

/// What an attempt says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It took the event.
    Taken,
    /// It answered, and did not take it.
    Answered,
    /// It did not answer, or could not be reached.
    Silent,
    /// Nothing: no attempt was made.
    None,
}

struct Lane<W> {
    store_id: i64,
    waiting: VecDeque<(Arc<str>, W)>,
    in_flight: usize,
    permits: usize,
    silences: u32,
    paused_until: Option<Instant>,
    /// When its server was last found not to answer.
    silent_at: Option<Instant>,
    used: Instant,
    /// Whether it stands in its store's line.
    in_line: bool,
    /// Whether more is due in the database than there was room for.
    has_more: bool,
}

impl<W> Lane<W> {
    fn may_start(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.permits && self.paused_until.is_none()
    }

    fn room(&self) -> usize {
        if self.paused_until.is_some() { 0 } else { (2 * self.permits).saturating_sub(self.waiting.len() + self.in_flight) }
    }

    fn told(&self, endpoint_id: Uuid) -> Room {
        Room { endpoint_id, deliveries: i32::try_from(self.room()).unwrap_or(0) }
    }
}

/// All lanes.
pub struct Lanes<W> {
    caps: Caps,
    lanes: HashMap<Uuid, Lane<W>>,
    /// Which lanes a store has.
    of_store: HashMap<i64, Vec<Uuid>>,
    /// Lanes of a store that may start something, and the stores that have any; each takes its turn from the front.
    lines: HashMap<i64, VecDeque<Uuid>>,
    turns: VecDeque<i64>,
    destinations: HashMap<Arc<str>, usize>,
    in_flight: usize,
    waiting: usize,
}

impl<W> Lanes<W> {
    /// No lanes yet.
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            lanes: HashMap::new(),
            of_store: HashMap::new(),
            lines: HashMap::new(),
            turns: VecDeque::new(),
            destinations: HashMap::new(),
            in_flight: 0,
            waiting: 0,
        }
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What waits for its turn.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How much more may be taken from the database in all.
    pub fn room_in_all(&self) -> usize {
        (2 * self.caps.in_flight).saturating_sub(self.in_flight + self.waiting)
    }

    /// Whether half of what may be taken in all has been.
    pub fn is_half_full(&self) -> bool {
        self.in_flight + self.waiting >= self.caps.in_flight
    }

    /// How much an endpoint may be given of which nothing is known.
    pub fn room_of_unknown(&self) -> usize {
        2 * PERMITS_AT_FIRST.min(self.caps.per_endpoint)
    }

    /// How much an endpoint may be given.
    pub fn room_of(&self, endpoint_id: Uuid) -> usize {
        self.lanes.get(&endpoint_id).map_or_else(|| self.room_of_unknown(), Lane::room)
    }

    /// When an endpoint's server was last found not to answer, as far as is remembered.
    pub fn silent_at(&self, endpoint_id: Uuid) -> Option<Instant> {
        self.lanes.get(&endpoint_id)?.silent_at
    }

    /// How much each endpoint may be given of which something is known. Ends pauses that are over, and forgets lanes that are not used.
    pub fn rooms(&mut self, now: Instant) -> Vec<Room> {
        for lane in self.lanes.values_mut() {
            if lane.paused_until.is_some_and(|until| until <= now) {
                lane.paused_until = None;
            }
        }
        let of_store = &mut self.of_store;
        self.lanes.retain(|endpoint_id, lane| {
            let stays = lane.in_flight > 0 || !lane.waiting.is_empty() || lane.paused_until.is_some() || now - lane.used < FORGOTTEN_AFTER;
            if !stays && let Some(lanes) = of_store.get_mut(&lane.store_id) {
                lanes.retain(|of_store| of_store != endpoint_id);
                if lanes.is_empty() {
                    of_store.remove(&lane.store_id);
                }
            }
            stays
        });
        self.lanes.iter().map(|(&endpoint_id, lane)| lane.told(endpoint_id)).collect()
    }

    /// The same of these stores' endpoints alone, and nothing else.
    pub fn rooms_of(&self, stores: &HashSet<i64>) -> Vec<Room> {
        let endpoints = stores.iter().filter_map(|store_id| self.of_store.get(store_id)).flatten();
        endpoints.filter_map(|&endpoint_id| Some(self.lanes.get(&endpoint_id)?.told(endpoint_id))).collect()
    }

    /// Says whether more is due for an endpoint than it was given. What is not known of is found by looking at everything.
    pub fn set_more(&mut self, endpoint_id: Uuid, has_more: bool) {
        if let Some(lane) = self.lanes.get_mut(&endpoint_id) {
            lane.has_more = has_more;
        }
    }

    /// Whether it is worth looking for more in the database: a lane that left something there has room again, for half of what it may have.
    pub fn wants_more(&self, endpoint_id: Uuid) -> bool {
        self.lanes.get(&endpoint_id).is_some_and(|lane| lane.has_more && lane.room() >= lane.permits)
    }

    /// Adds work to its lane.
    pub fn add(&mut self, address: Address, work: W, now: Instant) {
        let permits = PERMITS_AT_FIRST.min(self.caps.per_endpoint);
        let of_store = &mut self.of_store;
        let lane = self.lanes.entry(address.endpoint_id).or_insert_with(|| {
            of_store.entry(address.store_id).or_default().push(address.endpoint_id);
            Lane {
                store_id: address.store_id,
                waiting: VecDeque::new(),
                in_flight: 0,
                permits,
                silences: 0,
                paused_until: None,
                silent_at: None,
                used: now,
                in_line: false,
                has_more: false,
            }
        });
        lane.used = now;
        lane.waiting.push_back((address.destination, work));
        self.waiting += 1;
        self.line_up(address.endpoint_id);
    }

    /// Puts a lane at the end of its store's line if it may start something and is not there.
    fn line_up(&mut self, endpoint_id: Uuid) {
        let Some(lane) = self.lanes.get_mut(&endpoint_id) else { return };
        if lane.in_line || !lane.may_start() {
            return;
        }
        lane.in_line = true;
        let line = self.lines.entry(lane.store_id).or_default();
        if line.is_empty() {
            self.turns.push_back(lane.store_id);
        }
        line.push_back(endpoint_id);
    }

    /// The next piece of work to start: of the store whose turn it is, of the endpoint whose turn it is there. Whoever takes it says so with
    /// [`Lanes::done`] when it has ended. `None` when nothing may be started.
    pub fn take_turn(&mut self) -> Option<(Address, W)> {
        // A destination that is full is passed by, and looked at again; once round all lines is enough.
        let mut to_look_at: usize = self.lines.values().map(VecDeque::len).sum();
        while self.in_flight < self.caps.in_flight && to_look_at > 0 {
            to_look_at -= 1;
            let store_id = self.turns.pop_front()?;
            let line = self.lines.get_mut(&store_id)?;
            let endpoint_id = line.pop_front()?;
            if line.is_empty() {
                self.lines.remove(&store_id);
            } else {
                self.turns.push_back(store_id);
            }
            let lane = self.lanes.get_mut(&endpoint_id)?;
            lane.in_line = false;
            if !lane.may_start() {
                continue;
            }
            let destination = lane.waiting.front().map(|(destination, _)| destination.clone())?;
            let busy = self.destinations.entry(destination.clone()).or_default();
            if *busy >= self.caps.per_destination {
                self.line_up(endpoint_id);
                continue;
            }
            let (_, work) = lane.waiting.pop_front()?;
            *busy += 1;
            lane.in_flight += 1;
            self.in_flight += 1;
            self.waiting -= 1;
            self.line_up(endpoint_id);
            return Some((Address { store_id, endpoint_id, destination }, work));
        }
        None
    }

    /// An attempt has ended. Returns the work that had better go back where it came from, because its lane pauses now.
    pub fn done(&mut self, address: &Address, sign: Sign, now: Instant) -> Vec<W> {
        self.in_flight -= 1;
        if let Some(busy) = self.destinations.get_mut(&address.destination) {
            *busy -= 1;
            if *busy == 0 {
                self.destinations.remove(&address.destination);
            }
        }
        let Some(lane) = self.lanes.get_mut(&address.endpoint_id) else { return Vec::new() };
        lane.in_flight -= 1;
        lane.used = now;
        match sign {
            Sign::Taken => {
                lane.permits = (lane.permits + 1).min(self.caps.per_endpoint);
                lane.silences = 0;
                lane.paused_until = None;
            }
            Sign::Answered => lane.silences = 0,
            Sign::Silent => {
                lane.permits = (lane.permits / 2).max(1);
                lane.silences += 1;
                lane.silent_at = Some(now);
                if let Some(failures) = lane.silences.checked_sub(FAILURES_BEFORE_PAUSE) {
                    lane.paused_until = Some(now + PAUSE.saturating_mul(1 << failures.min(8)).min(PAUSE_MAX));
                }
            }
            Sign::None => {}
        }
        if lane.paused_until.is_some() {
            self.waiting -= lane.waiting.len();
            return lane.waiting.drain(..).map(|(_, work)| work).collect();
        }
        self.line_up(address.endpoint_id);
        Vec::new()
    }

    /// Takes everything out that waits.
    pub fn clear(&mut self) -> Vec<W> {
        self.waiting = 0;
        self.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..)).map(|(_, work)| work).collect()
    }
}

#[cfg(test)]
mod tests;
