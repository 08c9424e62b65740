//! The tool that this kind of attack is usually tried with, in its three ways at once, and a crowd that says nothing or half a word.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::servers::Host;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::{ENDED_WITHIN, LARGE};
use crate::edge_process::{EdgeProcess, GoodClient};
use crate::stage::{Backstage, PATIENCE, SESSION};

/// Of each way.
const CONNECTIONS: usize = 334;
/// Opened in a second, of each way.
const RATE: usize = 334;
/// Silent ones, and as many with half a preface.
const CROWD: usize = 500;

/// Runs the tool until no connection of it is open any more, or for half a minute. Returns what it said.
fn attack(host: &Host, arguments: &[String], url: &str) -> String {
    let tool = host.program("slowhttptest", &|line| eprintln!("{line}")).expect("slowhttptest");
    let connections = ["-c", &CONNECTIONS.to_string(), "-r", &RATE.to_string(), "-l", "30", "-p", "10"].map(str::to_owned);
    let said = tool.args(arguments).args(connections).args(["-u", url]).must_succeed().expect("a run");
    // It colors what it says.
    said.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, text)| text)).collect()
}

/// Connects from an address of its own, says this, and waits for the end. Returns how long that took.
async fn ended(address: SocketAddr, said: &[u8]) -> Duration {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.98:0".parse().expect("an address")).expect("a loopback address");
    let mut stream = socket.connect(address).await.expect("a connection");
    let began = Instant::now();
    stream.write_all(said).await.expect("a word");
    let mut nothing = [0; 16];
    let end = timeout(PATIENCE, stream.read(&mut nothing)).await.expect("an end");
    assert!(end.is_err() || end.is_ok_and(|read| read == 0), "an answer to nothing");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_connections_at_once_are_gone_after_fifteen_seconds_and_nobody_notices() {
    let backstage = Backstage::new().await.unlimited_addresses();
    let edge = EdgeProcess::start(&backstage.settings).await;
    // Found, or unpacked, before the clock runs.
    let find = || {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).expect("a host");
        host.program("slowhttptest", &|line| eprintln!("{line}")).expect("slowhttptest");
        host
    };
    let host = tokio::task::spawn_blocking(find).await.expect("a host");
    let good = GoodClient::start(edge.address, Duration::from_millis(10)).await;
    let before = edge.usage();
    let began = Instant::now();

    let url = |path: &str| format!("http://{}{path}", edge.address);
    // The tool knows no other way to name a key; without one its bodies would not be waited for.
    let json = format!("application/json\r\nAuthorization: Bearer {}", backstage.key);
    // The last one reads what it has already been sent before it sees that there will be no more: fast enough for that, and still far too
    // slowly for a quarter of a megabyte.
    let ways: [(Vec<&str>, String); 3] = [
        (vec!["-H", "-i", "9", "-t", "GET"], url("/")),
        (vec!["-B", "-i", "1", "-s", "60000", "-f", &json], url(SESSION)),
        (vec!["-X", "-w", "1", "-y", "1024", "-n", "1", "-z", "256", "-k", "3"], url(LARGE)),
    ];
    let attacks = ways.map(|(arguments, url)| {
        let (host, arguments) = (host.clone(), arguments.into_iter().map(str::to_owned).collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || (attack(&host, &arguments, &url), arguments[0].clone(), Instant::now()))
    });
    let crowd =
        [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM"].map(|said| futures_util::future::join_all((0..CROWD).map(|_| ended(edge.address, said))));
    let [silent, half] = crowd;
    let mut crowd = std::pin::pin!(futures_util::future::join(silent, half));
    let mut peak = before;
    let (silent, half) = loop {
        tokio::select! {
            ended = crowd.as_mut() => break ended,
            () = sleep(Duration::from_millis(50)) => {
                let now = edge.usage();
                peak.open_files = peak.open_files.max(now.open_files);
                peak.resident_bytes = peak.resident_bytes.max(now.resident_bytes);
            }
        }
    };
    let slowest = silent.iter().chain(&half).max().expect("a crowd");
    println!("silent and half a preface: the last of {} ended after {slowest:?}", 2 * CROWD);
    println!("at most {} descriptors, {} KiB more than before", peak.open_files, (peak.resident_bytes - before.resident_bytes) / 1024);
    assert!(*slowest < ENDED_WITHIN && peak.open_files > 1_500, "{slowest:?} {peak:?}");
    // As the edge sees it. The tool may not have looked yet.
    crate::stage::until("all to be gone", async || edge.metric("edge_connections").await <= 1.0).await;
    // The last ones came when the tools had opened all of theirs.
    let gone = began.elapsed() - Duration::from_secs((CONNECTIONS / RATE) as u64);
    println!("all gone {gone:?} after the last ones came");
    for attack in attacks {
        let (said, way, at) = attack.await.expect("a run");
        let status = said.lines().rev().find(|line| line.contains("Exit status")).unwrap_or_default();
        println!("slowhttptest {way}: after {:?}, {}", at - began, status.trim());
        assert!(status.contains("No open connections left"), "{way}: {said}");
    }
    let (answers, slowest) = good.stop().await;
    println!("good client: {answers} answers, slowest {slowest:?}");
    assert!(answers > 300 && slowest < Duration::from_secs(2), "{answers} {slowest:?}");
    assert!(gone < ENDED_WITHIN + Duration::from_secs(1), "{gone:?}");
}
