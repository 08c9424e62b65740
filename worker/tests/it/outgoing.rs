//! The client that posts to partners' servers, against servers that behave in every way they can, and against URLs and names that try to
//! lead it into the platform's own network. A canary listens on every address of this machine: a connection that should not have been
//! made would be seen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::webhook_target::{Rules, Target};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use testkit::receiver::{Answer, Behavior, CertificateKind, HOST, Receiver};
use worker::outgoing::{Attempt, Failure, Outcome, Outgoing, Resolve};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A resolver that says what a test wants.
struct Says<F>(F);

impl<F: Fn() -> Vec<IpAddr> + Send + Sync> Resolve for Says<F> {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let addresses = (self.0)().into_iter().map(|address| SocketAddr::new(address, port)).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// A resolver that never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::pending())
    }
}

/// Any authority does where none is asked: the machine may have none of its own.
fn client(rules: Rules, authority_pem: Option<&str>, resolver: Arc<dyn Resolve>) -> Outgoing {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap().cert.pem();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority_pem.unwrap_or(&made)).unwrap();
    let settings = config::Webhooks {
        connect_timeout: CONNECT_TIMEOUT,
        timeout: TIMEOUT,
        in_flight_max: 64,
        in_flight_per_endpoint_max: 8,
        in_flight_per_destination_max: 8,
        tls_ca_file: Some(file.path().to_owned()),
    };
    Outgoing::new((&settings).into(), rules, resolver).unwrap()
}

fn local_client() -> Outgoing {
    client(Rules::Development, None, Arc::new(Says(|| vec![LOOPBACK])))
}

async fn post(client: &Outgoing, url: &str, rules: Rules) -> Attempt {
    let target = Target::parse(url, rules).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let begun = Instant::now();
    let attempt = client.send(Method::POST, &target, headers, Bytes::from_static(b"{\"event\":\"order.created\"}")).await;
    assert!(begun.elapsed() < TIMEOUT + SLACK, "{url} took {:?}", begun.elapsed());
    attempt
}

async fn post_local(receiver: &Receiver, path: &str) -> Outcome {
    post(&local_client(), &receiver.url(path), Rules::Development).await.outcome
}

fn answered(status: u16, body: &[u8]) -> Outcome {
    Outcome::Answered { status, retry_after: None, body: body.to_vec() }
}

fn failure(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(failure) => failure.as_str(),
        Outcome::Answered { .. } => "answered",
    }
}

#[tokio::test]
async fn a_post_arrives_as_it_was_given_and_the_connection_is_kept() {
    let receiver = Receiver::start(Behavior::Answer(Answer::new(200, &[], b"thanks"))).await.unwrap();
    let client = local_client();
    for _ in 0..20 {
        let attempt = post(&client, &receiver.url("/hooks?token=x"), Rules::Development).await;
        assert_eq!(attempt.outcome, answered(200, b"thanks"));
    }
    assert_eq!((receiver.requests(), receiver.connections()), (20, 1));
    let first = receiver.received().remove(0);
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/hooks?token=x"));
    assert_eq!(first.body, "{\"event\":\"order.created\"}");
    assert_eq!(first.header("host"), format!("127.0.0.1:{}", receiver.port()));
    let mut names: Vec<_> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "host"], "nothing is added that was not asked for");
}

