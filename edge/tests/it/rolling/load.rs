//! Clients of every kind, which ask for as long as they are told to and hide nothing: what a patient library would try again in silence is
//! counted here.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::stage::{FULFILL, GEO, PATIENCE, SESSION, order, session};

/// What came of everything that was asked.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub connections: u64,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// Connections that could not be made, or were reset before the first byte.
    pub refused: u64,
    /// Requests that a reset answered.
    pub reset: u64,
    /// Requests whose connection ended without a whole answer.
    pub cut: u64,
    /// Requests that found their connection closed before they were sent: what any client sends again over another one.
    pub unsent: u64,
    /// Requests on HTTP/2 streams of which the goodbye said that they were not begun: sent after it, before it was understood. Libraries
    /// send them again.
    pub turned_away: u64,
    /// How long each fulfillment took. Their references are `roll-0`, `roll-1`, …, less those that were never sent.
    pub fulfill: Vec<Duration>,
    /// The first few things that went wrong.
    pub trouble: Vec<String>,
}

impl Tally {
    pub fn requests(&self) -> u64 {
        self.answers.values().sum::<u64>() + self.reset + self.cut
    }

    /// Everything that a client could complain about.
    pub fn scratches(&self) -> u64 {
        let failures: u64 = self.answers.range(500..).map(|(_, count)| count).sum();
        self.refused + self.reset + self.cut + failures
    }

    /// The time below which this share of the fulfillments stayed.
    pub fn fulfill_within(&mut self, share: f64) -> Duration {
        self.fulfill.sort_unstable();
        let last = self.fulfill.len().saturating_sub(1);
        self.fulfill.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// What all clients share.
pub struct Load {
    address: SocketAddr,
    key: String,
    orders: AtomicU64,
    tally: Mutex<Tally>,
    stop: CancellationToken,
}

/// A kind of client.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// HTTP/1.1, one connection for as long as it is kept, with pauses of this many milliseconds at most.
    KeptAlive(u64),
    /// HTTP/1.1, a connection for every request.
    ShortLived,
    /// HTTP/2, with eight requests at once.
    Http2,
}

impl Load {
    pub fn new(address: SocketAddr, key: &str) -> Arc<Self> {
        let (orders, tally, stop) = (AtomicU64::new(0), Mutex::default(), CancellationToken::new());
        Arc::new(Self { address, key: key.to_owned(), orders, tally, stop })
    }

