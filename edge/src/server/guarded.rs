//! A connection with deadlines on everything a client can keep us waiting for: the next request, the rest of a head, and taking what we
//! write. While a request is being worked on the clock stands still; its body has a deadline of its own.
//!
//! It is closed as TCP wants it: our side first, then what the client still sends is read and thrown away until it closes too. Closed at
//! once, with something unread, the connection would be reset, and the client could lose the answer that it has not read yet. Who does not
//! read is reset all the same: an orderly end would wait in line behind what is not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, End};
use super::budget::Budget;

/// What every HTTP/2 connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long the client may take to close its side after ours.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it still sends is read meanwhile: the largest body that any route takes, several times.
const LINGER_MAX_BYTES: usize = 4 << 20;
/// Slower than any real link. Who takes less of what we write is waited for no longer than who takes nothing.
const READ_MIN_BYTES_PER_S: f64 = 4_096.0;

/// How long an HTTP/1.1 client must have said nothing until what hyper keeps for it is let go: a moment for it, and some 20 KB.
const REST_AFTER: Duration = Duration::from_secs(1);
/// The most of a client's next word that is read before hyper is there again.
const WORD_MAX_BYTES: usize = 1_024;

/// How long to wait for a client.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From accepted to the first byte, a TLS handshake included.
    pub first_byte: Duration,
    /// From a head's first byte to its last, and for the first one from accepted.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without the client taking anything of what we write.
    pub write: Duration,
}

/// A stream that is a TCP connection at the bottom.
pub trait Connected {
    /// The bottom.
    fn tcp(&self) -> &TcpStream;
}

impl Connected for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Connected for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// That the client sends or takes something.
    Client,
    /// That the last answer has left this machine.
    Sent,
    /// Nothing: the connection is to rest.
    Rest,
}

/// When an answer must have been taken: moves on with what is taken.
#[derive(Debug, Clone, Copy)]
struct Reading {
    since: Instant,
    taken_bytes: u64,
    due: Instant,
}

/// A stream with deadlines, and the bytes that were read from it already. Lives in one task from its first use on.
pub struct Guarded<S> {
    stream: S,
    first: Vec<u8>,
    deadlines: Deadlines,
    activity: Arc<Activity>,
    /// HTTP/2 only.
    budget: Option<Budget>,
    /// The budget is used up, and nothing was read since.
    paused: bool,
    /// Bytes that came since the connection began, as far as they may belong to HTTP/2's preface.
    heard_bytes: usize,
    /// When the first byte of the present head came; none while waiting for it.
    head_since: Option<Instant>,
    /// When the client must have taken more, while we have something for it.
    write_due: Option<Instant>,
    /// The same for answers that wait in `h2`.
    reading: Option<Reading>,
    /// When the last answer was handed to the kernel, if that took its time.
    written: Option<Instant>,
    /// The end of the request whose answer is known to have been sent.
    sent: Option<Instant>,
    /// The end of the request after which the connection was told to rest.
    rested: Option<Instant>,
    /// Something was written and may not be out yet.
    unflushed: bool,
    /// Our side is closed; what of the client's was read since, in bytes.
    lingering: Option<(Instant, usize)>,
    /// Made when first needed. Rather fires too early and is set again than be set anew by every request.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards a stream of which `first` was read already. A budget is for HTTP/2, and says that it is that.
    pub fn new(stream: S, first: Vec<u8>, deadlines: Deadlines, accepted: Instant, budget: Option<Budget>) -> Self {
        let heard_bytes = first.len();
        let activity = Arc::new(Activity::new(budget.is_some(), accepted));
        let head_since = (heard_bytes > 0).then_some(accepted);
        Self {
            stream,
            first,
            deadlines,
            activity,
            budget,
            paused: false,
            heard_bytes,
            head_since,
            write_due: None,
            reading: None,
            written: None,
            sent: None,
            rested: None,
            unflushed: false,
            lingering: None,
            timer: None,
        }
    }

