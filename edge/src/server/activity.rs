//! What a connection is doing, known to the connection, which keeps the deadlines, and to its requests, which run as tasks of their own on
//! HTTP/2. Numbers only; what follows from them is decided in `guarded.rs` and `budget.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often [`Activity::rested`] and [`Activity::used`] look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// In [`Activity::unread`] the number of answers stands in the low bits, and the moment above it: 2^44 milliseconds are 500 years.
const UNREAD_BITS: u32 = 20;
const UNREAD_MASK: u64 = (1 << UNREAD_BITS) - 1;

/// Why we ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its client was too slow.
    Timeout,
    /// Its client made work without letting a request be answered.
    Flood,
}

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity {
    pub(super) is_http2: bool,
    pub(super) started: Instant,
    requests: AtomicUsize,
    /// Whether there was any request yet.
    used: AtomicBool,
    /// Nanoseconds after `started` at which the last request ended. A request may take less than a millisecond, head and all.
    idle_since_ns: AtomicU64,
    /// Why it was ended; 0 while it was not.
    end: AtomicU8,
    let_go: AtomicBool,
    /// Whether the last request was read to its end, so that whatever comes next is another one.
    may_rest: AtomicBool,
    resting: AtomicBool,

    // What follows is for HTTP/2, where a client decides when it takes an answer.
    /// Of `requests`, those whose body may still be on its way.
    bodies: AtomicUsize,
    /// How many answers the client has not taken yet, and since when there was always one, in milliseconds after `started`.
    unread: AtomicU64,
    /// Bytes of answers that were written out.
    taken_bytes: AtomicU64,
    /// Answers that were written out to their end.
    taken: AtomicUsize,
    /// The same of requests with a body.
    taken_with_body: AtomicUsize,
    /// Requests that came to nothing since the last one whose answer was written out.
    abandoned: AtomicUsize,
}

impl Activity {
    /// Of a connection that begins now.
    pub fn new(is_http2: bool, started: Instant) -> Self {
        Self {
            is_http2,
            started,
            requests: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            idle_since_ns: AtomicU64::new(0),
            end: AtomicU8::new(0),
            let_go: AtomicBool::new(false),
            may_rest: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            unread: AtomicU64::new(0),
            taken_bytes: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
            taken_with_body: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
        }
    }

    /// Counts a request until what is returned is dropped.
    pub fn begin(this: &Arc<Self>, has_body: bool) -> Working {
        this.requests.fetch_add(1, Ordering::AcqRel);
        if has_body {
            this.bodies.fetch_add(1, Ordering::Relaxed);
        }
        if !this.used.load(Ordering::Relaxed) {
            this.used.store(true, Ordering::Release);
        }
        Working { activity: this.clone(), has_body, is_answered: false }
    }

    /// Why the connection was ended by us, if it was.
    pub fn ended(&self) -> Option<End> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(End::Timeout),
            _ => Some(End::Flood),
        }
    }

    pub(super) fn end(&self, why: End) {
        let number = match why {
            End::Timeout => 1,
            End::Flood => 2,
        };
        self.end.store(number, Ordering::Relaxed);
    }

    /// From now on the connection ends by itself when it is idle, as if its client had closed it. Whoever drives the connection must look
    /// at it once more after this.
    pub fn let_go(&self) {
        self.let_go.store(true, Ordering::Release);
    }

    pub(super) fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// Says whether the request that ends now was read to its end.
    pub(super) fn set_may_rest(&self, may_rest: bool) {
        self.may_rest.store(may_rest, Ordering::Relaxed);
    }

    pub(super) fn may_rest(&self) -> bool {
        self.may_rest.load(Ordering::Relaxed)
    }

    /// The client has said nothing for a while: what is held for its next request may be let go until it comes.
    pub(super) fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
    }

    /// Whether [`Activity::rest`] was said since the last call.
    pub(super) fn take_rest(&self) -> bool {
        self.resting.load(Ordering::Relaxed) && self.resting.swap(false, Ordering::Relaxed)
    }

    /// Waits until nothing has been done for `how_long`, counted from now at the earliest.
    pub async fn rested(&self, how_long: Duration) {
        let begun = Instant::now();
        while self.requests() > 0 || self.unread() > 0 || self.idle_since().max(begun) + how_long > Instant::now() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until there has been a request.
    pub async fn used(&self) {
        while !self.is_used() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Requests that are being worked on.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.started + Duration::from_nanos(self.idle_since_ns.load(Ordering::Acquire))
    }

    fn idle_from_now(&self) -> Duration {
        let now = self.started.elapsed();
        self.idle_since_ns.store(now.as_nanos() as u64, Ordering::Release);
        now
    }

    pub(super) fn bodies(&self) -> usize {
        self.bodies.load(Ordering::Relaxed)
    }

    /// Answers that the client has not taken yet.
    pub(super) fn unread(&self) -> usize {
        (self.unread.load(Ordering::Acquire) & UNREAD_MASK) as usize
    }

    /// Since when there has always been an answer that the client has not taken; none when it has taken all.
    pub(super) fn unread_since(&self) -> Option<Instant> {
        let unread = self.unread.load(Ordering::Acquire);
        (unread & UNREAD_MASK > 0).then(|| self.started + Duration::from_millis(unread >> UNREAD_BITS))
    }

    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// Answers that were taken whole, and how many of them were to requests with a body.
    pub(super) fn taken(&self) -> (usize, usize) {
        (self.taken.load(Ordering::Relaxed), self.taken_with_body.load(Ordering::Relaxed))
    }

    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// A request being worked on.
#[derive(Debug)]
pub struct Working {
    activity: Arc<Activity>,
    has_body: bool,
    is_answered: bool,
}

impl Working {
    /// Its answer is there, and the client has to take it. Only for HTTP/2.
    pub fn answered(mut self) -> Unread {
        let since_ms = self.activity.started.elapsed().as_millis() as u64;
        let first = since_ms << UNREAD_BITS | 1;
        let add = |unread: u64| Some(if unread & UNREAD_MASK == 0 { first } else { unread + 1 });
        // Never fails: the closure always has a value.
        let _ = self.activity.unread.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        self.is_answered = true;
        Unread { activity: self.activity.clone(), has_body: self.has_body, is_taken: false }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.activity.idle_from_now();
        if self.has_body {
            self.activity.bodies.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.is_answered && self.activity.is_http2 {
            self.activity.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        self.activity.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer that the client has not taken yet. Dropped before [`Unread::taken`], it was not wanted.
#[derive(Debug)]
pub struct Unread {
    activity: Arc<Activity>,
    has_body: bool,
    is_taken: bool,
}

impl Unread {
    /// So many of its bytes were written out.
    pub fn took(&self, bytes: usize) {
        self.activity.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All of it was written out.
    pub fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let activity = &self.activity;
        activity.idle_from_now();
        if self.is_taken {
            activity.taken.fetch_add(1, Ordering::Relaxed);
            if self.has_body {
                activity.taken_with_body.fetch_add(1, Ordering::Relaxed);
            }
            activity.abandoned.store(0, Ordering::Relaxed);
        } else {
            activity.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        activity.unread.fetch_sub(1, Ordering::AcqRel);
    }
}