    /// Starts these clients. On a thread of their own, and on no other: hyper's client over several threads may hand a request to a
    /// connection in the moment in which that hears the goodbye, and then reports one as failed that it has never sent.
    pub fn start(self: &Arc<Self>, kinds: &[Kind]) -> JoinHandle<()> {
        let (load, kinds) = (self.clone(), kinds.to_vec());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { kinds.iter().map(|&kind| load.clone().run(kind)).collect::<JoinSet<()>>().join_all().await });
        })
    }

    /// Ends them, each after the answer it waits for, and says what came of it.
    pub async fn stop(&self, clients: JoinHandle<()>) -> Tally {
        self.stop.cancel();
        tokio::task::spawn_blocking(|| clients.join()).await.expect("a thread").expect("all clients to end well");
        self.so_far()
    }

    pub fn so_far(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    async fn run(self: Arc<Self>, kind: Kind) {
        while !self.stop.is_cancelled() {
            match kind {
                Kind::KeptAlive(pause_ms) => {
                    if let Some(mut sender) = self.connect_http1().await {
                        while self.ask_http1(&mut sender).await && !self.stop.is_cancelled() {
                            tokio::time::sleep(Duration::from_millis(rand::random_range(0..=pause_ms))).await;
                        }
                    }
                }
                Kind::ShortLived => {
                    if let Some(mut sender) = self.connect_http1().await {
                        self.ask_http1(&mut sender).await;
                    }
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=10))).await;
                }
                Kind::Http2 => {
                    if let Some(sender) = self.connect_http2().await {
                        let streams: JoinSet<()> = (0..8).map(|_| self.clone().run_stream(sender.clone())).collect();
                        streams.join_all().await;
                    }
                }
            }
        }
    }

    async fn connect(&self) -> Option<TokioIo<TcpStream>> {
        let connected = timeout(PATIENCE, TcpStream::connect(self.address)).await.expect("a connection in time");
        let mut tally = self.tally.lock().unwrap();
        tally.connections += 1;
        match connected {
            Ok(stream) => Some(TokioIo::new(stream)),
            Err(error) => {
                tally.refused += 1;
                tally.note(format!("connecting: {error}"));
                None
            }
        }
    }

    async fn connect_http1(&self) -> Option<http1::SendRequest<Full<Bytes>>> {
        let (sender, connection) = http1::handshake(self.connect().await?).await.expect("HTTP/1.1 begins without a word");
        // Whatever ends it is told to the request that it ends.
        tokio::spawn(connection);
        Some(sender)
    }

    async fn connect_http2(&self) -> Option<http2::SendRequest<Full<Bytes>>> {
        match http2::handshake(TokioExecutor::new(), self.connect().await?).await {
            Ok((sender, connection)) => {
                tokio::spawn(connection);
                Some(sender)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// `false` when the connection is of no use any more.
    async fn ask_http1(&self, sender: &mut http1::SendRequest<Full<Bytes>>) -> bool {
        if sender.ready().await.is_err() {
            return false;
        }
        let (request, is_order) = self.request(false);
        let asked = Instant::now();
        let answered = timeout(PATIENCE, sender.try_send_request(request)).await.expect("an answer in time");
        match answered {
            Ok(response) => self.answered(response, asked, is_order).await,
            Err(error) => self.lost(error),
        }
    }

    async fn run_stream(self: Arc<Self>, mut sender: http2::SendRequest<Full<Bytes>>) {
        while !self.stop.is_cancelled() && sender.ready().await.is_ok() {
            let (request, is_order) = self.request(true);
            let asked = Instant::now();
            let answered = timeout(PATIENCE, sender.try_send_request(request)).await.expect("an answer in time");
            let goes_on = match answered {
                Ok(response) => self.answered(response, asked, is_order).await,
                Err(error) => self.lost(error),
            };
            if !goes_on {
                return;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..=20))).await;
        }
    }

    fn request(&self, http2: bool) -> (Request<Full<Bytes>>, bool) {
        let host = self.address.to_string();
        let request = |method, path: &str| {
            let request = Request::builder().method(method);
            if http2 { request.uri(format!("http://{host}{path}")) } else { request.uri(path).header("host", &host) }
        };
        let post = |path, body: serde_json::Value| {
            let request = request("POST", path).header("authorization", format!("Bearer {}", self.key));
            request.header("content-type", "application/json").body(Full::from(body.to_string())).unwrap()
        };
        match rand::random_range(0..10) {
            0..5 => (post(SESSION, session()), false),
            5..8 => (request("GET", GEO).body(Full::default()).unwrap(), false),
            _ => (post(FULFILL, order(&format!("roll-{}", self.orders.fetch_add(1, Ordering::Relaxed)))), true),
        }
    }

    async fn answered(&self, response: http::Response<hyper::body::Incoming>, asked: Instant, is_order: bool) -> bool {
        let status = response.status().as_u16();
        match timeout(PATIENCE, response.into_body().collect()).await.expect("a body in time") {
            Ok(body) => {
                let mut tally = self.tally.lock().unwrap();
                *tally.answers.entry(status).or_default() += 1;
                if is_order {
                    tally.fulfill.push(asked.elapsed());
                }
                if status >= 400 {
                    tally.note(String::from_utf8_lossy(&body.to_bytes()).into_owned());
                }
                true
            }
            Err(error) => self.failed(&error),
        }
    }

    fn lost<Unsent>(&self, mut error: TrySendError<Unsent>) -> bool {
        if error.take_message().is_none() {
            return self.failed(error.error());
        }
        self.tally.lock().unwrap().unsent += 1;
        false
    }

    fn failed(&self, error: &hyper::Error) -> bool {
        let causes = || std::iter::successors(error.source(), |&cause| cause.source());
        let http2 = causes().find_map(|cause| cause.downcast_ref::<h2::Error>());
        let kind = causes().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        let mut tally = self.tally.lock().unwrap();
        // A stream that was begun, and then cut off by the connection's end, is told by an I/O error.
        if http2.is_some_and(|error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)) {
            tally.turned_away += 1;
            return false;
        }
        match kind {
            Some(ErrorKind::ConnectionReset) => tally.reset += 1,
            _ => tally.cut += 1,
        }
        tally.note(format!("{error:?}"));
        false
    }
}

impl Tally {
    fn note(&mut self, trouble: String) {
        if self.trouble.len() < 20 {
            self.trouble.push(trouble);
        }
    }
}
