//! Stores never meet, and live never meets test: not in stock, orders, references or keys. Whoever knocks at the wrong door learns nothing.

use std::time::Duration;

use common::api_key::{ApiKey, ApiKeyHasher};
use common::mode::Mode;
use http::{HeaderMap, Method};
use serde_json::json;
use storage::pg::api_keys::{self, Quotas};
use storage::pg::audit_log::Actor;
use storage::pg::stores;
use testkit::http::{Client, Response};
use testkit::shop::{Shop, license_keys};

use crate::system::{Edge, SOON, System, eventually, fulfill, fulfill_once, fulfill_path, license_keys_of, order, order_id_of, read_order};

/// One of the four worlds that two stores and two modes make.
struct World {
    slug: &'static str,
    client: Client,
    prefix: String,
    livemode: bool,
    order_id: String,
}

async fn world(system: &System, edge: &Edge, shop: &Shop, slug: &'static str, mode: Mode) -> World {
    let (_, key) = shop.key(&system.pg, mode, &[], Quotas::default()).await.unwrap();
    let prefix = format!("{}-{mode}", slug.to_uppercase());
    World { slug, client: edge.client(&key), prefix, livemode: mode.is_live(), order_id: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_and_modes_are_worlds_of_their_own() {
    let system = System::new().await;
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let mut worlds = Vec::new();
    for slug in ["one", "two"] {
        let (shop, _) = system.shop(slug).await;
        let product = shop.pooled(&system.pg, "SAME", &[]).await.unwrap();
        for mode in [Mode::Live, Mode::Test] {
            let world = world(&system, &edge, &shop, slug, mode).await;
            shop.stock(&system.pg, &product, mode, &license_keys(&world.prefix, 2)).await.unwrap();
            worlds.push(world);
        }
    }
    let newest = worlds.last().unwrap();
    eventually("the newest key to be known", SOON, async || {
        (read_order(&newest.client, newest.slug, "ORD-0").await.status == 404).then_some(())
    })
    .await;

    // The same reference, idempotency key and SKU everywhere: an order each, from the own pool.
    for world in &mut worlds {
        let made = fulfill_once(&world.client, world.slug, "same-key", &order("same-reference", &[("SAME", 1)])).await;
        assert_eq!((made.status.as_u16(), made.header("idempotent-replayed")), (201, ""), "{made:?}");
        assert_eq!(license_keys_of(&made), license_keys(&world.prefix, 1));
        world.order_id = order_id_of(&made);
    }
    for world in &worlds {
        let (client, slug) = (&world.client, world.slug);
        let list = client.get(&format!("/api/v1/stores/{slug}/orders/")).await.unwrap().json();
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!((&list["data"][0]["order_id"], &list["data"][0]["livemode"]), (&json!(world.order_id), &json!(world.livemode)));
        for other in &worlds {
            let read = read_order(client, slug, &other.order_id).await;
            let revoke = format!("/api/v1/stores/{slug}/orders/{}/revoke/", other.order_id);
            if other.order_id == world.order_id {
                assert_eq!(read.status, 200);
            } else {
                assert_eq!((read.status.as_u16(), read.code().as_str()), (404, "order_not_found"));
                assert_eq!(client.send(Method::POST, &revoke, &[], "").await.unwrap().code(), "order_not_found");
                let after = client.get(&format!("/api/v1/stores/{slug}/orders/?starting_after={}", other.order_id)).await.unwrap();
                assert!(!String::from_utf8_lossy(&after.body).contains(&other.order_id));
            }
        }
        // Two more keys than this world has are not borrowed from another.
        let short = fulfill(client, slug, &order("too-many", &[("SAME", 2)])).await;
        assert_eq!(short.json()["shortages"], json!([{ "sku": "SAME", "requested": 2, "available": 1 }]));
    }
    assert_eq!(system.number("select count(*) from orders where status = 'fulfilled'").await, 4);
    edge.stop().await;
}

/// What an answer's head says apart from the time and from how full the bucket is.
fn lasting(headers: &HeaderMap) -> Vec<(String, String)> {
    let passing = ["date", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit"];
    let lasting = headers.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
    let mut lasting: Vec<_> = lasting.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    lasting.sort();
    lasting
}

async fn knock(client: &Client, method: Method, path: &str) -> Response {
    let body = if method == Method::POST { order("knock", &[("SAME", 1)]).to_string() } else { String::new() };
    // With a name of our own the whole body can be compared.
    client.send(method, path, &[("content-type", "application/json"), ("x-request-id", "knock")], body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_store_is_told_what_an_unknown_key_is_told() {
    let system = System::new().await;
    let (_one, key_of_one) = system.shop("one").await;
    let (two, key_of_two) = system.shop("two").await;
    two.generated(&system.pg, "SAME").await.unwrap();
    let (revoked_id, revoked) = two.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
    let (expiring_id, expiring) = two.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    assert_eq!(fulfill(&edge.client(&revoked), "two", &order("r-1", &[("SAME", 1)])).await.status, 201);
    assert_eq!(fulfill(&edge.client(&expiring), "two", &order("r-2", &[("SAME", 1)])).await.status, 201);

    // One key is revoked, one is rolled and its hour of overlap passes.
    api_keys::revoke(&system.pg, revoked_id, Actor::CommandLine).await.unwrap();
    let unknown = ApiKey::generate(Mode::Live, rand::random::<u64>);
    let rolled = ApiKey::generate(Mode::Live, rand::random::<u64>);
    let hasher = ApiKeyHasher::new(&system.settings().secrets.api_key_pepper);
    let (pepper_id, hash) = hasher.hash(&rolled);
    api_keys::roll(&system.pg, expiring_id, rolled.hint(), pepper_id, hash, 3_600.0, Actor::CommandLine).await.unwrap();
    eventually("the rolled key to work", SOON, async || {
        (fulfill(&edge.client(rolled.expose()), "two", &order("r-3", &[("SAME", 1)])).await.status == 201).then_some(())
    })
    .await;
    assert_eq!(fulfill(&edge.client(&expiring), "two", &order("r-4", &[("SAME", 1)])).await.status, 201, "it overlaps");
    system.clock.advance(Duration::from_secs(3_601));

    let paths = [
        (Method::POST, fulfill_path("two")),
        (Method::POST, "/api/v1/stores/two/checkout/session/".to_owned()),
        (Method::GET, "/api/v1/stores/two/orders/".to_owned()),
        (Method::GET, "/api/v1/stores/two/orders/ORD-000000000000000000/".to_owned()),
    ];
    for (method, path) in paths {
        let expected = knock(&edge.client(unknown.expose()), method.clone(), &path).await;
        assert_eq!((expected.status.as_u16(), expected.code().as_str()), (401, "invalid_api_key"));
        assert!(!expected.header("www-authenticate").is_empty());
        for (name, key) in [("another store's", &key_of_one), ("revoked", &revoked), ("expired", &expiring)] {
            let answer = knock(&edge.client(key), method.clone(), &path).await;
            assert_eq!(answer.body, expected.body, "{name} key on {path}");
            assert_eq!(lasting(&answer.headers), lasting(&expected.headers), "{name} key on {path}");
        }
    }
    assert_eq!(knock(&edge.client(&key_of_two), Method::GET, "/api/v1/stores/two/orders/").await.status, 200);

    // A store that does not exist is no secret to whoever has a good key, and to nobody else.
    for key in [&key_of_one, &key_of_two] {
        let answer = fulfill(&edge.client(key), "three", &order("r", &[("SAME", 1)])).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "store_not_found"));
    }
    let answer = fulfill(&edge.client(unknown.expose()), "three", &order("r", &[("SAME", 1)])).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "invalid_api_key"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_licensing_are_asked_for() {
    let system = System::new().await;
    let (shop, all) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (_, checkout) = shop.key(&system.pg, Mode::Live, &["checkout"], Quotas::default()).await.unwrap();
    let (_, licensing) = shop.key(&system.pg, Mode::Live, &["licensing"], Quotas::default()).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let session = json!({ "cart": { "A": 1 }, "currency": "GBP" });
    let session_path = "/api/v1/stores/demo/checkout/session/";

    assert_eq!(edge.client(&checkout).post(session_path, &session).await.unwrap().status, 201);
    assert_eq!(fulfill(&edge.client(&licensing), "demo", &order("r-1", &[("A", 1)])).await.status, 201);
    let refused = [
        edge.client(&licensing).post(session_path, &session).await.unwrap(),
        fulfill(&edge.client(&checkout), "demo", &order("r-2", &[("A", 1)])).await,
        edge.client(&checkout).get("/api/v1/stores/demo/orders/").await.unwrap(),
    ];
    for refused in refused {
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "insufficient_scope"));
    }

    stores::set_licensing(&system.pg, shop.store_id, false, Actor::CommandLine).await.unwrap();
    let refused = eventually("licensing to be off", SOON, async || {
        let answer = fulfill(&edge.client(&all), "demo", &order("r-3", &[("A", 1)])).await;
        (answer.status != 201).then_some(answer)
    })
    .await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "store_not_licensing"));
    assert_eq!(edge.client(&all).post(session_path, &session).await.unwrap().status, 201, "checkout goes on");
    edge.stop().await;
}
