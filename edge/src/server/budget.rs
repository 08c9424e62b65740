//! How much a client may send on an HTTP/2 connection without letting a request be answered. `h2` answers every PING and SETTINGS, and works
//! through any frame that is well-formed; this bounds all of it together, by bytes, without looking at frames.

use tokio::time::Instant;

use super::activity::Activity;

/// What any connection may send beside its requests: settings, windows, pings.
const ALLOWANCE_BYTES: i64 = 64 * 1024;
/// What of it comes back in a second by itself.
const REFILL_BYTES_PER_S: f64 = 4_096.0;
/// What a request may take that is not answered yet, without its body.
const HEAD_BYTES: i64 = 32 * 1024;
/// Requests that come to nothing in a row. A browser that is closed gives up all that it had open, once.
const ABANDONED_MAX: usize = 300;
/// What has come in by then is not worth a second look.
const UNSEEN_BYTES: i64 = 16 * 1024;

/// What a connection has sent that no answer stands against.
#[derive(Debug)]
pub struct Budget {
    /// Below zero when answers were given before their requests' bodies came.
    owed: i64,
    /// What a request with a body may take beyond its head. Twice the largest body, because frames may be small.
    body_bytes: i64,
    streams_max: i64,
    looked: Instant,
    taken: (usize, usize),
}

impl Budget {
    /// Of a connection that begins now.
    pub fn new(body_max_bytes: usize, streams_max: u32) -> Self {
        let body_bytes = 2 * i64::try_from(body_max_bytes).unwrap_or(i64::MAX / 4);
        Self { owed: 0, body_bytes, streams_max: i64::from(streams_max), looked: Instant::now(), taken: (0, 0) }
    }

    /// Counts bytes that came in.
    pub fn spend(&mut self, bytes: usize) {
        self.owed += bytes as i64;
    }

    /// Whether more may come in.
    pub fn holds(&mut self, activity: &Activity) -> bool {
        activity.abandoned() <= ABANDONED_MAX && (self.owed <= UNSEEN_BYTES || self.look(activity))
    }

    fn look(&mut self, activity: &Activity) -> bool {
        let now = Instant::now();
        let refilled = now.duration_since(self.looked).as_secs_f64() * REFILL_BYTES_PER_S;
        self.looked = now;
        self.owed = (self.owed - refilled as i64).max(0);
        let taken = activity.taken();
        if taken != self.taken {
            // Who is refused early may have sent the whole body by then, and it is still coming.
            let bodies = (taken.1 - self.taken.1) as i64;
            self.owed = (-bodies).max(-self.streams_max) * self.body_bytes;
            self.taken = taken;
        }
        let open = (activity.requests() + activity.unread()) as i64;
        // Its last one may have been answered since its bytes were counted, but then that answer was seen just now.
        let allowed = ALLOWANCE_BYTES + open * HEAD_BYTES + activity.bodies() as i64 * self.body_bytes;
        self.owed <= allowed
    }
}
