//! The published document against the running system: Schemathesis reads it from an edge, sends what it allows and what it forbids, and
//! compares every answer with what it promises.

use std::path::{Path, PathBuf};

use common::mode::Mode;
use common::money::Currency;
use common::seal::{Purpose, Sealer};
use common::webhook::ids::EndpointId;
use serde_json::Value;
use storage::pg::api_keys::Quotas;
use storage::pg::audit_log::Actor;
use storage::pg::webhook_endpoints::{self, NewEndpoint, Which};
use storage::pg::{products, webhook_attempts};
use testkit::shop::{Shop, license_keys};
use tokio::task::block_in_place;
use uuid::Uuid;

use crate::system::System;
use testkit::python::Python;

const TOOLS: &str = include_str!("openapi/requirements.txt");
/// What the requests' hooks and the document's examples buy.
const EXAMPLES: [&str; 4] = ["WIN-11-PRO", "PRODUCT-SKU", "PRODUCT-SKU-1", "PRODUCT-SKU-2"];
const PRODUCTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn the_running_system_is_as_documented() {
    let tools = block_in_place(|| Python::with("schemathesis", TOOLS)).unwrap();
    let mut system = System::new().await;
    unlimited(&mut system);
    let (shop, key) = system.shop("my-store").await;
    // With a price in every currency, a body that the document allows is never refused for want of one.
    let document: Value = serde_json::from_slice(&edge::api::openapi::document().body).unwrap();
    let currencies = document["components"]["schemas"]["Currency"]["enum"].as_array().unwrap();
    let prices: Vec<_> = currencies.iter().map(|code| (Currency::parse(code.as_str().unwrap()).unwrap(), 2_999)).collect();
    let numbered = (0..PRODUCTS).map(|n| format!("SKU-{n:02}"));
    for sku in numbered.chain(EXAMPLES.map(str::to_owned)) {
        let product = shop.generated(&system.pg, &sku).await.unwrap();
        products::set_prices(&system.pg, &product, &prices).await.unwrap();
    }
    documented_webhook(&system, &shop).await;
    let (edge, worker) = (system.edge().await, system.worker().await);

    let url = format!("http://{}/api/v1/openapi.json", edge.address);
    let scratch = tempfile::tempdir().unwrap();
    let launch = tools.program("schemathesis").folder(scratch.path()).env("ANONYMOUSPAY_KEY", key);
    let launch = launch.env("ANONYMOUSPAY_HOOKS", files().join("hooks.py")).env("ANONYMOUSPAY_URL", format!("http://{}", edge.address));
    let launch = launch.arg("--config-file").arg(files().join("schemathesis.toml")).args(["run", &url, "--no-color"]);
    let output = block_in_place(|| launch.output()).unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).join("\n");
    assert!(output.status.success(), "{said}");
    println!("{said}");
    worker.stop().await;
    edge.stop().await;
}

/// What no generated request gets to see: no worker, no database, nothing in stock, a body that comes slowly, and the like.
#[tokio::test(flavor = "multi_thread")]
async fn rare_answers_are_as_documented() {
    let tools = block_in_place(|| Python::with("schemathesis", TOOLS)).unwrap();
    let mut system = System::with_own_postgres().await;
    unlimited(&mut system);
    system.set("EDGE__BODY_TIMEOUT_MS", "500");
    let (shop, key) = system.shop("my-store").await;
    let once_a_minute = Quotas { api: Some(1), ..Quotas::default() };
    let (_, limited_key) = shop.key(&system.pg, Mode::Live, &["licensing"], once_a_minute).await.unwrap();
    for sku in EXAMPLES {
        shop.generated(&system.pg, sku).await.unwrap();
    }
    shop.pooled(&system.pg, "POOL", &license_keys("ONE", 1)).await.unwrap();
    let edge = system.edge().await;
    let play = |scene: &str| {
        let script = tools.program("python").arg(files().join("answers.py")).arg(format!("http://{}", edge.address)).arg(scene);
        let script = script.env("ANONYMOUSPAY_KEY", &key).env("ANONYMOUSPAY_LIMITED_KEY", &limited_key);
        block_in_place(|| script.must_succeed()).unwrap();
    };

    play("without_worker");
    let worker = system.worker().await;
    play("with_everything");
    worker.stop().await;
    block_in_place(|| system.postgres().stop()).unwrap();
    play("without_postgres");
}

/// The webhook endpoint of the document's examples, and its delivery, which was given up.
async fn documented_webhook(system: &System, shop: &Shop) {
    let EndpointId(id) = "wh_0193000000007000800000000000a001".parse().unwrap();
    let which = Which { store_id: shop.store_id, mode: Mode::Live, id };
    let sealer = Sealer::new(&system.settings().secrets.sealing, Purpose::WebhookSecret, rand::random());
    let sealed_secret = sealer.seal(&webhook_endpoints::place(id), b"a secret of the partner's own");
    // Nothing is ever sent to it: it is disabled before there is anything to send.
    let new = NewEndpoint { which, url: "https://your-site.com/webhooks", events: &[], sealed_secret: &sealed_secret };
    webhook_endpoints::create(&system.pg, &new, Actor::CommandLine).await.unwrap().unwrap();
    let client = system.pg.client().await.unwrap();
    let event_id = Uuid::now_v7();
    webhook_attempts::insert_test(&*client, which, event_id, "ORD-01JDZ8YQ3MA2C4E6GK", "{}", None).await.unwrap().unwrap();
    let sql = "update webhook_endpoints set enabled = false, disabled_reason = 'its owner disabled it';
               update webhook_deliveries set status = 'exhausted', settled_at = now();
               insert into webhook_deliveries overriding system value
                   select (jsonb_populate_record(d, '{\"id\": 4711}')).* from webhook_deliveries d";
    client.batch_execute(sql).await.unwrap();
}

/// No address is refused for asking too much.
fn unlimited(system: &mut System) {
    for quota in ["GEO", "TAX", "ANONYMOUS"] {
        system.set(&format!("LIMITS__{quota}"), "1000000");
    }
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi")
}
