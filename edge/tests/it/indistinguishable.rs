//! Keys that open nothing are told the same, whatever is wrong with them: by status, by body, by headers, by the work that is done and by
//! the time it takes. What cannot be a key at all costs one checksum and no look-up.
//!
//! `cargo test --release -p edge --test it -- --ignored --nocapture in_the_same_time` measures the time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use common::api_key::{ApiKey, Scope};
use common::clock::Clock;
use common::mac;
use common::mode::Mode;
use edge::client_address::ClientAddress;
use edge::gate::Access;
use edge::quotas::QuotaName;
use http::{HeaderMap, Method};
use storage::pg::api_keys::{self, Quotas};
use storage::pg::audit_log::Actor;
use storage::pg::changes::{self, ChangeKind};
use testkit::http::{Client, Response};
use testkit::shop::Shop;

use crate::stage::{Backstage, FULFILL, ORDERS, SESSION, Stage, problem, session, until};

/// A key that is refused, and why.
struct Refused {
    why: &'static str,
    key: String,
}

/// The stage, a key for each reason, and one that is good.
async fn refused(backstage: Backstage) -> (Stage, Vec<Refused>) {
    let (revoked_id, revoked) = backstage.key_with(Mode::Live, &[], Quotas::default()).await;
    let (expired_id, expired) = backstage.key_with(Mode::Live, &[], Quotas::default()).await;
    let (flipped_id, flipped) = backstage.key_with(Mode::Live, &[], Quotas::default()).await;
    let foreign = Shop::open(&backstage.pg, "other").await.unwrap().unlimited_key(&backstage.pg).await.unwrap();
    // A row whose mode is not what its key's prefix says was tampered with.
    let flip = "update api_keys set live = false where id = $1";
    backstage.pg.client().await.unwrap().execute(flip, &[&flipped_id]).await.unwrap();
    let stage = backstage.start().await;
    assert_eq!(stage.anyone().with_key(&expired).post(SESSION, &session()).await.unwrap().status, 201);
    assert!(api_keys::revoke(&stage.pg, revoked_id, Actor::CommandLine).await.unwrap().is_some());
    // Long ago by the stage's clock.
    let mut client = stage.pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    tx.execute("update api_keys set expires_at = '2026-03-02T12:00:00Z' where id = $1", &[&expired_id]).await.unwrap();
    changes::record(&tx, ChangeKind::ApiKey, expired_id).await.unwrap();
    tx.commit().await.unwrap();
    let unknown = |mode| ApiKey::generate(mode, rand::random::<u64>).expose().to_owned();
    let keys = [
        ("unknown", unknown(Mode::Live)),
        ("unknown, of the other mode", unknown(Mode::Test)),
        ("revoked", revoked),
        ("expired", expired),
        ("another store's", foreign),
        ("of the other mode", flipped),
    ];
    let keys = keys.map(|(why, key)| Refused { why, key });
    for Refused { why, key } in &keys[2..5] {
        until(why, async || stage.anyone().with_key(key).post(SESSION, &session()).await.unwrap().status == 401).await;
    }
    (stage, keys.into())
}

