//! Fulfilling is exact: equal requests make one order, a license key is in one order at most, nobody is refused who could have been
//! served, and whoever is refused has taken nothing.

use std::collections::BTreeSet;

use common::mode::Mode;
use serde_json::json;
use testkit::http::{Client, Response};
use testkit::shop::license_keys;

use crate::system::{System, all_are, fulfill, fulfill_once, fulfill_until_made, in_parallel, license_keys_of, order, order_id_of};

const REPLAYED: &str = "idempotent-replayed";

/// Connections of both protocols, so that equal requests do not queue up in one.
fn several_clients(edge: &crate::system::Edge, key: &str) -> Vec<Client> {
    vec![edge.client(key), edge.client_http2(key), edge.client(key), edge.client_http2(key)]
}

/// A system on which even a slow machine takes the way through the queue, and no other.
async fn patient_system() -> System {
    let mut system = System::new().await;
    system.set("EDGE__FULFILL_FALLBACK_MS", "20000");
    system.set("EDGE__FULFILL_DEADLINE_MS", "25000");
    system.set("REDIS__COMMAND_TIMEOUT_MS", "15000");
    system
}

fn split(answers: Vec<Response>) -> (Vec<Response>, Vec<Response>) {
    answers.into_iter().partition(|answer| answer.status == 201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_equal_requests_make_one_order() {
    let system = patient_system().await;
    let (shop, key) = system.shop("demo").await;
    let product = shop.pooled(&system.pg, "POOL", &license_keys("ONE", 10)).await.unwrap();
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let clients = several_clients(&edge, &key);

    for (reference, idempotency_key, at_once) in [("r-64", None, 64), ("r-200", None, 200), ("r-key", Some("key-1"), 200)] {
        let before = system.free(&product, Mode::Live).await;
        let body = order(reference, &[("POOL", 2), ("MADE", 1)]);
        let answers = in_parallel(1_000, at_once, |n| {
            let (client, body) = (clients[n % clients.len()].clone(), body.clone());
            async move {
                match idempotency_key {
                    None => fulfill(&client, "demo", &body).await,
                    Some(idempotency_key) => fulfill_once(&client, "demo", idempotency_key, &body).await,
                }
            }
        })
        .await;
        all_are(&answers, 201);
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{reference}: every body is the same, byte for byte");
        assert_eq!(license_keys_of(&answers[0]).len(), 3);
        let first = answers.iter().filter(|answer| answer.header(REPLAYED).is_empty()).count();
        assert_eq!(first, 1, "{reference}: one answer was the first");
        assert!(answers.iter().all(|answer| ["", "true"].contains(&answer.header(REPLAYED))));
        assert_eq!(system.free(&product, Mode::Live).await, before - 2, "{reference}");
    }
    assert_eq!(system.number("select count(*) from orders").await, 3);
    assert_eq!(system.number("select count(*) from order_keys").await, 9);
    assert_eq!(system.number("select count(*) from license_digests").await, 13, "10 imported, 3 generated");
    edge.stop().await;
}

/// With no patience at all every request is written down while its question is still in the queue, so that worker, sweep and edges all
/// reach for the same order. Whoever hears 202 or 503 asks again, as a partner would.
#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_make_one_order_whichever_way_they_take() {
    let mut system = System::new().await;
    system.set("EDGE__FULFILL_FALLBACK_MS", "1");
    system.set("EDGE__FULFILL_DEADLINE_MS", "500");
    let (shop, key) = system.shop("demo").await;
    let product = shop.pooled(&system.pg, "POOL", &license_keys("ONE", 40)).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let _workers = [system.worker().await, system.worker().await];
    let clients: Vec<Client> = edges.iter().flat_map(|edge| several_clients(edge, &key)).collect();

    for round in 0..10 {
        let body = order(&format!("r-{round}"), &[("POOL", 2)]);
        let answers = in_parallel(50, 50, |n| {
            let (client, body) = (clients[n % clients.len()].clone(), body.clone());
            async move { fulfill_until_made(&client, "demo", &body).await }
        })
        .await;
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "round {round}");
        assert!(answers.iter().filter(|answer| answer.header(REPLAYED).is_empty()).count() <= 1, "round {round}");
        assert_eq!(system.free(&product, Mode::Live).await, 38 - 2 * round);
    }
    assert_eq!(system.number("select count(*) from orders").await, 10);
    assert_eq!(system.number("select count(*) from events").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reference_or_idempotency_key_is_one_content() {
    let system = patient_system().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    shop.generated(&system.pg, "B").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);

    let made = fulfill_once(&client, "demo", "key-1", &order("r-1", &[("A", 2), ("B", 1)])).await;
    assert_eq!(made.status, 201);
    // The same in other words: the currency in another case, an item split in two, items in another order.
    let mut same = order("r-1", &[("B", 1), ("A", 1), ("A", 1)]);
    same["currency"] = json!("gbp");
    for again in [fulfill(&client, "demo", &same).await, fulfill_once(&client, "demo", "key-1", &same).await] {
        assert_eq!((again.status.as_u16(), again.header(REPLAYED)), (201, "true"));
        assert_eq!(again.body, made.body);
    }
    for (name, value) in [("customer_email", json!("other@shop.example")), ("total_minor", json!(1)), ("currency", json!("USD"))] {
        let mut other = order("r-1", &[("A", 2), ("B", 1)]);
        other[name] = value;
        let refused = fulfill(&client, "demo", &other).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "external_reference_conflict"), "{name}");
    }
    let refused = fulfill_once(&client, "demo", "key-1", &order("r-2", &[("A", 2), ("B", 1)])).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "idempotency_key_conflict"));
    assert_eq!(system.number("select count(*) from orders").await, 1);
    assert_eq!(fulfill(&client, "demo", &order("r-2", &[("A", 2), ("B", 1)])).await.status, 201, "the conflict took nothing");

    // Two contents race for one reference: one wins, everybody is told the same.
    let answers = in_parallel(200, 64, |n| {
        let (client, body) = (client.clone(), order("race", &[(if n % 2 == 0 { "A" } else { "B" }, 1)]));
        async move { fulfill(&client, "demo", &body).await }
    })
    .await;
    let (won, lost) = split(answers);
    assert_eq!((won.len(), lost.len()), (100, 100));
    assert_eq!(won.iter().map(order_id_of).collect::<BTreeSet<_>>().len(), 1);
    assert!(lost.iter().all(|lost| lost.status == 409 && lost.code() == "external_reference_conflict"));

    // And for one idempotency key, under references of their own.
    let answers = in_parallel(200, 64, |n| {
        let (client, body) = (client.clone(), order(&format!("key-race-{}", n % 2), &[("A", 1)]));
        async move { fulfill_once(&client, "demo", "key-2", &body).await }
    })
    .await;
    let (won, lost) = split(answers);
    assert_eq!((won.len(), lost.len()), (100, 100));
    assert_eq!(won.iter().map(order_id_of).collect::<BTreeSet<_>>().len(), 1);
    assert!(lost.iter().all(|lost| lost.status == 409 && lost.code() == "idempotency_key_conflict"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_sold_to_the_last_key_and_no_further() {
    let system = patient_system().await;
    let (shop, key) = system.shop("demo").await;
    let stock = license_keys("ONE", 100);
    shop.pooled(&system.pg, "ONE", &stock).await.unwrap();
    let sevens = shop.pooled(&system.pg, "SEVEN", &license_keys("SEVEN", 100)).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let _workers = [system.worker().await, system.worker().await];
    let clients: Vec<Client> = edges.iter().flat_map(|edge| several_clients(edge, &key)).collect();
    let race = async |sku: &'static str, quantity: u32, callers: usize| {
        let answers = in_parallel(callers, callers, |n| {
            let (client, body) = (clients[n % clients.len()].clone(), order(&format!("{sku}-{n}"), &[(sku, quantity)]));
            async move { fulfill(&client, "demo", &body).await }
        });
        split(answers.await)
    };

    let (sold, refused) = race("ONE", 1, 300).await;
    assert_eq!((sold.len(), refused.len()), (100, 200));
    let keys: BTreeSet<String> = sold.iter().flat_map(license_keys_of).collect();
    assert_eq!(keys, stock.into_iter().collect(), "each key in one order");
    for refused in &refused {
        let problem = refused.json();
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "out_of_stock"));
        assert_eq!(problem["shortages"], json!([{ "sku": "ONE", "requested": 1, "available": 0 }]), "{problem}");
    }

    let (sold, refused) = race("SEVEN", 7, 60).await;
    assert_eq!((sold.len(), refused.len()), (14, 46));
    assert_eq!(sold.iter().flat_map(license_keys_of).collect::<BTreeSet<_>>().len(), 98);
    assert_eq!(system.free(&sevens, Mode::Live).await, 2);
    for refused in &refused {
        let short = &refused.json()["shortages"][0];
        assert_eq!((refused.code().as_str(), &short["requested"]), ("out_of_stock", &json!(7)));
        assert!((2..7).contains(&short["available"].as_i64().unwrap()), "{short}");
    }
    assert_eq!(system.number("select count(*) from orders").await, 114, "whoever was refused left nothing");
    assert_eq!(system.number("select count(*) from order_items").await, 114);
    assert_eq!(system.number("select count(*) from events").await, 228);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_falls_short_takes_nothing_and_works_after_an_import() {
    let system = patient_system().await;
    let (shop, key) = system.shop("demo").await;
    let plenty = shop.pooled(&system.pg, "PLENTY", &license_keys("PLENTY", 100)).await.unwrap();
    let scarce = shop.pooled(&system.pg, "SCARCE", &license_keys("SCARCE", 1)).await.unwrap();
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let clients = several_clients(&edge, &key);

    let alone = fulfill(&clients[0], "demo", &order("alone", &[("PLENTY", 3), ("MADE", 1), ("SCARCE", 2)])).await;
    assert_eq!(alone.json()["shortages"], json!([{ "sku": "SCARCE", "requested": 2, "available": 1 }]));
    assert_eq!((system.free(&plenty, Mode::Live).await, system.free(&scarce, Mode::Live).await), (100, 1));

    // Among others, in the same transactions: 40 that can be served and 40 that cannot.
    let answers = in_parallel(80, 80, |n| {
        let client = clients[n % clients.len()].clone();
        async move {
            let items: &[(&str, u32)] = if n % 2 == 0 { &[("PLENTY", 1)] } else { &[("PLENTY", 2), ("SCARCE", 2)] };
            fulfill(&client, "demo", &order(&format!("r-{n}"), items)).await
        }
    })
    .await;
    let (sold, refused) = split(answers);
    assert_eq!((sold.len(), refused.len()), (40, 40));
    for refused in &refused {
        assert_eq!(refused.json()["shortages"], json!([{ "sku": "SCARCE", "requested": 2, "available": 1 }]));
    }
    assert_eq!((system.free(&plenty, Mode::Live).await, system.free(&scarce, Mode::Live).await), (60, 1));
    assert_eq!(system.number("select count(*) from license_digests").await, 101, "nothing was generated for an order that fell short");

    shop.stock(&system.pg, &scarce, Mode::Live, &license_keys("MORE", 1)).await.unwrap();
    let served = fulfill(&clients[0], "demo", &order("alone", &[("PLENTY", 3), ("MADE", 1), ("SCARCE", 2)])).await;
    assert_eq!((served.status.as_u16(), served.header(REPLAYED)), (201, ""));
    assert_eq!((system.free(&plenty, Mode::Live).await, system.free(&scarce, Mode::Live).await), (57, 0));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_while_there_is_enough() {
    const CALLERS: usize = 48;
    const GREEDY: usize = 16;
    let system = patient_system().await;
    let (shop, key) = system.shop("demo").await;
    let first = shop.pooled(&system.pg, "FIRST", &[]).await.unwrap();
    let second = shop.pooled(&system.pg, "SECOND", &[]).await.unwrap();
    shop.pooled(&system.pg, "NEVER", &[]).await.unwrap();
    let edges = [system.edge().await, system.edge().await];
    let _workers = [system.worker().await, system.worker().await];
    let clients: Vec<Client> = edges.iter().flat_map(|edge| several_clients(edge, &key)).collect();

    let mut seen = BTreeSet::new();
    for round in 0..25 {
        // Everybody wants one of each, in either order, and there is exactly one of each for everybody. Among them are some who want much
        // and can have nothing: for a moment they hold what belongs to the others.
        for product in [&first, &second] {
            let keys = license_keys(&format!("{}-{round}", product.sku), CALLERS);
            shop.stock(&system.pg, product, Mode::Live, &keys).await.unwrap();
        }
        let answers = in_parallel(CALLERS + GREEDY, CALLERS + GREEDY, |n| {
            let client = clients[n % clients.len()].clone();
            let (reference, items) = match n {
                _ if n % 4 == 0 => (format!("greedy-{round}-{n}"), vec![("FIRST", 30), ("SECOND", 30), ("NEVER", 1)]),
                _ if n % 2 == 0 => (format!("{round}-{n}"), vec![("FIRST", 1), ("SECOND", 1)]),
                _ => (format!("{round}-{n}"), vec![("SECOND", 1), ("FIRST", 1)]),
            };
            async move { fulfill(&client, "demo", &order(&reference, &items)).await }
        })
        .await;
        let (answers, refused) = split(answers);
        all_are(&refused, 409);
        assert_eq!((answers.len(), refused.len()), (CALLERS, GREEDY), "round {round}");
        assert!(refused.iter().all(|refused| refused.json()["shortages"].to_string().contains("NEVER")), "round {round}");
        for key in answers.iter().flat_map(license_keys_of) {
            assert!(seen.insert(key), "a license key was sold twice");
        }
    }
    assert_eq!(seen.len(), 25 * CALLERS * 2);
}
