//! Backup and restore, drilled as the README says: with a real archive and real base backups. After a restore to an earlier moment no
//! license key that was ever given out goes to somebody else; after a restore to the end of a synchronous log nothing is lost at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::clock::SystemClock;
use common::fulfill::{FulfillOutcome, FulfillRequest};
use common::ids::OrderId;
use common::job::NewOrder;
use common::license::LicenseDigester;
use common::mode::Mode;
use common::order::OrderStatus;
use common::seal::{Purpose, Sealer};
use serde_json::json;
use storage::Pg;
use storage::pg::audit_log::Actor;
use storage::pg::{changes, migrations, orders, stores};
use testkit::process::{Launch, Process};
use testkit::servers::{Binaries, DataFolder, Host, Kind, Postgres, PostgresOptions};
use testkit::settings::Settings;
use testkit::shop::{Shop, license_keys};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use worker::allocation::Allocator;
use worker::fulfillment::Fulfillment;

use super::Installation;

const DEADLINE: Duration = Duration::from_secs(60);
const IMPORT: [&str; 8] = ["--json", "stock", "import", "--store", "demo", "--sku", "POOL", "-"];

/// A folder of the servers' account, and what runs in it.
struct Site {
    binaries: Binaries,
    folder: DataFolder,
}

impl Site {
    fn new() -> Self {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).expect("a host");
        let binaries = host.find_or_unpack(&[Kind::Postgres], &|line| eprintln!("{line}")).expect("Postgres' programs");
        let folder = host.temporary_folder().expect("a folder");
        Self { binaries, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, data: &str, password: Option<&str>, settings: &[String]) -> Postgres {
        let password = password.map(str::to_owned);
        let options = PostgresOptions { data: Some(self.path(data)), password, settings: settings.to_vec(), ..PostgresOptions::default() };
        Postgres::start_with(&self.binaries, options).expect("Postgres starts")
    }

    /// A program as the servers' account.
    fn run(&self, program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) {
        let launch = Launch::new(program, program).account(self.binaries.host().account());
        let launch = arguments.iter().fold(launch, |launch, argument| launch.arg(argument.as_ref()));
        launch.must_succeed().expect(program);
    }

    fn back_up(&self, postgres: &Postgres, to: &str) {
        let tool = self.binaries.tool(Kind::Postgres, "pg_basebackup").expect("pg_basebackup");
        tool.args(["--checkpoint=fast", "-d", &postgres.url(), "-D"]).arg(self.path(to)).must_succeed().expect("a base backup");
    }

    /// A server on a copy of a backup, recovered by these settings and promoted.
    fn restore(&self, backup: &str, data: &str, password: &str, settings: &[String]) -> Postgres {
        self.run("cp", &[&"-a", &self.path(backup), &self.path(data)]);
        self.run("touch", &[&self.path(data).join("recovery.signal")]);
        // A server that lets readers in before it is promoted would seem ready.
        let settings = [settings, &["hot_standby=off".into()]].concat();
        self.start(data, Some(password), &settings)
    }
}

/// The system on one of the servers.
struct Shopkeeper {
    installation: Installation,
    fulfillment: Fulfillment,
    store_id: i64,
}

impl Shopkeeper {
    async fn on(postgres: &Postgres) -> Self {
        Self::with_timeout(postgres, "60000").await
    }

    async fn with_timeout(postgres: &Postgres, statement_timeout_ms: &str) -> Self {
        let settings = Settings::new()
            .postgres(&postgres.url())
            .set("POSTGRES__STATEMENT_TIMEOUT_MS", statement_timeout_ms)
            .set("REDIS__CONNECT_TIMEOUT_MS", "200")
            .set("REDIS__COMMAND_TIMEOUT_MS", "200");
        let loaded = settings.load().expect("settings");
        let pg = Pg::new(&loaded.postgres, "test").expect("a pool");
        let sealer = |purpose| Sealer::new(&loaded.secrets.sealing, purpose, rand::random());
        let fulfillment = Fulfillment {
            pg: pg.clone(),
            allocator: Allocator::new(sealer(Purpose::License), LicenseDigester::new(&loaded.secrets.license_digest)),
            requests: sealer(Purpose::OrderRequest),
            clock: Arc::new(SystemClock::new()),
            dispatcher: None,
            starts_max: 5,
        };
        migrations::run(&pg).await.expect("a schema");
        let store = stores::find(&*pg.client().await.expect("a connection"), "demo").await.expect("an answer");
        Self { installation: Installation { settings, pg }, fulfillment, store_id: store.map_or(0, |store| store.id) }
    }

