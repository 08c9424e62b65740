//! Old rows go without a person, whole and gently, whoever else is pruning; and what an idempotency key promised ends with it.

use std::sync::Arc;
use std::time::Duration;

use common::clock::SystemClock;
use common::fulfill::{FulfillOutcome, FulfillRequest};
use common::ids::OrderId;
use common::job::NewOrder;
use common::license::LicenseDigester;
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use ops::health::Health;
use ops::metrics::Metrics;
use serde_json::json;
use storage::Pg;
use testkit::database::Database;
use testkit::settings::Settings;
use testkit::shop::Shop;
use tokio_util::sync::CancellationToken;
use worker::allocation::Allocator;
use worker::fulfillment::Fulfillment;
use worker::jobs::prune::{Pruner, Round};
use worker::metrics::WorkerMetrics;

const DEADLINE: Duration = Duration::from_secs(60);

async fn execute(pg: &Pg, sql: &str) {
    pg.client().await.unwrap().batch_execute(sql).await.unwrap();
}

async fn number(pg: &Pg, sql: &str) -> i64 {
    pg.client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// `letters` old dead letters and a young one; two edges, one of them silent for long.
async fn with_old_rows(pg: &Pg, letters: usize) {
    execute(
        pg,
        &format!(
            "insert into dead_letters (id, queue, reason, sealed, created_at)
             select gen_random_uuid(), 'q', 'old', '', now() - interval '91 days' from generate_series(1, {letters});
             insert into dead_letters (id, queue, reason, sealed) values (gen_random_uuid(), 'q', 'young', '');
             insert into edges (id, applied_change_id, seen_at) values ('old', 1, now() - interval '25 hours'), ('young', 1, now());"
        ),
    )
    .await;
}

const LETTERS: &str = "select count(*) from dead_letters";
const EDGES: &str = "select count(*) from edges";

fn pruner(pg: &Pg, settings: Settings) -> Pruner {
    let metrics = WorkerMetrics::register(Metrics::new("worker", &[]).unwrap().registry()).unwrap();
    Pruner { pg: pg.clone(), settings: settings.load().unwrap().retention, clock: Arc::new(SystemClock::new()), metrics }
}

fn pruned(pruner: &Pruner, kind: &str) -> u64 {
    pruner.metrics.pruned_rows_total.with_label_values(&[kind]).get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_goes_on_to_the_end_of_every_kind() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    with_old_rows(&pg, 95).await;
    let pruner = pruner(&pg, Settings::new().set("RETENTION__STEP_ROWS", "10").set("RETENTION__STEP_PAUSE_MS", "1"));
    assert_eq!(pruner.metrics.prune_round_timestamp_seconds.get(), 0);
    assert_eq!(pruner.round(&CancellationToken::new()).await, Round::Whole);
    assert_eq!((number(&pg, LETTERS).await, number(&pg, EDGES).await), (1, 1));
    assert_eq!(["dead_letters", "edges", "changes"].map(|kind| pruned(&pruner, kind)), [95, 1, 0]);
    assert!(pruner.metrics.prune_round_timestamp_seconds.get() > 1_700_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_prune_every_row_once_and_none_waits_for_another() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    with_old_rows(&pg, 500).await;
    let pruners: Vec<_> =
        (0..4).map(|_| pruner(&pg, Settings::new().set("RETENTION__STEP_ROWS", "10").set("RETENTION__STEP_PAUSE_MS", "0"))).collect();
    let stop = CancellationToken::new();
    // Rounds that are left to another are taken up again, as the next interval would.
    let rounds = pruners.iter().map(|pruner| async {
        while pruner.round(&stop).await != Round::Whole {
            tokio::time::sleep(Duration::from_micros(rand::random_range(0..100_000))).await;
        }
    });
    tokio::time::timeout(DEADLINE, futures_util::future::join_all(rounds)).await.expect("nobody waits for ever");
    assert_eq!((number(&pg, LETTERS).await, number(&pg, EDGES).await), (1, 1));
    assert_eq!(pruners.iter().map(|pruner| pruned(pruner, "dead_letters")).sum::<u64>(), 500);
    assert_eq!(pruners.iter().map(|pruner| pruned(pruner, "edges")).sum::<u64>(), 1);

    // While somebody is in a step, the others do not even try.
    let mut other = pg.client().await.unwrap();
    let step = other.transaction().await.unwrap();
    step.execute("select pg_advisory_xact_lock($1)", &[&0x6170_7072_i64]).await.unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, pruners[0].round(&stop)).await.expect("at once"), Round::Left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_keeps_nothing_else_from_going_and_is_not_called_whole() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    with_old_rows(&pg, 5).await;
    execute(&pg, "alter table edges rename to elsewhere").await;
    let pruner = pruner(&pg, Settings::new());
    assert_eq!(pruner.round(&CancellationToken::new()).await, Round::Failed);
    assert_eq!((number(&pg, LETTERS).await, pruner.metrics.prune_round_timestamp_seconds.get()), (1, 0));
    execute(&pg, "alter table elsewhere rename to edges").await;
    assert_eq!(pruner.round(&CancellationToken::new()).await, Round::Whole);
    assert_eq!(number(&pg, EDGES).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_round_between_two_steps() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    with_old_rows(&pg, 30).await;
    let pruner = pruner(&pg, Settings::new().set("RETENTION__STEP_ROWS", "10").set("RETENTION__STEP_PAUSE_MS", "60000"));
    let stop = CancellationToken::new();
    let asked = async {
        while number(&pg, LETTERS).await == 31 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (round, ()) = tokio::time::timeout(DEADLINE / 2, async { tokio::join!(pruner.round(&stop), asked) }).await.expect("not the pause");
    assert_eq!((round, number(&pg, LETTERS).await), (Round::Left, 21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_prunes_by_itself_again_and_again() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    let metrics = Metrics::new("worker", &[]).unwrap();
    let settings = Settings::new().postgres(&database.worker_url()).set("RETENTION__INTERVAL_S", "1");
    let worker = worker::runner::start(&settings.load().unwrap(), &metrics, &Health::new(&metrics)).unwrap();
    for _ in 0..2 {
        with_old_rows(&pg, 5).await;
        let gone = async {
            while number(&pg, "select count(*) from dead_letters where reason = 'old'").await + number(&pg, EDGES).await > 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("a round");
        execute(&pg, "delete from edges").await;
    }
    assert!(metrics.encode().unwrap().contains("worker_pruned_rows_total{kind=\"dead_letters\"} 10"), "{}", metrics.encode().unwrap());
    worker.stop(DEADLINE).await;
}

fn order(store_id: i64, reference: &str, email: &str) -> NewOrder {
    let body = json!({ "customer_email": email, "items": [{"sku": "MADE", "quantity": 1}], "external_reference": reference });
    NewOrder {
        order_id: OrderId::new(1_772_452_800_000, rand::random()),
        store_id,
        mode: Mode::Live,
        idempotency_key: Some("key".into()),
        request: FulfillRequest::parse(body.to_string().as_bytes()).unwrap(),
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_days_an_idempotency_key_is_free_for_something_new_and_the_reference_is_not() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    let shop = Shop::open(&pg, "demo").await.unwrap();
    shop.generated(&pg, "MADE").await.unwrap();
    let secrets = Settings::new().load().unwrap().secrets;
    let sealer = |purpose| Sealer::new(&secrets.sealing, purpose, rand::random());
    let fulfillment = Fulfillment {
        pg: pg.clone(),
        allocator: Allocator::new(sealer(Purpose::License), LicenseDigester::new(&secrets.license_digest)),
        requests: sealer(Purpose::OrderRequest),
        clock: Arc::new(SystemClock::new()),
        dispatcher: None,
        starts_max: 5,
    };
    let fulfill =
        async |reference: &str, email: &str| fulfillment.fulfill(&[order(shop.store_id, reference, email)]).await.unwrap().pop().unwrap();
    let made = |outcome: &FulfillOutcome| match outcome {
        FulfillOutcome::Order { order_id, replayed: false, .. } => order_id.clone(),
        other => panic!("{other:?}"),
    };
    let first = made(&fulfill("first", "a@example.org").await);
    assert!(matches!(fulfill("second", "a@example.org").await, FulfillOutcome::IdempotencyConflict));

    let pruner = pruner(&pg, Settings::new());
    for (age, free) in [("29 days 23 hours", false), ("30 days 1 minute", true)] {
        execute(&pg, &format!("update orders set created_at = now() - interval '{age}'")).await;
        assert_eq!(pruner.round(&CancellationToken::new()).await, Round::Whole);
        // The reference stays the order's own for ever, with the key or without.
        let again = fulfill("first", "a@example.org").await;
        assert!(matches!(&again, FulfillOutcome::Order { order_id, replayed: true, .. } if *order_id == first), "{age}: {again:?}");
        let outcome = fulfill("second", "a@example.org").await;
        assert_eq!(matches!(outcome, FulfillOutcome::Order { replayed: false, .. }), free, "{age}: {outcome:?}");
    }
    assert!(matches!(fulfill("first", "b@example.org").await, FulfillOutcome::ReferenceConflict | FulfillOutcome::IdempotencyConflict));
    // And the key is the second order's now.
    assert!(matches!(fulfill("third", "a@example.org").await, FulfillOutcome::IdempotencyConflict));
}
