//! Two edges and two workers: whatever is done at one is known at the other, within a second where that is promised.

use std::collections::BTreeSet;
use std::time::Duration;

use common::clock::Clock;
use common::mode::Mode;
use common::money::Currency;
use common::session::SessionSigner;
use serde_json::{Value, json};
use storage::pg::api_keys::{self, Quotas};
use storage::pg::audit_log::Actor;
use storage::pg::products;
use storage::revocations;
use testkit::http::{Client, Response};
use testkit::shop::license_keys;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::system::{
    Edge, System, all_are, eventually, fulfill, fulfill_once, in_parallel, license_keys_of, order, order_id_of, read_order,
};

/// The promise. Generous to a busy machine: what was measured is printed.
const ONE_SECOND: Duration = Duration::from_secs(1);
const SESSION_PATH: &str = "/api/v1/stores/demo/checkout/session/";

async fn session(client: &Client, sku: &str, currency: &str) -> Response {
    client.post(SESSION_PATH, &json!({ "cart": { sku: 1 }, "currency": currency })).await.unwrap()
}

/// How long each of these edges takes to answer a session of this key, SKU and currency with `status`, counted from `since`.
async fn until_all_say(edges: &[Edge], key: &str, (sku, currency): (&str, &str), status: u16, since: Instant, what: &str) {
    for edge in edges {
        let client = edge.client(key);
        eventually(what, ONE_SECOND, async || (session(&client, sku, currency).await.status == status).then_some(())).await;
    }
    println!("{what}: on both edges after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_good_at_every_edge_and_over_restarts() {
    let mut system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let first = system.edge().await;
    let made = session(&first.client(&key), "A", "GBP").await;
    assert_eq!(made.status, 201);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    first.stop().await;

    // Another edge, started later, with a newer signing key in front of the one that signed.
    system
        .set("SECRETS__SESSION_SIGNING", "t2:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=,t1:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
    let second = system.edge().await;
    let signer = SessionSigner::new(&system.settings().secrets.session_signing);
    let now_s = system.clock.now().unix_s();
    let claims = signer.verify(&token, now_s).expect("a token of ours");
    assert_eq!((claims.store_id, claims.mode, claims.currency.as_str()), (shop.store_id, Mode::Live, "GBP"));
    assert_eq!((claims.cart[0].sku.as_str(), claims.cart[0].quantity), ("A", 1));
    assert_eq!(claims.expires_at_s - claims.issued_at_s, 86_400);
    assert!(signer.verify(&token, now_s + 86_401).is_err());
    let newer = session(&second.client(&key), "A", "GBP").await.json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("cs1.t1.") && newer.starts_with("cs1.t2."));
    assert!(signer.verify(&newer, now_s).is_ok());
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_order_at_every_edge() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.pooled(&system.pg, "A", &license_keys("K", 40)).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let workers = [system.worker().await, system.worker().await];
    let clients = edges.each_ref().map(|edge| edge.client(&key));

    let made = fulfill(&clients[0], "demo", &order("r-1", &[("A", 1)])).await;
    let read = read_order(&clients[1], "demo", &order_id_of(&made)).await;
    assert_eq!(read.json()["items"][0]["license_keys"], made.json()["items"][0]["license_keys"]);
    assert_eq!(fulfill(&clients[1], "demo", &order("r-1", &[("A", 1)])).await.body, made.body);

    for round in 0..10 {
        let answers = in_parallel(40, 40, |n| {
            let client = clients[n % 2].clone();
            async move {
                let body = order(&format!("race-{round}"), &[("A", 1)]);
                if n % 4 < 2 {
                    fulfill(&client, "demo", &body).await
                } else {
                    fulfill_once(&client, "demo", &format!("key-{round}"), &body).await
                }
            }
        })
        .await;
        all_are(&answers, 201);
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "round {round}");
    }
    assert_eq!(system.free(&product, Mode::Live).await, 29);

    // A worker leaves while orders come in: the other takes over, and nothing is made twice.
    let [leaving, _staying] = workers;
    let asking = tokio::spawn(in_parallel(29, 4, {
        let clients = clients.clone();
        move |n| {
            let client = clients[n % 2].clone();
            async move { fulfill(&client, "demo", &order(&format!("leaving-{n}"), &[("A", 1)])).await }
        }
    }));
    leaving.stop().await;
    let answers = asking.await.unwrap();
    all_are(&answers, 201);
    assert_eq!(answers.iter().flat_map(license_keys_of).collect::<BTreeSet<_>>().len(), 29);
    assert_eq!(system.number("select count(*) from orders").await, 40);
}

