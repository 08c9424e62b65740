//! Orders: of any number of equal requests one makes the order; who completes it is alone with it; lists stay quick.

use std::collections::BTreeMap;
use std::time::Duration;

use common::event::EventKind;
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use common::order::{Failure, OrderStatus};
use storage::Pg;
use storage::pg::orders::{self, Filter, ProcessingOrder};
use storage::pg::{Client, events};
use testkit::database::Database;

use crate::{patient, soon};

const STORE: i64 = 7;
const CREATED_AT: &str = "2026-03-02T12:00:00Z";

fn order(reference: &str, key: Option<&str>) -> NewOrder {
    let body = format!(r#"{{"customer_email":"a@b.example","items":[{{"sku":"A","quantity":1}}],"external_reference":"{reference}"}}"#);
    NewOrder {
        order_id: OrderId::new(1_772_452_800_000, rand::random()),
        store_id: STORE,
        mode: Mode::Live,
        idempotency_key: key.map(str::to_owned),
        request: FulfillRequest::parse(body.as_bytes()).unwrap(),
        trace: None,
    }
}

async fn database() -> (Database, Pg) {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    (database, pg)
}

/// The references of those that were inserted, in the order given.
async fn insert(client: &Client, new: &[NewOrder]) -> Vec<bool> {
    let wanted: Vec<&NewOrder> = new.iter().collect();
    let inserted = orders::insert_fulfilled(&**client, &wanted).await.unwrap();
    new.iter().map(|order| inserted.contains(&order.order_id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_or_a_key_that_has_an_order_stands_in_the_way() {
    let (_database, pg) = database().await;
    let client = pg.client().await.unwrap();
    let first = order("r1", Some("k1"));
    let elsewhere = [NewOrder { store_id: STORE + 1, ..order("r1", Some("k1")) }, NewOrder { mode: Mode::Test, ..order("r1", Some("k1")) }];
    assert_eq!(insert(&client, std::slice::from_ref(&first)).await, [true]);
    let again = [order("r1", None), order("r2", Some("k1")), order("r1", Some("k1")), order("r1", Some("k2")), order("r3", None)];
    assert_eq!(insert(&client, &again).await, [false, false, false, false, true]);
    assert_eq!(insert(&client, &elsewhere).await, [true, true], "another store, and the other mode, are other worlds");
    // Within one batch the first wins; keys that are not there are not the same.
    let batch = [order("s1", None), order("s1", None), order("s2", Some("x")), order("s3", Some("x")), order("s4", None)];
    assert_eq!(insert(&client, &batch).await, [true, false, true, false, true]);

    let found = orders::find(&*client, &[&again[1], &again[4], &order("nowhere", Some("never"))]).await.unwrap();
    let mut ids: Vec<&OrderId> = found.iter().map(|order| &order.id).collect();
    ids.sort_unstable();
    let mut expected = vec![&first.order_id, &again[4].order_id];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let found = orders::get(&*client, STORE, Mode::Live, &first.order_id).await.unwrap().unwrap();
    assert_eq!((found.fingerprint, found.status), (first.request.fingerprint(), OrderStatus::Fulfilled));
    assert!(orders::get(&*client, STORE + 1, Mode::Live, &first.order_id).await.unwrap().is_none());
    assert!(orders::get(&*client, STORE, Mode::Test, &first.order_id).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_order_frees_its_reference_and_its_key() {
    let (_database, pg) = database().await;
    let client = pg.client().await.unwrap();
    let (first, second) = (order("r1", Some("k1")), order("r1", Some("k1")));
    insert(&client, std::slice::from_ref(&first)).await;
    let failure = Failure { code: "out_of_stock".into(), shortages: Vec::new() };
    orders::fail(&*client, &first.order_id, &failure).await.unwrap();
    assert!(orders::find(&*client, &[&second]).await.unwrap().is_empty());
    assert_eq!(insert(&client, &[second.clone(), order("r1", None)]).await, [true, false]);
    assert_eq!(orders::find(&*client, &[&first]).await.unwrap()[0].id, second.order_id);
    let failed = orders::get(&*client, STORE, Mode::Live, &first.order_id).await.unwrap().unwrap();
    assert_eq!((failed.status, failed.failure.unwrap().code), (OrderStatus::Failed, failure.code));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_equal_requests_at_once_one_makes_the_order() {
    let (_database, pg) = database().await;
    let writers: Vec<_> = (0..12)
        .map(|writer| {
            let pg = pg.clone();
            tokio::spawn(async move {
                let mut won = Vec::new();
                for n in 0..20 {
                    let order = order(&format!("r{n}"), Some(&format!("k{n}")));
                    let made = if writer % 2 == 0 {
                        orders::write_down(&pg, &order, b"sealed", CREATED_AT).await.unwrap()
                    } else {
                        insert(&pg.client().await.unwrap(), &[order]).await[0]
                    };
                    if made {
                        won.push(n);
                    }
                }
                won
            })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        won.extend(soon("a writer", writer).await.unwrap());
    }
    won.sort_unstable();
    assert_eq!(won, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_written_down_once_with_its_first_event() {
    let (_database, pg) = database().await;
    let (first, second) = (order("r1", Some("k1")), order("r1", None));
    assert!(orders::write_down(&pg, &first, b"sealed", CREATED_AT).await.unwrap());
    assert!(!orders::write_down(&pg, &first, b"sealed", CREATED_AT).await.unwrap());
    assert!(!orders::write_down(&pg, &second, b"sealed", CREATED_AT).await.unwrap());
    let client = pg.client().await.unwrap();
    let bodies = events::of_order(&*client, &first.order_id).await.unwrap();
    assert!(bodies.len() == 1 && bodies[0].contains(EventKind::Created.as_str()), "{bodies:?}");
    assert!(events::of_order(&*client, &second.order_id).await.unwrap().is_empty());
    let (count, age_s) = orders::processing_backlog(&*client).await.unwrap();
    assert!(count == 1 && (0.0..60.0).contains(&age_s), "{count} {age_s}");
    let written = orders::find(&*client, &[&first]).await.unwrap();
    assert_eq!((written[0].status, &written[0].id), (OrderStatus::Processing, &first.order_id));
}

async fn claim(pg: &Pg, limit: i64) -> Vec<ProcessingOrder> {
    orders::claim_fresh(&*pg.client().await.unwrap(), limit, Duration::from_secs(10)).await.unwrap()
}

async fn claim_suspect(pg: &Pg) -> Option<ProcessingOrder> {
    orders::claim_suspect(&*pg.client().await.unwrap(), Duration::from_secs(10)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_workers_claim_the_same_order() {
    let (_database, pg) = database().await;
    for n in 0..200 {
        assert!(orders::write_down(&pg, &order(&format!("r{n}"), None), b"sealed", CREATED_AT).await.unwrap());
    }
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pg = pg.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let claimed = claim(&pg, 7).await;
                    assert!(claimed.len() <= 7, "{}", claimed.len());
                    if claimed.is_empty() {
                        return mine;
                    }
                    mine.extend(claimed);
                }
            })
        })
        .collect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for worker in workers {
        for order in soon("a worker", worker).await.unwrap() {
            assert_eq!((order.starts, order.store_id, order.mode, order.sealed_request.as_slice()), (1, STORE, Mode::Live, &b"sealed"[..]));
            *times.entry(order.id.to_string()).or_default() += 1;
        }
    }
    // SKIP LOCKED may send a worker home while another still holds rows, and those are claimed by that other.
    assert!(times.len() == 200 && times.values().all(|times| *times == 1), "{}", times.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_claimed_alone_and_what_is_new_never_with_it() {
    let (_database, pg) = database().await;
    for n in 0..5 {
        orders::write_down(&pg, &order(&format!("r{n}"), None), b"sealed", CREATED_AT).await.unwrap();
    }
    assert!(claim_suspect(&pg).await.is_none());
    assert_eq!(claim(&pg, 3).await.len(), 3);
    pg.client().await.unwrap().batch_execute("update orders set next_attempt_at = now()").await.unwrap();
    assert_eq!(claim(&pg, 10).await.iter().map(|order| order.starts).collect::<Vec<_>>(), [1, 1], "the new ones");
    let suspects = [claim_suspect(&pg).await, claim_suspect(&pg).await, claim_suspect(&pg).await];
    assert!(suspects.iter().all(|order| order.as_ref().is_some_and(|order| order.starts == 2)), "{suspects:?}");
    assert!(claim_suspect(&pg).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_until_the_next_start_doubles_up_to_a_bound_and_orderly_ends_are_forgiven() {
    let (_database, pg) = database().await;
    let new = order("r1", None);
    orders::write_down(&pg, &new, b"sealed", CREATED_AT).await.unwrap();
    let client = pg.client().await.unwrap();
    let mut waits_s = Vec::new();
    for start in 1..=9 {
        // The second time it is one that a worker has left behind.
        let claimed = if start == 1 { claim(&pg, 10).await.pop() } else { claim_suspect(&pg).await };
        assert_eq!(claimed.map(|order| order.starts), Some(start));
        assert!(claim(&pg, 10).await.is_empty() && claim_suspect(&pg).await.is_none(), "it is not due again");
        let row = client.query_one("select extract(epoch from next_attempt_at - now())::double precision from orders", &[]).await.unwrap();
        waits_s.push(row.get::<_, f64>(0));
        client.batch_execute("update orders set next_attempt_at = now()").await.unwrap();
    }
    let expected = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 640.0, 640.0];
    assert!(waits_s.iter().zip(expected).all(|(wait, expected)| (expected - 2.0..=expected).contains(wait)), "{waits_s:?}");
    orders::forgive_start(&*client, std::slice::from_ref(&new.order_id)).await.unwrap();
    assert_eq!(claim_suspect(&pg).await.unwrap().starts, 9);

    // One holds it, the other does not wait; who settles it ends the claims.
    let (mut one, mut two) = (pg.client().await.unwrap(), pg.client().await.unwrap());
    let (one, two) = (one.transaction().await.unwrap(), two.transaction().await.unwrap());
    let wanted = [new.order_id.clone()];
    assert_eq!(orders::lock_processing(&one, &wanted).await.unwrap().len(), 1);
    assert!(soon("not waiting", orders::lock_processing(&two, &wanted)).await.unwrap().is_empty());
    orders::set_status(&one, &wanted, OrderStatus::Fulfilled).await.unwrap();
    one.commit().await.unwrap();
    assert!(orders::lock_processing(&two, &wanted).await.unwrap().is_empty());
    assert!(claim(&pg, 10).await.is_empty());
    let row = client.query_one("select sealed_request is null and starts = 0 and next_attempt_at is null from orders", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "what was needed to complete it is gone");
}

/// 100,000 orders of a large store, newest last, and 40 old ones of a small one.
async fn fill(client: &Client) {
    client
        .batch_execute(
            "insert into orders (id, store_id, live, external_reference, fingerprint, status, customer_email)
             select 'ORD-' || lpad(n::text, 18, '0'), case when n <= 40 then 8 else 7 end, true, 'ref-' || n, decode(repeat('00', 32), 'hex'),
                    case when n % 1000 = 500 then 'failed' when n % 20000 = 41 then 'refunded' else 'fulfilled' end, 'a@b'
             from generate_series(1, 100000) n;
             insert into orders (id, store_id, live, external_reference, fingerprint, status, customer_email, next_attempt_at)
             select 'ORD-' || lpad(n::text, 18, '1'), 7, true, 'slow-' || n, decode(repeat('00', 32), 'hex'), 'processing', 'a@b', now()
             from generate_series(1, 3) n;
             analyze orders",
        )
        .await
        .unwrap();
}

/// Lists, and counts the rows of the table that were looked at for it.
async fn list(client: &mut Client, store_id: i64, filter: &Filter) -> (Vec<String>, i64) {
    let tx = client.transaction().await.unwrap();
    let sql = "select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where relname = 'orders'";
    let before: i64 = tx.query_one(sql, &[]).await.unwrap().get(0);
    let found = orders::list(&tx, store_id, Mode::Live, filter, 21).await.unwrap();
    let after: i64 = tx.query_one(sql, &[]).await.unwrap().get(0);
    (found.into_iter().map(|order| order.id.to_string()).collect(), after - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_look_at_little_more_than_they_show() {
    let (_database, pg) = database().await;
    let mut client = pg.client().await.unwrap();
    fill(&client).await;
    let id = |n: u32| format!("ORD-{n:018}");
    let all = Filter::default();
    let after = |n: u32| Filter { starting_after: Some(OrderId::parse(&id(n)).unwrap()), ..Filter::default() };
    let reference = |reference: &str| Filter { external_reference: Some(reference.into()), ..Filter::default() };
    let status = |status| Filter { status: Some(status), ..Filter::default() };
    let cases: Vec<(&str, i64, Filter, usize, String)> = vec![
        ("all", 7, all.clone(), 21, "ORD-111111111111111113".into()),
        ("all, of a small store", 8, all, 21, id(40)),
        ("a late page", 7, after(1_000), 21, id(999)),
        ("the last page of a small store", 8, after(5), 4, id(4)),
        ("a reference", 7, reference("ref-777"), 1, id(777)),
        ("a failed order's reference", 7, reference("ref-1500"), 1, id(1_500)),
        ("no such reference", 7, reference("ref-0"), 0, String::new()),
        ("another store's reference", 8, reference("ref-777"), 0, String::new()),
        ("fulfilled", 7, status(OrderStatus::Fulfilled), 21, id(100_000)),
        ("failed", 7, status(OrderStatus::Failed), 21, id(99_500)),
        ("failed, a late page", 7, Filter { status: Some(OrderStatus::Failed), ..after(3_000) }, 3, id(2_500)),
        ("refunded", 7, status(OrderStatus::Refunded), 5, id(80_041)),
        ("processing", 7, status(OrderStatus::Processing), 3, "ORD-111111111111111113".into()),
        ("never seen", 7, status(OrderStatus::Disputed), 0, String::new()),
        ("a reference and its status", 7, Filter { status: Some(OrderStatus::Failed), ..reference("ref-1500") }, 1, id(1_500)),
        ("a reference and another status", 7, Filter { status: Some(OrderStatus::Failed), ..reference("ref-777") }, 0, String::new()),
        ("a reference, too new", 7, Filter { external_reference: Some("ref-777".into()), ..after(777) }, 0, String::new()),
    ];
    for (what, store_id, filter, count, first) in cases {
        let (found, looked_at) = list(&mut client, store_id, &filter).await;
        println!("{what}: {count} shown, {looked_at} rows looked at");
        assert_eq!((found.len(), found.first().cloned().unwrap_or_default()), (count, first), "{what}");
        assert!(found.is_sorted_by(|newer, older| newer > older), "{what}");
        assert!(looked_at <= 2 * 21, "{what}: {looked_at} rows");
    }
}
