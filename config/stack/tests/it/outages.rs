//! What goes on while Postgres, Redis or the workers are away, what is said about it, and that everything comes back by itself.

use std::time::Duration;

use http::Method;
use serde_json::json;
use testkit::http::{Client, Response};
use testkit::shop::license_keys;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::redis_commands::Commands;
use crate::system::{
    System, all_are, fulfill, fulfill_until_made, in_parallel, license_keys_of, order, order_id_of, read_order, until_order_is,
};

/// Far above what is promised, for machines that are busy with other things; what was measured is printed.
const GENEROUS: Duration = Duration::from_secs(1);

async fn timed(client: &Client, reference: &str) -> (Response, Duration) {
    let started = Instant::now();
    (fulfill(client, "demo", &order(reference, &[("A", 1)])).await, started.elapsed())
}

fn says_come_back(answer: &Response) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_while_both_servers_are_away() {
    let mut system = System::with_own_postgres().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    assert_eq!(timed(&client, "before").await.0.status, 201);

    block_in_place(|| {
        system.redis.stop().unwrap();
        system.postgres().stop().unwrap();
    });
    let session = json!({ "cart": { "A": 1 }, "currency": "GBP" });
    let answers = in_parallel(100, 16, |_| {
        let (client, session) = (client.clone(), session.clone());
        async move { client.post("/api/v1/stores/demo/checkout/session/", &session).await.unwrap() }
    })
    .await;
    all_are(&answers, 201);
    for path in ["/api/v1/geo/subdivisions/?country=US", "/api/v1/tax/rates/?country=GB", "/api/v1/openapi.json"] {
        assert_eq!(client.get(path).await.unwrap().status, 200, "{path}");
    }
    assert_eq!(edge.ready_status().await, 200, "the edge goes on serving what it can");
    let (answer, took) = timed(&client, "during").await;
    says_come_back(&answer);
    assert!(took < GENEROUS, "{took:?}");
    // Both stay away for longer than the look-around and the poll take, and nothing changes.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(client.post("/api/v1/stores/demo/checkout/session/", &session).await.unwrap().status, 201);
    assert_eq!(edge.ready_status().await, 200);

    block_in_place(|| {
        system.redis.restart().unwrap();
        system.postgres().restart().unwrap();
    });
    let started = Instant::now();
    fulfill_until_made(&client, "demo", &order("during", &[("A", 1)])).await;
    println!("both servers back: the first 201 after {:?}", started.elapsed());
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_orders_take_the_way_through_postgres() {
    let mut system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);

    block_in_place(|| system.redis.stop().unwrap());
    for n in 0..5 {
        let (answer, took) = timed(&client, &format!("r-{n}")).await;
        println!("without Redis: {} after {took:?}", answer.status);
        assert!([201, 202].contains(&answer.status.as_u16()), "{answer:?}");
        until_order_is(&client, "demo", &order_id_of(&answer), "fulfilled").await;
    }
    let answers = in_parallel(50, 50, |n| {
        let client = client.clone();
        async move { fulfill_until_made(&client, "demo", &order(&format!("many-{n}"), &[("A", 1)])).await }
    })
    .await;
    all_are(&answers, 201);

    block_in_place(|| system.redis.restart().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    for n in 0.. {
        let (answer, took) = timed(&client, &format!("after-{n}")).await;
        assert_eq!(answer.status, 201);
        // Quick again means: through the queue.
        let answers = edge.metric("edge_fulfill_answers_total{how=\"replied\"}");
        if answers > 0.0 {
            println!("Redis back: answered by the queue after {n} requests, {took:?}");
            break;
        }
        assert!(Instant::now() < deadline, "the queue is not used again");
    }
    assert_eq!(
        system.number("select count(*) from events where kind = 'order.created'").await,
        system.number("select count(*) from orders").await
    );
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_answer_is_come_back_at_once() {
    let mut system = System::with_own_postgres().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let made = timed(&client, "before").await.0;

    // Under load when it dies: whatever was asked is answered, and soon.
    let asking = tokio::spawn(in_parallel(400, 32, {
        let client = client.clone();
        move |n| {
            let client = client.clone();
            async move { timed(&client, &format!("load-{n}")).await }
        }
    }));
    let mut postgres_died = None;
    while postgres_died.is_none() {
        if system.number("select count(*) from orders").await > 50 {
            block_in_place(|| system.postgres().kill().unwrap());
            postgres_died = Some(Instant::now());
        }
    }
    let answers = asking.await.unwrap();
    let refused: Vec<_> = answers.iter().filter(|(answer, _)| answer.status != 201 && answer.status != 202).collect();
    assert!(!refused.is_empty(), "Postgres died while requests were under way");
    refused.iter().for_each(|(answer, _)| says_come_back(answer));
    let longest = refused.iter().map(|(_, took)| *took).max().unwrap();
    println!("Postgres killed under load: {} of 400 refused, the slowest after {longest:?}", refused.len());
    assert!(longest < GENEROUS, "{longest:?}");

    let mut took = Vec::new();
    for n in 0..20 {
        let (answer, each) = timed(&client, &format!("down-{n}")).await;
        says_come_back(&answer);
        took.push(each);
    }
    took.sort();
    println!("Postgres down: 503 after {:?} at the median, {:?} at most", took[10], took[19]);
    assert!(took[19] < GENEROUS, "{took:?}");
    let id = order_id_of(&made);
    says_come_back(&read_order(&client, "demo", &id).await);
    says_come_back(&client.get("/api/v1/stores/demo/orders/").await.unwrap());
    says_come_back(&client.send(Method::POST, &format!("/api/v1/stores/demo/orders/{id}/revoke/"), &[], "").await.unwrap());

    block_in_place(|| system.postgres().restart().unwrap());
    let started = Instant::now();
    let again = fulfill_until_made(&client, "demo", &order("before", &[("A", 1)])).await;
    println!("Postgres back: the first 201 after {:?}", started.elapsed());
    assert_eq!(again.body, made.body);
    // Whatever each caller was told, asking again ends in one order each.
    let answers = in_parallel(400, 32, |n| {
        let client = client.clone();
        async move { fulfill_until_made(&client, "demo", &order(&format!("load-{n}"), &[("A", 1)])).await }
    })
    .await;
    assert_eq!(answers.iter().map(order_id_of).collect::<std::collections::BTreeSet<_>>().len(), 400);
    assert_eq!(system.number("select count(*) from orders where external_reference like 'load-%'").await, 400);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_stands_still_is_noticed() {
    let mut system = System::with_own_postgres().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    assert_eq!(timed(&client, "before").await.0.status, 201);

    block_in_place(|| system.postgres().pause().unwrap());
    let (answer, took) = timed(&client, "during").await;
    println!("Postgres stands still: {} after {took:?}", answer.status);
    says_come_back(&answer);
    assert!(took < Duration::from_secs(4), "{took:?}");
    let (answer, took) = timed(&client, "known").await;
    says_come_back(&answer);
    assert!(took < GENEROUS, "{took:?}");

    block_in_place(|| system.postgres().resume().unwrap());
    let first = fulfill_until_made(&client, "demo", &order("during", &[("A", 1)])).await;
    assert_eq!(fulfill(&client, "demo", &order("during", &[("A", 1)])).await.body, first.body);
    assert_eq!(system.number("select count(*) from orders where external_reference = 'during'").await, 1);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_workers_orders_are_accepted_and_fulfilled_later() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let edge = system.edge().await;
    let client = edge.client(&key);

    let (asked, same) = (timed(&client, "r-1"), timed(&client, "r-1"));
    let ((accepted, took), (same, _)) = tokio::join!(asked, same);
    println!("without workers: {} after {took:?}", accepted.status);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(5), "{took:?}");
    let id = order_id_of(&accepted);
    assert_eq!(accepted.json(), json!({ "order_id": id, "status": "processing" }));
    assert_eq!(accepted.header("location"), format!("/api/v1/stores/demo/orders/{id}/"));
    assert_eq!((same.status, order_id_of(&same)), (accepted.status, id.clone()), "one reference, one order");
    let waiting = client.get(accepted.header("location")).await.unwrap();
    assert_eq!((waiting.status.as_u16(), &waiting.json()["status"]), (200, &json!("processing")));
    assert_eq!(waiting.json()["items"], json!([]));
    let other = fulfill(&client, "demo", &order("r-1", &[("A", 2)])).await;
    assert_eq!(other.code(), "external_reference_conflict");

    let _worker = system.worker().await;
    let fulfilled = until_order_is(&client, "demo", &id, "fulfilled").await;
    let replay = fulfill(&client, "demo", &order("r-1", &[("A", 1)])).await;
    assert_eq!((replay.status.as_u16(), replay.header("idempotent-replayed"), order_id_of(&replay)), (201, "true", id));
    assert_eq!(replay.json()["items"][0]["license_keys"], fulfilled.json()["items"][0]["license_keys"]);
    assert_eq!(license_keys_of(&replay).len(), 1);
    assert_eq!(system.number("select count(*) from orders where sealed_request is not null").await, 0, "the request is forgotten");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_order_that_falls_short_fails_and_frees_its_reference() {
    let mut system = System::new().await;
    system.set("EDGE__FULFILL_FALLBACK_MS", "100");
    system.set("EDGE__FULFILL_DEADLINE_MS", "300");
    let (shop, key) = system.shop("demo").await;
    let product = shop.pooled(&system.pg, "A", &license_keys("FEW", 1)).await.unwrap();
    let edge = system.edge().await;
    let client = edge.client(&key);
    let body = order("r-1", &[("A", 2)]);
    let accepted = fulfill(&client, "demo", &body).await;
    assert_eq!(accepted.status, 202);
    let id = order_id_of(&accepted);

    // From here on an edge with more patience than any machine needs, so that answers come through the queue.
    system.set("EDGE__FULFILL_DEADLINE_MS", "25000");
    system.set("EDGE__FULFILL_FALLBACK_MS", "20000");
    let (patient, _worker) = (system.edge().await, system.worker().await);
    let client = patient.client(&key);
    let failed = until_order_is(&client, "demo", &id, "failed").await.json();
    let shortages = json!([{ "sku": "A", "requested": 2, "available": 1 }]);
    assert_eq!(failed["error"], json!({ "code": "out_of_stock", "shortages": shortages }));
    assert_eq!(system.free(&product, common::mode::Mode::Live).await, 1);
    let refused = fulfill(&client, "demo", &body).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "out_of_stock"));

    shop.stock(&system.pg, &product, common::mode::Mode::Live, &license_keys("MORE", 1)).await.unwrap();
    let made = fulfill_until_made(&client, "demo", &body).await;
    assert_ne!(order_id_of(&made), id, "a new order has the reference now");
    assert_eq!(read_order(&client, "demo", &id).await.json()["status"], "failed");
    let both = client.get("/api/v1/stores/demo/orders/?external_reference=r-1").await.unwrap().json();
    assert_eq!(both["data"].as_array().unwrap().len(), 2);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_everything_costs_no_order() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let asking = tokio::spawn(in_parallel(400, 16, {
        let client = client.clone();
        move |n| {
            let client = client.clone();
            async move { fulfill(&client, "demo", &order(&format!("r-{n}"), &[("A", 1)])).await }
        }
    }));
    let mut commands = Commands::connect(&system.redis);
    let mut flushed = 0;
    while !asking.is_finished() {
        assert_eq!(commands.run(&["FLUSHALL"]), b"+OK\r\n");
        flushed += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answers = asking.await.unwrap();
    assert!(flushed > 2, "{flushed}");
    let at_once = answers.iter().filter(|answer| answer.status == 201).count();
    println!("{flushed} times FLUSHALL: {at_once} of 400 answered with 201, the others with 202");
    assert!(at_once > 350 && answers.iter().all(|answer| [201, 202].contains(&answer.status.as_u16())), "{at_once}");
    for accepted in answers.iter().filter(|answer| answer.status == 202) {
        until_order_is(&client, "demo", &order_id_of(accepted), "fulfilled").await;
    }
    assert_eq!(system.number("select count(*) from orders where status = 'fulfilled'").await, 400);
    assert_eq!(system.number("select count(*) from order_keys").await, 400);
    edge.stop().await;
}
