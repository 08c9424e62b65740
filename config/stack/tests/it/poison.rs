//! A job that ends every worker which takes it. It ends as a dead letter, alone: nobody who was taken together with it, or waited behind
//! it, is any the worse for it.

use std::time::Duration;

use crate::mortal::MortalWorker;
use crate::system::{System, eventually, fulfill, in_parallel, order};

const INNOCENT: usize = 20;
const STARTS_MAX: usize = 3;

/// Work on the order with the reference `poison` comes to a standstill, so that the test can end whoever works on it.
const POISON: &str = "
    create function poison() returns trigger language plpgsql as $$
        begin
            if exists (select 1 from orders where id = new.order_id and external_reference = 'poison') then
                perform pg_sleep(60);
            end if;
            return new;
        end $$;
    create trigger poison before insert on order_items for each row execute function poison()";

/// Whether somebody works on it.
const AT_WORK: &str = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
/// Ends the sessions of whoever stands still, as closing their sockets would in the end.
const CLOSE: &str =
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
/// Not what somebody works on: that would be waiting for it.
const HURRY: &str = "
    update orders set next_attempt_at = now() where id in (
        select id from orders where status = 'processing' and next_attempt_at > now() for update skip locked)";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_its_worker_is_a_dead_letter_alone() {
    let mut system = System::new().await;
    system.set("WORKER__JOB_STARTS_MAX", &STARTS_MAX.to_string());
    system.set("WORKER__SWEEP_INTERVAL_MS", "100");
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    system.pg.client().await.unwrap().batch_execute(POISON).await.unwrap();
    let edge = system.edge().await;
    // Without a worker they are written down, and due all at once.
    let accepted = in_parallel(INNOCENT + 1, INNOCENT + 1, |number| {
        let client = edge.client(&key);
        let reference = if number == INNOCENT / 2 { "poison".to_owned() } else { format!("r-{number}") };
        async move { fulfill(&client, "demo", &order(&reference, &[("A", 1)])).await.status.as_u16() }
    })
    .await;
    assert_eq!(accepted, [202; INNOCENT + 1]);

    let mut ended = 0;
    loop {
        let worker = MortalWorker::start(&system.worker_settings(), None).await;
        let condemned = eventually("the poison to be at work, or to be given up", Duration::from_secs(30), async || {
            if system.number(AT_WORK).await > 0 {
                return Some(false);
            }
            // What is to be tried again in some seconds is tried now: time passes by decree.
            system.pg.client().await.ok()?.batch_execute(HURRY).await.ok()?;
            let given_up = "select count(*) from orders where external_reference = 'poison' and status = 'failed'";
            (system.number(given_up).await > 0).then_some(true)
        })
        .await;
        if condemned {
            worker.life.kill().await;
            break;
        }
        worker.life.kill().await;
        system.number(CLOSE).await;
        // Else they would be taken for the next worker's.
        eventually("the sessions to end", Duration::from_secs(30), async || (system.number(AT_WORK).await == 0).then_some(())).await;
        ended += 1;
        assert!(ended <= STARTS_MAX + 1, "it goes on and on");
    }
    println!("{ended} workers ended until the job was given up, {STARTS_MAX} starts being allowed");
    let worker = system.worker().await;
    eventually("everything else to be fulfilled", Duration::from_secs(15), async || {
        (system.number("select count(*) from orders where status = 'fulfilled'").await == INNOCENT as i64).then_some(())
    })
    .await;
    assert_eq!(system.number("select count(*) from orders where status <> 'fulfilled'").await, 1, "only the poison");
    assert_eq!(system.number("select count(*) from orders where error_code = 'internal_error'").await, 1);
    assert_eq!(system.number("select count(*) from dead_letters").await, 1);
    worker.stop().await;
    edge.stop().await;
}