    /// What the connection is doing.
    pub fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    /// Until when the client must have done something, or we must look after it. None while we are working for it.
    fn deadline(&mut self) -> Option<(Instant, Awaited)> {
        if let Some(due) = self.reading_due() {
            return Some((due, Awaited::Client));
        }
        // While something waits to be written, `after_write` looks at the clock.
        if self.activity.requests() > 0 || self.write_due.is_some() {
            return None;
        }
        let Deadlines { first_byte, head, idle, write } = self.deadlines;
        let started = self.activity.started;
        let client = |until| Some((until, Awaited::Client));
        if !self.activity.is_used() {
            let within = match self.activity.is_http2 {
                // However it comes by, the first head is there in time, or the connection goes.
                false => first_byte.max(head),
                true if self.heard_bytes < PREFACE.len() => first_byte,
                true => idle,
            };
            return client(started + within);
        }
        let idle_since = self.activity.idle_since();
        if let Some(since) = self.in_head_since() {
            return client(since + head);
        }
        let may_rest = !self.activity.is_http2 && !self.unflushed && self.activity.may_rest() && REST_AFTER < idle.min(write);
        if may_rest && self.rested != Some(idle_since) {
            return Some((idle_since + REST_AFTER, Awaited::Rest));
        }
        if self.sent != Some(idle_since) {
            let written = self.written.map_or(idle_since, |written| written.max(idle_since));
            return Some((written + write, Awaited::Sent));
        }
        client(idle_since + idle)
    }

    /// Until when the client must have taken more of the answers that wait for its windows.
    fn reading_due(&mut self) -> Option<Instant> {
        let since = self.activity.unread_since()?;
        let taken_bytes = self.activity.taken_bytes();
        let fresh = Reading { since, taken_bytes, due: since + self.deadlines.write };
        let reading = self.reading.get_or_insert(fresh);
        if reading.since != since {
            *reading = fresh;
        } else if reading.taken_bytes != taken_bytes {
            let taken = (taken_bytes - reading.taken_bytes) as usize;
            *reading = Reading { since, taken_bytes, due: later(reading.due, taken, self.deadlines.write) };
        }
        Some(reading.due)
    }

    /// Since when a request's head is being read. Only where no request is being worked on. On HTTP/2 a ping is no head: who says only half
    /// of something there does not answer pings either, and is ended by that.
    fn in_head_since(&self) -> Option<Instant> {
        let is_new = |since: &Instant| !self.activity.is_used() || *since >= self.activity.idle_since();
        self.head_since.filter(|since| !self.activity.is_http2 && is_new(since))
    }

    /// Whether the connection was let go and nothing is under way on it.
    fn may_go(&self) -> bool {
        self.activity.is_let_go() && self.activity.requests() == 0 && self.in_head_since().is_none() && !self.unflushed
    }
}

/// A deadline that moves on with the bytes that were taken, never further than `wait` from now.
fn later(due: Instant, bytes: usize, wait: Duration) -> Instant {
    (due + Duration::from_secs_f64(bytes as f64 / READ_MIN_BYTES_PER_S)).min(Instant::now() + wait)
}

/// Ready at `deadline`. Where the timer is set to something earlier it stays so: it wakes the task for nothing then, once in a while, which
/// costs less than setting it for every request.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
    if deadline < timer.deadline() {
        timer.as_mut().reset(deadline);
    }
    loop {
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
}

