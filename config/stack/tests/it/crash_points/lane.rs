//! A database, a part of a Redis, an edge and a worker, for one walk after the other. A walk begins at rest, ends executions where it is
//! told to, starts others in their place, and is over when everything has come to rest again and is as it must be.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use common::clock::{Clock, SystemClock, rfc3339};
use common::ids::OrderId;
use common::job::FULFILL_ORDER;
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use http::Method;
use storage::Pg;
use storage::pg::audit::{self, Moment};
use storage::pg::products::Product;
use storage::pg::webhook_attempts;
use storage::pg::webhook_endpoints::Which;
use storage::pg::{dead_letters, license_keys, orders};
use storage::queue::{Producer, QueueName};
use testkit::database::Database;
use testkit::http::{Client, Response};
use testkit::receiver::{Behavior, Receiver};
use testkit::servers::Redis;
use testkit::settings::Settings;
use testkit::shop::Shop;
use testkit::stripe::Payment;
use tokio::sync::watch;
use uuid::Uuid;

use super::kind::{Begun, GENERATED, Kind, POOLED, SCARCE};
use crate::mortal::{Mortal, MortalEdge, MortalWorker};
use crate::redis_commands::Commands;
use crate::system::{SOON, eventually, fulfill_path, license_keys_of, order, order_id_of};

const SLUG: &str = "demo";
/// License keys that are put into stock whenever few are left.
const STOCK: usize = 50;
const FEW: i64 = 10;
/// A proof of the password `lanes` that takes one round in place of thousands, because connections are made by the thousand here.
const VERIFIER: &str =
    "SCRAM-SHA-256$1:bGFuZXMgb2YgYSB3YWxrIQ==$8eA8YlynD9xo48i7EXqzdqY1/yzInF3JTgmvyAvxfck=:PETY7j5vJAU6+Px6f75AyKhTXSpz6J2tiWfI7fxJZdE=";
/// The owner's login, the edges' and the workers'.
const LOGINS: [(&str, &str); 3] =
    [("lanes", "superuser"), ("lanes_edge", "in role anonymouspay_edge"), ("lanes_worker", "in role anonymouspay_worker")];
const PROCESSING: &str = "select count(*) from orders where status = 'processing'";
const UNDELIVERED: &str = "select count(*) from webhook_deliveries where status = 'pending'";
const UNAPPLIED: &str = "select count(*) from stripe_events where status in ('waiting', 'parked')";
/// What Stripe's events are signed with here.
const SIGNING: &str = "whsec_of_the_crash_points_in_live_mode";
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Walks between two audits, which look at everything that a lane has ever sold.
const AUDIT_EVERY: usize = 10;
/// Looks in a row that must find nothing moving.
const CALM_LOOKS: u32 = 4;
/// No walk takes longer.
const WALK_MAX: Duration = Duration::from_secs(60);

/// What is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// The edge.
    Edge,
    /// The worker.
    Worker,
}

/// Where an execution ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Whose.
    pub of: Process,
    /// Where.
    pub at: &'static str,
}

/// How a walk went.
pub struct Walked {
    /// How many of the ends it was to have it came to.
    pub ends: usize,
    /// What was reached since the last of them, or in all when there was none.
    pub reached: BTreeSet<End>,
}

/// See the top of this file.
pub struct Lane {
    pg: Pg,
    redis: Commands,
    queue: QueueName,
    producer: Producer,
    shop: Shop,
    key: String,
    pooled: Product,
    stocked: usize,
    /// Seals requests, as edges do.
    requests: Sealer,
    /// What the edge and the worker are set to. An edge that soon writes orders down itself, and one that leaves workers time.
    /// Of edges: a patient one's and a quick one's.
    edges: [config::Settings; 2],
    workers: config::Settings,
    /// A partner's server, and where it hears of events that belong to no order.
    receiver: Receiver,
    endpoint: Which,
    edge: Option<(bool, MortalEdge)>,
    worker: Option<MortalWorker>,
    walks: u32,
    sold: HashSet<String>,
    dead_letters: i64,
    unaudited: Vec<String>,
}

/// The walk that is being walked.
struct Course {
    ends: VecDeque<End>,
    come_to: usize,
    reached: BTreeSet<End>,
    /// Whether an order that is to be tried again in a second or more is taken for due when a worker has ended: time passes by decree.
    in_a_hurry: bool,
}

