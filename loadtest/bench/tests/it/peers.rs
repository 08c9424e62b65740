//! The peers do what they are said to do, or nothing could be compared.

use bench::cores::Cores;
use bench::parts::peers;
use bench::peers::{Job, Peer};
use http::StatusCode;
use serde_json::json;
use testkit::http::Client;
use tokio::task::block_in_place;

use crate::parts::{Folder, measured};

const API_KEY: &str = "sk_live_abcdefghijklmnopqrstuvwxyz01ABCDEF";
const LIMIT: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_does_an_edges_work_and_limits_it() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new("my-store", "WIN-11-PRO", API_KEY, LIMIT).unwrap();
    let core = Cores::two().unwrap().measured;
    for peer in Peer::ALL {
        let service = block_in_place(|| job.start(peer, folder.path(), core, &|line| eprintln!("{line}"))).unwrap();
        job.check(peer, service.address).await.unwrap();
        let client = Client::new(service.address, false).with_key(API_KEY);
        let body = json!({"cart": {"WIN-11-PRO": 1}, "currency": "GBP"});
        let mut statuses = Vec::new();
        for _ in 0..LIMIT {
            statuses.push(client.post(&job.path(), &body).await.unwrap().status);
        }
        // Five of them were taken before.
        let admitted = statuses.iter().take_while(|status| **status == StatusCode::CREATED).count();
        assert!((15..=17).contains(&admitted), "{peer:?} admitted {admitted}: {statuses:?}");
        assert!(statuses[admitted..].iter().all(|status| *status == StatusCode::TOO_MANY_REQUESTS), "{peer:?}: {statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_measured_in_turn_and_shown() {
    let folder = Folder::new();
    let plan = folder.plan();
    let report = Box::pin(peers::run(&plan)).await.unwrap();
    assert_eq!(measured(&report).len(), 3);
    let [table, picture] = ["peers.md", "peers.svg"].map(|name| std::fs::read_to_string(plan.folder.join(name)).unwrap());
    for name in ["edge", "baseline", "nginx + Lua", "HAProxy", "Envoy"] {
        assert!(table.contains(&format!("\n| {name} | ")), "{table}");
        assert!(picture.contains(&format!(">{name}</text>")), "{picture}");
    }
}
