//! Each part once, small. What they find means nothing here: nothing is built for speed, and others are at work.

use bench::parts::{Plan, checkout, follow, fulfill, latency, memory, portal, queue};
use bench::report::Report;

use crate::roles::programs;

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn plan(&self) -> Plan<'static> {
        Plan {
            programs: programs(),
            rounds: 1,
            quick: true,
            folder: self.0.path().to_owned(),
            cargo: "cargo".into(),
            progress: &|line| eprintln!("{line}"),
        }
    }
}

/// The names of what was measured; everything measured is a number above zero.
pub fn measured(report: &Report) -> Vec<&'static str> {
    for row in &report.rows {
        assert!(row.measured.min > 0.0 && row.measured.max.is_finite(), "{row:?}");
    }
    report.rows.iter().map(|row| row.promise.what).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_compared_with_the_baseline() {
    let folder = Folder::new();
    let report = Box::pin(checkout::run(&folder.plan())).await.unwrap();
    assert_eq!(measured(&report).len(), 1);
    assert!(report.rows[0].measured.median > 1.0, "an edge does more than the baseline: {report:?}");
    assert_eq!(measured(&Box::pin(latency::run(&folder.plan())).await.unwrap()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_carry_questions_and_answers() {
    let folder = Folder::new();
    let report = Box::pin(queue::run(&folder.plan())).await.unwrap();
    assert_eq!(measured(&report).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_made_both_ways() {
    let folder = Folder::new();
    let report = Box::pin(fulfill::run(&folder.plan())).await.unwrap();
    assert_eq!(measured(&report).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_connections_take_memory() {
    let folder = Folder::new();
    let report = Box::pin(memory::run(&folder.plan())).await.unwrap();
    assert_eq!(measured(&report).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_the_portal_are_timed() {
    let folder = Folder::new();
    let report = Box::pin(portal::run(&folder.plan())).await.unwrap();
    assert_eq!(measured(&report).len(), 1);
    assert_eq!(report.notes.len(), 18, "every kind of page: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_follow() {
    let folder = Folder::new();
    let report = Box::pin(follow::run(&folder.plan())).await.unwrap();
    assert_eq!(measured(&report).len(), 2);
}

/// A program that is no edge, or ends, is an error and no figure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_does_not_live_is_an_error() {
    let folder = Folder::new();
    let mut plan = folder.plan();
    plan.programs.edge.path = "/bin/false".into();
    plan.programs.edge.args.clear();
    let error = Box::pin(checkout::run(&plan)).await.unwrap_err().to_string();
    assert!(error.contains("edge ended while starting"), "{error}");
}