impl Lane {
    /// With a store that has something to sell, and nothing running yet.
    pub async fn new(number: usize) -> Self {
        let database = Database::new().await.expect("a database");
        let client = database.pg().expect("a pool").client().await.expect("a connection");
        for (login, rights) in LOGINS {
            let made = client.batch_execute(&format!("create role {login} login {rights} password '{VERIFIER}'")).await;
            assert!(made.is_ok() || number > 0, "{made:?}");
        }
        let (_, place) = database.url().split_once('@').expect("a URL with a login");
        let redis = Redis::shared_for_tests().expect("a Redis");
        let prefix = format!("lane-{number}");
        let settings = |login: &str, fallback_ms: &str, deadline_ms: &str| {
            let settings =
                Settings::new().postgres(&format!("postgres://{login}:lanes@{place}")).redis(&redis.url()).set("QUEUE__PREFIX", &prefix);
            let settings = settings.set("POSTGRES__CONNECTIONS_MAX", "4").set("POSTGRES__CHECKOUT_TIMEOUT_MS", "15000");
            let settings = settings.set("QUEUE__PICKUP_IDLE_MS", "100").set("QUEUE__RENEW_MS", "30").set("WORKER__SWEEP_INTERVAL_MS", "50");
            let settings = settings.set("STRIPE__LIVE_SIGNING_SECRETS", SIGNING);
            let settings = settings.set("EDGE__FULFILL_FALLBACK_MS", fallback_ms).set("EDGE__FULFILL_DEADLINE_MS", deadline_ms);
            settings.load().expect("settings")
        };
        let workers = settings("lanes_worker", "400", "2000");
        let pg = Pg::new(&settings("lanes", "400", "2000").postgres, "test").expect("a pool");
        let shop = Shop::open(&pg, SLUG).await.expect("a store");
        let key = shop.unlimited_key(&pg).await.expect("a key");
        shop.generated(&pg, GENERATED).await.expect("a product");
        shop.pooled(&pg, SCARCE, &testkit::shop::license_keys(SCARCE, 1)).await.expect("a product");
        let pooled = shop.pooled(&pg, POOLED, &[]).await.expect("a product");
        let receiver = Receiver::start(Behavior::status(200)).await.expect("a receiver");
        // Of the mode in which nothing is sold here: only what is left for it comes there.
        let (endpoint, _) = shop.endpoint(&pg, Mode::Test, &receiver.url("/")).await.expect("an endpoint");
        let queue = QueueName::new(&prefix, FULFILL_ORDER);
        let mut this = Self {
            pg,
            redis: Commands::connect(redis),
            producer: Producer::new(storage::redis::client(&workers.redis).expect("a client"), queue.clone()),
            queue,
            shop,
            key,
            pooled,
            stocked: 0,
            requests: Sealer::new(&workers.secrets.sealing, Purpose::OrderRequest, rand::random()),
            edges: [settings("lanes_edge", "400", "2000"), settings("lanes_edge", "30", "1000")],
            workers,
            receiver,
            endpoint,
            edge: None,
            worker: None,
            walks: 0,
            sold: HashSet::new(),
            dead_letters: 0,
            unaudited: Vec::new(),
        };
        this.restock().await;
        this
    }

    /// Does one piece of work, with these ends, one after the other. Whatever is not as it must be in the end fails the test.
    pub async fn walk(&mut self, kind: Kind, ends: &[End]) -> Walked {
        self.walks += 1;
        let name = format!("{kind:?} with {ends:?}");
        let reference = format!("{kind:?}-{}", self.walks);
        let walked = tokio::time::timeout(WALK_MAX, self.walk_to_the_end(kind, ends, &name, &reference)).await;
        walked.unwrap_or_else(|_| panic!("{name}: not at rest after {WALK_MAX:?}"))
    }

