//! The edge behind nginx and HAProxy, which keep their connections to it and lend them to all of their clients: no bytes make the edge see
//! more requests than the proxy passed on, nobody gets another one's answer, and no client chooses the address that it is charged to.

mod front;

use futures_util::StreamExt;

use crate::ambiguous::{hasty, requests, table, told};
use crate::stage::{Backstage, GEO, Stage, until};
use crate::wire::{Wire, get};
use front::{Front, Kind};

/// Clients at the same time.
const AT_ONCE: usize = 8;

/// What a common client is told by way of the front; anything but its own answer is an error.
async fn ask(front: &Front, name: &str) -> Result<(), String> {
    let mut wire = Wire::connect(front.address).await;
    let answer = wire.ask(get("/developers/errors/not_found/", &format!("x-request-id: {name}\r\nconnection: close\r\n"))).await;
    let more = wire.ended().await;
    let is_right = answer.status == 200 && answer.header("x-request-id") == name && more.is_empty();
    is_right.then_some(()).ok_or_else(|| format!("{name}: {answer:?}, {:?}", String::from_utf8_lossy(&more)))
}

/// Whether the front lends one connection to many clients.
async fn keeps_connections(stage: &Stage, front: &Front) {
    for n in 0..10 {
        ask(front, &format!("before-{n}")).await.unwrap();
    }
    assert_eq!(stage.running.edge.metrics.connections.get(), 1, "ten clients, one connection to the edge");
}

async fn holds(kind: Kind) {
    let stage = hasty(Backstage::new().await).start().await;
    let front = Front::start(kind, stage.address).await;
    keeps_connections(&stage, &front).await;
    let cases = table(&stage.key);
    let all = futures_util::stream::iter(cases.iter().enumerate()).map(async |(n, case)| {
        let told = told(front.address, case).await;
        // More than one, as what is left in a connection may be behind the first.
        let others = futures_util::future::join_all((0..3).map(async |other| ask(&front, &format!("after-{n}-{other}")).await)).await;
        (case, told, others)
    });
    let all: Vec<_> = all.buffer_unordered(AT_ONCE).collect().await;
    for (case, told, others) in &all {
        for other in others {
            assert_eq!(*other, Ok(()), "{}, {told:?}", case.name);
        }
    }
    // Whatever it passed on, and not one more.
    ask(&front, "last").await.unwrap();
    until("the last request to be logged", async || front.passed_on().contains(&"last".to_owned())).await;
    // What the parser refuses is counted with the connection that it ends.
    let malformed = stage.running.edge.metrics.connections_ended_total.with_label_values(&["malformed"]).get();
    let (passed_on, seen) = (front.passed_on().len() as u64, requests(&stage) + malformed);
    assert!(seen <= passed_on, "{seen} requests seen, but only {passed_on} were passed on");
}

#[tokio::test]
async fn nginx_and_the_edge_agree_on_what_a_request_is() {
    holds(Kind::Nginx { is_lax: false }).await;
}

#[tokio::test]
async fn nginx_that_lets_everything_through_and_the_edge_agree() {
    holds(Kind::Nginx { is_lax: true }).await;
}

#[tokio::test]
async fn haproxy_and_the_edge_agree_on_what_a_request_is() {
    holds(Kind::Haproxy { is_lax: false }).await;
}

#[tokio::test]
async fn haproxy_that_lets_everything_through_and_the_edge_agree() {
    holds(Kind::Haproxy { is_lax: true }).await;
}

/// What clients write into headers to be somebody else.
const LIES: [&str; 20] = [
    "x-forwarded-for: 198.51.100.1\r\n",
    "X-FORWARDED-FOR: 198.51.100.1\r\n",
    "x-forwarded-for: 198.51.100.1, 198.51.100.2\r\n",
    "x-forwarded-for: 198.51.100.1\r\nx-forwarded-for: 198.51.100.2\r\n",
    "x-forwarded-for: 127.0.0.1\r\n",
    "x-forwarded-for: 127.0.0.1, 127.0.0.1\r\n",
    "x-forwarded-for:\r\n",
    "x-forwarded-for: ,\r\n",
    "x-forwarded-for: unknown\r\n",
    "x-forwarded-for: \u{e9}\r\n",
    "x-forwarded-for: 2001:db8::1\r\nforwarded: for=198.51.100.1\r\n",
    "x_forwarded_for: 198.51.100.1\r\n",
    "forwarded: for=198.51.100.1\r\n",
    "forwarded: for=198.51.100.1, for=\"[2001:db8::1]\"\r\n",
    "x-real-ip: 198.51.100.1\r\n",
    "true-client-ip: 198.51.100.1\r\n",
    "cf-connecting-ip: 198.51.100.1\r\n",
    "client-ip: 198.51.100.1\r\nx-client-ip: 198.51.100.1\r\nx-cluster-client-ip: 198.51.100.1\r\nfastly-client-ip: 198.51.100.1\r\n",
    // Whoever drops what is named here must not drop what it wrote itself.
    "connection: x-forwarded-for\r\n",
    "connection: close, x-forwarded-for, forwarded\r\nx-forwarded-for: 198.51.100.1\r\n",
];

#[tokio::test]
async fn whoever_lies_to_a_proxy_is_charged_all_the_same() {
    for kind in
        [Kind::Nginx { is_lax: false }, Kind::Nginx { is_lax: true }, Kind::Haproxy { is_lax: false }, Kind::Haproxy { is_lax: true }]
    {
        // Only the proxy: a client whose address is trusted, too, could say what it likes.
        let stage = Backstage::new().await.set("EDGE__TRUSTED_PROXIES", "127.0.0.1").start().await;
        let front = Front::start(kind, stage.address).await;
        let left = async |client: &str, lines: &str| {
            let answer = Wire::connect_from(client, front.address).await.ask(get(GEO, lines)).await;
            answer.header("x-ratelimit-remaining").parse::<usize>().unwrap_or_else(|_| panic!("{kind:?}: {lines:?}: {answer:?}"))
        };
        for (n, lie) in LIES.iter().enumerate() {
            assert_eq!(left("127.0.0.7", lie).await, 299 - n, "{kind:?}: {lie:?}");
        }
        assert_eq!(left("127.0.0.8", "").await, 299, "{kind:?}: another client has a bucket of its own");
        assert_eq!(left("127.0.0.1", "").await, 299, "{kind:?}: and nobody was charged as the proxy");
    }
}
