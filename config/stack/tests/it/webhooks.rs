//! Webhooks, from the order to the partner's server: signed, in order, tried again as promised, and nobody in anybody's way.

mod faults;
mod others;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::mode::Mode;
use common::webhook::secret::{WebhookSecret, WebhookSigner};
use serde_json::Value;
use storage::pg::audit_log::Actor;
use storage::pg::webhook_attempts::{self, Attempt, Delivery, Filter};
use storage::pg::webhook_endpoints::{self, Endpoint, Which};
use testkit::receiver::{Answer, Behavior, Received, Receiver, Recording};
use tokio::time::Instant;
use uuid::Uuid;

use crate::system::{SOON, System, all_are, eventually, fulfill, in_parallel, order, order_id_of};

/// For what takes thousands of requests, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(180);

/// Whether both signatures of a delivery are this secret's.
fn is_signed(received: &Received, secret: &WebhookSecret) -> bool {
    let signer = WebhookSigner::new(secret);
    let event: Value = serde_json::from_slice(&received.body).unwrap();
    let id: Uuid = event["event_id"].as_str().unwrap().parse().unwrap();
    let unix_s: u64 = received.header("webhook-timestamp").parse().unwrap();
    received.header("x-anonymouspay-signature") == signer.sign(&received.body)
        && received.header("webhook-signature") == signer.sign_standard(id, unix_s, &received.body)
        && received.header("webhook-id") == id.to_string()
}

async fn deliveries(system: &System, which: Which) -> Vec<Delivery> {
    let client = system.pg.client().await.unwrap();
    webhook_attempts::deliveries(&*client, which, &Filter::default(), 10_000).await.unwrap()
}

async fn attempts(system: &System, delivery: &Delivery) -> Vec<Attempt> {
    webhook_attempts::of_delivery(&*system.pg.client().await.unwrap(), delivery.id).await.unwrap()
}

async fn endpoint(system: &System, which: Which) -> Endpoint {
    webhook_endpoints::get(&*system.pg.client().await.unwrap(), which).await.unwrap().unwrap()
}

