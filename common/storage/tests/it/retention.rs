//! Rows go at their age and not before, a step at a time, by an index, and in nobody's way.

use std::collections::BTreeSet;
use std::time::Duration;

use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use config::Retention;
use serde_json::json;
use storage::pg::retention::{self, KINDS, Kind, Step};
use storage::pg::{changes, orders, stores};
use storage::{Pg, StorageError};
use testkit::database::Database;
use testkit::settings::Settings;
use tokio::time::Instant;

use crate::{patient, soon};

const DAY: Duration = Duration::from_secs(86_400);

fn settings() -> Retention {
    Settings::new().load().unwrap().retention
}

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).expect("a kind")
}

async fn step(pg: &Pg, name: &str, limit: u32) -> u64 {
    let kind = kind(name);
    match retention::step(pg, kind, (kind.age)(&settings()), limit).await.unwrap() {
        Step::Pruned(pruned) => pruned,
        Step::Busy => panic!("nobody else is here"),
    }
}

async fn execute(pg: &Pg, sql: &str) {
    pg.client().await.unwrap().batch_execute(sql).await.unwrap();
}

async fn number(pg: &Pg, sql: &str) -> i64 {
    pg.client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// SQL for the moment at which a row is `past` seconds older than its age.
fn aged(name: &str, past: i64) -> String {
    let age_s = (kind(name).age)(&settings()).as_secs() as i64;
    format!("now() - interval '{} seconds'", age_s + past)
}

/// One row of every kind that is a minute too old, and one that is a minute too young. A store and an API key to hang them on.
async fn a_row_on_either_side(pg: &Pg) {
    let store_id = stores::create(pg, "shop", "Shop", true).await.unwrap().id;
    execute(
        pg,
        &format!(
            "insert into api_keys (store_id, live, name, hint, pepper_id, hash) values ({store_id}, true, 'test', 'hint', 't1', 'hash')"
        ),
    )
    .await;
    // The feed keeps its last old row, so that it needs two to lose one.
    execute(pg, &format!("update changes set created_at = {}", aged("changes", 120))).await;
    for past in [60, -60] {
        let at = |name| aged(name, past);
        execute(
            pg,
            &format!(
                "insert into changes (kind, subject_id, created_at) values ('store', 1, {});
                 insert into edges (id, applied_change_id, seen_at) values ('edge {past}', 1, {});
                 insert into dead_letters (id, queue, reason, sealed, created_at) values (gen_random_uuid(), 'q', '{past}', '', {});
                 insert into api_key_usage (key_id, minute, requests) select max(id), {}, 1 from api_keys;
                 insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, status, customer_email, created_at)
                 values ('order {past}', 1, true, 'reference {past}', 'key {past}', '', 'fulfilled', '', {});
                 insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, status, settled_at)
                 values (gen_random_uuid(), gen_random_uuid(), '', 1, 'delivered', {5});
                 insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, next_attempt_at)
                 values (gen_random_uuid(), gen_random_uuid(), '', 1, {5});
                 insert into stripe_events (id, live, kind, status, settled_at) values ('applied {past}', true, '', 'applied', {6});
                 insert into stripe_events (id, live, kind, status, received_at) values ('parked {past}', true, '', 'parked', {8});
                 insert into carts (id, store_id, live, browser, currency, skus, quantities, created_at)
                 values ('cart {past}', 1, true, '', 'GBP', '{{A}}', '{{1}}', {7});
                 insert into accounts (email) values ('a@b.example') on conflict do nothing;
                 insert into portal_sessions (digest, account_id, browser, expires_at) select '{past}', id, '', {9} from accounts where email = 'a@b.example';
                 insert into accounts (email) values ('invited {past}');
                 insert into account_invites (account_id, digest, expires_at) select id, '{past}', {10} from accounts where email = 'invited {past}';
                 insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status)
                 select id, 1, created_at, 1, 200 from webhook_deliveries on conflict do nothing;",
                at("changes"),
                at("edges"),
                at("dead_letters"),
                at("api_key_usage"),
                at("idempotency_keys"),
                at("webhook_deliveries"),
                at("stripe_events"),
                at("carts"),
                at("parked_stripe_events"),
                at("portal_sessions"),
                at("account_invites"),
            ),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_goes_at_its_age_and_nothing_younger_does() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    a_row_on_either_side(&pg).await;
    let settings = settings();
    let ages = KINDS.map(|kind| ((kind.age)(&settings).as_secs() / DAY.as_secs(), kind.name));
    let expected = [
        (7, "changes"),
        (1, "edges"),
        (30, "idempotency_keys"),
        (90, "dead_letters"),
        (30, "webhook_deliveries"),
        (30, "stripe_events"),
        (90, "parked_stripe_events"),
        (30, "carts"),
        (30, "portal_sessions"),
        (0, "account_invites"),
        (90, "api_key_usage"),
    ];
    assert_eq!(ages, expected);
    for Kind { name, .. } in KINDS {
        assert_eq!((step(&pg, name, 100).await, step(&pg, name, 100).await), (1, 0), "{name}");
    }
    for (table, left) in [
        ("changes", 2),
        ("stripe_events", 2),
        ("edges", 1),
        ("portal_sessions", 1),
        ("accounts", 3),
        ("account_invites", 1),
        ("dead_letters", 1),
        ("api_key_usage", 1),
        ("orders", 2),
        ("api_keys", 1),
        ("webhook_deliveries", 3),
        ("webhook_attempts", 3),
        ("carts", 1),
    ] {
        assert_eq!(number(&pg, &format!("select count(*) from {table}")).await, left, "{table}");
    }
    let young = "select count(*) from edges, dead_letters where edges.id = 'edge -60' and reason = '-60'";
    assert_eq!(number(&pg, young).await, 1);
    assert_eq!(number(&pg, "select count(*) from orders where (idempotency_key is null) = (id = 'order 60')").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_takes_so_many_the_oldest_first_and_the_last_step_takes_the_rest() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    execute(
        &pg,
        "insert into dead_letters (id, queue, reason, sealed, created_at)
         select gen_random_uuid(), 'q', n::text, '', now() - interval '90 days' - make_interval(mins => n) from generate_series(1, 25) n",
    )
    .await;
    let reasons = "select coalesce(max(reason::integer), 0)::bigint from dead_letters";
    assert_eq!((step(&pg, "dead_letters", 10).await, number(&pg, reasons).await), (10, 15));
    assert_eq!((step(&pg, "dead_letters", 10).await, number(&pg, reasons).await), (10, 5));
    assert_eq!((step(&pg, "dead_letters", 10).await, number(&pg, reasons).await), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_loses_only_its_beginning_and_nobody_who_follows_loses_his_place() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    stores::create(&pg, "shop", "Shop", true).await.unwrap();
    assert_eq!(step(&pg, "changes", 100).await, 0);
    execute(&pg, "update changes set created_at = now() - interval '8 days'").await;
    let client = pg.client().await.unwrap();
    let standing = changes::end(&*client).await.unwrap();
    assert_eq!(step(&pg, "changes", 100).await, 0, "the newest stays, however old");
    // Ids and times do not always agree: a transaction that began early may end late.
    execute(
        &pg,
        "insert into changes (kind, subject_id, created_at) select 'store', 1, now() - make_interval(days => days)
         from unnest(array[9, 8, 8, 3, 9, 1]) as days",
    )
    .await;
    let ids = async || -> Vec<i64> {
        let rows = pg.client().await.unwrap().query("select id from changes order by id", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = ids().await;
    assert_eq!(before.len(), 7);
    assert!(changes::after(&*client, standing, 100).await.unwrap().is_some_and(|new| new.len() == 6), "nothing is gone yet");
    assert_eq!((step(&pg, "changes", 2).await, ids().await), (2, before[2..].to_vec()), "no more than a step");
    assert_eq!((step(&pg, "changes", 2).await, ids().await), (1, before[3..].to_vec()), "up to the last of the old ones");
    assert_eq!(step(&pg, "changes", 2).await, 0, "what is behind a young one stays, whatever its time says");
    assert!(changes::after(&*client, standing, 100).await.unwrap().is_none(), "an edge that stands before must load everything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workers_one_steps_and_the_other_does_not_wait() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    execute(
        &pg,
        "insert into dead_letters (id, queue, reason, sealed, created_at)
         select gen_random_uuid(), 'q', n::text, '', now() - interval '91 days' from generate_series(1, 3000) n",
    )
    .await;
    // Many at once, and every row goes once.
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pg = pg.clone();
            tokio::spawn(async move {
                let (mut pruned, mut busy) = (0, 0);
                loop {
                    match retention::step(&pg, kind("dead_letters"), DAY, 10).await.unwrap() {
                        Step::Pruned(0) => return (pruned, busy),
                        Step::Pruned(rows) => pruned += rows,
                        Step::Busy => busy += 1,
                    }
                }
            })
        })
        .collect();
    let (mut pruned, mut busy) = (0, 0);
    for worker in workers {
        let (rows, refused) = soon("a worker", worker).await.unwrap();
        (pruned, busy) = (pruned + rows, busy + refused);
    }
    assert_eq!(pruned, 3_000);
    assert!(busy > 0, "four at once, and they never met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_works_on_is_left_for_later() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    a_row_on_either_side(&pg).await;
    let mut other = pg.client().await.unwrap();
    let tx = other.transaction().await.unwrap();
    tx.batch_execute("update orders set updated_at = now()").await.unwrap();
    assert_eq!(soon("not waiting", step(&pg, "idempotency_keys", 100)).await, 0);
    tx.commit().await.unwrap();
    assert_eq!(step(&pg, "idempotency_keys", 100).await, 1);
}

/// Four kinds grow large; that a step finds its rows by an index must not hang on what the statistics say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_on_large_tables_are_short_and_never_scans() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    const ROWS: i64 = 200_000;
    // One row in a hundred is old, and the old ones lie among the others.
    let at = |days: u32| format!("now() - interval '1 hour' - case when n % 100 = 0 then interval '{days} days' else interval '0' end");
    let series = format!("generate_series(1, {ROWS}) n");
    execute(
        &pg,
        &format!(
            "insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, status, customer_email, created_at)
             select 'ORD-' || n, n % 50, true, n, 'key ' || n, decode(md5(n::text), 'hex'), 'fulfilled', 'somebody@example.org', {} from {series};
             insert into dead_letters (id, queue, reason, sealed, created_at)
             select gen_random_uuid(), 'q', 'reason', decode(md5(n::text), 'hex'), {} from {series};
             insert into stores (slug, name) values ('shop', 'Shop');
             insert into api_keys (store_id, live, name, hint, pepper_id, hash)
             select max(id), true, 'test', 'hint', 't1', 'hash' from stores;
             insert into api_key_usage (key_id, minute, requests)
             select (select max(id) from api_keys), {} - make_interval(mins => n), 1 from {series};
             insert into changes (kind, subject_id, created_at) select 'store', 1, now() - interval '1 hour' from {series};
             update changes set created_at = now() - interval '8 days' where id <= 2001;",
            at(31),
            at(91),
            at(140 + 91),
        ),
    )
    .await;
    for analyzed in [false, true] {
        if analyzed {
            execute(&pg, "analyze").await;
        }
        for name in ["changes", "idempotency_keys", "dead_letters", "api_key_usage"] {
            let kind = kind(name);
            let plan = retention::explain(&pg, kind, (kind.age)(&settings()), 1_000).await.unwrap();
            assert!(!plan.contains("Seq Scan") && plan.contains("Tid Scan"), "{name}, analyzed {analyzed}:\n{plan}");
            assert!(plan.contains("Index Scan using") && !plan.contains("Sort"), "{name}, analyzed {analyzed}:\n{plan}");
            let started = Instant::now();
            assert_eq!(step(&pg, name, 1_000).await, 1_000, "{name}");
            println!("{name}, analyzed {analyzed}: 1,000 of {ROWS} rows in {:?}", started.elapsed());
            assert!(started.elapsed() < Duration::from_secs(2), "{name} took {:?}", started.elapsed());
        }
    }
}

fn new_order(reference: &str, key: &str) -> NewOrder {
    let body = json!({"customer_email": "a@example.org", "items": [{"sku": "A", "quantity": 1}], "external_reference": reference});
    NewOrder {
        order_id: OrderId::new(1_700_000_000_000, rand::random()),
        store_id: 1,
        mode: Mode::Live,
        idempotency_key: Some(key.to_owned()),
        request: FulfillRequest::parse(body.to_string().as_bytes()).unwrap(),
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_made_undisturbed_while_keys_are_forgotten() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    execute(
        &pg,
        "insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, status, customer_email, created_at)
         select 'old ' || n, 1, true, 'old ' || n, 'key ' || n, '', 'fulfilled', '', now() - interval '31 days' from generate_series(1, 20000) n",
    )
    .await;
    // The same keys come again, under other references, while they are being forgotten.
    let makers: Vec<_> = (0..4)
        .map(|maker| {
            let pg = pg.clone();
            tokio::spawn(async move {
                let mut made = BTreeSet::new();
                for n in 0..250 {
                    let number = maker * 250 + n;
                    let order = new_order(&format!("new {number}"), &format!("key {}", number * 20 + 1));
                    loop {
                        let client = pg.client().await?;
                        if !orders::insert_fulfilled(&*client, &[&order]).await?.is_empty() {
                            made.insert(number);
                            break;
                        }
                    }
                }
                Ok::<_, StorageError>(made)
            })
        })
        .collect();
    let mut forgotten = 0;
    loop {
        let pruned = step(&pg, "idempotency_keys", 500).await;
        forgotten += pruned;
        if pruned < 500 && forgotten == 20_000 {
            break;
        }
    }
    let mut made = BTreeSet::new();
    for maker in makers {
        made.extend(soon("a maker", maker).await.unwrap().expect("no order waits in a circle"));
    }
    assert_eq!(made.len(), 1_000);
    assert_eq!(number(&pg, "select count(*) from orders where idempotency_key is not null").await, 1_000);
    assert_eq!(number(&pg, "select count(*) from orders").await, 21_000);
}
