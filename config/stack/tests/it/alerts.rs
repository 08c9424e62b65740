//! What breaks is told: each fault raises its own alert, and wakes nobody for anything else. The rules are those that people use, with every
//! window and every `for` shortened to seconds.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::clock::{Clock, SystemClock};
use common::mode::Mode;
use serde_json::Value;
use testkit::http::Client;
use testkit::receiver::{Behavior, Receiver};
use testkit::servers::{Host, Prometheus};
use testkit::shop::license_keys;
use tokio::task::block_in_place;

use crate::dashboards::results;
use crate::rules;
use crate::system::{System, eventually, fulfill, order};
use crate::tax::import_rate;

/// Until a fault is seen, scraped, judged and told.
const TOLD: Duration = Duration::from_secs(60);

/// The files of rules, with their windows and patience in seconds.
fn shortened(folder: &Path) -> Vec<PathBuf> {
    let short = |file: PathBuf| {
        let mut rules = fs::read_to_string(&file).unwrap();
        for window in ["5m", "10m", "30m", "1h"] {
            rules = rules.replace(&format!("[{window}]"), "[15s]");
        }
        let patience = |line: &str| if line.trim_start().starts_with("for: ") { "        for: 2s".to_owned() } else { line.to_owned() };
        let rules = rules.lines().map(patience).collect::<Vec<_>>().join("\n");
        let shortened = folder.join(file.file_name().unwrap());
        fs::write(&shortened, rules).unwrap();
        shortened
    };
    rules::files().into_iter().map(short).collect()
}

/// The alerts that fire: all, and of these the ones that wake somebody.
async fn firing(prometheus: SocketAddr) -> (BTreeSet<String>, BTreeSet<String>) {
    let answer = Client::new(prometheus, false).get("/api/v1/alerts").await.unwrap().json();
    let alerts = answer["data"]["alerts"].as_array().unwrap();
    let fire = alerts.iter().filter(|alert| alert["state"] == "firing");
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
    let (pages, tickets): (Vec<&Value>, Vec<&Value>) = fire.partition(|alert| alert["labels"]["severity"] == "page");
    let pages: BTreeSet<String> = pages.into_iter().map(name).collect();
    (tickets.into_iter().map(name).chain(pages.iter().cloned()).collect(), pages)
}

/// Waits for an alert. Until then only those of `pages` may wake anybody.
async fn told(prometheus: SocketAddr, alert: &str, pages: &[&str]) {
    eventually(&format!("{alert} to fire"), TOLD, async || {
        let (all, waking) = firing(prometheus).await;
        let stray: Vec<&String> = waking.iter().filter(|page| !pages.contains(&page.as_str())).collect();
        assert!(stray.is_empty(), "{stray:?} before {alert}");
        all.contains(alert).then_some(())
    })
    .await;
    println!("{alert} fires");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_raises_its_own_alert() {
    let mut system = System::new().await;
    system.set("WEBHOOKS__CONNECT_TIMEOUT_MS", "500");
    system.set("WEBHOOKS__TIMEOUT_MS", "500");
    // Nothing is well before old rows were looked for once.
    system.set("RETENTION__INTERVAL_S", "2");
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    shop.pooled(&system.pg, "POOL", &license_keys("ALERT", 2)).await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    shop.endpoint(&system.pg, Mode::Live, &receiver.url("/")).await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    // Of the compiled-in rates one has ended, and nobody has said what holds since.
    import_rate(&system, "TH,,vat,standard,7,2026-10-01,,alone,operator,2026-11-01,").await;

    let folder = tempfile::tempdir().unwrap();
    let jobs = [("edge", vec![edge.admin_address()]), ("worker", vec![worker.admin_address()])];
    let server = block_in_place(|| {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).unwrap();
        let rules = shortened(folder.path());
        Prometheus::start(&host, &jobs, &rules, Duration::from_secs(1), &folder.path().join("log"), &|line| eprintln!("{line}")).unwrap()
    });
    let prometheus = server.address();
    eventually("Prometheus to judge", TOLD, async || {
        let groups = Client::new(prometheus, false).get("/api/v1/rules").await.ok()?.json();
        let groups = groups["data"]["groups"].as_array()?;
        let judged = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).filter(|rule| rule["health"] == "ok").count();
        (judged > 60).then_some(())
    })
    .await;
    for n in 0..10 {
        assert_eq!(fulfill(&client, "demo", &order(&format!("well-{n}"), &[("MADE", 1)])).await.status, 201);
    }
    // Before the first scrape nobody was there, and that may have been told.
    eventually("both to be scraped", TOLD, async || {
        (results(prometheus, "up == 1", &SystemClock::new().now()).await == Ok(2)).then_some(())
    })
    .await;
    eventually("all to be well", TOLD, async || firing(prometheus).await.0.is_empty().then_some(())).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(firing(prometheus).await.0, BTreeSet::new(), "all is well");

    import_rate(&system, "GB,,vat,standard,20,2019-01-01,,alone,operator,2020-01-01,").await;
    told(prometheus, "TaxRatesOld", &[]).await;

    import_rate(&system, "FR,,vat,standard,20,2019-01-01,2020-01-01,alone,operator,2026-11-01,").await;
    told(prometheus, "TaxRatesEnded", &[]).await;

    assert_eq!(fulfill(&client, "demo", &order("last", &[("POOL", 2)])).await.status, 201);
    told(prometheus, "SoldOut", &[]).await;

    receiver.behave(Behavior::Hang);
    for n in 0..20 {
        assert_eq!(fulfill(&client, "demo", &order(&format!("hangs-{n}"), &[("MADE", 1)])).await.status, 201);
    }
    told(prometheus, "WebhooksFail", &[]).await;

    worker.stop().await;
    told(prometheus, "NoWorker", &["NoWorker"]).await;

    block_in_place(|| system.redis.kill()).unwrap();
    told(prometheus, "RedisAway", &["NoWorker", "RedisAway"]).await;

    edge.stop().await;
    told(prometheus, "NoEdge", &["NoWorker", "RedisAway", "NoEdge"]).await;
    block_in_place(|| server.stop()).unwrap();
}
