//! An edge that may open only so many files: connections take no more than their share, and where none is left at all it waits for better
//! times without spinning, while everybody who is in is served.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::edge_process::{EdgeProcess, GoodClient};
use crate::stage::{Backstage, GEO, ORDERS, SESSION, session, until};
use crate::wire::{Wire, get, post};

/// Room for 128 connections, which is half of it.
const OPEN_FILES: u64 = 256;
const MANY_FILES: u64 = 4_000;
const CROWD: usize = 600;

/// A connection that says nothing, from an address of its own.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.97:0".parse().expect("an address")).expect("a loopback address");
    socket.connect(address).await.expect("a connection")
}

/// Whether a new client is served.
async fn serves(address: SocketAddr) -> bool {
    let mut wire = Wire::connect(address).await;
    wire.try_say(get(GEO, "")).await && !wire.silent().await
}

/// The share of one processor that it takes.
async fn load(edge: &EdgeProcess) -> f64 {
    let before = edge.cpu_s();
    sleep(Duration::from_secs(1)).await;
    edge.cpu_s() - before
}

/// From outside, as an administrator would.
fn limit_open_files(edge: &EdgeProcess, soft: u64) {
    let pid = Pid::from_raw(i32::try_from(edge.pid).expect("a pid"));
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(MANY_FILES) }).expect("a limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_takes_no_descriptor_from_what_an_edge_needs() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let edge = EdgeProcess::with_open_files(&backstage.settings, OPEN_FILES, OPEN_FILES).await;
    let warned = edge.log().into_iter().filter(|line| line["level"] == "WARN").collect::<Vec<_>>();
    assert!(warned.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains("edge.connections_max"))), "{warned:?}");
    let good = GoodClient::start(edge.address, Duration::from_millis(10)).await;
    let mut partner = Wire::connect(edge.address).await;
    let orders = get(ORDERS, &format!("authorization: Bearer {}\r\n", backstage.key));
    assert_eq!(partner.ask(&orders).await.status, 200);

    let crowd = futures_util::future::join_all((0..CROWD).map(|_| connect(edge.address))).await;
    let refused = "edge_connections_ended_total{reason=\"too_many\"}";
    until("a full house", async || edge.metric(refused).await > (CROWD / 2) as f64).await;
    assert!(!serves(edge.address).await, "there is no room");
    let open_files = edge.usage().open_files;
    assert!((130..OPEN_FILES).contains(&open_files), "{open_files}");
    assert_eq!(partner.ask(&orders).await.status, 200, "Postgres is asked");
    let (ready, page) = edge.readiness().await;
    assert!(ready && !page.to_string().contains("not connected"), "{page}");
    let load = load(&edge).await;
    println!("{open_files} of {OPEN_FILES} descriptors open; the full house takes {load:.2} of a processor");
    assert_eq!(edge.metric("edge_connections_ended_total{reason=\"accept_error\"}").await, 0.0);

    drop(crowd);
    until("room again", async || serves(edge.address).await).await;
    let (answers, slowest) = good.stop().await;
    println!("good client: {answers} answers, slowest {slowest:?}");
    assert!(answers > 50, "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_descriptor_left_who_is_in_is_served_and_the_others_wait() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let edge = EdgeProcess::with_open_files(&backstage.settings.clone().set("EDGE__CONNECTIONS_MAX", "3000"), MANY_FILES, MANY_FILES).await;
    let mut partner = Wire::connect(edge.address).await;
    // Answered from memory: Postgres may need a descriptor more for a question.
    let asks = post(SESSION, &backstage.key, "", &session().to_string());
    assert_eq!(partner.ask(&asks).await.status, 201);
    // Fewer than are open.
    limit_open_files(&edge, 8);
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::connect(edge.address).await;
        wire.say(get(GEO, "")).await;
        waiting.push(wire);
    }
    let failed =
        || edge.log().into_iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains("can be accepted"))).count();
    until("a complaint", async || failed() > 0).await;
    let load = load(&edge).await;
    println!("waiting for descriptors takes {load:.2} of a processor");
    assert!(load < 0.5, "{load}");
    assert_eq!(partner.ask(&asks).await.status, 201);
    limit_open_files(&edge, MANY_FILES);
    for wire in &mut waiting {
        assert_eq!(wire.hear().await.status, 200, "who waited is served");
    }
    assert_eq!(failed(), 1, "it complains once");
}

#[tokio::test]
async fn an_edge_takes_all_the_descriptors_that_it_may() {
    let backstage = Backstage::new().await;
    let edge = EdgeProcess::with_open_files(&backstage.settings.clone().set("EDGE__CONNECTIONS_MAX", "3000"), 300, MANY_FILES).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", edge.pid)).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().filter(|word| *word == "4000").count(), 2, "{line}");
    assert!(edge.log().iter().all(|line| line["level"] != "WARN"), "all fit, and nothing is to be said: {:?}", edge.log());
}
