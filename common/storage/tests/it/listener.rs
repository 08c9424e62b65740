//! Whether Postgres is there is known at once, and what it says is heard again after every interruption.

use std::time::Duration;

use storage::Pg;
use storage::pg::Trouble;
use storage::pg::listener::{self, Notice};
use storage::pg::migrations;
use testkit::database::Database;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{eventually, own_postgres, postgres_settings, soon};

fn listen(pg: &Pg) -> (broadcast::Receiver<Notice>, AbortOnDropHandle<()>) {
    let (sender, notices) = broadcast::channel(1_000);
    let pg = pg.clone();
    let task = tokio::spawn(async move {
        let never = listener::run(&pg, &["spoken", "unspoken"], sender).await;
        match never {}
    });
    (notices, AbortOnDropHandle::new(task))
}

/// The moment at which the flag becomes `wanted`.
fn turns(pg: &Pg, wanted: bool) -> JoinHandle<Instant> {
    let mut health = pg.health();
    tokio::spawn(async move {
        soon("the flag", health.wait_for(|up| *up == wanted)).await.unwrap();
        Instant::now()
    })
}

async fn next_said(notices: &mut broadcast::Receiver<Notice>) -> (String, String) {
    loop {
        if let Notice::Said { channel, payload } = soon("a notice", notices.recv()).await.unwrap() {
            return (channel, payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flag_follows_the_server() {
    let mut server = own_postgres();
    let pg = Pg::new(&postgres_settings(&server.url()), "test").unwrap();
    migrations::run(&pg).await.unwrap();
    assert!(!pg.is_up(), "unknown is down");
    soon("down, as it is", pg.down()).await;

    let started = Instant::now();
    let up = turns(&pg, true);
    let (mut notices, _listening) = listen(&pg);
    println!("up after {:?}", up.await.unwrap() - started);
    assert!(pg.is_up());
    assert!(tokio::time::timeout(Duration::from_millis(50), pg.down()).await.is_err());
    pg.client().await.unwrap().batch_execute("notify spoken, 'before'").await.unwrap();
    assert_eq!(next_said(&mut notices).await, ("spoken".to_owned(), "before".to_owned()));

    for (how, stop) in [("stopped", false), ("killed", true)] {
        let (asked, down) = (Instant::now(), turns(&pg, false));
        let waiting = tokio::spawn({
            let pg = pg.clone();
            async move { pg.down().await }
        });
        tokio::task::block_in_place(|| if stop { server.kill() } else { server.stop() }).unwrap();
        let after = down.await.unwrap() - asked;
        println!("{how}: down after {after:?}");
        assert!(after < Duration::from_secs(1), "{after:?}");
        soon("down", waiting).await.unwrap();
        assert!(pg.client().await.is_err_and(|error| error.is_unavailable()));

        let up = turns(&pg, true);
        tokio::task::block_in_place(|| server.restart()).unwrap();
        let ready = Instant::now();
        let after = up.await.unwrap().saturating_duration_since(ready);
        println!("up {after:?} after it was ready again");
        assert!(after < Duration::from_secs(2), "{after:?}");
        pg.client().await.unwrap().batch_execute("notify unspoken, 'after'").await.unwrap();
        assert_eq!(next_said(&mut notices).await, ("unspoken".to_owned(), "after".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_down_until_it_goes_on() {
    let mut server = own_postgres();
    let pg = Pg::new(&postgres_settings(&server.url()), "test").unwrap();
    migrations::run(&pg).await.unwrap();
    let up = turns(&pg, true);
    let (mut notices, _listening) = listen(&pg);
    up.await.unwrap();
    let (asked, down) = (Instant::now(), turns(&pg, false));
    server.pause().unwrap();
    let after = down.await.unwrap() - asked;
    println!("standing still: down after {after:?}");
    assert!(after < Duration::from_secs(2), "{after:?}");
    let (asked, up) = (Instant::now(), turns(&pg, true));
    server.resume().unwrap();
    println!("going on: up after {:?}", up.await.unwrap() - asked);
    pg.client().await.unwrap().batch_execute("notify spoken, 'again'").await.unwrap();
    assert_eq!(next_said(&mut notices).await.1, "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_backend_is_survived() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    let (mut notices, _listening) = listen(&pg);
    assert!(matches!(soon("the connection", notices.recv()).await.unwrap(), Notice::Connected));
    for round in 0..3 {
        let (down, asked) = (turns(&pg, false), Instant::now());
        let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                         where datname = current_database() and pid <> pg_backend_pid()";
        let terminated: i64 = pg.client().await.unwrap().query_one(terminate, &[]).await.unwrap().get(0);
        assert!(terminated >= 1);
        println!("terminated: down after {:?}", down.await.unwrap() - asked);
        // Told that it may have missed something.
        assert!(matches!(soon("the connection", notices.recv()).await.unwrap(), Notice::Connected));
        assert!(pg.is_up());
        pg.client().await.unwrap().batch_execute(&format!("notify spoken, '{round}'")).await.unwrap();
        assert_eq!(next_said(&mut notices).await.1, round.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_our_schema_is_waited_for() {
    let server = own_postgres();
    let pg = Pg::new(&postgres_settings(&server.url()), "test").unwrap();
    assert_eq!(pg.trouble(), Trouble::Unreachable);
    let (mut notices, _listening) = listen(&pg);
    eventually("the old schema to be seen", async || pg.trouble() == Trouble::OldSchema).await;
    assert!(!pg.is_up() && notices.try_recv().is_err());
    migrations::run(&pg).await.unwrap();
    soon("the flag", pg.up()).await;
    assert!(matches!(soon("the connection", notices.recv()).await.unwrap(), Notice::Connected));
    // A newer program has come and migrated further; this one goes on, also after a reconnect.
    let later = "insert into refinery_schema_history (version, name, applied_on, checksum) values (900, 'later', now()::text, '1')";
    pg.client().await.unwrap().batch_execute(later).await.unwrap();
    let ours = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'test' and pid <> pg_backend_pid()";
    pg.client().await.unwrap().query_one(ours, &[]).await.unwrap();
    assert!(matches!(soon("the connection", notices.recv()).await.unwrap(), Notice::Connected));
    assert!(pg.is_up());
}
