//! A connection with deadlines on everything a client can keep us waiting for: the next request, the rest of a head, and taking what we
//! write. While a request is being worked on the clock stands still; its body has a deadline of its own.
//!
//! It is closed as TCP wants it: our side first, then what the client still sends is read and thrown away until it closes too. Closed at
//! once, with something unread, the connection would be reset, and the client could lose the answer that it has not read yet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How often [`Activity::rested`] and [`Activity::used`] look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the client may take to close its side after ours.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it still sends is read meanwhile.
const LINGER_MAX_BYTES: usize = 1 << 20;

/// How long to wait for a client.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From accepted to the first byte, a TLS handshake included.
    pub first_byte: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without the client taking anything of what we write.
    pub write: Duration,
}

/// What a connection is doing, known to the connection and to its requests.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    requests: AtomicUsize,
    /// Whether there was any request yet.
    used: AtomicBool,
    /// Nanoseconds after `started` at which the last request ended. A request may take less than a millisecond, head and all.
    idle_since_ns: AtomicU64,
    /// On HTTP/2 bytes may come without a request beginning: a ping is no head.
    is_http2: AtomicBool,
    timed_out: AtomicBool,
    let_go: AtomicBool,
}

impl Activity {
    /// Counts a request until what is returned is dropped.
    pub fn begin(this: &Arc<Self>) -> Working {
        this.requests.fetch_add(1, Ordering::AcqRel);
        this.used.store(true, Ordering::Release);
        Working(this.clone())
    }

    /// Whether the connection was ended because its client was too slow.
    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// From now on the connection ends by itself when it is idle, as if its client had closed it. Whoever drives the connection must look
    /// at it once more after this.
    pub fn let_go(&self) {
        self.let_go.store(true, Ordering::Release);
    }

    /// Waits until no request has been worked on for `how_long`, counted from now at the earliest.
    pub async fn rested(&self, how_long: Duration) {
        let begun = Instant::now();
        while self.requests.load(Ordering::Acquire) > 0 || self.idle_since().max(begun) + how_long > Instant::now() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until there has been a request.
    pub async fn used(&self) {
        while !self.used.load(Ordering::Acquire) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn idle_since(&self) -> Instant {
        self.started + Duration::from_nanos(self.idle_since_ns.load(Ordering::Acquire))
    }
}

/// A request being worked on.
#[derive(Debug)]
pub struct Working(Arc<Activity>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.idle_since_ns.store(self.0.started.elapsed().as_nanos() as u64, Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream with deadlines, and the bytes that were read from it already.
pub struct Guarded<S> {
    stream: S,
    first: Vec<u8>,
    deadlines: Deadlines,
    activity: Arc<Activity>,
    /// When the first byte of the present head came; none while waiting for it.
    head_since: Option<Instant>,
    /// When the client last took something, while we have something for it.
    write_since: Option<Instant>,
    /// Something was written and may not be out yet.
    unflushed: bool,
    /// Our side is closed; what of the client's was read since, in bytes.
    lingering: Option<(Instant, usize)>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
}

impl<S> Guarded<S> {
    /// Guards a stream of which `first` was read already.
    pub fn new(stream: S, first: Vec<u8>, deadlines: Deadlines) -> Self {
        let now = Instant::now();
        let activity = Activity {
            started: now,
            requests: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            idle_since_ns: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
        };
        let head_since = (!first.is_empty()).then_some(now);
        let timer = || Box::pin(tokio::time::sleep_until(now + deadlines.idle));
        let (read_timer, write_timer) = (timer(), timer());
        let activity = Arc::new(activity);
        let (write_since, unflushed, lingering) = (None, false, None);
        Self { stream, first, deadlines, activity, head_since, write_since, unflushed, lingering, read_timer, write_timer }
    }

    /// What the connection is doing; `is_http2` says how to read it.
    pub fn activity(&self, is_http2: bool) -> Arc<Activity> {
        self.activity.is_http2.store(is_http2, Ordering::Relaxed);
        self.activity.clone()
    }

    /// Until when the client must have sent something more. None while we are working for it.
    fn read_deadline(&self) -> Option<Instant> {
        if self.activity.requests.load(Ordering::Acquire) > 0 {
            return None;
        }
        Some(self.in_head_since().map_or_else(|| self.activity.idle_since() + self.deadlines.idle, |since| since + self.deadlines.head))
    }

    /// Since when a request's head is being read. Only where no request is being worked on.
    fn in_head_since(&self) -> Option<Instant> {
        let is_http2 = self.activity.is_http2.load(Ordering::Relaxed);
        self.head_since.filter(|&since| since >= self.activity.idle_since() && !is_http2)
    }

    /// Whether the connection was let go and nothing is under way on it.
    fn may_go(&self) -> bool {
        let idle = || self.activity.requests.load(Ordering::Acquire) == 0 && self.in_head_since().is_none() && !self.unflushed;
        self.activity.let_go.load(Ordering::Acquire) && idle()
    }

    fn give_up(&self) -> io::Error {
        self.activity.timed_out.store(true, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }

    /// Sets the clock for the next request once the last answer is out: nobody looks for one then until bytes come, and so nobody would
    /// notice that none come.
    fn await_next(&mut self, cx: &mut Context<'_>) {
        if let Some(deadline) = self.read_deadline()
            && poll_timer(&mut self.read_timer, deadline, cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    /// Keeps the write deadline: counts from the first moment at which the client took nothing.
    fn after_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_since = None;
            return written;
        }
        let deadline = *self.write_since.get_or_insert_with(Instant::now) + self.deadlines.write;
        match poll_timer(&mut self.write_timer, deadline, cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.give_up())),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn poll_timer(timer: &mut Pin<Box<Sleep>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.as_mut().poll(cx)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let len = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..len]);
            this.first.drain(..len);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            let begins = this.head_since.is_none_or(|since| since < this.activity.idle_since());
            if begins && buf.filled().len() > before && this.activity.requests.load(Ordering::Acquire) == 0 {
                this.head_since = Some(Instant::now());
            }
            return Poll::Ready(read);
        }
        if this.may_go() {
            return Poll::Ready(Ok(()));
        }
        match this.read_deadline() {
            Some(deadline) => match poll_timer(&mut this.read_timer, deadline, cx) {
                // The deadline may have moved since the timer was set.
                Poll::Ready(()) if this.read_deadline().is_some_and(|deadline| deadline <= Instant::now()) => {
                    Poll::Ready(Err(this.give_up()))
                }
                _ => Poll::Pending,
            },
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unflushed &= flushed.is_pending();
        self.await_next(cx);
        self.after_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
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
                Poll::Pending => return poll_timer(&mut self.read_timer, *until, cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
