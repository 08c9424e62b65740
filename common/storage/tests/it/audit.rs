//! The audit: a healthy database passes, at rest and at work, and each thing that must hold is missed when it is broken on purpose.

mod breaking;
mod fixture;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::mode::Mode;
use common::secret::SecretList;
use storage::StorageError;
use storage::pg::audit::{self, EXAMPLES_MAX, Moment, Report};
use testkit::settings::Settings;

use crate::soon;
use fixture::{PRIVATE, Platform};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_database_passes() {
    let platform = Platform::full().await;
    let report = platform.audit(Moment::AtWork).await;
    assert!(report.ok && report.violated().next().is_none(), "{report:#?}");
    let names: BTreeSet<&str> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), report.checks.len(), "each name is one check's");
    let idle: Vec<&str> = report.checks.iter().filter(|check| check.examined == 0).map(|check| check.name).collect();
    assert!(idle.is_empty(), "nothing to look at, so nothing is shown: {idle:?}");

    let figures = &report.figures;
    let statuses: Vec<(&str, u64)> = figures.orders.iter().map(|(status, count)| (status.as_str(), *count)).collect();
    assert_eq!(statuses, [("failed", 1), ("fulfilled", 5), ("processing", 1), ("revoked", 1)]);
    assert_eq!((figures.license_keys_free, figures.license_keys_held, figures.license_keys_sold), (8, 1, 11));
    assert_eq!((figures.license_digests, figures.stores, figures.dead_letters, figures.edges), (20, 2, 1, 1));
    assert_eq!((figures.processing_orders, figures.events, figures.order_items), (1, 14, 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_passes() {
    let platform = Platform::new().await;
    platform.execute("truncate stores, changes restart identity cascade").await;
    let report = platform.audit(Moment::AtRest).await;
    assert!(report.ok, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_nothing_may_wait() {
    let platform = Platform::full().await;
    let report = platform.audit(Moment::AtRest).await;
    let violated: Vec<&str> = report.violated().map(|check| check.name).collect();
    assert_eq!(violated, ["nothing_left_to_do"]);
    platform.execute("delete from events where order_id in (select id from orders where status = 'processing')").await;
    platform.execute("delete from orders where status = 'processing'").await;
    assert!(platform.audit(Moment::AtRest).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_at_work_raises_no_false_alarm() {
    let platform = Arc::new(Platform::new().await);
    platform.stock("POOL", Mode::Live, 1_500).await;
    let done = Arc::new(AtomicBool::new(false));
    let sellers: Vec<_> = (0..3)
        .map(|seller| {
            let (platform, done) = (platform.clone(), done.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !done.load(Ordering::Acquire) && n < 500 {
                    let order = platform.order(&format!("r-{seller}-{n}"), None, Mode::Live, &[("POOL", 1), ("MADE", 1)]);
                    match seller {
                        0 => platform.sell(&order).await,
                        _ => {
                            platform.write_down(&order).await;
                            platform.complete(&order).await;
                        }
                    }
                    n += 1;
                }
                n
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let auditing = platform.clone();
        let report = tokio::spawn(async move { auditing.audit(Moment::AtWork).await }).await.unwrap();
        assert!(report.ok, "{report:#?}");
        seen.insert(report.figures.license_keys_sold);
    }
    done.store(true, Ordering::Release);
    for seller in sellers {
        assert!(soon("a seller", seller).await.unwrap() > 0);
    }
    assert!(seen.len() > 1, "they sold meanwhile: {seen:?}");
    assert!(platform.audit(Moment::AtRest).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_after_the_beginning_is_not_seen() {
    let platform = Platform::full().await;
    let meanwhile = |line: &str| {
        if line == "checking license_key_places" {
            let broken = platform
                .execute("update orders set status = 'lost' where status <> 'failed'; delete from events; delete from license_keys");
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(broken));
        }
    };
    let report = audit::run(&platform.pg, &platform.secrets, Moment::AtWork, &meanwhile).await.unwrap();
    assert!(report.ok, "{report:#?}");
    assert!(!platform.audit(Moment::AtWork).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_may_be_in_the_middle_of_being_replaced() {
    let platform = Platform::full().await;
    let fresh = |id: &str, byte: u8| common::secret::Secret::new(id, vec![byte; 32]).unwrap();
    let both = |list: &SecretList, byte| SecretList::new(vec![fresh("t2", byte), list.first().clone()]).unwrap();
    let mut secrets = Settings::new().load().unwrap().secrets;
    (secrets.sealing, secrets.license_digest) = (both(&secrets.sealing, 21), both(&secrets.license_digest, 22));
    assert!(platform.audit_with(&secrets, Moment::AtWork).await.unwrap().ok);

    // The old ones were taken away too early.
    secrets.sealing = SecretList::new(vec![fresh("t2", 21)]).unwrap();
    let report = platform.audit_with(&secrets, Moment::AtWork).await.unwrap();
    let violated: Vec<(&str, u64)> = report.violated().map(|check| (check.name, check.violations)).collect();
    assert_eq!(violated, [("license_keys_open", 20), ("processing_orders", 1)]);
    let check = report.violated().next().unwrap();
    assert!(check.examples[0].contains("sealed by secret \"t1\", which is not configured"), "{check:?}");
    let mut secrets = Settings::new().load().unwrap().secrets;
    secrets.license_digest = SecretList::new(vec![fresh("t2", 22)]).unwrap();
    let report = platform.audit_with(&secrets, Moment::AtWork).await.unwrap();
    assert_eq!(report.violated().map(|check| (check.name, check.violations)).collect::<Vec<_>>(), [("license_key_digests", 20)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_violations_are_counted_and_some_are_told() {
    let platform = Platform::new().await;
    let orders: Vec<_> = (0..EXAMPLES_MAX + 5).map(|n| platform.order(&format!("r{n}"), None, Mode::Live, &[("MADE", 1)])).collect();
    for order in &orders {
        platform.sell(order).await;
    }
    platform.execute("update orders set status = 'lost'; update events set sequence = sequence + 2").await;
    let report = platform.audit(Moment::AtWork).await;
    let told: Vec<_> = report.violated().map(|check| (check.name, check.violations, check.examples.len())).collect();
    let (orders, most) = (orders.len() as u64, EXAMPLES_MAX);
    let expected = [("order_statuses", orders, most), ("event_sequences", orders, most), ("event_bodies", 2 * orders, most)];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_read_is_an_error_and_no_verdict() {
    let platform = Platform::new().await;
    platform.execute("drop table events").await;
    let failed = platform.audit_with(&platform.secrets, Moment::AtWork).await;
    assert!(matches!(failed, Err(StorageError::Refused(_))), "{failed:?}");
}

/// Nothing that is somebody's secret may be told, whatever is wrong.
fn tells_no_secret(report: &Report) {
    let told = serde_json::to_string(report).unwrap();
    assert!(!told.contains(PRIVATE), "{told}");
}
