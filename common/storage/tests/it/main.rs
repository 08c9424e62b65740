//! Storage against real servers: shared ones where a test can have a corner of its own, private ones where it hurts them. One binary,
//! so that it links once.

mod audit;
mod audit_log;
mod carts;
mod changes;
mod errors;
mod license_keys;
mod listener;
mod migration_rules;
mod migrations;
mod orders;
mod queue;
mod replies;
mod retention;
mod roles;
mod statements;
mod tax_rates;
mod tls;
mod webhooks;

use std::time::Duration;

use storage::Pg;
use testkit::database::Database;
use testkit::servers::{Binaries, Host, Kind, Lifetime, Postgres, Redis};
use testkit::settings::Settings;
use tokio::time::Instant;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until `condition` holds; returns how long that took.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// Waits for something that is sure to come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("still waiting: {what}"))
}

fn binaries(kind: Kind) -> Binaries {
    let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).expect("a host");
    host.find_or_unpack(&[kind], &|line| eprintln!("{line}")).expect("a server's programs")
}

/// A Postgres that a test may stop, kill and set up anew.
fn own_postgres() -> Postgres {
    tokio::task::block_in_place(|| Postgres::start(&binaries(Kind::Postgres), Lifetime::Temporary, None)).expect("Postgres starts")
}

/// A Redis that a test may stop, kill and empty.
fn own_redis() -> Redis {
    tokio::task::block_in_place(|| Redis::start(&binaries(Kind::Redis), None)).expect("Redis starts")
}

/// The one that all other tests share.
fn shared_redis() -> &'static Redis {
    tokio::task::block_in_place(Redis::shared_for_tests).expect("Redis starts")
}

fn redis_settings(redis: &Redis) -> config::Redis {
    Settings::new().redis(&redis.url()).load().expect("settings").redis
}

fn postgres_settings(url: &str) -> config::Postgres {
    Settings::new().postgres(url).load().expect("settings").postgres
}

/// A pool that waits as long as it takes: a test of what many do at once must not fail because the machine is slow.
fn patient(database: &Database) -> Pg {
    let names =
        ["POSTGRES__CONNECT_TIMEOUT_MS", "POSTGRES__CHECKOUT_TIMEOUT_MS", "POSTGRES__STATEMENT_TIMEOUT_MS", "EDGE__FULFILL_DEADLINE_MS"];
    let settings = names.iter().fold(Settings::new().postgres(database.url()), |settings, name| settings.set(name, "60000"));
    Pg::new(&settings.load().expect("settings").postgres, "test").expect("a pool")
}