    async fn walk_to_the_end(&mut self, kind: Kind, ends: &[End], name: &str, reference: &str) -> Walked {
        self.have_edge(kind.has_no_worker()).await;
        let (mut path, mut told) = (fulfill_path(SLUG), Vec::new());
        if kind.is_about_a_sold_order() {
            self.have_worker().await;
            let (_edges, edge) = watch::channel(Some(self.client()));
            told = ask(edge, path.clone(), order(reference, kind.items()).to_string(), 201).await;
            while !self.is_at_rest().await || !self.take_reached().is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if kind == Kind::Revoked {
                path = format!("/api/v1/stores/{SLUG}/orders/{}/revoke/", order_id_of(&told[told.len() - 1]));
            }
        }
        match kind.has_no_worker() {
            true => self.end_worker().await,
            false => self.have_worker().await,
        }
        self.take_reached();
        let mut course = Course { ends: ends.iter().copied().collect(), come_to: 0, reached: BTreeSet::new(), in_a_hurry: ends.len() > 1 };
        if kind == Kind::Redelivered {
            course.ends.push_front(End { of: Process::Worker, at: "job.taken" });
        }
        self.set_ends(&course);

        let (edges, edge) = watch::channel(Some(self.client()));
        let body = match kind {
            Kind::Revoked => String::new(),
            Kind::Paid => {
                path = testkit::stripe::PATH.to_owned();
                self.leave_pending(reference).await
            }
            _ => order(reference, kind.items()).to_string(),
        };
        let asking = match kind.begun() {
            Begun::ByAsking => tokio::spawn(ask(edge, path, body, kind.last_status())),
            Begun::ByLeaving => {
                self.leave(kind, reference).await;
                tokio::spawn(async { Vec::new() })
            }
        };
        let mut calm = 0;
        while calm < CALM_LOOKS {
            tokio::select! {
                of = self.ended(&course) => {
                    self.replace(of, &mut course, &edges).await;
                    calm = 0;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let reached = self.take_reached();
                    let moves = !reached.is_empty() || !asking.is_finished() || !self.is_at_rest().await;
                    course.reached.extend(reached);
                    calm = if moves { 0 } else { calm + 1 };
                    if self.worker.is_none() && (asking.is_finished() || self.number(PROCESSING).await > 0) {
                        self.start_worker(&course).await;
                        calm = 0;
                    }
                }
            }
        }
        told.extend(asking.await.unwrap_or_else(|panicked| panic!("{name}: {panicked}")));
        if kind == Kind::Paid {
            // Stripe hears that its event is there, and nothing of the order.
            told.clear();
        }
        course.ends.clear();
        self.set_ends(&course);
        self.judge(kind, name, reference, &told).await;
        Walked { ends: course.come_to - usize::from(kind == Kind::Redelivered), reached: course.reached }
    }

    /// Another execution in place of the one that has come to its end.
    async fn replace(&mut self, of: Process, course: &mut Course, edges: &watch::Sender<Option<Client>>) {
        edges.send_if_modified(|edge| of == Process::Edge && edge.take().is_some());
        match (of, self.edge.take(), self.worker.take()) {
            (Process::Edge, Some((quick, edge)), worker) => {
                self.worker = worker;
                edge.life.kill().await;
                self.have_edge(quick).await;
            }
            (Process::Worker, edge, Some(worker)) => {
                self.edge = edge;
                worker.life.kill().await;
                // A delivery that was under way is due when its lease is over.
                self.run("update webhook_deliveries set next_attempt_at = now() where status = 'pending'").await;
                self.run("update stripe_events set next_attempt_at = now() where status = 'waiting'").await;
                if course.in_a_hurry {
                    let client = self.pg.client().await.expect("a connection");
                    client.execute("update orders set next_attempt_at = now() where status = 'processing'", &[]).await.expect("due orders");
                }
            }
            _ => unreachable!("what has ended was there"),
        }
        course.ends.pop_front();
        course.come_to += 1;
        self.take_reached();
        course.reached.clear();
        if self.worker.is_none() && of == Process::Worker {
            self.start_worker(course).await;
        }
        self.set_ends(course);
        edges.send_replace(Some(self.client()));
    }

    /// Resolves when the execution has ended that is next to end; never when none is.
    async fn ended(&self, course: &Course) -> Process {
        let next = course.ends.front().and_then(|end| Some((end.of, self.life(end.of)?)));
        match next {
            Some((of, life)) => {
                life.execution.ended().await;
                of
            }
            None => std::future::pending().await,
        }
    }

    fn life(&self, of: Process) -> Option<&Mortal> {
        match of {
            Process::Edge => self.edge.as_ref().map(|(_, edge)| &edge.life),
            Process::Worker => self.worker.as_ref().map(|worker| &worker.life),
        }
    }

    fn set_ends(&self, course: &Course) {
        for of in [Process::Edge, Process::Worker] {
            if let Some(life) = self.life(of) {
                life.execution.end_at(course.next_of(of));
            }
        }
    }

    fn take_reached(&self) -> BTreeSet<End> {
        let reached =
            |of| self.life(of).map(|life| life.execution.take_reached()).unwrap_or_default().into_iter().map(move |at| End { of, at });
        reached(Process::Edge).chain(reached(Process::Worker)).collect()
    }

    async fn have_edge(&mut self, quick: bool) {
        match self.edge.take() {
            Some((is_quick, edge)) if is_quick == quick => self.edge = Some((quick, edge)),
            other => {
                if let Some((_, edge)) = other {
                    edge.life.kill().await;
                }
                self.edge = Some((quick, MortalEdge::start(&self.edges[usize::from(quick)]).await));
            }
        }
    }