/// Events by order, as they came.
fn by_order(received: &[Received]) -> HashMap<String, Vec<String>> {
    let mut orders: HashMap<String, Vec<String>> = HashMap::new();
    for received in received {
        let event: Value = serde_json::from_slice(&received.body).unwrap();
        orders.entry(event["order_id"].as_str().unwrap().to_owned()).or_default().push(event["event"].as_str().unwrap().to_owned());
    }
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_every_order_comes_signed_and_in_order() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    let (which, secret) = shop.endpoint(&system.pg, Mode::Live, &receiver.url("/hooks?of=demo")).await.unwrap();
    // Neither the other mode's endpoint nor another store's hears anything.
    let elsewhere = Receiver::start(Behavior::status(200)).await.unwrap();
    shop.endpoint(&system.pg, Mode::Test, &elsewhere.url("/")).await.unwrap();
    system.shop("other").await.0.endpoint(&system.pg, Mode::Live, &elsewhere.url("/")).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);

    let client = edge.client(&key);
    let answers = in_parallel(200, 16, |n| {
        let client = client.clone();
        async move { fulfill(&client, "demo", &order(&format!("r{n}"), &[("MADE", 1)])).await }
    })
    .await;
    all_are(&answers, 201);
    receiver.wait_for_requests(400, SOON).await.unwrap();
    let received = receiver.received();
    assert!(
        received.iter().all(
            |received| is_signed(received, &secret) && (received.method.as_str(), received.path.as_str()) == ("POST", "/hooks?of=demo")
        )
    );
    let orders = by_order(&received);
    assert_eq!(orders.len(), 200);
    for answer in &answers {
        assert_eq!(orders[&order_id_of(answer)], ["order.created", "order.fulfilled"]);
    }
    let delivered = eventually("that all is written down", SOON, async || {
        let deliveries = deliveries(&system, which).await;
        deliveries.iter().all(|delivery| delivery.status == "delivered").then_some(deliveries)
    })
    .await;
    assert_eq!((delivered.len(), delivered.iter().all(|delivery| delivery.attempts == 1)), (400, true));
    let attempt = attempts(&system, &delivered[0]).await.remove(0);
    assert_eq!((attempt.attempt, attempt.status, attempt.error), (1, Some(200), None));
    assert_eq!((elsewhere.requests(), receiver.requests()), (0, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_answers_decides_when_it_is_asked_again() {
    let mut system = System::new().await;
    system.set("WEBHOOKS__TIMEOUT_MS", "700");
    system.set("WEBHOOKS__CONNECT_TIMEOUT_MS", "500");
    let canary = Receiver::start(Behavior::status(200)).await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    // What it does, and after how many seconds it must be asked again; nothing where it took the event.
    let cases = [
        ("created", Behavior::status(201), None),
        ("broken", Behavior::status(500), Some(4..=6)),
        ("moved", Behavior::Answer(Answer::redirect(308, &canary.url("/"))), Some(4..=6)),
        ("busy", Behavior::Answer(Answer::new(429, &[("retry-after", "120")], b"slow down")), Some(118..=120)),
        ("eager", Behavior::Answer(Answer::new(503, &[("retry-after", "1")], b"")), Some(4..=6)),
        ("silent", Behavior::Hang, Some(3..=6)),
        ("rude", Behavior::Reset, Some(4..=6)),
    ];
    let edge = system.edge().await;
    let mut expected = Vec::new();
    for (name, behavior, again) in cases {
        let (shop, key) = system.shop(name).await;
        shop.generated(&system.pg, "MADE").await.unwrap();
        receiver.behave_at(&format!("/{name}"), behavior);
        let (which, _) = shop.endpoint(&system.pg, Mode::Live, &receiver.url(&format!("/{name}"))).await.unwrap();
        expected.push((name, which, again, edge.client(&key)));
    }
    let _worker = system.worker().await;
    for (name, which, again, client) in expected {
        assert_eq!(fulfill(&client, name, &order("r", &[("MADE", 1)])).await.status, 201);
        let delivery = eventually("the first attempt", SOON, async || {
            let first = deliveries(&system, which).await.pop()?;
            let is_made = !attempts(&system, &first).await.is_empty();
            // Looked at again: it may have been settled in between.
            if is_made { deliveries(&system, which).await.pop() } else { None }
        })
        .await;
        let Some(again) = again else {
            assert_eq!(delivery.status, "delivered", "{name}");
            continue;
        };
        let attempt = attempts(&system, &delivery).await.remove(0);
        let ended_at_ms = attempt.started_at_ms + u64::from(attempt.duration_ms);
        let wait_s = (delivery.next_attempt_at_ms.unwrap() - ended_at_ms + 500) / 1_000;
        assert!(delivery.status == "pending" && again.contains(&wait_s), "{name}: asked again after {wait_s} s");
        assert_eq!(endpoint(&system, which).await.failures, 1, "{name}");
        match name {
            "silent" => assert_eq!((attempt.status, attempt.error.as_deref()), (None, Some("no complete answer came in time"))),
            "busy" => assert_eq!((attempt.status, attempt.answer.as_slice()), (Some(429), &b"slow down"[..])),
            _ => {}
        }
    }
    assert_eq!(canary.connections(), 0, "no redirect is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_disables_and_enabling_sends_what_was_kept() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let receiver = Receiver::start(Behavior::status(410)).await.unwrap();
    let (which, secret) = shop.endpoint(&system.pg, Mode::Live, &receiver.url("/")).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    assert_eq!(fulfill(&client, "demo", &order("r0", &[("MADE", 1)])).await.status, 201);
    eventually("that it is disabled", SOON, async || (!endpoint(&system, which).await.enabled).then_some(())).await;
    for n in 1..5 {
        assert_eq!(fulfill(&client, "demo", &order(&format!("r{n}"), &[("MADE", 1)])).await.status, 201);
    }
    // Time for a poll that finds nothing.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(receiver.requests(), 1);
    receiver.behave(Behavior::status(204));
    receiver.take_received();
    let changes = webhook_endpoints::Changes { enabled: Some(true), ..Default::default() };
    webhook_endpoints::change(&system.pg, which, &changes, Actor::CommandLine).await.unwrap();
    receiver.wait_for_requests(11, SOON).await.unwrap();
    let received = receiver.received();
    assert!(received.iter().all(|received| is_signed(received, &secret)));
    assert!(by_order(&received).values().all(|events| events[..] == ["order.created", "order.fulfilled"]));
}

/// As if they had all failed before and their time were here: `count` for each endpoint.
async fn fall_due(system: &System, which: &[Which], count: i32) {
    for which in which {
        let sql = format!(
            "with made as (
                 insert into events (id, store_id, live, order_id, sequence, kind, body)
                 select gen_random_uuid(), {store}, true, 'ORD-{store}-' || n, 1, 'order.created', '{{\"n\":' || n || '}}'
                 from generate_series(1, {count}) n returning id, order_id)
             insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, attempts, next_attempt_at)
             select '{id}', id, order_id, 1, 2, now() from made",
            store = which.store_id,
            id = which.id,
        );
        system.pg.client().await.unwrap().batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_retries_at_once_are_delivered_and_no_endpoint_gets_more_than_its_share() {
    let mut system = System::alone().await;
    system.set("WEBHOOKS__IN_FLIGHT_PER_ENDPOINT_MAX", "10");
    system.set("POSTGRES__STATEMENT_TIMEOUT_MS", "60000");
    let mut endpoints = Vec::new();
    for n in 0..25 {
        // A server of its own for each, so that its connections are those of one endpoint.
        let receiver = Receiver::start(Behavior::AnswerAfter(Duration::from_millis(2), Answer::new(200, &[], b""))).await.unwrap();
        receiver.record(Recording::Counted);
        let which = system.shop(&format!("store-{n}")).await.0.endpoint(&system.pg, Mode::Live, &receiver.url("/")).await.unwrap().0;
        endpoints.push((which, receiver));
    }
    fall_due(&system, &endpoints.iter().map(|(which, _)| *which).collect::<Vec<_>>(), 2_000).await;
    let started = Instant::now();
    let _worker = system.worker().await;
    let pending = "select count(*) from webhook_deliveries where status = 'pending'";
    eventually("that all are delivered", LONG, async || (system.number(pending).await == 0).then_some(())).await;
    println!("50,000 retries in {:?}", started.elapsed());
    assert_eq!(system.number("select count(*) from webhook_deliveries where status = 'delivered' and attempts = 3").await, 50_000);
    for (which, receiver) in &endpoints {
        assert_eq!(receiver.requests(), 2_000, "store {}", which.store_id);
        // One that is closed while another is made may be counted twice.
        assert!(receiver.connections() <= 40, "{} connections for 10 at once", receiver.connections());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_never_answer_keep_nobody_waiting() {
    let mut system = System::alone().await;
    system.set("WEBHOOKS__IN_FLIGHT_MAX", "200");
    let good = Receiver::start(Behavior::status(200)).await.unwrap();
    let silent = Receiver::start(Behavior::Hang).await.unwrap();
    let (mut hanging, mut answering) = (Vec::new(), Vec::new());
    for n in 0..40 {
        hanging.push(system.shop(&format!("hanging-{n}")).await.0.endpoint(&system.pg, Mode::Live, &silent.url("/")).await.unwrap().0);
    }
    for n in 0..20 {
        let shop = system.shop(&format!("good-{n}")).await;
        answering.push((shop.0.endpoint(&system.pg, Mode::Live, &good.url(&format!("/{n}"))).await.unwrap().0, shop));
    }
    answering[0].1.0.generated(&system.pg, "MADE").await.unwrap();
    fall_due(&system, &hanging, 50).await;
    let (edge, worker) = (system.edge().await, system.worker().await);
    // The silent ones hold what they may hold.
    silent.wait_for_requests(100, SOON).await.unwrap();
    let client = edge.client(&answering[0].1.1);
    let mut waits = Vec::new();
    for n in 0..100 {
        let before = good.requests();
        let asked = Instant::now();
        assert_eq!(fulfill(&client, "good-0", &order(&format!("r{n}"), &[("MADE", 1)])).await.status, 201);
        good.wait_for_requests(before + 2, SOON).await.unwrap();
        waits.push(asked.elapsed());
    }
    waits.sort_unstable();
    println!("order to both events beside 40 silent endpoints: median {:?}, longest {:?}", waits[50], waits[99]);
    assert!(waits[50] < Duration::from_secs(1), "{waits:?}");
    let others: Vec<Which> = answering.iter().map(|(which, _)| *which).collect();
    fall_due(&system, &others, 100).await;
    good.wait_for_requests(200 + 2_000, SOON).await.unwrap();
    let by_path = good.received().iter().fold(BTreeMap::<String, u32>::new(), |mut by_path, received| {
        *by_path.entry(received.path.clone()).or_default() += 1;
        by_path
    });
    assert_eq!((by_path.len(), by_path["/19"]), (20, 100));
    worker.stop().await;
}
