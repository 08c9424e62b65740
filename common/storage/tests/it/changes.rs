//! The change feed: whoever follows it misses nothing, sees nothing twice, and sees everything in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::cart::Sku;
use common::mode::Mode;
use common::money::Currency;
use storage::Pg;
use storage::pg::api_keys::{self, NewApiKey, Quotas};
use storage::pg::audit_log::Actor;
use storage::pg::changes::{self, ChangeKind, Position};
use storage::pg::listener::{self, Notice};
use storage::pg::products::{self, Product, Source};
use storage::pg::stores;
use testkit::database::Database;
use tokio::sync::broadcast;

use crate::{patient, soon};

async fn new_key(pg: &Pg, store_id: i64) -> i64 {
    let key = NewApiKey {
        store_id,
        mode: Mode::Live,
        name: "test",
        hint: "sk_live_1234",
        pepper_id: "t1",
        hash: rand::random(),
        scopes: &[],
        expires_in_s: None,
    };
    api_keys::create(pg, &key, Actor::CommandLine).await.unwrap()
}

async fn new_product(pg: &Pg, store_id: i64, sku: &str) -> Product {
    products::create(pg, store_id, &Sku::parse(sku).unwrap(), sku, &Source::Pool, &[]).await.unwrap()
}

/// Makes changes in every way there is; returns how many.
async fn write(pg: Pg, store_id: i64, writer: usize) -> usize {
    let (key, product) = (new_key(&pg, store_id).await, new_product(&pg, store_id, &format!("SKU-{writer}")).await);
    let mut written = 2;
    for _ in 0..30 {
        written += match rand::random_range(0..7) {
            0 => new_key(&pg, store_id).await.min(1) as usize,
            1 => {
                let price = (Currency::parse("EUR").unwrap(), rand::random_range(0..10_000));
                products::set_prices(&pg, &product, &[price]).await.map(|()| 1).unwrap()
            }
            2 => api_keys::set_quotas(
                &pg,
                key,
                Quotas { checkout: Some(rand::random_range(1..100)), ..Quotas::default() },
                Actor::CommandLine,
            )
            .await
            .map(usize::from)
            .unwrap(),
            3 => stores::set_licensing(&pg, store_id, rand::random(), Actor::CommandLine).await.map(|()| 1).unwrap(),
            // Two changes in one transaction.
            4 => api_keys::roll(&pg, key, "sk_live_5678", "t1", rand::random(), 60.0, Actor::CommandLine).await.unwrap().map_or(0, |_| 2),
            5 => {
                let other = new_key(&pg, store_id).await;
                1 + api_keys::revoke(&pg, other, Actor::CommandLine).await.unwrap().map_or(0, |_| 1)
            }
            // Slow to commit, and not always willing to.
            _ => slow_change(&pg, store_id, rand::random_range(0..3) > 0).await,
        };
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..3_000))).await;
    }
    written
}

async fn slow_change(pg: &Pg, store_id: i64, commit: bool) -> usize {
    let mut client = pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    changes::record(&tx, ChangeKind::Store, store_id).await.unwrap();
    tokio::time::sleep(Duration::from_micros(rand::random_range(0..4_000))).await;
    if !commit {
        return 0;
    }
    tx.commit().await.unwrap();
    1
}

