//! Rolling restarts under load: two edges and two workers are replaced one after another, with a migration in between, and no client sees
//! more of it than an answer that is the last of its connection.

mod fleet;
mod load;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ops::health::Health;
use ops::metrics::Metrics;
use storage::Pg;

use crate::stage::{Backstage, until};
use fleet::{Door, Fleet, Member, Role};
use load::{Kind, Load, Tally};

/// Longer than the longest pause of a client.
const DRAIN_IDLE_MS: &str = "1500";
const CLIENTS: [Kind; 11] = [
    Kind::KeptAlive(4),
    Kind::KeptAlive(4),
    Kind::KeptAlive(10),
    Kind::KeptAlive(10),
    Kind::KeptAlive(1_000),
    Kind::KeptAlive(1_000),
    Kind::KeptAlive(1_000),
    Kind::ShortLived,
    Kind::ShortLived,
    Kind::Http2,
    Kind::Http2,
];
/// What later versions' migrations may do while this one runs, each in a transaction: new columns in the tables that are used most.
const LATER_MIGRATIONS: [&str; 6] = [
    "alter table orders add column later text",
    "alter table order_items add column later bigint not null default 7",
    "alter table api_keys add column later text",
    "alter table products add column later text",
    "alter table events add column later text",
    "create table later (id bigint primary key)",
];

async fn fleet(backstage: &Backstage, door: Door, edge: &Path) -> Arc<Fleet> {
    // Two edges and two workers share this database with other tests.
    let settings = backstage.settings.clone().set("LOG__FORMAT", "json").set("POSTGRES__CONNECTIONS_MAX", "8");
    // So few fit into any limit of open files, and nothing is complained of.
    let settings = settings.set("EDGE__CONNECTIONS_MAX", "2000");
    Arc::new(Fleet {
        edge: edge.to_owned(),
        worker: edge.with_file_name("worker"),
        settings: settings.set("EDGE__DRAIN_IDLE_MS", DRAIN_IDLE_MS),
        worker_url: backstage.worker_url.clone(),
        door,
        logs: tempfile::tempdir().expect("a folder"),
        started: AtomicU32::new(0),
    })
}

async fn backstage() -> Backstage {
    Backstage::new().await.unlimited_addresses()
}

/// Starts one in the background's own time.
async fn start(fleet: &Arc<Fleet>, role: Role) -> Member {
    let fleet = fleet.clone();
    tokio::task::spawn_blocking(move || fleet.start(role)).await.expect("a process")
}

async fn replace(fleet: &Arc<Fleet>, mut member: Member) -> (Member, Duration) {
    let fleet = fleet.clone();
    let replacing = tokio::task::spawn_blocking(move || {
        let took = fleet.replace(&mut member);
        (member, took)
    });
    replacing.await.expect("a process")
}

async fn leave(members: impl IntoIterator<Item = Member>) {
    for mut member in members {
        tokio::task::spawn_blocking(move || member.leave()).await.expect("an end");
    }
}

/// As `worker migrate` would.
async fn migrate(pg: &Pg) {
    let client = pg.client().await.unwrap();
    for (sql, version) in LATER_MIGRATIONS.iter().zip(900..) {
        let applied = format!("insert into refinery_schema_history values ({version}, 'later', now()::text, '1')");
        client.batch_execute(&format!("begin; {sql}; {applied}; commit")).await.expect("a migration");
    }
}

/// Every order that was answered is there once, and fulfilled, and no other.
async fn all_orders_are_fulfilled(pg: &Pg, expected: usize) {
    let sql =
        "select count(*), count(distinct external_reference) from orders where status = 'fulfilled' and external_reference like 'roll-%'";
    until("all orders to be fulfilled", async || {
        let row = pg.client().await.unwrap().query_one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1));
        row.get::<_, i64>(0) as usize == expected
    })
    .await;
}

fn report(what: &str, mut tally: Tally) -> Tally {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| tally.fulfill_within(share));
    println!(
        "{what}: {} requests over {} connections, {:?}; refused {}, reset {}, cut {}; unsent {}, turned away {}; fulfillments {}: p50 {p50:?}, p99 {p99:?}, max {max:?}",
        tally.requests(),
        tally.connections,
        tally.answers,
        tally.refused,
        tally.reset,
        tally.cut,
        tally.unsent,
        tally.turned_away,
        tally.fulfill.len(),
    );
    tally
}

