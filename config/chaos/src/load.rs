//! Partners at work: a steady rate of calls whatever happens, every one of them in the ledger, and what was not answered for certain is
//! sent again until it is, as the documentation tells partners to do.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::clock::{Clock, SystemClock};
use common::session::SessionSigner;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::http::{Client, Response};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Answer, Ask, Intent, Ledger};

/// The product whose license keys are made when they are sold.
pub const MADE: &str = "MADE";
/// The product with more in stock than anybody asks for.
pub const STOCKED: &str = "STOCKED";
/// The product that runs out.
pub const SCARCE: &str = "SCARCE";

/// Calls at once. What would be one more is held back, and counted.
const IN_FLIGHT_MAX: usize = 2_048;
/// Orders that are remembered, to be asked for again.
const KNOWN_MAX: usize = 20_000;
/// The longest wait before a call is made again.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(4);
/// Calls made again in one look.
const AGAIN_AT_ONCE: usize = 16;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One of the run's stores.
#[derive(Debug, Clone)]
pub struct Store {
    /// Its name in URLs.
    pub slug: String,
    /// A key for everything, without limits that are ever reached.
    pub api_key: String,
}

/// What a call was to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first time that an order was asked for.
    First,
    /// Any other.
    Other,
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    /// When it ended, after the run's beginning.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// What it was.
    pub kind: Kind,
    /// Its status; 0 when the connection broke.
    pub status: u16,
}

/// An order whose reference is known to be taken.
#[derive(Debug, Clone)]
struct Known {
    reference: Reference,
    order_id: String,
}

/// A reference, and everything that is sent with it: the same every time.
#[derive(Debug, Clone, Copy)]
struct Reference {
    number: u64,
    store: usize,
}

/// A call that is to be made again.
#[derive(Debug)]
struct Owed {
    reference: Reference,
    due: Instant,
    tries: u32,
}

/// All of the partners.
pub struct Load {
    begun: Instant,
    ledger: Ledger,
    stores: Vec<Store>,
    /// One for each edge.
    edges: RwLock<Vec<Client>>,
    signer: SessionSigner,
    clock: SystemClock,
    calls: AtomicU64,
    references: AtomicU64,
    in_flight: AtomicUsize,
    held_back: AtomicU64,
    known: Mutex<Vec<Known>>,
    owed: Mutex<Vec<Owed>>,
    completions: Mutex<Vec<Completion>>,
    /// What went wrong with the ledger, which would make everything else worthless.
    broken: Mutex<Option<anyhow::Error>>,
}