    /// A new installation that sells `POOL`, with these keys, and `MADE`.
    async fn with_shop(postgres: &Postgres, keys: &[String]) -> Self {
        let this = Self::on(postgres).await;
        let pg = &this.installation.pg;
        let shop = Shop::open(pg, "demo").await.expect("a shop");
        shop.pooled(pg, "POOL", keys).await.expect("a product");
        shop.generated(pg, "MADE").await.expect("a product");
        Self { store_id: shop.store_id, ..this }
    }

    fn order(&self, reference: &str) -> NewOrder {
        let items = json!([{"sku": "POOL", "quantity": 1}, {"sku": "MADE", "quantity": 1}]);
        let body = json!({ "customer_email": "a@example.org", "items": items, "external_reference": reference });
        let request = FulfillRequest::parse(body.to_string().as_bytes()).expect("a request");
        let order_id = OrderId::new(1_772_452_800_000, rand::random());
        NewOrder { order_id, store_id: self.store_id, mode: Mode::Live, idempotency_key: None, request, trace: None }
    }

    /// Sends these requests, a few together. What each was answered.
    async fn send(&self, references: &[String]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for references in references.chunks(7) {
            let wanted: Vec<NewOrder> = references.iter().map(|reference| self.order(reference)).collect();
            let outcomes = self.fulfillment.fulfill(&wanted).await.expect("an answer");
            answers.extend(references.iter().zip(&outcomes).map(|(reference, outcome)| Answer::of(reference, outcome)));
        }
        answers
    }

    async fn complete_what_is_processing(&self) -> u64 {
        let client = self.installation.pg.client().await.expect("a connection");
        // Whatever a worker that is gone had planned.
        client.batch_execute("update orders set next_attempt_at = now() where status = 'processing'").await.expect("that it is done");
        let claimed = orders::claim_fresh(&*client, 100, Duration::from_secs(1)).await.expect("orders");
        self.fulfillment.complete(claimed).await.expect("that they are completed").fulfilled
    }

    fn import(&self, keys: &[String]) -> serde_json::Value {
        self.installation.run_with(&IMPORT, keys.join("\n")).json()
    }

    fn audit(&self, more: &[&str]) {
        let audited = self.installation.run(&[&["audit"], more].concat());
        assert_eq!(audited.code, 0, "{audited:?}");
    }
}

/// What a partner was told.
#[derive(Debug, Clone)]
struct Answer {
    reference: String,
    replayed: bool,
    /// Order id and license keys, as they are written.
    said: String,
    keys: Vec<String>,
}

impl Answer {
    fn of(reference: &str, outcome: &FulfillOutcome) -> Self {
        let FulfillOutcome::Order { order_id, status: OrderStatus::Fulfilled, items, replayed } = outcome else {
            panic!("{reference}: {outcome:?}");
        };
        let keys = items.iter().flat_map(|item| item.license_keys.iter().map(|key| key.expose().to_owned())).collect();
        let said = json!([order_id, items]).to_string();
        Self { reference: reference.to_owned(), replayed: *replayed, said, keys }
    }
}

/// The license keys of `now` that `before` had given to somebody else.
fn given_twice(before: &[Answer], now: &[Answer]) -> Vec<String> {
    let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
    let mut twice = Vec::new();
    for answer in before.iter().chain(now) {
        for key in &answer.keys {
            if *owner.entry(key).or_insert(&answer.reference) != answer.reference {
                twice.push(key.clone());
            }
        }
    }
    twice
}