/// Follows the feed until it is told that all is written, and to its end.
async fn follow(pg: Pg, mut last: Position, all_written: Arc<AtomicBool>) -> Vec<i64> {
    let client = pg.client().await.unwrap();
    let mut seen = Vec::new();
    loop {
        let end = all_written.load(Ordering::Acquire);
        let new = changes::after(&*client, last, 100).await.unwrap().expect("a feed that leads on");
        seen.extend(new.iter().map(|change| change.position.id));
        last = new.last().map_or(last, |change| change.position);
        if end && new.is_empty() {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sees_every_change_once_and_in_order() {
    let database = Database::new().await.unwrap();
    let (writing, following) = (patient(&database), patient(&database));
    let store_id = stores::create(&writing, "shop", "Shop", true).await.unwrap().id;
    let all_written = Arc::new(AtomicBool::new(false));
    let first = changes::end(&*writing.client().await.unwrap()).await.unwrap();
    let followers: Vec<_> = (0..2).map(|_| tokio::spawn(follow(following.clone(), first, all_written.clone()))).collect();
    let writers: Vec<_> = (0..16).map(|writer| tokio::spawn(write(writing.clone(), store_id, writer))).collect();
    let mut written = 1;
    for writer in writers {
        written += soon("a writer", writer).await.unwrap();
    }
    all_written.store(true, Ordering::Release);

    let client = writing.client().await.unwrap();
    let rows = client.query("select id from changes order by id", &[]).await.unwrap();
    let all: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert!(all.len() == written && written > 500, "{} rows of {written}", all.len());
    for follower in followers {
        assert_eq!(soon("a follower", follower).await.unwrap(), all[1..]);
    }
    assert_eq!((first.id, changes::end(&*client).await.unwrap().id), (all[0], all[all.len() - 1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_wakes_the_listeners_and_says_what_it_was() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let nothing = changes::end(&*pg.client().await.unwrap()).await.unwrap();
    assert!(nothing.id == 0 && changes::after(&*pg.client().await.unwrap(), nothing, 1).await.unwrap().is_some_and(|all| all.is_empty()));
    let (sender, mut notices) = broadcast::channel(1_000);
    let listening = pg.clone();
    let _listener = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let never = listener::run(&listening, &[changes::CHANNEL], sender).await;
        match never {}
    }));
    assert!(matches!(soon("the connection", notices.recv()).await.unwrap(), Notice::Connected));

    let store_id = stores::create(&pg, "shop", "Shop", true).await.unwrap().id;
    let first = changes::end(&*pg.client().await.unwrap()).await.unwrap();
    let key = new_key(&pg, store_id).await;
    let product = new_product(&pg, store_id, "SKU").await;
    products::set_prices(&pg, &product, &[(Currency::parse("EUR").unwrap(), 1)]).await.unwrap();
    let rolled = api_keys::roll(&pg, key, "sk_live_5678", "t1", rand::random(), 0.0, Actor::CommandLine).await.unwrap().unwrap();
    let revoked = api_keys::revoke(&pg, rolled, Actor::CommandLine).await.unwrap().unwrap();
    for transaction in 0..6 {
        let notice = soon("a notice", notices.recv()).await.unwrap();
        assert!(matches!(&notice, Notice::Said { channel, .. } if channel == "changes"), "{transaction}: {notice:?}");
    }

    let client = pg.client().await.unwrap();
    let after = async |position, limit| changes::after(&*client, position, limit).await.unwrap();
    let all = after(first, 100).await.unwrap();
    let all_positions: Vec<Position> = all.iter().map(|change| change.position).collect();
    let said: Vec<(ChangeKind, i64)> = all.iter().map(|change| (change.kind, change.subject_id)).collect();
    let catalogue = (ChangeKind::Catalogue, store_id);
    let api_key = |id| (ChangeKind::ApiKey, id);
    assert_eq!(said, [api_key(key), catalogue, catalogue, api_key(key), api_key(rolled), api_key(rolled)]);
    let last = all.last().unwrap().position;
    assert_eq!((last, last.id), (changes::end(&*client).await.unwrap(), revoked));
    assert!(changes::recorded_at(&*client, revoked).await.unwrap().is_some());
    assert_eq!(after(first, 3).await.unwrap().iter().map(|change| change.position).collect::<Vec<_>>(), all_positions[..3]);
    assert!(after(last, 100).await.unwrap().is_empty());
    // What is not there leaves no trace.
    assert_eq!(api_keys::revoke(&pg, 999_999, Actor::CommandLine).await.unwrap(), None);
    assert_eq!(api_keys::roll(&pg, 999_999, "hint", "t1", rand::random(), 0.0, Actor::CommandLine).await.unwrap(), None);
    assert_eq!(api_keys::roll(&pg, rolled, "hint", "t1", rand::random(), 0.0, Actor::CommandLine).await.unwrap(), None, "revoked");
    assert!(!api_keys::set_quotas(&pg, 999_999, Quotas::default(), Actor::CommandLine).await.unwrap());
    assert!(after(last, 100).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_where_the_feed_does_not_lead_on_is_told() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let client = pg.client().await.unwrap();
    let nothing = changes::end(&*client).await.unwrap();
    let store_id = stores::create(&pg, "shop", "Shop", true).await.unwrap().id;
    assert!(changes::after(&*client, nothing, 100).await.unwrap().is_none(), "what came before the first row kept is unknown");
    let mut positions = vec![changes::end(&*client).await.unwrap()];
    for _ in 0..3 {
        stores::set_licensing(&pg, store_id, true, Actor::CommandLine).await.unwrap();
        positions.push(changes::end(&*client).await.unwrap());
    }
    let leads_on = async |position| changes::after(&*client, position, 100).await.unwrap().map(|changes| changes.len());
    assert_eq!((leads_on(positions[0]).await, leads_on(positions[3]).await), (Some(3), Some(0)));

    // Pruned behind its back.
    client.execute("delete from changes where id <= $1", &[&positions[1].id]).await.unwrap();
    assert_eq!([leads_on(positions[0]).await, leads_on(positions[1]).await, leads_on(positions[2]).await], [None, None, Some(1)]);

    // Restored to a moment before the last change, after which the ids go on from there: the same id again, and not the same change.
    client.execute("delete from changes where id = $1", &[&positions[3].id]).await.unwrap();
    assert_eq!(leads_on(positions[3]).await, None, "ahead of the feed");
    let again = "insert into changes (id, kind, subject_id) overriding system value values ($1, 'store', $2)";
    client.execute(again, &[&positions[3].id, &store_id]).await.unwrap();
    assert_eq!(changes::end(&*client).await.unwrap().id, positions[3].id);
    assert_eq!((leads_on(positions[3]).await, leads_on(positions[2]).await), (None, Some(1)));
}
