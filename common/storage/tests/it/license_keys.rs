//! The stock under concurrency: no key goes to two, none is lost, and nobody waits in a circle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::cart::Sku;
use common::license::LicenseDigest;
use common::mode::Mode;
use storage::pg::license_keys::{self, Busy, FreeKey, Need, NewDigest};
use storage::pg::products::{self, Source};
use storage::pg::stores;
use storage::{Pg, StorageError};
use testkit::database::Database;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::{eventually, patient, soon};

/// A store with `products` products, each with `keys` live keys. Returns the store and the products, sorted.
async fn stocked(pg: &Pg, products: usize, keys: usize) -> (i64, Vec<i64>) {
    let store_id = stores::create(pg, "shop", "Shop", true).await.unwrap().id;
    let mut ids = Vec::new();
    for n in 0..products {
        let sku = format!("SKU-{n}");
        let product_id = products::create(pg, store_id, &Sku::parse(&sku).unwrap(), &sku, &Source::Pool, &[]).await.unwrap().id;
        let key = |_| FreeKey { id: Uuid::now_v7(), product_id, mode: Mode::Live, sealed: vec![n as u8; 40] };
        let free: Vec<FreeKey> = (0..keys).map(key).collect();
        license_keys::insert(&*pg.client().await.unwrap(), &free).await.unwrap();
        ids.push(product_id);
    }
    (store_id, ids)
}

fn need(product_id: i64, count: i64) -> Need {
    Need { product_id, mode: Mode::Live, count }
}

fn ids(keys: &[FreeKey]) -> BTreeSet<Uuid> {
    keys.iter().map(|key| key.id).collect()
}

