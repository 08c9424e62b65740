//! Connections: accepted up to a bound, told apart as HTTP/1.1, HTTP/2 or TLS by their first bytes, served, and ended in an orderly way.
//! Every wait on a client has a deadline; most of them are kept by [`guarded::Guarded`].
//!
//! At a stop nobody is cut off in the middle of a word: what waits to be accepted is accepted, every answer says that it is the last of its
//! connection, and idle connections are left a while for requests that are on their way.

mod activity;
mod budget;
mod connection;
pub mod guarded;
mod handover;
pub mod listener;
mod per_address;
pub mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client_address::ClientAddress;
use crate::edge::Edge;
use crate::metrics::EdgeMetrics;
use budget::Budget;
use guarded::Deadlines;
use listener::Listener;
use per_address::PerAddress;
use tls::Certificate;

/// How long to wait before accepting again when the system has no room.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How connections are treated.
#[derive(Debug, Clone)]
pub struct ServerKnobs {
    /// Open connections in all.
    pub connections_max: usize,
    /// Open connections from one address.
    pub connections_per_address_max: usize,
    /// Bytes of a request head.
    pub head_max_bytes: usize,
    /// Header fields of a request.
    pub head_fields_max: usize,
    /// Open streams of an HTTP/2 connection.
    pub http2_streams_max: u32,
    /// How long to wait for a client to do something.
    pub deadlines: Deadlines,
    /// How long idle connections are left open at a stop.
    pub drain_idle: Duration,
}

/// Serves connections.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

/// What all connections share.
struct Inner {
    edge: Arc<Edge>,
    knobs: ServerKnobs,
    certificate: Option<Arc<Certificate>>,
    room: Arc<Semaphore>,
    per_address: PerAddress,
    tracker: TaskTracker,
    /// Cancelled when every answer is to be the last of its connection.
    leaving: CancellationToken,
    /// The same, for a look at every request.
    is_leaving: AtomicBool,
    /// Cancelled some time later, when nobody who is idle is waited for any more.
    let_go: CancellationToken,
    /// The same, for a look without a lock. Set before.
    is_let_go: AtomicBool,
}

impl Inner {
    fn metrics(&self) -> &EdgeMetrics {
        &self.edge.metrics
    }

    fn budget(&self) -> Budget {
        Budget::new(self.edge.knobs.body_max_bytes, self.knobs.http2_streams_max)
    }
}

impl Server {
    /// A server that serves nobody yet. With a certificate it speaks TLS only.
    pub fn new(edge: Arc<Edge>, knobs: ServerKnobs, certificate: Option<Arc<Certificate>>) -> Self {
        let inner = Inner {
            edge,
            certificate,
            room: Arc::new(Semaphore::new(knobs.connections_max)),
            per_address: PerAddress::new(knobs.connections_per_address_max),
            knobs,
            tracker: TaskTracker::new(),
            leaving: CancellationToken::new(),
            is_leaving: AtomicBool::new(false),
            let_go: CancellationToken::new(),
            is_let_go: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Accepts connections until `stop`, and then those that wait already.
    pub async fn accept(self, listener: Listener, stop: CancellationToken) -> Result<(), Infallible> {
        let mut is_out_of_room = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => {
                    listener.waiting().into_iter().for_each(|(stream, peer)| self.admit(stream, peer));
                    return Ok(());
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_out_of_room = false;
                    self.admit(stream, peer);
                }
                Err(error) => {
                    // Out of descriptors, most likely. What is open goes on; others must wait.
                    self.inner.metrics().connections_ended_total.with_label_values(&["accept_error"]).inc();
                    if !std::mem::replace(&mut is_out_of_room, true) {
                        tracing::warn!(%error, "no connection can be accepted; trying again until one can");
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let server = &self.inner;
        let ended = |reason| server.metrics().connections_ended_total.with_label_values(&[reason]).inc();
        let Ok(room) = server.room.clone().try_acquire_owned() else { return ended("too_many") };
        let Some(place) = server.per_address.enter(ClientAddress::of(peer.ip())) else { return ended("too_many_of_address") };
        // A task each: one in clear need not have room for all that TLS takes.
        let shared = server.clone();
        match &server.certificate {
            None => server.tracker.spawn(async move {
                shared.metrics().connections.inc();
                let served = connection::serve(shared.clone(), stream, peer).await;
                shared.left(served);
                drop((room, place));
            }),
            Some(certificate) => {
                let certificate = certificate.clone();
                server.tracker.spawn(async move {
                    shared.metrics().connections.inc();
                    let served = connection::serve_tls(shared.clone(), certificate, stream, peer).await;
                    shared.left(served);
                    drop((room, place));
                })
            }
        };
    }

    /// Ends all connections after what they are doing. `false` when some were still busy after `timeout`.
    pub async fn drain(&self, timeout: Duration) -> bool {
        let Inner { knobs, tracker, leaving, is_leaving, let_go, is_let_go, .. } = &*self.inner;
        is_leaving.store(true, Ordering::Release);
        leaving.cancel();
        tracker.close();
        let ended = async {
            if tokio::time::timeout(knobs.drain_idle, tracker.wait()).await.is_err() {
                is_let_go.store(true, Ordering::Release);
                let_go.cancel();
                tracker.wait().await;
            }
        };
        tokio::time::timeout(timeout, ended).await.is_ok()
    }
}

impl Inner {
    fn left(&self, served: Result<(), connection::Reason>) {
        if let Err(reason) = served {
            self.metrics().connections_ended_total.with_label_values(&[reason]).inc();
        }
        self.metrics().connections.dec();
    }
}
