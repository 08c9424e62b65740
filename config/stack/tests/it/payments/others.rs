//! What others have written signs events that we take, and takes events that we sign: Stripe's own libraries, of PyPI and of npm. Each
//! refuses what we refuse.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::ids::OrderId;
use http::Method;
use serde_json::{Value, json};
use testkit::stripe::{Payment, signature};
use tokio::task::block_in_place;

use super::{LIVE, pending, system};
use crate::node;
use crate::system::{System, until_order_is};
use testkit::python::Python;

const TOOLS: &str = "stripe==16.1.0\nnodejs-wheel==22.20.0\n";
const NPM_PACKAGE: &str = "stripe@23.1.0";
/// The secret that is being rolled in.
const NEXT: &str = "whsec_the_next_of_live_mode";

/// What a library says: headers that it has made for a body, by name, and whether it takes ours.
fn ask(python: &Python, packages: &Path, program: &str, script: &str, body: &str) -> Value {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/payments");
    let folder = tempfile::tempdir().unwrap();
    // Node looks for packages beside the script, or where it is told.
    let question = json!({"body": STANDARD.encode(body), "ours": signature(LIVE, body), "secret": LIVE, "next": NEXT});
    let file = folder.path().join("question.json");
    std::fs::write(&file, question.to_string()).unwrap();
    let launch = python.program(program).env("NODE_PATH", packages.join("node_modules")).arg(scripts.join(script)).arg(&file);
    serde_json::from_str(launch.must_succeed().unwrap().trim()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_own_libraries_and_we_agree() {
    let python = block_in_place(|| Python::with("stripe", TOOLS)).unwrap();
    let packages = block_in_place(|| node::packages(&python, "stripe", &[NPM_PACKAGE]));
    let mut system: System = system().await;
    system.set("STRIPE__LIVE_SIGNING_SECRETS", &format!("{NEXT},{LIVE}"));
    let (shop, key) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let client = edge.client(&key);
    for (program, script) in [("python", "sign.py"), ("node", "sign.cjs")] {
        let order: OrderId = pending(&system, &shop, &product).await;
        let id = format!("pi_{order}");
        let mut event = Payment { id: &id, livemode: true, amount: 2_999, currency: "gbp" }.succeeded(&format!("evt_{program}"), &order);
        // White space and letters of other scripts are signed as they stand.
        event["data"]["object"]["description"] = "gr\u{fc}n \u{1f600}\u{2028}".into();
        let body = serde_json::to_string_pretty(&event).unwrap();
        let said = block_in_place(|| ask(&python, &packages, program, script, &body));
        assert_eq!((said["takes_ours"].as_bool(), said["takes_changed"].as_bool()), (Some(true), Some(false)), "{program}: {said}");
        let send = async |header: &str, body: &str| {
            let headers = [("content-type", "application/json"), ("stripe-signature", header)];
            client.send(Method::POST, "/stripe/webhook/", &headers, body.to_owned()).await.unwrap().status.as_u16()
        };
        let header = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("{program} says nothing of {name}: {said}")).to_owned();
        for wrong in ["late", "early", "wrong_secret", "v0"] {
            assert_eq!(send(&header(wrong), &body).await, 400, "{program}: {wrong}");
        }
        assert_eq!(send(&header("good"), &body.replace("2999", "2998")).await, 400, "{program}: a changed byte");
        assert_eq!(system.number("select count(*) from stripe_events where status <> 'applied'").await, 0);
        for good in ["good", "next", "both", "almost_late"] {
            assert_eq!(send(&header(good), &body).await, 200, "{program}: {good}");
        }
        until_order_is(&client, "demo", order.as_str(), "fulfilled").await;
    }
    edge.stop().await;
    worker.stop().await;
}