impl<S: Connected> Guarded<S> {
    /// Ready when the client has let a deadline pass.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while let Some((deadline, awaited)) = self.deadline() {
            ready!(poll_timer(&mut self.timer, deadline, cx));
            match awaited {
                Awaited::Rest => {
                    self.rested = Some(self.activity.idle_since());
                    self.activity.rest();
                }
                Awaited::Sent if !self.has_unsent() => self.sent = Some(self.activity.idle_since()),
                Awaited::Sent | Awaited::Client => return Poll::Ready(self.give_up(End::Timeout)),
            }
        }
        Poll::Pending
    }

    /// Sets the clock for the next request once the last answer is out: nobody looks for one then until bytes come, and so nobody would
    /// notice that none come.
    fn await_next(&mut self, cx: &mut Context<'_>) {
        if let Some((deadline, _)) = self.deadline()
            && poll_timer(&mut self.timer, deadline, cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether the kernel still holds more of what we wrote than [`super::connection`] lets it.
    fn has_unsent(&self) -> bool {
        let mut socket = [PollFd::new(self.stream.tcp(), PollFlags::OUT)];
        // An error, here or on the socket, is no reason: the next read meets it.
        matches!(poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    fn give_up(&self, why: End) -> io::Error {
        self.activity.end(why);
        if why == End::Flood || self.unflushed || self.activity.unread() > 0 || self.has_unsent() {
            // If it cannot be set, the end comes later.
            let _ = self.stream.tcp().set_zero_linger();
        }
        io::ErrorKind::TimedOut.into()
    }

    /// Notes when the kernel has given up on a client that acknowledges nothing.
    fn noted(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::TimedOut {
            self.activity.end(End::Timeout);
        }
        error
    }

    /// Keeps the write deadline: counts from the first moment at which the client took nothing.
    fn after_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(due) = &mut self.write_due {
                    *due = later(*due, bytes, self.deadlines.write);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.noted(error))),
            Poll::Pending => {
                let due = *self.write_due.get_or_insert_with(|| Instant::now() + self.deadlines.write);
                ready!(poll_timer(&mut self.timer, due, cx));
                Poll::Ready(Err(self.give_up(End::Timeout)))
            }
        }
    }
}

impl<S: AsyncRead + Connected + Unpin> Guarded<S> {
    /// Gives back bytes that were read and not used.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.first.splice(..0, bytes.iter().copied());
    }

    /// Waits for what the client says next, and keeps it for the next read. `false` when it has nothing more to say.
    pub fn poll_next_word(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut word = [0; WORD_MAX_BYTES];
        let mut buf = ReadBuf::new(&mut word);
        ready!(Pin::new(&mut *self).poll_read(cx, &mut buf))?;
        self.unread(buf.filled());
        Poll::Ready(Ok(!buf.filled().is_empty()))
    }
}

impl<S: AsyncRead + Connected + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let len = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..len]);
            this.first.drain(..len);
            if this.first.is_empty() {
                this.first = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        if !this.budget.as_mut().is_none_or(|budget| budget.holds(&this.activity)) {
            // What came in may be requests that `h2` has read and not handed over: it does so when nothing more comes at the moment.
            if !std::mem::replace(&mut this.paused, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Err(this.give_up(End::Flood)));
        }
        this.paused = false;
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            if let Err(error) = read {
                return Poll::Ready(Err(this.noted(error)));
            }
            let bytes = buf.filled().len() - before;
            this.heard_bytes = (this.heard_bytes + bytes).min(PREFACE.len());
            if let Some(budget) = &mut this.budget {
                budget.spend(bytes);
            } else if bytes > 0 && this.activity.requests() == 0 && this.in_head_since().is_none() {
                this.head_since = Some(Instant::now());
                // It may have been told to rest a moment ago, and not have begun.
                this.activity.take_rest();
            }
            return Poll::Ready(Ok(()));
        }
        if this.may_go() {
            return Poll::Ready(Ok(()));
        }
        this.poll_deadline(cx).map(Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Connected + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| 0);
        ready!(self.after_write(cx, flushed))?;
        self.unflushed = false;
        if self.write_due.take().is_some() {
            self.written = Some(Instant::now());
        }
        self.await_next(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let shut = Pin::new(&mut self.stream).poll_shutdown(cx).map_ok(|()| 0);
            ready!(self.after_write(cx, shut))?;
            self.lingering = Some((Instant::now() + LINGER, 0));
        }
        self.poll_linger(cx)
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Waits until the client has closed its side as well, within bounds. Never fails: all that was to be said is said.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waste = [0; 2_048];
        while let Some((until, read)) = &mut self.lingering
            && *read < LINGER_MAX_BYTES
        {
            let mut buf = ReadBuf::new(&mut waste);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => *read += buf.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => return poll_timer(&mut self.timer, *until, cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