/// A worker in this process: its program may not be built.
fn start_worker(settings: &config::Settings) -> worker::runner::Running {
    let metrics = Metrics::new("worker", &[]).expect("metrics");
    worker::runner::start(settings, &metrics, &Health::new(&metrics)).expect("a worker")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_all_are_replaced() {
    let backstage = backstage().await;
    let fleet = fleet(&backstage, Door::one_socket(), Path::new(env!("CARGO_BIN_EXE_edge"))).await;
    let settings = fleet.settings(Role::Worker).load().expect("settings");
    let mut workers = vec![start_worker(&settings), start_worker(&settings)];
    let mut edges = vec![start(&fleet, Role::Edge).await, start(&fleet, Role::Edge).await];
    let load = Load::new(fleet.door.address(), &backstage.key);
    let clients = load.start(&CLIENTS);
    for round in 0..2 {
        for _ in 0..2 {
            let before = load.so_far().requests();
            let (edge, took) = replace(&fleet, edges.remove(0)).await;
            edges.push(edge);
            println!("an edge left in {took:?}");
            workers.remove(0).stop(settings.worker.drain_timeout).await;
            workers.push(start_worker(&settings));
            until("some requests", async || load.so_far().requests() > before + 100).await;
        }
        if round == 0 {
            migrate(&backstage.pg).await;
        }
    }
    let tally = report("4 edges and 4 workers replaced", load.stop(clients).await);
    assert_eq!((tally.scratches(), &tally.trouble), (0, &Vec::new()));
    all_orders_are_fulfilled(&backstage.pg, tally.fulfill.len()).await;
    leave(edges).await;
    for worker in workers {
        worker.stop(settings.worker.drain_timeout).await;
    }
}

/// The door is open while nobody is at home: who comes waits for the next edge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_edge_alone_is_replaced_without_refusing_anybody() {
    let backstage = backstage().await;
    let fleet = fleet(&backstage, Door::one_socket(), Path::new(env!("CARGO_BIN_EXE_edge"))).await;
    let worker = start_worker(&fleet.settings(Role::Worker).load().expect("settings"));
    let edge = start(&fleet, Role::Edge).await;
    let load = Load::new(fleet.door.address(), &backstage.key);
    let clients = load.start(&[Kind::ShortLived, Kind::KeptAlive(10), Kind::Http2]);
    until("some requests", async || load.so_far().requests() > 100).await;
    let (edge, _) = replace(&fleet, edge).await;
    let before = load.so_far().requests();
    until("some more", async || load.so_far().requests() > before + 100).await;
    let tally = report("the only edge replaced", load.stop(clients).await);
    assert_eq!((tally.scratches(), &tally.trouble), (0, &Vec::new()));
    leave([edge]).await;
    worker.stop(Duration::from_secs(5)).await;
}

/// Real programs, release builds, as many restarts and requests as it takes to believe it, and the same with a socket for each edge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and release builds: cargo build --release -p edge -p worker"]
async fn for_the_record() {
    let release = Path::new(env!("CARGO_BIN_EXE_edge")).parent().and_then(Path::parent).expect("a target folder").join("release/edge");
    for (what, door, rounds, requests) in
        [("one socket for all", Door::one_socket(), 20, 200_000), ("a socket each", Door::socket_each(), 20, 0)]
    {
        let (backstage, is_shared) = (backstage().await, matches!(door, Door::OneSocket(_)));
        let fleet = fleet(&backstage, door, &release).await;
        let mut workers = vec![start(&fleet, Role::Worker).await, start(&fleet, Role::Worker).await];
        let mut edges = vec![start(&fleet, Role::Edge).await, start(&fleet, Role::Edge).await];
        let load = Load::new(fleet.door.address(), &backstage.key);
        let clients = load.start(&CLIENTS.repeat(2));
        let (mut edge_left, mut worker_left) = (Duration::ZERO, Duration::ZERO);
        for round in 1..=rounds {
            for _ in 0..2 {
                let (edge, took) = replace(&fleet, edges.remove(0)).await;
                edges.push(edge);
                edge_left = edge_left.max(took);
                let (worker, took) = replace(&fleet, workers.remove(0)).await;
                workers.push(worker);
                worker_left = worker_left.max(took);
            }
            if round == rounds / 2 {
                migrate(&backstage.pg).await;
            }
            while load.so_far().requests() < requests * round / rounds {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let tally = load.stop(clients).await;
        println!("longest leaving: edge {edge_left:?}, worker {worker_left:?}");
        let tally = report(&format!("{what}, {} edges and {} workers replaced", rounds * 2, rounds * 2), tally);
        println!("{:#?}", tally.trouble);
        if is_shared {
            assert_eq!((tally.scratches(), &tally.trouble), (0, &Vec::new()));
            all_orders_are_fulfilled(&backstage.pg, tally.fulfill.len()).await;
        }
        leave(edges).await;
        leave(workers).await;
    }
}