impl Load {
    /// Nobody calls yet.
    pub fn new(ledger: Ledger, stores: Vec<Store>, edges: Vec<Client>, signer: SessionSigner) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            ledger,
            stores,
            edges: RwLock::new(edges),
            signer,
            clock: SystemClock::new(),
            calls: AtomicU64::new(1),
            references: AtomicU64::new(1),
            in_flight: AtomicUsize::new(0),
            held_back: AtomicU64::new(0),
            known: Mutex::default(),
            owed: Mutex::default(),
            completions: Mutex::default(),
            broken: Mutex::default(),
        })
    }

    /// Since the run began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Calls `per_second`, until `stop`.
    pub async fn run(self: Arc<Self>, per_second: u32, seed: u64, stop: CancellationToken) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
        // The rate is the truth: what a busy machine made us miss is made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
                self.held_back.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.clone().call_something(&mut rng);
        }
    }

    /// Makes calls again that are owed an answer, until `stop`.
    pub async fn insist(self: Arc<Self>, seed: u64, stop: CancellationToken) {
        let mut rng = StdRng::seed_from_u64(seed);
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = Instant::now();
            let room = IN_FLIGHT_MAX.saturating_sub(self.in_flight.load(Ordering::Relaxed)).min(AGAIN_AT_ONCE);
            let mut due = Vec::new();
            {
                let mut owed = locked(&self.owed);
                for one in std::mem::take(&mut *owed) {
                    if one.due <= now && due.len() < room { due.push(one) } else { owed.push(one) }
                }
            }
            for owed in due {
                self.clone().fulfill(owed.reference, owed.tries, rng.random());
            }
        }
    }

    /// Closes all connections. Whoever calls after this does so in vain.
    pub fn hang_up(&self) {
        self.edges.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many calls still have to be answered for certain.
    pub fn unanswered(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed) + locked(&self.owed).len()
    }

    /// Calls that were not made because too many were in flight.
    pub fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    /// Calls that have ended since `from`, of the `First` kind with the status 201.
    pub fn made_since(&self, from: Duration) -> usize {
        let completions = locked(&self.completions);
        let recent = completions.iter().rev().take_while(|completion| completion.at >= from);
        recent.filter(|completion| completion.kind == Kind::First && completion.status == 201).count()
    }

    /// Every call that has ended, in the order of their ends.
    pub fn completions(&self) -> Vec<Completion> {
        locked(&self.completions).clone()
    }

    /// Fails when the ledger could not be written.
    pub fn check(&self) -> anyhow::Result<()> {
        locked(&self.broken).take().map_or(Ok(()), Err)
    }

    fn call_something(self: Arc<Self>, rng: &mut StdRng) {
        let store = rng.random_range(0..self.stores.len());
        let known = {
            let known = locked(&self.known);
            if known.is_empty() { None } else { Some(known[rng.random_range(0..known.len())].clone()) }
        };
        let edge = rng.random();
        let (store, content) = match (rng.random_range(0..100), known) {
            (0..6, Some(known)) => (known.reference.store, content(known.reference, 0)),
            (6..9, Some(known)) => (known.reference.store, content(known.reference, 1)),
            (9..13, Some(known)) => (known.reference.store, Content::bare(Ask::Revoke { order_id: known.order_id })),
            (13..20, Some(known)) => (known.reference.store, Content::bare(Ask::Read { order_id: known.order_id })),
            (20..28, _) => (store, Content::bare(Ask::Session)),
            _ => {
                let number = self.references.fetch_add(1, Ordering::Relaxed);
                return self.fulfill(Reference { number, store }, 0, edge);
            }
        };
        self.send(edge, store, content, None);
    }

    fn fulfill(self: Arc<Self>, reference: Reference, tries: u32, edge: u32) {
        self.send(edge, reference.store, content(reference, 0), Some((reference, tries)));
    }

    fn send(self: Arc<Self>, edge: u32, store: usize, content: Content, asks_for: Option<(Reference, u32)>) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            let intent = Intent { intent: number, at_ms: self.now().as_millis() as u64, store, ask: content.ask.clone() };
            if let Err(error) = self.ledger.write(&intent) {
                *locked(&self.broken) = Some(error);
            }
            let begun = Instant::now();
            let client = {
                let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
                edges.get(edge as usize % edges.len().max(1)).map(|client| client.with_key(&self.stores[store].api_key))
            };
            let answer = match client {
                Some(client) => self.ask(&client, store, &content).await,
                None => Err(anyhow::anyhow!("nobody calls any more")),
            };
            let answer = self.read(number, answer, &content);
            if let Err(error) = self.ledger.write(&answer) {
                *locked(&self.broken) = Some(error);
            }
            let kind = if asks_for.is_some_and(|(_, tries)| tries == 0) { Kind::First } else { Kind::Other };
            let completion = Completion { at: self.now(), took: begun.elapsed(), kind, status: answer.status.unwrap_or(0) };
            locked(&self.completions).push(completion);
            if let Some((reference, tries)) = asks_for {
                self.mind(reference, tries, &answer);
            }
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// What a partner does about an answer.
    fn mind(&self, reference: Reference, tries: u32, answer: &Answer) {
        match (answer.status, answer.order_id.clone()) {
            (Some(201), Some(order_id)) => {
                let mut known = locked(&self.known);
                if known.len() < KNOWN_MAX {
                    known.push(Known { reference, order_id });
                } else {
                    let place = rand::rng().random_range(0..known.len());
                    known[place] = Known { reference, order_id };
                }
            }
            (Some(status), _) if (400..500).contains(&status) => {}
            _ => {
                let wait = (Duration::from_millis(200) * 2_u32.pow(tries.min(5))).min(AGAIN_AFTER_MAX);
                let due = Instant::now() + wait.mul_f64(0.5 + rand::rng().random::<f64>() / 2.0);
                locked(&self.owed).push(Owed { reference, due, tries: tries + 1 });
            }
        }
    }

    async fn ask(&self, client: &Client, store: usize, content: &Content) -> anyhow::Result<Response> {
        let base = format!("/api/v1/stores/{}", self.stores[store].slug);
        match &content.ask {
            Ask::Fulfill { idempotency_key, .. } => {
                let mut headers = vec![("content-type", "application/json")];
                headers.extend(idempotency_key.as_deref().map(|key| ("idempotency-key", key)));
                let body = content.body.as_ref().map(Value::to_string).unwrap_or_default();
                client.send(Method::POST, &format!("{base}/licensing/fulfill/"), &headers, body).await
            }
            Ask::Revoke { order_id } => client.send(Method::POST, &format!("{base}/orders/{order_id}/revoke/"), &[], "").await,
            Ask::Read { order_id } => client.get(&format!("{base}/orders/{order_id}/")).await,
            Ask::Session => client.post(&format!("{base}/checkout/session/"), &json!({ "cart": { MADE: 2 }, "currency": "GBP" })).await,
        }
    }

    fn read(&self, number: u64, answer: anyhow::Result<Response>, content: &Content) -> Answer {
        let at_ms = self.now().as_millis() as u64;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Answer { answer: number, at_ms, error: format!("{error:#}"), ..Answer::default() },
        };
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let items = body["items"].as_array().cloned().unwrap_or_default();
        let license_keys = items.iter().flat_map(|item| item["license_keys"].as_array().cloned().unwrap_or_default());
        let verifies = || {
            let now_s = self.clock.now().unix_ms / 1_000;
            let cart = self.signer.verify(&text("token"), now_s).map(|claims| claims.cart);
            cart.is_ok_and(|cart| matches!(&cart[..], [line] if line.sku.as_str() == MADE && line.quantity == 2))
        };
        Answer {
            answer: number,
            at_ms,
            status: Some(answer.status.as_u16()),
            code: text("code"),
            order_id: body["order_id"].as_str().map(str::to_owned),
            order_status: body["order_id"].as_str().map(|_| text("status")).unwrap_or_default(),
            license_keys: license_keys.filter_map(|key| key.as_str().map(str::to_owned)).collect(),
            body_digest: Sha256::digest(&answer.body)[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
            token_verifies: (content.ask == Ask::Session && answer.status == 201).then(verifies),
            error: String::new(),
        }
    }
}

/// A call's purpose and body.
struct Content {
    ask: Ask,
    body: Option<Value>,
}

impl Content {
    fn bare(ask: Ask) -> Self {
        Self { ask, body: None }
    }
}

/// What is sent with a reference. Content 0 is what it was first sent with, any other is something else.
fn content(reference: Reference, content: u32) -> Content {
    let number = reference.number;
    let (items, scarce) = match number % 20 {
        0 => (json!([{ "sku": SCARCE, "quantity": 1 }]), true),
        1..4 => (json!([{ "sku": STOCKED, "quantity": 1 + number % 7 }, { "sku": MADE, "quantity": 2 }]), false),
        4..12 => (json!([{ "sku": STOCKED, "quantity": 1 }]), false),
        _ => (json!([{ "sku": MADE, "quantity": 1 }]), false),
    };
    let name = format!("r-{number}");
    let idempotency_key = number.is_multiple_of(3).then(|| format!("i-{number}"));
    let body = json!({
        "customer_email": format!("customer-{number}@shop.example"), "items": items, "external_reference": name,
        "currency": "GBP", "total_minor": 2_999 + u64::from(content),
    });
    Content { ask: Ask::Fulfill { reference: name, idempotency_key, content, scarce }, body: Some(body) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
