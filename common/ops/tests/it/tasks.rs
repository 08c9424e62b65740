//! Supervised tasks come back, and a drain waits for everybody or says for whom it did.

use std::time::Duration;

use ops::metrics::Metrics;
use ops::tasks::{Backoff, Drain, Tasks};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::PATIENCE;

const AT_ONCE: Backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(2) };

fn tasks() -> (Tasks, Metrics) {
    let metrics = Metrics::new("test", &[]).expect("metrics");
    (Tasks::new(&CancellationToken::new(), &metrics), metrics)
}

#[tokio::test]
async fn a_supervised_task_survives_errors_panics_and_its_own_end() {
    let (tasks, metrics) = tasks();
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut run = 0;
    tasks.spawn_supervised("loop", AT_ONCE, move |token| {
        run += 1;
        assert_ne!(run, 4, "panics before there is a future");
        let (run, tell) = (run, tell.clone());
        async move {
            tell.send(run).expect("the test listens");
            match run {
                1 => panic!("panics inside"),
                2 => Err("fails"),
                3 => Ok(()),
                _ => {
                    token.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    for expected in [1, 2, 3, 5] {
        let run = tokio::time::timeout(PATIENCE, told.recv()).await.expect("it starts again");
        assert_eq!(run, Some(expected));
    }
    assert_eq!(tasks.drain(PATIENCE).await, Drain::Drained);
    assert_eq!(told.recv().await, None, "nothing starts after the token is cancelled");
    let page = metrics.encode().expect("page");
    assert!(page.contains("test_task_restarts_total{task=\"loop\"} 4\n"), "{page}");
}

#[tokio::test]
async fn waiting_to_start_again_does_not_hold_up_a_drain() {
    let (tasks, _) = tasks();
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let hour = Duration::from_secs(3600);
    tasks.spawn_supervised("loop", Backoff { first: hour, max: hour }, move |_| {
        tell.take().expect("it runs once").send(()).expect("the test listens");
        async { Err::<(), _>("fails") }
    });
    told.await.expect("it runs");
    assert_eq!(tasks.drain(PATIENCE).await, Drain::Drained);
}

#[tokio::test]
async fn a_drain_waits_for_work_under_way() {
    let (tasks, _) = tasks();
    let (finish, finished) = oneshot::channel::<()>();
    tasks.spawn("work", async { finished.await.expect("to be told") });
    let drain = tasks.drain(PATIENCE);
    tokio::pin!(drain);
    tokio::select! {
        biased;
        _ = &mut drain => panic!("the work is not done"),
        () = tasks.token().cancelled() => {}
    }
    finish.send(()).expect("work listens");
    assert_eq!(drain.await, Drain::Drained);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_names_who_is_late() {
    let (tasks, _) = tasks();
    for name in ["stuck", "late", "stuck"] {
        tasks.spawn(name, std::future::pending());
    }
    tasks.spawn("done", async {});
    tasks.spawn("broken", async { panic!("a panic ends a task too") });
    assert_eq!(tasks.drain(Duration::from_millis(50)).await, Drain::TimedOut { names: vec!["late", "stuck"] });
}

#[tokio::test]
async fn stages_drain_one_after_the_other() {
    let metrics = Metrics::new("test", &[]).expect("metrics");
    let parent = CancellationToken::new();
    let (first, second) = (Tasks::new(&parent, &metrics), Tasks::new(&parent, &metrics));
    assert_eq!(first.drain(PATIENCE).await, Drain::Drained);
    assert!(!parent.is_cancelled() && !second.token().is_cancelled());
    parent.cancel();
    assert!(second.token().is_cancelled());
}