/// All that an answer says but the date, with a name and from an address that are the caller's choice.
async fn told(client: &Client, method: Method, path: &str, address: usize) -> (Response, Vec<(String, Vec<u8>)>) {
    let address = format!("198.51.100.{address}");
    let headers = [("content-type", "application/json"), ("x-request-id", "the-same"), ("x-forwarded-for", address.as_str())];
    let body = if method == Method::POST { session().to_string() } else { String::new() };
    let answer = client.send(method, path, &headers, body).await.unwrap();
    let said = answer.headers.iter().filter(|(name, _)| *name != "date").map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let said = said.collect();
    (answer, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_status_body_and_every_header() {
    // Every key comes from an address of its own, so that the rate headers can be compared too.
    let backstage = Backstage::new().await.set("EDGE__TRUSTED_PROXIES", "127.0.0.1/32").set("LIMITS__ANONYMOUS", "1000");
    let (stage, mut keys) = refused(backstage).await;
    // What cannot be a key is told the same too.
    let mistyped = stage.key.replace("sk_live_", "sk_test_");
    let short = stage.key[..stage.key.len() - 1].to_owned();
    keys.extend([("mistyped", mistyped), ("too short", short), ("no key at all", "x".to_owned())].map(|(why, key)| Refused { why, key }));
    let order = format!("{ORDERS}ORD-000000000000000000/");
    let revoke = format!("{order}revoke/");
    let ways = [
        (Method::POST, SESSION),
        (Method::POST, FULFILL),
        (Method::GET, ORDERS),
        (Method::HEAD, ORDERS),
        (Method::GET, order.as_str()),
        (Method::POST, revoke.as_str()),
        (Method::DELETE, ORDERS),
        (Method::OPTIONS, ORDERS),
    ];
    for (http2, (method, path)) in [false, true].into_iter().flat_map(|http2| ways.iter().map(move |way| (http2, way))) {
        let anyone = Client::new(stage.address, http2);
        let mut expected = None;
        for (number, Refused { why, key }) in keys.iter().enumerate() {
            let (answer, said) = told(&anyone.with_key(key), method.clone(), path, number).await;
            if [Method::GET, Method::POST].contains(method) {
                problem(&answer, 401, "invalid_api_key");
            }
            let told = (answer.status, answer.body, said);
            let expected = expected.get_or_insert_with(|| told.clone());
            assert_eq!(&told, expected, "{method} {path} with a key that is {why}");
        }
    }
    // And these differ, or nothing was compared.
    let (good, said) = told(&stage.partner(), Method::GET, ORDERS, 100).await;
    assert_eq!(good.status, 200);
    assert_ne!(said, told(&stage.anyone().with_key(&keys[0].key), Method::GET, ORDERS, 101).await.1);
}

/// The gate's answer to a header, and how many hashes were computed for it.
fn at_the_gate(stage: &Stage, headers: &HeaderMap, address: u32) -> (bool, u64) {
    let address = ClientAddress::of(IpAddr::V4(Ipv4Addr::from_bits(address)));
    let before = mac::begun();
    let decision =
        stage.running.edge.gate.admit(Access::Key(Scope::Checkout, QuotaName::Checkout), headers, "demo", address, stage.clock.now());
    (decision.outcome.is_ok(), mac::begun() - before)
}

fn bearer(key: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap())])
}

#[tokio::test]
async fn by_the_work_that_is_done() {
    let (stage, keys) = refused(Backstage::new().await.unlimited_addresses()).await;
    assert_eq!(at_the_gate(&stage, &bearer(&stage.key), 1), (true, 1));
    for Refused { why, key } in &keys {
        assert_eq!(at_the_gate(&stage, &bearer(key), 1), (false, 1), "{why}");
    }
    // Looking a key up takes its hash: where none is computed, nothing is looked up.
    let good = &stage.key;
    let mut garbage = vec![
        String::new(),
        "x".repeat(42),
        good[1..].to_owned(),
        format!("{good}x"),
        good.replace("sk_live_", "sk_test_"),
        good.to_uppercase(),
    ];
    garbage.extend((8..good.len()).map(|position| {
        let mut bytes = good.clone().into_bytes();
        bytes[position] = if bytes[position] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    }));
    for garbage in garbage {
        assert_eq!(at_the_gate(&stage, &bearer(&garbage), 1), (false, 0), "{garbage}");
    }
}

/// Medians over so many turns, each of which asks for every key once, in an order that moves on: whatever else the machine does meets all
/// of them alike.
const TURNS: usize = 40_000;
const WARM_UP: usize = 4_000;

#[tokio::test]
#[ignore = "measures time: run it alone, as the head of this file says"]
async fn in_the_same_time() {
    let (stage, keys) = refused(Backstage::new().await.unlimited_addresses()).await;
    let headers: Vec<HeaderMap> = keys.iter().map(|refused| bearer(&refused.key)).collect();
    let mut nanoseconds = vec![Vec::with_capacity(TURNS); keys.len()];
    for turn in 0..WARM_UP + TURNS {
        for step in 0..headers.len() {
            let which = (turn + step) % headers.len();
            let began = Instant::now();
            let (admitted, _) = at_the_gate(&stage, &headers[which], 1);
            let took = began.elapsed().as_nanos() as u64;
            assert!(!admitted);
            if turn >= WARM_UP {
                nanoseconds[which].push(took);
            }
        }
    }
    let medians: Vec<u64> = nanoseconds
        .iter_mut()
        .map(|samples| {
            samples.sort_unstable();
            samples[samples.len() / 2]
        })
        .collect();
    for ((Refused { why, .. }, median), samples) in keys.iter().zip(&medians).zip(&nanoseconds) {
        let [quarter, three_quarters] = [1, 3].map(|part| samples[samples.len() * part / 4]);
        println!("{why:<28} median {median:>6} ns, half of them {quarter:>6}..{three_quarters:<6} ns");
    }
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    println!("between the medians: {} ns", most - least);
    // A network's own unrest is a thousand times this.
    assert!(most - least <= 200, "{medians:?}");
}