    async fn have_worker(&mut self) {
        if self.worker.is_none() {
            self.worker = Some(MortalWorker::start(&self.workers, None).await);
        }
        if let Some(worker) = &self.worker {
            worker.is_ready().await;
        }
    }

    async fn start_worker(&mut self, course: &Course) {
        self.worker = Some(MortalWorker::start(&self.workers, course.next_of(Process::Worker)).await);
    }

    async fn end_worker(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.life.kill().await;
        }
    }

    fn client(&self) -> Client {
        let (_, edge) = self.edge.as_ref().expect("an edge is there whenever it is asked");
        Client::new(edge.address, false).with_key(&self.key)
    }

    /// Leaves an order that is to be paid. Returns the event that says that it is.
    async fn leave_pending(&self, reference: &str) -> String {
        const TOTAL_MINOR: i64 = 2_999;
        let id = OrderId::new(1_700_000_000_000, rand::random());
        let mut client = self.pg.client().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        let made = self.shop.pending(&tx, Mode::Live, &self.pooled, &id, TOTAL_MINOR, Some(reference)).await;
        made.expect("a pending order");
        tx.commit().await.expect("a commit");
        let payment = format!("pi_{id}");
        let payment = Payment { id: &payment, livemode: true, amount: TOTAL_MINOR, currency: "gbp" };
        payment.succeeded(&format!("evt_{id}"), &id).to_string()
    }

    /// Leaves an order or a job, as an edge may have left it.
    async fn leave(&self, kind: Kind, reference: &str) {
        if kind == Kind::UnreadableJob {
            let connected = async || self.producer.is_connected().then_some(());
            eventually("a connection to Redis", SOON, connected).await;
            return self.producer.push(b"no job").await.expect("the queue takes it");
        }
        if kind == Kind::Told {
            let (id, order_id) = (Uuid::now_v7(), OrderId::new(1_700_000_000_000, rand::random()));
            let client = self.pg.client().await.expect("a connection");
            let left = webhook_attempts::insert_test(&*client, self.endpoint, id, order_id.as_str(), &told_body(reference), None).await;
            assert!(left.expect("it is left").is_some());
            return;
        }
        let new = kind.new_order(self.shop.store_id, reference);
        let request = serde_json::to_vec(&new.request).expect("JSON");
        let sealed = match kind {
            Kind::UnreadableOrder => b"no request".to_vec(),
            _ => self.requests.seal(new.order_id.as_str().as_bytes(), &request),
        };
        let now = rfc3339(SystemClock::new().now().unix_ms);
        assert!(orders::write_down(&self.pg, &new, &sealed, &now).await.expect("it is written down"));
    }

    /// Nothing waits, nothing is in work.
    async fn is_at_rest(&mut self) -> bool {
        let (key, pending) = (self.queue.key().to_owned(), b"*4\r\n:0\r\n");
        let length = self.redis.run(&["XLEN", &key]);
        let unsettled = self.redis.run(&["XPENDING", &key, "workers"]);
        let carried = length == b":0\r\n" && (unsettled.starts_with(pending) || unsettled.starts_with(b"-NOGROUP"));
        carried && self.number(PROCESSING).await == 0 && self.number(UNDELIVERED).await == 0 && self.number(UNAPPLIED).await == 0
    }

    async fn run(&self, sql: &str) {
        self.pg.client().await.expect("a connection").batch_execute(sql).await.expect(sql);
    }

    async fn number(&self, sql: &str) -> i64 {
        self.pg.client().await.expect("a connection").query_one(sql, &[]).await.expect(sql).get(0)
    }

    /// Everything is as it must be: what was told is true, what was made is whole, and nothing else has changed.
    async fn judge(&mut self, kind: Kind, name: &str, reference: &str, told: &[Response]) {
        let client = self.pg.client().await.expect("a connection");
        let rows = client
            .query("select id, status, error_code from orders where external_reference = $1 order by id", &[&reference])
            .await
            .expect("orders");
        let standing: Vec<(String, String)> =
            rows.iter().filter(|row| row.get::<_, &str>(1) != "failed").map(|row| (row.get(0), row.get(1))).collect();
        let failed: Vec<(String, Option<String>)> =
            rows.iter().filter(|row| row.get::<_, &str>(1) == "failed").map(|row| (row.get(0), row.get(2))).collect();
        assert_eq!(standing.first().map(|(_, status)| status.as_str()), kind.last_order(), "{name}: {standing:?}");
        assert!(standing.len() <= 1, "{name}: one order has the reference: {standing:?}");
        assert!(failed.iter().all(|(_, code)| code.as_deref() == kind.failure()), "{name}: {failed:?}");
        if kind.begun() == Begun::ByLeaving {
            assert_eq!(failed.len(), usize::from(kind.failure().is_some()), "{name}: {failed:?}");
        }

        let made: Vec<&Response> = told.iter().filter(|answer| [200, 201].contains(&answer.status.as_u16())).collect();
        let accepted = told.iter().filter(|answer| answer.status == 202);
        for answer in made.iter().copied().chain(accepted) {
            let id = order_id_of(answer);
            let is_true = match kind.last_order() {
                Some(_) => standing[0].0 == id,
                None => failed.iter().any(|(failed, _)| *failed == id),
            };
            assert!(is_true, "{name}: {id} was promised, and there are {standing:?} and {failed:?}");
        }
        let keys: Vec<Vec<String>> = made.iter().filter(|answer| answer.status == 201).map(|answer| license_keys_of(answer)).collect();
        let wanted: usize = kind.items().iter().map(|(_, quantity)| *quantity as usize).sum();
        for told in &keys {
            assert!(told.len() == wanted && *told == keys[0], "{name}: {told:?} after {:?}", keys[0]);
        }
        for key in keys.first().into_iter().flatten() {
            assert!(self.sold.insert(key.clone()), "{name}: {key} was sold before");
        }
        for answer in made.iter().filter(|answer| answer.status == 200) {
            assert!(license_keys_of(answer).is_empty(), "{name}: a revoked order has no keys: {answer:?}");
        }

        let heard = self.receiver.take_received();
        let of_this = heard.iter().filter(|received| received.body == told_body(reference)).count();
        let attempts =
            "select coalesce(max(attempts), 0)::bigint from webhook_deliveries where id = (select max(id) from webhook_deliveries)";
        match kind {
            // Once for each attempt that was begun, and none of them for nothing.
            Kind::Told => assert!((1..=self.number(attempts).await).contains(&(of_this as i64)), "{name}: told {of_this} times"),
            _ => assert_eq!(heard.len(), 0, "{name}: told of something that did not happen"),
        }

        self.dead_letters += kind.dead_letters();
        assert_eq!(dead_letters::count(&*client).await.expect("a count"), self.dead_letters, "{name}: dead letters");
        let free = license_keys::count_free(&*client, self.pooled.id, Mode::Live, FEW).await.expect("a count");
        drop(client);
        if free < FEW {
            self.restock().await;
        }
        self.unaudited.push(name.to_owned());
        if self.unaudited.len() >= AUDIT_EVERY {
            self.audit().await;
        }
    }

    /// Whether everything holds that always must, in all that this lane's walks have left.
    pub async fn audit(&mut self) {
        let report = audit::run(&self.pg, &self.workers.secrets, Moment::AtRest, &|_| ()).await.expect("an audit");
        assert!(report.ok, "after {:#?}: {:#?}", self.unaudited, report.violated().collect::<Vec<_>>());
        self.unaudited.clear();
    }

    /// Puts license keys into stock.
    async fn restock(&mut self) {
        let keys = testkit::shop::license_keys(&format!("{POOLED}-{}", self.stocked), STOCK);
        self.shop.stock(&self.pg, &self.pooled, Mode::Live, &keys).await.expect("stock");
        self.stocked += STOCK;
    }
}

/// What the partner's server is to be told.
fn told_body(reference: &str) -> String {
    format!(r#"{{"told":"{reference}"}}"#)
}

impl Course {
    /// Where this one is to end, if it is the next to end.
    fn next_of(&self, of: Process) -> Option<&'static str> {
        self.ends.front().filter(|end| end.of == of).map(|end| end.at)
    }
}

/// Asks whichever edge is there until it is answered with `last_status`, as a caller must who hears nothing, 202 or 503. Returns all
/// that was answered.
async fn ask(mut edge: watch::Receiver<Option<Client>>, path: String, body: String, last_status: u16) -> Vec<Response> {
    let mut told: Vec<Response> = Vec::new();
    loop {
        let client = edge.wait_for(Option::is_some).await.expect("the walk goes on").clone().expect("an edge");
        // An error is an answer that never came.
        let signature = testkit::stripe::signature(SIGNING, &body);
        let headers = [("content-type", "application/json"), ("stripe-signature", signature.as_str())];
        if let Ok(answer) = client.send(Method::POST, &path, &headers, body.clone()).await {
            let status = answer.status.as_u16();
            assert!([last_status, 202, 503].contains(&status), "{answer:?} after {told:?}");
            told.push(answer);
            if status == last_status {
                return told;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
