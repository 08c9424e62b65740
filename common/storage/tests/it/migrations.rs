//! Migrations are applied once, however many processes start at the same time.

use storage::Pg;
use storage::pg::migrations;
use testkit::database::Database;

use crate::{eventually, postgres_settings, soon};

/// An empty database, beside a migrated one.
async fn empty(name: &str) -> String {
    let database = Database::new().await.unwrap();
    database.pg().unwrap().client().await.unwrap().batch_execute(&format!("create database {name}")).await.unwrap();
    let (base, _) = database.url().rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_that_start_together_apply_each_once() {
    let url = empty("migrated_by_eight").await;
    let pg = |_| Pg::new(&postgres_settings(&url), "test").unwrap();
    let first = pg(0);
    assert!(!migrations::is_current(&first).await.unwrap());
    let runs: Vec<_> = (0..8)
        .map(|n| {
            let pg = pg(n);
            tokio::spawn(async move { migrations::run(&pg).await })
        })
        .collect();
    let mut applied = Vec::new();
    for run in runs {
        applied.extend(run.await.unwrap().unwrap());
    }
    println!("applied: {applied:?}");
    let unique: std::collections::BTreeSet<&String> = applied.iter().collect();
    let rows = first.client().await.unwrap().query_one("select count(*) from refinery_schema_history", &[]).await.unwrap();
    assert!(!applied.is_empty() && unique.len() == applied.len() && rows.get::<_, i64>(0) == applied.len() as i64);
    assert!(migrations::is_current(&first).await.unwrap());
    assert!(migrations::run(&first).await.unwrap().is_empty(), "nothing is left to apply");
    let timeout = first.client().await.unwrap().query_one("show statement_timeout", &[]).await.unwrap();
    assert_ne!(timeout.get::<_, &str>(0), "0", "the connection that migrated, with its time-out off, did not go back to the pool");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_another_version_has_changed_is_refused_in_words() {
    let url = empty("migrated_otherwise").await;
    let pg = Pg::new(&postgres_settings(&url), "test").unwrap();
    migrations::run(&pg).await.unwrap();
    pg.client().await.unwrap().batch_execute("update refinery_schema_history set checksum = '1' where version = 1").await.unwrap();
    let error = migrations::run(&pg).await.unwrap_err();
    println!("{error}");
    assert!(!error.is_unavailable() && error.to_string().contains("V1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_gives_way_to_who_holds_its_table_and_comes_again() {
    let url = empty("migrated_late").await;
    let pg = Pg::new(&postgres_settings(&url), "test").unwrap();
    migrations::run(&pg).await.unwrap();
    // As if the third and all after it had not been there yet. It makes an index on this table.
    let undo = "drop index dead_letters_age, api_key_usage_age, orders_idempotency_key_age; drop table held_license_keys;
                drop table webhook_endpoints, webhook_deliveries, webhook_attempts, tax_rates, carts, listings;
                drop table stripe_events, order_payments, order_disputes; alter table orders drop column keys_kept;
                alter table stores drop column country, drop column prices_include_tax, drop column revoke_when_refunded,
                    drop column suspend_while_disputed, drop column return_hosts;
                alter table products drop column tax_category;
                drop table order_checkouts; drop index orders_pending; drop table portal_sessions, account_invites, memberships, accounts, audit_log;
                delete from refinery_schema_history where version >= 3";
    pg.client().await.unwrap().batch_execute(undo).await.unwrap();
    let mut holder = pg.client().await.unwrap();
    let holding = holder.transaction().await.unwrap();
    holding.batch_execute("lock table dead_letters in row exclusive mode").await.unwrap();
    let migrating = tokio::spawn({
        let pg = pg.clone();
        async move { migrations::run(&pg).await }
    });
    let waits = "select count(*) from pg_locks where not granted and locktype = 'relation'";
    for wanted in [1, 0] {
        eventually("waiting, and giving way", async || {
            pg.client().await.unwrap().query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == wanted
        })
        .await;
    }
    assert!(!migrating.is_finished());
    holding.commit().await.unwrap();
    let applied = soon("the migration", migrating).await.unwrap().unwrap();
    assert!(applied.iter().any(|name| name.starts_with("V3__")), "{applied:?}");
}
