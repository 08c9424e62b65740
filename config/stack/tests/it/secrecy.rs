//! What lies in Redis and Postgres, and what passes through Redis: nobody who gets at either reads a license key or an API key, and Redis
//! holds nobody's e-mail address. Events tell what happened, once, in the documented form.

use common::ids::OrderId;
use serde_json::Value;
use storage::pg::events;
use testkit::shop::license_keys;

use crate::redis_commands::{Commands, Monitor};
use crate::system::{
    SOON, System, all_are, eventually, fulfill, fulfill_once, in_parallel, license_keys_of, order, order_id_of, read_order, until_order_is,
};

const EMAIL: &str = "customer@shop.example";

/// `text` as such, or any run of twelve of its characters, is in `bytes`.
fn holds(bytes: &[u8], text: &str) -> bool {
    let part = &text.as_bytes()[..text.len().min(12)];
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_carries_nothing_that_can_be_read() {
    let mut system = System::new().await;
    system.set("EDGE__FULFILL_FALLBACK_MS", "20000");
    system.set("EDGE__FULFILL_DEADLINE_MS", "25000");
    let (shop, key) = system.shop("demo").await;
    shop.pooled(&system.pg, "POOL", &license_keys("PLAIN-LICENSE", 20)).await.unwrap();
    shop.generated(&system.pg, "MADE").await.unwrap();
    let edge = system.edge().await;
    let client = edge.client(&key);
    let monitor = Monitor::start(&system.redis);
    let mut commands = Commands::connect(&system.redis);

    // Without a worker the jobs lie in Redis, to be looked at.
    let asking = tokio::spawn(in_parallel(10, 10, {
        let client = client.clone();
        move |n| {
            let client = client.clone();
            async move {
                fulfill_once(&client, "demo", &format!("idem-{n}"), &order(&format!("reference-{n}"), &[("POOL", 1), ("MADE", 1)])).await
            }
        }
    }));
    let queue = "ap:queue:fulfill_order";
    eventually("ten jobs in the queue", SOON, async || (commands.run(&["XLEN", queue]) == b":10\r\n").then_some(())).await;
    let lying = commands.everything();
    assert!(lying.len() > 2_000, "the jobs are among what was looked at: {} bytes", lying.len());

    // With a worker they are answered, through Redis too.
    let worker = system.worker().await;
    let answers = asking.await.unwrap();
    all_are(&answers, 201);
    let replay = fulfill(&client, "demo", &order("reference-0", &[("POOL", 1), ("MADE", 1)])).await;
    assert_eq!(replay.status, 201);
    worker.stop().await;
    let (passing, left) = (monitor.stop(), commands.everything());
    let published = String::from_utf8_lossy(&passing).matches("\"PUBLISH\"").count();
    // Those of one batch travel together.
    assert!(published >= 2, "the replies are among what was watched: {published}");
    assert_eq!(commands.run(&["XLEN", queue]), b":0\r\n", "what is done is gone");

    let mut secrets: Vec<String> = vec![EMAIL.into(), key, "reference-".into(), "idem-".into()];
    secrets.extend(answers.iter().flat_map(license_keys_of));
    secrets.extend(answers.iter().map(order_id_of));
    assert_eq!(secrets.len(), 4 + 20 + 10);
    for secret in secrets {
        for (place, bytes) in [("lying in", &lying), ("passing through", &passing), ("left in", &left)] {
            assert!(!holds(bytes, &secret), "{secret} {place} Redis");
        }
    }
    edge.stop().await;
}

/// Every value of every table as text; bytes in hexadecimal.
async fn everything_stored(system: &System) -> String {
    let client = system.pg.client().await.unwrap();
    let tables = client.query("select tablename::text from pg_tables where schemaname = 'public'", &[]).await.unwrap();
    let mut text = String::new();
    for table in tables {
        let table: String = table.get(0);
        for row in client.query(&format!("select t::text from \"{table}\" t"), &[]).await.unwrap() {
            text += row.get::<_, &str>(0);
            text.push('\n');
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_holds_no_license_key_and_no_api_key_in_clear() {
    let mut system = System::new().await;
    system.set("EDGE__FULFILL_FALLBACK_MS", "50");
    system.set("EDGE__FULFILL_DEADLINE_MS", "100");
    let (shop, key) = system.shop("demo").await;
    let stock = license_keys("PLAIN-LICENSE", 10);
    shop.pooled(&system.pg, "POOL", &stock).await.unwrap();
    shop.generated(&system.pg, "MADE").await.unwrap();
    let edge = system.edge().await;
    let client = edge.client(&key);
    let waiting = fulfill(&client, "demo", &order("waiting", &[("POOL", 2), ("MADE", 2)])).await;
    assert_eq!(waiting.status, 202);
    let while_waiting = everything_stored(&system).await;
    let _worker = system.worker().await;
    let sold = until_order_is(&client, "demo", &order_id_of(&waiting), "fulfilled").await;
    let revoke = format!("/api/v1/stores/demo/orders/{}/revoke/", order_id_of(&waiting));
    assert_eq!(client.send(http::Method::POST, &revoke, &[], "").await.unwrap().status, 200);
    let afterwards = everything_stored(&system).await;

    let mut secrets = stock;
    secrets.extend(license_keys_of(&sold));
    // The twelve characters that are kept to recognize an API key by are no secret.
    secrets.push(key[12..].to_owned());
    assert_eq!(secrets.len(), 10 + 4 + 1);
    for stored in [&while_waiting, &afterwards] {
        assert!(stored.contains(EMAIL) && stored.contains(&key[..12]), "the dump sees what is there");
        for secret in &secrets {
            let hex: String = secret.bytes().take(12).map(|byte| format!("{byte:02x}")).collect();
            assert!(!stored.contains(secret.as_str()) && !stored.contains(&hex), "{secret}");
        }
    }
    edge.stop().await;
}

/// The members of an event in the order in which they are written.
fn members(body: &str) -> Vec<String> {
    let mut members = Vec::new();
    let (mut depth, mut inside, mut escaped, mut word) = (0, false, false, String::new());
    for c in body.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => {
                inside = !inside;
                if inside {
                    word.clear();
                }
            }
            ':' if !inside && depth == 1 => members.push(word.clone()),
            '{' | '[' if !inside => depth += 1,
            '}' | ']' if !inside => depth -= 1,
            _ if inside => word.push(c),
            _ => {}
        }
    }
    members
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_tells_once_that_it_was_created_and_fulfilled() {
    let mut system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.pooled(&system.pg, "POOL", &license_keys("PLAIN-LICENSE", 30)).await.unwrap();
    // One edge with patience, one without: orders take both ways, and each is asked for several times at both.
    let patient = system.edge().await;
    system.set("EDGE__FULFILL_FALLBACK_MS", "1");
    let hasty = system.edge().await;
    let _workers = [system.worker().await, system.worker().await];
    let clients = [patient.client(&key), hasty.client(&key)];
    in_parallel(120, 24, |n| {
        let client = clients[n / 20 % 2].clone();
        async move { fulfill(&client, "demo", &order(&format!("r-{}", n % 20), &[("POOL", 1)])).await.status }
    })
    .await;
    let short = fulfill(&clients[0], "demo", &order("short", &[("POOL", 11)])).await;
    assert_eq!(short.code(), "out_of_stock");
    let list = || async { clients[0].get("/api/v1/stores/demo/orders/?limit=100").await.unwrap().json() };
    let orders: Vec<Value> = eventually("every order to be fulfilled", SOON, async || {
        let orders = list().await["data"].as_array().unwrap().clone();
        orders.iter().all(|order| order["status"] == "fulfilled").then_some(orders)
    })
    .await;
    assert_eq!(orders.len(), 20);

    let client = system.pg.client().await.unwrap();
    let mut event_ids = std::collections::BTreeSet::new();
    for order in &orders {
        let id = OrderId::parse(order["order_id"].as_str().unwrap()).unwrap();
        let bodies = events::of_order(&*client, &id).await.unwrap();
        let told: Vec<Value> = bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
        assert_eq!(told.len(), 2, "{bodies:?}");
        for (told, (name, status, sequence)) in told.iter().zip([("order.created", "processing", 1), ("order.fulfilled", "fulfilled", 2)]) {
            assert_eq!((&told["event"], &told["status"], &told["sequence"]), (&name.into(), &status.into(), &sequence.into()));
            for same in ["order_id", "external_reference", "total_minor", "currency", "customer_email", "livemode"] {
                assert_eq!(told[same], order[same], "{same}");
            }
            assert!(event_ids.insert(told["event_id"].as_str().unwrap().to_owned()));
        }
        let documented = ["event", "order_id", "external_reference", "status", "total_minor", "currency", "customer_email"];
        let further = ["event_id", "created_at", "sequence", "livemode"];
        for body in &bodies {
            assert_eq!(members(body), [&documented[..], &further[..]].concat());
            assert!(!body.contains("PLAIN-LICENSE"), "an event never holds a license key");
        }
        let read = read_order(&clients[1], "demo", id.as_str()).await;
        assert_eq!(license_keys_of(&read).len(), 1);
    }
    assert_eq!(system.number("select count(*) from events").await, 40, "what came to nothing tells nothing");
    // Written by the same transaction: a row's xmin is the transaction that made it.
    let apart = "select count(*) from events e join order_keys k using (order_id) where e.sequence = 2 and e.xmin <> k.xmin";
    assert_eq!(system.number(apart).await, 0);
    let apart = "select count(*) from events e join orders o on o.id = e.order_id where o.xmin not in (select xmin from events x where x.order_id = o.id)";
    assert_eq!(system.number(apart).await, 0);
}
