//! An edge that is there before its database, and one whose database and Redis go away.

use std::sync::Arc;

use ops::admin::AdminServer;
use ops::health::Health;
use ops::metrics::Metrics;
use storage::Pg;
use storage::pg::audit_log::Actor;
use testkit::clock::FakeClock;
use testkit::http::Client;
use testkit::servers::{Binaries, Host, Kind, Lifetime, Postgres, Redis};
use testkit::settings::Settings;
use testkit::shop::Shop;

use crate::stage::{Backstage, FULFILL, GEO, ORDERS, PATIENCE, SESSION, WEBHOOKS, order, problem, session, until};
use crate::wire::{Wire, get, post};

/// Servers of this test's own, which it may stop.
fn servers() -> (Postgres, Redis) {
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").map(|(_, path)| path).expect("PATH is set");
    let host = Host::of_this_checkout(path).expect("a host");
    let binaries: Binaries = host.find_or_unpack(&[Kind::Postgres, Kind::Redis], &|line| eprintln!("{line}")).expect("servers");
    (Postgres::start(&binaries, Lifetime::Temporary, None).expect("Postgres"), Redis::start(&binaries, None).expect("Redis"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_its_database_and_after_it() {
    let (mut postgres, mut redis) = tokio::task::spawn_blocking(servers).await.unwrap();
    let pg = Pg::new(&Settings::new().postgres(&postgres.url()).load().unwrap().postgres, "test").unwrap();
    storage::pg::migrations::run(&pg).await.unwrap();
    let backstage = Backstage::with(pg, &postgres.url(), &redis.url()).await;
    postgres.stop().unwrap();
    redis.stop().unwrap();

    let settings = backstage.settings.load().unwrap();
    let metrics = Metrics::new("edge", &[]).unwrap();
    let health = Health::new(&metrics);
    let running = edge::runner::start(&settings, &metrics, &health, Arc::new(FakeClock::new())).await.unwrap();
    // It listens, so that callers wait in the backlog, but it is not ready, and nobody is answered from nothing.
    let (mut public, mut partner) = (Wire::connect(running.address).await, Wire::connect(running.address).await);
    public.say(get(GEO, "")).await;
    partner.say(post(SESSION, &backstage.key, "", &session().to_string())).await;
    assert!(!public.ended_within(std::time::Duration::from_millis(300)).await);
    assert!(!health.is_ready());

    postgres.restart().unwrap();
    assert_eq!(partner.hear().await.status, 201);
    assert_eq!(public.hear().await.status, 200);
    assert!(health.is_ready());
    let client = Client::new(running.address, false).with_key(&backstage.key);
    assert_eq!(client.get(ORDERS).await.unwrap().status, 200);

    // Both gone: sessions go on from memory, and what needs the database says so at once.
    postgres.stop().unwrap();
    until("noticing", async || client.get(ORDERS).await.unwrap().status == 503).await;
    let asked = std::time::Instant::now();
    let url = serde_json::json!({"url": "https://shop.example/hooks"});
    for answer in [
        client.get(ORDERS).await.unwrap(),
        client.post(FULFILL, &order("r")).await.unwrap(),
        client.get(WEBHOOKS).await.unwrap(),
        client.post(WEBHOOKS, &url).await.unwrap(),
    ] {
        problem(&answer, 503, "unavailable");
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
        assert!(!answer.header("x-ratelimit-remaining").is_empty());
    }
    assert!(asked.elapsed() < std::time::Duration::from_secs(2), "from a flag, not from a time-out: {:?}", asked.elapsed());
    assert_eq!(client.post(SESSION, &session()).await.unwrap().status, 201);
    assert_eq!(client.get(GEO).await.unwrap().status, 200);
    assert!(health.is_ready(), "an edge that has its snapshot serves");

    postgres.restart().unwrap();
    until("coming back", async || client.get(ORDERS).await.unwrap().status == 200).await;
    running.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_changes_is_known_a_moment_later() {
    let stage = Backstage::new().await.start().await;
    let (id, key) = stage.shop.key(&stage.pg, common::mode::Mode::Live, &[], Default::default()).await.unwrap();
    let client = stage.anyone().with_key(&key);
    until("a new key", async || client.post(SESSION, &session()).await.unwrap().status == 201).await;
    let mut body = session();
    body["cart"]["LATER"] = 1.into();
    problem(&client.post(SESSION, &body).await.unwrap(), 404, "product_not_found");
    stage.shop.generated(&stage.pg, "LATER").await.unwrap();
    until("a new product", async || client.post(SESSION, &body).await.unwrap().status == 201).await;
    storage::pg::api_keys::revoke(&stage.pg, id, Actor::CommandLine).await.unwrap();
    until("a revoked key", async || client.post(SESSION, &session()).await.unwrap().status == 401).await;
    assert!(stage.health.is_ready());
}

#[tokio::test]
async fn a_stop_lets_what_was_begun_be_finished() {
    let stage = Backstage::new().await.set("EDGE__FULFILL_FALLBACK_MS", "200").set("EDGE__FULFILL_DEADLINE_MS", "1000").start().await;
    let (address, key) = (stage.address, stage.key.clone());
    let mut idle = Wire::connect(address).await;
    assert_eq!(idle.ask(get(GEO, "")).await.status, 200);
    let waiting = &stage.running.edge.metrics.fulfill_waiting.clone();
    let mut busy = Wire::connect(address).await;
    busy.say(post(FULFILL, &key, "", &order("last").to_string())).await;
    until("waiting", || std::future::ready(waiting.get() == 1)).await;
    let stopping = tokio::spawn(stage.running.stop(PATIENCE));
    assert!(idle.ended().await.is_empty());
    assert_eq!(busy.hear().await.status, 202);
    assert!(busy.ended().await.is_empty());
    stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn who_hangs_up_is_counted_and_waits_no_more() {
    let stage = Backstage::new().await.start().await;
    let metrics = &stage.running.edge.metrics;
    let mut impatient = Wire::connect(stage.address).await;
    impatient.say(post(FULFILL, &stage.key, "", &order("gone").to_string())).await;
    until("waiting", || std::future::ready(metrics.fulfill_waiting.get() == 1)).await;
    drop(impatient);
    until("not waiting", || std::future::ready(metrics.fulfill_waiting.get() == 0)).await;
    assert_eq!(metrics.requests_total.with_label_values(&["fulfill", "POST", "499"]).get(), 1);
    assert_eq!(metrics.request_seconds.with_label_values(&["fulfill"]).get_sample_count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_wait_for_their_migrations_and_say_so() {
    let database = testkit::database::Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    pg.client().await.unwrap().batch_execute("create database not_migrated").await.unwrap();
    let url = format!("{}/not_migrated", database.url().rsplit_once('/').unwrap().0);
    let redis = tokio::task::spawn_blocking(Redis::shared_for_tests).await.unwrap().unwrap();
    let settings = Settings::new().postgres(&url).redis(&redis.url()).set("QUEUE__PREFIX", "not-migrated").load().unwrap();

    let programs = ["edge", "worker"].map(|name| Metrics::new(name, &[]).unwrap()).map(|metrics| (Health::new(&metrics), metrics));
    let [(edge_health, edge_metrics), (worker_health, worker_metrics)] = &programs;
    let edge = edge::runner::start(&settings, edge_metrics, edge_health, Arc::new(FakeClock::new())).await.unwrap();
    let worker = worker::runner::start(&settings, worker_metrics, worker_health).unwrap();
    for (health, metrics) in &programs {
        let admin = AdminServer::start("127.0.0.1:0".parse().unwrap(), metrics.clone(), health.clone()).unwrap();
        let page = Client::new(admin.local_addr(), false);
        until("the reason", async || {
            let answer = page.get("/readyz").await.unwrap();
            answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("run `worker migrate`")
        })
        .await;
        admin.shutdown();
    }

    let empty = Pg::new(&settings.postgres, "test").unwrap();
    storage::pg::migrations::run(&empty).await.unwrap();
    let key = Shop::open(&empty, "demo").await.unwrap().unlimited_key(&empty).await.unwrap();
    until("both to be ready", async || programs.iter().all(|(health, _)| health.is_ready())).await;
    let client = Client::new(edge.address, false).with_key(&key);
    until("the key to be known", async || client.get(ORDERS).await.unwrap().status == 200).await;
    for (_, metrics) in &programs {
        let page = metrics.encode().unwrap();
        let restarts: Vec<&str> = page.lines().filter(|line| line.contains("task_restarts_total{") && !line.ends_with(" 0")).collect();
        assert!(restarts.is_empty(), "nothing ran into what was not there: {restarts:?}");
    }
    edge.stop(PATIENCE).await;
    worker.stop(PATIENCE).await;
}