/// The ways a revocation travels.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Both,
    Postgres,
    Redis,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_everywhere_within_a_second() {
    let mut system = System::new().await;
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let redis = storage::redis::client(&system.settings().redis).unwrap();
    let prefix = system.settings().queue.prefix;

    for way in [Way::Both, Way::Postgres, Way::Redis, Way::Postgres] {
        let (id, key) = shop.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
        until_all_say(&edges, &key, ("A", "GBP"), 201, Instant::now(), "a new key works").await;
        let since = Instant::now();
        if way != Way::Redis {
            let change = api_keys::revoke(&system.pg, id, Actor::CommandLine).await.unwrap();
            assert!(change.is_some());
        }
        if way != Way::Postgres {
            eventually("Redis to take the word", ONE_SECOND, async || revocations::publish(&redis, &prefix, id).await.ok()).await;
        }
        until_all_say(&edges, &key, ("A", "GBP"), 401, since, &format!("a key revoked by {way:?} is refused")).await;
    }

    // With Redis gone the feed alone carries it.
    let (id, key) = shop.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
    until_all_say(&edges, &key, ("A", "GBP"), 201, Instant::now(), "a new key works").await;
    block_in_place(|| system.redis.stop().unwrap());
    let since = Instant::now();
    api_keys::revoke(&system.pg, id, Actor::CommandLine).await.unwrap();
    until_all_say(&edges, &key, ("A", "GBP"), 401, since, "a key revoked while Redis is away is refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_alone_carries_a_revocation_while_postgres_is_away() {
    let mut system = System::with_own_postgres().await;
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (id, key) = shop.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let settings = system.settings();
    let redis = storage::redis::client(&settings.redis).unwrap();
    until_all_say(&edges, &key, ("A", "GBP"), 201, Instant::now(), "the key works").await;
    block_in_place(|| system.postgres().stop().unwrap());
    let since = Instant::now();
    eventually("Redis to take the word", ONE_SECOND, async || revocations::publish(&redis, &settings.queue.prefix, id).await.ok()).await;
    until_all_say(&edges, &key, ("A", "GBP"), 401, since, "a key revoked while Postgres is away is refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_and_prices_are_seen_everywhere_within_a_second() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    let edges = [system.edge().await, system.edge().await];
    for sku in ["A", "B", "C"] {
        assert_eq!(session(&edges[1].client(&key), sku, "GBP").await.code(), "product_not_found");
        let since = Instant::now();
        let product = shop.generated(&system.pg, sku).await.unwrap();
        until_all_say(&edges, &key, (sku, "GBP"), 201, since, "a new product is sold").await;
        assert_eq!(session(&edges[0].client(&key), sku, "EUR").await.code(), "price_not_available");
        let since = Instant::now();
        products::set_prices(&system.pg, &product, &[(Currency::parse("EUR").unwrap(), 100)]).await.unwrap();
        until_all_say(&edges, &key, (sku, "EUR"), 201, since, "a new price is taken").await;
    }
}

fn bucket(answer: &Response) -> (u32, u32) {
    (answer.header("x-ratelimit-limit").parse().unwrap(), answer.header("x-ratelimit-remaining").parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_limits_hold_within_a_second_and_keep_the_bucket() {
    let system = System::new().await;
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let quotas = |checkout| Quotas { checkout, ..Quotas::default() };
    let (id, key) = shop.key(&system.pg, Mode::Live, &[], quotas(Some(10))).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    for edge in &edges {
        for left in (4..10).rev() {
            assert_eq!(bucket(&session(&edge.client(&key), "A", "GBP").await), (10, left));
        }
    }
    // Six of ten tokens are gone, 36 s worth. Of a hundred a minute that is sixty: forty are left, not a hundred.
    api_keys::set_quotas(&system.pg, id, quotas(Some(100)), Actor::CommandLine).await.unwrap();
    for edge in &edges {
        let client = edge.client(&key);
        let (limit, left) = eventually("the new limit", ONE_SECOND, async || {
            let (limit, left) = bucket(&session(&client, "A", "GBP").await);
            (limit == 100).then_some((limit, left))
        })
        .await;
        // Looking cost a token of six seconds each time, before the change was there; time gave a few back.
        assert!(limit == 100 && left < 45, "{left}");
    }
    api_keys::set_quotas(&system.pg, id, quotas(None), Actor::CommandLine).await.unwrap();
    api_keys::set_quotas(&system.pg, id, quotas(Some(1)), Actor::CommandLine).await.unwrap();
    for edge in &edges {
        let client = edge.client(&key);
        let refused: Value = eventually("the lowered limit", ONE_SECOND, async || {
            let answer = session(&client, "A", "GBP").await;
            (answer.status == 429 && bucket(&answer).0 == 1).then(|| answer.json())
        })
        .await;
        assert_eq!(refused["code"], "rate_limited");
    }
}
