//! Edges and workers work as the roles that they are, and say so when they may not.

use testkit::http::Client;

use crate::system::{SOON, System, eventually, fulfill, order};

/// Who is logged in as what, our own connections left out.
const LOGINS: &str = "select distinct application_name || ' as ' || usename from pg_stat_activity
                      where datname = current_database() and application_name in ('edge', 'worker')";

async fn logins(system: &System) -> Vec<String> {
    let rows = system.pg.client().await.unwrap().query(LOGINS, &[]).await.unwrap();
    let mut logins: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    logins.sort();
    logins
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_here_runs_with_no_more_rights_than_it_needs() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    assert_eq!(fulfill(&edge.client(&key), "demo", &order("r-1", &[("A", 1)])).await.status, 201);
    assert_eq!(logins(&system).await, ["edge as edge", "worker as worker"]);
    worker.stop().await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_login_for_everything_works_too() {
    let system = System::with_one_login().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    assert_eq!(fulfill(&edge.client(&key), "demo", &order("r-1", &[("A", 1)])).await.status, 201);
    assert_eq!(logins(&system).await, ["edge as anonymouspay", "worker as anonymouspay"]);
    worker.stop().await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_a_right_says_which_and_begins_when_it_has_it() {
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "A").await.unwrap();
    let run = async |sql: &str| system.pg.client().await.unwrap().batch_execute(sql).await.unwrap();
    run("revoke select on prices from anonymouspay_edge; revoke delete on license_keys from anonymouspay_worker").await;
    let (edge, worker) = (system.edge_at_once().await, system.worker_at_once());
    let page = Client::new(edge.admin_address(), false);
    let wanted = ["select (product_id, currency, amount_minor) on prices", "`worker migrate`", "anonymouspay_edge"];
    eventually("the edge to say what it lacks", SOON, async || {
        let page = page.get("/readyz").await.expect("a page");
        let text = String::from_utf8_lossy(&page.body).into_owned();
        (page.status == 503 && wanted.iter().all(|words| text.contains(words)) && !text.contains("cannot be reached")).then_some(())
    })
    .await;
    assert!(!worker.is_ready());

    storage::pg::migrations::run(&system.pg).await.unwrap();
    eventually("an order", SOON, async || {
        let answer = fulfill(&edge.client(&key), "demo", &order("r-1", &[("A", 1)])).await;
        (answer.status == 201).then_some(())
    })
    .await;
    worker.stop().await;
    edge.stop().await;
}
