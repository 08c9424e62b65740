//! What kind of trouble it is, and what it is called.

use std::time::Duration;

use storage::pg::{migrations, stores};
use storage::{Pg, StorageError};
use testkit::database::Database;
use testkit::servers::free_port;
use testkit::settings::Settings;
use tokio::time::Instant;

use crate::soon;

fn pg_with(url: &str, knobs: &[(&str, &str)]) -> Pg {
    let settings = knobs.iter().fold(Settings::new().postgres(url), |settings, (name, value)| settings.set(name, value));
    Pg::new(&settings.load().unwrap().postgres, "test").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_unavailable_at_once() {
    let pg = pg_with(&format!("postgres://a:secret@127.0.0.1:{}/b", free_port().unwrap()), &[]);
    let started = Instant::now();
    let error = pg.client().await.err().unwrap();
    assert!(error.is_unavailable() && !error.is_unique_violation(), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(migrations::run(&pg).await.unwrap_err().is_unavailable());
    assert!(migrations::is_current(&pg).await.unwrap_err().is_unavailable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_free_connection_in_time_is_unavailable_and_remembered_for_a_moment() {
    let database = Database::new().await.unwrap();
    let pg = pg_with(database.url(), &[("POSTGRES__CONNECTIONS_MAX", "1"), ("POSTGRES__CHECKOUT_TIMEOUT_MS", "100")]);
    let held = pg.client().await.unwrap();
    assert!(!pg.is_crowded());
    let started = Instant::now();
    let error = pg.client().await.err().unwrap();
    assert!(pg.is_crowded());
    assert!(error.is_unavailable(), "{error}");
    assert!((90..1_500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    drop(held);
    drop(pg.client().await.unwrap());
    soon("the crowd to be forgotten", async {
        while pg.is_crowded() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_is_unavailable() {
    let database = Database::new().await.unwrap();
    let pg = pg_with(database.url(), &[("POSTGRES__STATEMENT_TIMEOUT_MS", "200")]);
    let client = pg.client().await.unwrap();
    let started = Instant::now();
    let error: StorageError = soon("the time-out", client.batch_execute("select pg_sleep(60)")).await.unwrap_err().into();
    assert!(error.is_unavailable() && error.to_string().contains("57014"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // The connection itself is as good as before.
    client.batch_execute("select 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_backend_is_unavailable_and_the_next_connection_is_good() {
    let database = Database::new().await.unwrap();
    let (pg, other) = (database.pg().unwrap(), database.pg().unwrap());
    for while_busy in [true, false] {
        let client = pg.client().await.unwrap();
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let kill = async |wait_for: &str| {
            let killer = other.client().await.unwrap();
            let sql = format!("select pg_terminate_backend(pid) from pg_stat_activity where pid = {pid} {wait_for}");
            crate::eventually("the backend is killed", async || killer.query_opt(&sql, &[]).await.unwrap().is_some()).await;
        };
        let failed = if while_busy {
            let (failed, ()) = tokio::join!(client.batch_execute("select pg_sleep(60)"), kill("and state = 'active'"));
            failed
        } else {
            kill("").await;
            client.batch_execute("select 1").await
        };
        let error: StorageError = failed.unwrap_err().into();
        println!("{error}");
        assert!(error.is_unavailable(), "{error:?}");
        drop(client);
        crate::eventually("a good connection", async || match pg.client().await {
            Ok(client) => client.batch_execute("select 1").await.is_ok(),
            Err(_) => false,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_unavailable() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    let (mut one, mut two) = (pg.client().await.unwrap(), pg.client().await.unwrap());
    let (one, two) = (one.transaction().await.unwrap(), two.transaction().await.unwrap());
    let lock = |n: i64| format!("select pg_advisory_xact_lock({n})");
    one.batch_execute(&lock(1)).await.unwrap();
    two.batch_execute(&lock(2)).await.unwrap();
    let (sql_one, sql_two) = (lock(2), lock(1));
    let circle = async { tokio::join!(one.batch_execute(&sql_one), two.batch_execute(&sql_two)) };
    // Whoever is not the victim goes on when the victim has gone.
    let (one, two) = soon("the deadlock to be found", async {
        tokio::select! {
            both = circle => both,
            () = tokio::time::sleep(Duration::from_secs(10)) => panic!("nobody was freed"),
        }
    })
    .await;
    let error: StorageError = one.err().or(two.err()).unwrap().into();
    assert!(error.is_unavailable() && error.to_string().contains("40P01"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_already_is_a_unique_violation_that_repeats_no_values() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    stores::create(&pg, "secretive-shop", "Shop", false).await.unwrap();
    let error = stores::create(&pg, "secretive-shop", "Shop", false).await.unwrap_err();
    assert!(error.is_unique_violation() && !error.is_unavailable());
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(said.contains("stores_slug_key") && said.contains("23505") && !said.contains("secretive"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_in_the_words_of_the_server() {
    let database = Database::new().await.unwrap();
    let (scheme_and_user, rest) = database.url().rsplit_once('@').unwrap();
    let (user, _) = scheme_and_user.rsplit_once(':').unwrap();
    let error = pg_with(&format!("{user}:wrong@{rest}"), &[]).client().await.err().unwrap();
    assert!(!error.is_unavailable() && error.to_string().contains("password authentication failed"), "{error}");
}
