//! What others have written accepts what we sign, and nothing else: the page's example, the libraries of Standard Webhooks, and PHP.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::mode::Mode;
use serde_json::{Map, Value, json};
use testkit::receiver::{Behavior, Received, Receiver};
use tokio::task::block_in_place;

use crate::node;
use crate::php::php;
use crate::system::{System, all_are, fulfill, in_parallel, order};
use testkit::python::Python;

use super::LONG;

const TOOLS: &str = include_str!("requirements.txt");
const NPM_PACKAGE: &str = "standardwebhooks@1.1.1";
const ORDERS: usize = 500;
/// What signatures are most easily wrong about.
const AWKWARD: [&str; 10] = [
    "plain",
    "gr\u{fc}n \u{1f600}\u{200d}\u{1f525}",
    "say \"hi\"",
    "back\\slash",
    "a/b//c",
    "\u{2028}\u{2029}",
    "<script>&amp;",
    "%00%0a",
    "'; --",
    "\u{202e}rtl",
];

fn line(received: &Received) -> String {
    let headers: Map<String, Value> = received.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({"headers": headers, "body": STANDARD.encode(&received.body)}).to_string() + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_deliveries_are_accepted_and_none_of_them_with_a_bit_changed() {
    let python = block_in_place(|| Python::with("webhooks", TOOLS)).unwrap();
    let system = System::new().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    let (_, secret) = shop.endpoint(&system.pg, Mode::Live, &receiver.url("/")).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    let answers = in_parallel(ORDERS, 16, |n| {
        let client = client.clone();
        let reference = format!("{} {n}", AWKWARD[n % AWKWARD.len()]);
        async move { fulfill(&client, "demo", &order(&reference, &[("MADE", 1)])).await }
    })
    .await;
    all_are(&answers, 201);
    receiver.wait_for_requests(2 * ORDERS as u64, LONG).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/webhooks");
    let file = folder.path().join("deliveries.jsonl");
    fs::write(&file, receiver.received().iter().map(line).collect::<String>()).unwrap();
    block_in_place(|| {
        let packages = node::packages(&python, "webhooks", &[NPM_PACKAGE]);
        let verifiers = [
            python.program("python").arg(scripts.join("verify.py")),
            python.program("node").env("NODE_PATH", packages.join("node_modules")).arg(scripts.join("verify.cjs")),
            php().arg(scripts.join("verify.php")),
        ];
        for verifier in verifiers {
            let said = verifier.arg(secret.expose()).arg(&file).must_succeed().unwrap();
            assert_eq!(said.trim(), (2 * ORDERS).to_string());
        }
    });
}