/// Waits until somebody waits for a lock of this database.
async fn somebody_waits(pg: &Pg) {
    let client = pg.client().await.unwrap();
    let sql = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' limit 1";
    eventually("somebody waits", async || client.query_opt(sql, &[]).await.unwrap().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_go_first_and_only_those_of_the_product_and_mode() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (store_id, products) = stocked(&pg, 2, 5).await;
    let client = pg.client().await.unwrap();
    let test_key = FreeKey { id: Uuid::nil(), product_id: products[0], mode: Mode::Test, sealed: vec![9] };
    license_keys::insert(&*client, std::slice::from_ref(&test_key)).await.unwrap();
    let oldest = client.query("select id from license_keys where product_id = $1 and live order by id", &[&products[0]]).await.unwrap();
    let oldest: Vec<Uuid> = oldest.iter().map(|row| row.get(0)).collect();

    let taken = license_keys::take(&*client, &[need(products[0], 2), need(products[1], 0)], Busy::Skip).await.unwrap();
    assert_eq!(ids(&taken), oldest[..2].iter().copied().collect());
    assert!(taken.iter().all(|key| key.product_id == products[0] && key.mode == Mode::Live && key.sealed == [0; 40]));
    let taken = license_keys::take(&*client, &[need(products[0], 10)], Busy::Wait).await.unwrap();
    assert_eq!(taken.len(), 3, "as many as there are");
    assert_eq!(license_keys::levels(&*client, store_id).await.unwrap(), [(products[0], Mode::Test, 1), (products[1], Mode::Live, 5)]);
    assert_eq!(license_keys::count_free(&*client, products[1], Mode::Live, 100).await.unwrap(), 5);
    assert!(license_keys::take(&*client, &[], Busy::Skip).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipping_takes_others_and_waiting_takes_what_comes_back() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (_, products) = stocked(&pg, 1, 5).await;
    for rolls_back in [true, false] {
        let (mut holder, mut skipper) = (pg.client().await.unwrap(), pg.client().await.unwrap());
        let holding = holder.transaction().await.unwrap();
        let held = license_keys::take(&holding, &[need(products[0], 3)], Busy::Skip).await.unwrap();
        assert_eq!(held.len(), 3);

        let skipping = skipper.transaction().await.unwrap();
        let skipped = soon("not waiting", license_keys::take(&skipping, &[need(products[0], 5)], Busy::Skip)).await.unwrap();
        assert!(skipped.len() == 2 && ids(&skipped).is_disjoint(&ids(&held)));
        skipping.rollback().await.unwrap();

        let waiting = pg.clone();
        let product = products[0];
        let waiter = tokio::spawn(async move {
            let mut client = waiting.client().await.unwrap();
            let tx = client.transaction().await.unwrap();
            let taken = license_keys::take(&tx, &[need(product, 5)], Busy::Wait).await.unwrap();
            tx.rollback().await.unwrap();
            taken
        });
        somebody_waits(&pg).await;
        assert!(!waiter.is_finished());
        if rolls_back {
            holding.rollback().await.unwrap();
            assert_eq!(soon("the waiter", waiter).await.unwrap().len(), 5, "they came back");
        } else {
            holding.commit().await.unwrap();
            let taken = soon("the waiter", waiter).await.unwrap();
            assert_eq!(ids(&taken), ids(&skipped), "what is left");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_gets_as_many_as_wanted_from_behind_those_that_went() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (_, products) = stocked(&pg, 1, 10).await;
    let mut holder = pg.client().await.unwrap();
    let holding = holder.transaction().await.unwrap();
    let held = license_keys::take(&holding, &[need(products[0], 4)], Busy::Skip).await.unwrap();
    let (waiting, product) = (pg.clone(), products[0]);
    let waiter =
        tokio::spawn(async move { license_keys::take(&*waiting.client().await.unwrap(), &[need(product, 4)], Busy::Wait).await.unwrap() });
    somebody_waits(&pg).await;
    holding.commit().await.unwrap();
    let taken = soon("the waiter", waiter).await.unwrap();
    assert!(taken.len() == 4 && ids(&taken).is_disjoint(&ids(&held)), "{}", taken.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_takers_of_several_products_neither_share_a_key_nor_wait_in_a_circle() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (_, products) = stocked(&pg, 4, 250).await;
    let takers: Vec<_> = (0..8)
        .map(|taker| {
            let (pg, products) = (pg.clone(), products.clone());
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for round in 0..20 {
                    // Callers sort; which products they want differs.
                    let mut wanted: Vec<i64> = products.iter().copied().filter(|_| rand::random()).collect();
                    wanted.sort_unstable();
                    let needs: Vec<Need> = wanted.into_iter().map(|product| need(product, 2)).collect();
                    let busy = if (taker + round) % 2 == 0 { Busy::Wait } else { Busy::Skip };
                    let mut client = pg.client().await.unwrap();
                    let tx = client.transaction().await.unwrap();
                    let taken = license_keys::take(&tx, &needs, busy).await.unwrap();
                    tokio::time::sleep(Duration::from_micros(rand::random_range(0..2_000))).await;
                    if rand::random_range(0..4) > 0 {
                        tx.commit().await.unwrap();
                        mine.extend(taken.into_iter().map(|key| key.id));
                    }
                }
                mine
            })
        })
        .collect();
    let mut taken = Vec::new();
    for taker in takers {
        taken.extend(soon("a taker", taker).await.unwrap());
    }
    let unique: BTreeSet<Uuid> = taken.iter().copied().collect();
    let left = pg.client().await.unwrap().query_one("select count(*) from license_keys", &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!((unique.len(), taken.len() as i64 + left), (taken.len(), 1_000));
}

fn new_digests(digests: &[LicenseDigest], store_id: i64) -> Vec<NewDigest<'static>> {
    digests.iter().map(|&digest| NewDigest { store_id, mode: Mode::Live, digest, secret_id: "t1" }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_digest_is_claimed_once_by_however_many_in_whatever_order() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (store_id, _) = stocked(&pg, 0, 0).await;
    let digests: Vec<LicenseDigest> = (0..2_000).map(|_| rand::random()).collect();
    let start = Arc::new(Barrier::new(8));
    let claimers: Vec<_> = (0..8)
        .map(|claimer| {
            let (pg, start, mut digests) = (pg.clone(), start.clone(), digests.clone());
            match claimer % 4 {
                0 => digests.reverse(),
                1 => digests.sort_unstable(),
                shift => digests.rotate_left(500 * shift),
            }
            tokio::spawn(async move {
                let mut client = pg.client().await?;
                let tx = client.transaction().await?;
                start.wait().await;
                let claimed = license_keys::claim_digests(&tx, &new_digests(&digests, store_id)).await?;
                tx.commit().await?;
                Ok::<_, StorageError>(claimed)
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(soon("a claimer", claimer).await.unwrap().expect("nobody waits in a circle"));
    }
    claimed.sort_unstable();
    let mut all = digests.clone();
    all.sort_unstable();
    assert_eq!(claimed, all);

    let client = pg.client().await.unwrap();
    assert_eq!(license_keys::known_digests(&*client, store_id, Mode::Live, &digests[..3]).await.unwrap().len(), 3);
    assert!(license_keys::known_digests(&*client, store_id, Mode::Test, &digests).await.unwrap().is_empty(), "test is another world");
    assert_eq!(license_keys::claim_digests(&*client, &new_digests(&digests[..3], store_id + 1)).await.unwrap().len(), 3);
    // Twice in one breath is once.
    let new: LicenseDigest = rand::random();
    assert_eq!(license_keys::claim_digests(&*client, &new_digests(&[new, new], store_id)).await.unwrap(), [new]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_rolled_back_is_free_for_who_waited() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (store_id, _) = stocked(&pg, 0, 0).await;
    let digest: LicenseDigest = rand::random();
    let mut first = pg.client().await.unwrap();
    let tx = first.transaction().await.unwrap();
    assert_eq!(license_keys::claim_digests(&tx, &new_digests(&[digest], store_id)).await.unwrap().len(), 1);
    let waiting = pg.clone();
    let second = tokio::spawn(async move {
        license_keys::claim_digests(&*waiting.client().await.unwrap(), &new_digests(&[digest], store_id)).await.unwrap()
    });
    somebody_waits(&pg).await;
    tx.rollback().await.unwrap();
    assert_eq!(soon("the second", second).await.unwrap(), [digest]);
}

/// A day with these live sales of a product each, of which all but the last are settled: orders, quantity each.
async fn sold(pg: &Pg, product_id: i64, orders: i32, quantity: i32) {
    let client = pg.client().await.unwrap();
    client
        .execute(
            "with sales as (
                 insert into orders (id, store_id, live, external_reference, fingerprint, status, customer_email, created_at)
                 select 'ORD-' || lpad($1::bigint::text || n::text, 18, '0'), 7, true, $1::bigint || '-' || n, decode(repeat('00', 32), 'hex'),
                        case when n = $2::int then 'processing' else 'fulfilled' end, 'a@b', now() - interval '12 hours'
                 from generate_series(1, $2::int) n returning id)
             insert into order_items (order_id, line, product_id, sku, quantity) select id, 1, $1, 'SKU', $3::int from sales",
            &[&product_id, &orders, &quantity],
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_out_is_seen_from_the_newest_orders() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (_, products) = stocked(&pg, 3, 10).await;
    let client = pg.client().await.unwrap();
    assert_eq!(license_keys::stocks_of_recent_sales(&*client, 7).await.unwrap(), [], "nothing sells");
    sold(&pg, products[0], 4, 2).await;
    sold(&pg, products[1], 2, 1).await;
    let stocks = license_keys::stocks_of_recent_sales(&*client, 7).await.unwrap();
    let figures: Vec<(i64, i64)> = stocks.iter().map(|stock| (stock.free, stock.sold_a_day.round() as i64)).collect();
    // Half a day's sales, each counted double; the second sells two a day, and so of ten no more than those of a week matter.
    assert_eq!(figures, [(10, 12), (10, 2)]);
    client.execute("delete from license_keys where product_id = $1", &[&products[0]]).await.unwrap();
    let stocks = license_keys::stocks_of_recent_sales(&*client, 7).await.unwrap();
    assert_eq!(stocks[0].free, 0);
}