#[tokio::test]
async fn answers_of_every_status_are_answers() {
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    for status in [200, 204, 400, 410, 500, 503] {
        receiver.behave(Behavior::status(status));
        assert_eq!(post_local(&receiver, "/").await, answered(status, b""));
    }
    let later = |value: &str| Behavior::Answer(Answer::new(429, &[("retry-after", value)], b"slow down"));
    receiver.behave(later("120"));
    let expected = Outcome::Answered { status: 429, retry_after: Some("120".into()), body: b"slow down".to_vec() };
    assert_eq!(post_local(&receiver, "/").await, expected);
    receiver.behave(later(&"1".repeat(1_000)));
    assert_eq!(post_local(&receiver, "/").await, answered(429, b"slow down"));
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let canary = Receiver::start_on_all_addresses(Behavior::status(200)).await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        receiver.behave(Behavior::Answer(Answer::redirect(status, &canary.url("/"))));
        assert_eq!(post_local(&receiver, "/").await, answered(status, b""));
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn servers_that_do_not_answer_fail_in_time() {
    let table = [
        (Behavior::Hang, "timeout"),
        (Behavior::HangUnread, "timeout"),
        (Behavior::DripHead, "timeout"),
        (Behavior::Reset, "connection"),
        (Behavior::Close, "connection"),
        (Behavior::Headers(100_000), "answer_too_large"),
        (Behavior::Headers(65), "answer_too_large"),
        (Behavior::LongHeader(1_000_000), "answer_too_large"),
        (Behavior::Interim, "answer_too_large"),
        (Behavior::Raw("SSH-2.0-OpenSSH\r\n\r\n".into()), "protocol"),
        (Behavior::Raw("HTTP/1.1 200 OK\r\ncontent-".into()), "connection"),
        (Behavior::Raw("HTTP/1.1 200 OK\r\nbad header\r\n\r\n".into()), "protocol"),
    ];
    for (behavior, expected) in table {
        let receiver = Receiver::start(behavior.clone()).await.unwrap();
        let outcome = post_local(&receiver, "/").await;
        assert_eq!(failure(&outcome), expected, "{behavior:?}: {outcome:?}");
        assert_eq!(receiver.connections(), 1, "{behavior:?}: posted again");
        assert!(receiver.sent() < 8 * 1024 * 1024, "{behavior:?}: {} bytes were taken", receiver.sent());
    }
    let closed = Receiver::start(Behavior::Hang).await.unwrap().url("/");
    tokio::task::yield_now().await;
    assert_eq!(failure(&post(&local_client(), &closed, Rules::Development).await.outcome), "connection");
}

#[tokio::test]
async fn a_body_is_read_to_a_bound_and_its_status_counts() {
    let receiver = Receiver::start(Behavior::Flood(1 << 30)).await.unwrap();
    assert_eq!(post_local(&receiver, "/").await, answered(200, &[b'x'; 2_048]));
    assert!(receiver.sent() < 16 * 1024 * 1024, "{} bytes were taken", receiver.sent());

    receiver.behave(Behavior::Answer(Answer::gzip_bomb()));
    let Outcome::Answered { status: 200, body, .. } = post_local(&receiver, "/").await else { panic!("no answer") };
    assert!(body.len() == 2_048 && body.starts_with(&[0x1f, 0x8b]), "kept as it came");

    receiver.behave(Behavior::DripBody);
    let Outcome::Answered { status: 200, body, .. } = post_local(&receiver, "/").await else { panic!("no answer") };
    assert!((1..10).contains(&body.len()), "{body:?}");

    receiver.behave(Behavior::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort".into()));
    assert_eq!(post_local(&receiver, "/").await, answered(200, b"short"));
}

#[tokio::test]
async fn a_certificate_must_be_good_for_the_host() {
    for (kind, good) in [
        (CertificateKind::Good, true),
        (CertificateKind::WrongName, false),
        (CertificateKind::SelfSigned, false),
        (CertificateKind::Expired, false),
    ] {
        let receiver = Receiver::start_tls(Behavior::status(200), kind).await.unwrap();
        let client = client(Rules::Development, receiver.authority_pem(), Arc::new(Says(|| vec![LOOPBACK])));
        let url = format!("https://{HOST}:{}/", receiver.port());
        for _ in 0..3 {
            let outcome = post(&client, &url, Rules::Development).await.outcome;
            assert_eq!(failure(&outcome), if good { "answered" } else { "tls" }, "{kind:?}: {outcome:?}");
        }
        assert_eq!((receiver.requests(), receiver.connections()), if good { (3, 1) } else { (0, 3) }, "{kind:?}");
    }
}

#[tokio::test]
async fn looking_up_and_tls_share_the_deadline_of_a_connection() {
    let silent = client(Rules::Development, None, Arc::new(Silent));
    let attempt = post(&silent, "http://hooks.example.com/", Rules::Development).await;
    assert_eq!(attempt.outcome, Outcome::Failed(Failure::ConnectTimeout));
    assert!(attempt.duration >= CONNECT_TIMEOUT && attempt.duration < TIMEOUT, "{:?}", attempt.duration);

    let receiver = Receiver::start(Behavior::HangUnread).await.unwrap();
    let url = format!("https://{HOST}:{}/", receiver.port());
    assert_eq!(post(&local_client(), &url, Rules::Development).await.outcome, Outcome::Failed(Failure::ConnectTimeout));

    let nowhere = client(Rules::Development, None, Arc::new(Says(Vec::new)));
    assert_eq!(failure(&post(&nowhere, "http://hooks.example.com/", Rules::Development).await.outcome), "dns");
}

/// Hosts that mean an address of this machine or its network, in every notation.
const FORGED_HOSTS: [&str; 44] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0.0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "127.0.0.1.",
    "127.255.255.254",
    "①②⑦.0.0.1",
    "１２７.０.０.１",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "0",
    "0.0.0.0",
    "0x0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[fec0::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "255.255.255.255",
];
/// What else may not be written.
const FORGED_TEXTS: [&str; 12] = [
    "https://example.com@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT@example.com/",
    "https://localhost:PORT/",
    "https://localhost.:PORT/",
    "https://a.localhost:PORT/",
    "https://LocalHost:PORT/",
    "https://ｌocalhost:PORT/",
    "https:\\\\127.0.0.1:PORT\\",
    "https:/127.0.0.1:PORT/",
    "https://127.0.0.1:PORT#@example.com/",
    "https://metadata.google.internal/",
    "http://example.com/",
];
/// What a harmless name may lead to.
const FORGED_ANSWERS: [&str; 34] = [
    "127.0.0.1",
    "127.0.0.53",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fec0::1",
    "fe80::1",
    "fd00::1",
];

#[tokio::test]
async fn forged_urls_and_names_reach_nobody() {
    let canary = Receiver::start_on_all_addresses(Behavior::status(200)).await.unwrap();
    let port = canary.port();
    let texts = FORGED_TEXTS.iter().map(|text| text.replace("PORT", &port.to_string()));
    for text in FORGED_HOSTS.iter().map(|host| format!("https://{host}:{port}/")).chain(texts) {
        assert!(Target::parse(&text, Rules::Production).is_err(), "{text} is accepted");
    }
    for answer in FORGED_ANSWERS {
        let address: IpAddr = answer.parse().unwrap();
        let client = client(Rules::Production, None, Arc::new(Says(move || vec![address])));
        let outcome = post(&client, &format!("https://{HOST}:{port}/"), Rules::Production).await.outcome;
        assert_eq!(outcome, Outcome::Failed(Failure::RefusedAddress), "{answer}");
    }
    // A target that was good under other rules: the connector judges by itself.
    let production = client(Rules::Production, None, Arc::new(Says(|| vec![LOOPBACK])));
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let outcome = post(&production, &format!("http://{host}:{port}/"), Rules::Development).await.outcome;
        assert_eq!(outcome, Outcome::Failed(Failure::RefusedAddress), "{host}");
    }
    let many = client(Rules::Development, None, Arc::new(Says(|| vec![LOOPBACK; 17])));
    let outcome = post(&many, &format!("http://{HOST}:{port}/"), Rules::Development).await.outcome;
    assert_eq!(outcome, Outcome::Failed(Failure::RefusedAddress), "too many addresses");
    assert_eq!(canary.connections(), 0);
    // Else the canary proves nothing.
    assert_eq!(post_local(&canary, "/").await, answered(200, b""));
    assert_eq!(canary.connections(), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_address_reaches_only_what_is_allowed() {
    // Listening everywhere, and told to close, so that each delivery looks the name up and a connection more would be counted.
    let receiver = Receiver::start_on_all_addresses(Behavior::Answer(Answer::new(200, &[("connection", "close")], b""))).await.unwrap();
    // Both of these lead to the receiver, if connected to.
    let bad: [IpAddr; 2] = ["0.0.0.0".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()];
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let answers = move || match turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 6 {
        0 | 2 | 4 => vec![LOOPBACK],
        1 => vec![bad[0]],
        3 => vec![bad[1]],
        _ => vec![LOOPBACK, bad[0]],
    };
    let client = client(Rules::Development, None, Arc::new(Says(answers)));
    let url = format!("http://{HOST}:{}/", receiver.port());
    for delivery in 0..1_000 {
        let outcome = post(&client, &url, Rules::Development).await.outcome;
        match delivery % 2 {
            0 => assert_eq!(outcome, answered(200, b""), "delivery {delivery}"),
            _ => assert_eq!(outcome, Outcome::Failed(Failure::RefusedAddress), "delivery {delivery}"),
        }
    }
    assert_eq!((receiver.connections(), receiver.requests()), (500, 500));
}