fn references(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// An installation with a past: early orders in the backup, others behind it, and late ones after the moment that it will be set back to.
struct Past {
    site: Site,
    password: String,
    early: Vec<Answer>,
    late: Vec<Answer>,
    late_import: Vec<String>,
    end: changes::Position,
    late_positions: Vec<changes::Position>,
}

async fn past() -> Past {
    let site = Site::new();
    let archive = site.path("archive");
    let archive_command = format!("archive_command=mkdir -p {0} && cp %p {0}/%f", archive.display());
    let mut postgres = block_in_place(|| site.start("original", None, &["archive_mode=on".into(), archive_command]));
    let keeper = Shopkeeper::with_shop(&postgres, &license_keys("STOCK", 60)).await;
    let pg = keeper.installation.pg.clone();
    let mut early = keeper.send(&references("early", 20)).await;
    block_in_place(|| site.back_up(&postgres, "backup"));
    early.extend(keeper.send(&references("middle", 5)).await);
    // Written down by an edge before that moment, and completed after it.
    keeper.fulfillment.write_down(&keeper.order("waiting")).await.unwrap();
    let client = pg.client().await.unwrap();
    let end = changes::end(&*client).await.unwrap();
    client.query("select pg_create_restore_point('noon')", &[]).await.unwrap();

    assert_eq!(keeper.complete_what_is_processing().await, 1);
    let mut late = keeper.send(&["waiting".to_owned()]).await;
    // What is left does not suffice, and new stock comes: some of it is sold, and some is not.
    let late_import = license_keys("LATE", 30);
    assert_eq!(keeper.import(&late_import)["new"], 30);
    late.extend(keeper.send(&references("late", 50)).await);
    let mut late_positions = Vec::new();
    for n in 0..40 {
        stores::set_licensing(&pg, keeper.store_id, n % 2 == 1, Actor::CommandLine).await.unwrap();
        late_positions.push(changes::end(&*client).await.unwrap());
    }
    assert!(given_twice(&early, &late).is_empty());
    assert!(late.iter().all(|answer| !answer.replayed || answer.reference == "waiting"));
    // By name: the log goes on by itself, and its end is never archived.
    let last: String = client.query_one("select pg_walfile_name(pg_switch_wal())", &[]).await.unwrap().get(0);
    let archived = "select count(*) from pg_stat_archiver where last_archived_wal >= $1";
    let begun = Instant::now();
    while client.query_one(archived, &[&last]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < DEADLINE, "the log is not archived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let password = postgres.password().to_owned();
    block_in_place(|| postgres.kill()).unwrap();
    Past { site, password, early, late, late_import, end, late_positions }
}

impl Past {
    fn back_to_noon(&self, data: &str) -> Postgres {
        let restore = format!("restore_command=cp {}/%f %p", self.site.path("archive").display());
        let settings = [restore, "recovery_target_name=noon".into(), "recovery_target_action=promote".into()];
        block_in_place(|| self.site.restore("backup", data, &self.password, &settings))
    }

    /// Every request that was ever made, in another order than they were made in.
    fn all_again(&self) -> Vec<String> {
        self.late.iter().rev().chain(&self.early).map(|answer| answer.reference.clone()).collect()
    }

    fn before(&self) -> Vec<Answer> {
        [&self.early[..], &self.late].concat()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_to_an_earlier_moment_no_license_key_goes_to_another() {
    let past = past().await;

    // As the README says: hold, audit, fresh stock, work.
    let postgres = past.back_to_noon("restored");
    let keeper = Shopkeeper::on(&postgres).await;
    // What was imported since that moment is unknown again; it must be there to be held.
    assert_eq!(keeper.import(&past.late_import)["new"], 30);
    // 20 and 5 of 60 were sold.
    assert_eq!(keeper.installation.json(&["stock", "hold", "--all"]), json!({"held": 35 + 30, "products": 1}));
    keeper.audit(&[]);
    assert_eq!(keeper.import(&license_keys("FRESH", 60))["new"], 60);
    assert_eq!(keeper.import(&past.late_import)["duplicate"], 30);
    assert_eq!(keeper.complete_what_is_processing().await, 1, "a 202 that was told before still resolves");
    let now = keeper.send(&past.all_again()).await;
    assert_eq!(given_twice(&past.before(), &now), [""; 0]);
    for early in &past.early {
        let again = now.iter().find(|answer| answer.reference == early.reference).unwrap();
        assert!(again.replayed && again.said == early.said, "{again:?}, and it was {early:?}");
    }
    assert_eq!(now.iter().filter(|answer| !answer.replayed).count(), 50);
    keeper.audit(&["--at-rest"]);

    // Reconciled: what nobody was given is sold again, and nothing else.
    let sold: BTreeSet<&String> = past.late.iter().flat_map(|answer| &answer.keys).collect();
    let unsold: Vec<String> = past.late_import.iter().filter(|key| !sold.contains(key)).cloned().collect();
    assert_eq!(unsold.len(), 14);
    let release = ["--json", "stock", "release", "--store", "demo", "--sku", "POOL", "-"];
    assert_eq!(keeper.installation.run_with(&release, unsold.join("\n")).json(), json!({"released": 14, "not_held": 0}));
    let more = keeper.send(&references("more", 14)).await;
    assert_eq!(given_twice(&[past.before(), now].concat(), &more), [""; 0]);
    keeper.audit(&["--at-rest"]);

    // An edge that ran through it all: ids begin again where the restored database stood, so that its place looks as if it were there.
    let client = keeper.installation.pg.client().await.unwrap();
    assert!(changes::after(&*client, past.end, 100).await.unwrap().is_some_and(|new| new.is_empty()), "the same past leads on");
    stores::set_licensing(&keeper.installation.pg, keeper.store_id, true, Actor::CommandLine).await.unwrap();
    let end = changes::end(&*client).await.unwrap();
    let stood = past.late_positions.iter().find(|position| position.id == end.id).expect("an id that was given before");
    assert!(changes::after(&*client, *stood, 100).await.unwrap().is_none(), "and another one does not");
    assert!(changes::after(&*client, past.end, 100).await.unwrap().is_some_and(|new| new.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_hold_license_keys_would_be_given_out_twice() {
    let past = past().await;
    let postgres = past.back_to_noon("restored");
    let keeper = Shopkeeper::on(&postgres).await;
    assert_eq!(keeper.import(&license_keys("FRESH", 60))["new"], 60);
    keeper.complete_what_is_processing().await;
    let now = keeper.send(&past.all_again()).await;
    let twice = given_twice(&past.before(), &now);
    assert!(twice.len() > 20, "this drill would not notice a second allocation: {twice:?}");
    // Nothing inside the database can tell.
    keeper.audit(&["--at-rest"]);
}

/// The log, received by a second place before any commit is acknowledged.
async fn receive_log(site: &Site, postgres: &Postgres, pg: &Pg) -> Process {
    // Reserved at once: what `pg_receivewal --create-slot` makes keeps nothing until the receiver has said something, and a checkpoint
    // in between takes away what it needs.
    let slot = "select pg_create_physical_replication_slot('second_place', true)";
    pg.client().await.unwrap().query(slot, &[]).await.expect("a slot");
    site.run("mkdir", &[&site.path("received")]);
    let receiver = site.binaries.tool(Kind::Postgres, "pg_receivewal").expect("pg_receivewal").arg("-d").arg(postgres.url());
    let receiver = receiver.args(["--synchronous", "--slot=second_place", "-D"]).arg(site.path("received"));
    receiver.start(Path::new(&site.path("receiver.log"))).expect("pg_receivewal starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_synchronous_log_a_lost_disk_loses_nothing() {
    let site = Site::new();
    let mut postgres = block_in_place(|| site.start("original", None, &[]));
    let keeper = Shopkeeper::with_shop(&postgres, &license_keys("STOCK", 5_000)).await;
    let mut told = keeper.send(&references("early", 10)).await;
    let mut receiver = receive_log(&site, &postgres, &keeper.installation.pg).await;
    block_in_place(|| site.back_up(&postgres, "backup"));
    let client = keeper.installation.pg.client().await.unwrap();
    client.batch_execute("alter system set synchronous_standby_names = 'pg_receivewal'").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let begun = Instant::now();
    let synchronous = "select count(*) from pg_stat_replication where sync_state = 'sync'";
    while client.query_one(synchronous, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < DEADLINE, "the receiver is not synchronous: {}", receiver.log_tail(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Selling goes on until the machine is gone. Before that the second place stands still: what is committed now would be lost, and so
    // nobody may be told, not even when a time-out comes in between.
    let keeper = Shopkeeper::with_timeout(&postgres, "1000").await;
    let (sold, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let (selling_to, stopped) = (sold.clone(), stop.clone());
    let seller = tokio::spawn(async move {
        for reference in references("late", 100_000) {
            match keeper.fulfillment.fulfill(&[keeper.order(&reference)]).await {
                Ok(outcomes) => selling_to.lock().unwrap().push(Answer::of(&reference, &outcomes[0])),
                Err(_) if stopped.is_cancelled() => return,
                Err(_) => {}
            }
        }
    });
    let sold_so_far = || sold.lock().unwrap().len();
    let begun = Instant::now();
    while sold_so_far() < 50 {
        assert!(begun.elapsed() < DEADLINE, "nothing is sold");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    block_in_place(|| receiver.pause()).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    stop.cancel();
    let password = postgres.password().to_owned();
    block_in_place(|| postgres.kill()).unwrap();
    drop(postgres);
    site.run("rm", &[&"-r", &site.path("original")]);
    block_in_place(|| receiver.kill()).unwrap();
    tokio::time::timeout(DEADLINE, seller).await.expect("the seller ends").unwrap();
    println!("{} orders were acknowledged", sold_so_far());
    told.append(&mut sold.lock().unwrap());

    // The segment that was being received has a name of its own.
    let received = site.path("received");
    let restore = format!("restore_command=cp {0}/%f %p || cp {0}/%f.partial %p", received.display());
    let postgres = block_in_place(|| site.restore("backup", "restored", &password, &[restore, "synchronous_standby_names=".into()]));
    let keeper = Shopkeeper::on(&postgres).await;
    keeper.audit(&["--at-rest"]);
    let all: Vec<String> = told.iter().map(|answer| answer.reference.clone()).collect();
    let again = keeper.send(&all).await;
    assert!(again.iter().zip(&told).all(|(again, told)| again.replayed && again.said == told.said), "every answer stands");
    let more = keeper.send(&references("more", 100)).await;
    assert_eq!(given_twice(&told, &more), [""; 0]);
}
