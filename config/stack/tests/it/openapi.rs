//! The published document against the running system: Schemathesis reads it from an edge, sends what it allows and what it forbids, and
//! compares every answer with what it promises.

use std::path::Path;
use std::process::Output;

use common::money::Currency;
use serde_json::Value;
use storage::pg::products;
use tokio::task::block_in_place;

use crate::python::Python;
use crate::system::System;

const TOOLS: &str = include_str!("openapi/requirements.txt");
/// What the requests' hooks and the document's examples buy.
const EXAMPLES: [&str; 4] = ["WIN-11-PRO", "PRODUCT-SKU", "PRODUCT-SKU-1", "PRODUCT-SKU-2"];
const PRODUCTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn the_running_system_is_as_documented() {
    let tools = block_in_place(|| Python::with("schemathesis", TOOLS)).unwrap();
    let mut system = System::new().await;
    for quota in ["GEO", "TAX", "ANONYMOUS"] {
        system.set(&format!("LIMITS__{quota}"), "1000000");
    }
    let (shop, key) = system.shop("my-store").await;
    let document: Value = serde_json::from_slice(edge::api::openapi::document().body.as_ref()).unwrap();
    // With a price in every currency, a body that the document allows is never refused for want of one.
    let currencies = document["components"]["schemas"]["Currency"]["enum"].as_array().unwrap();
    let prices: Vec<_> = currencies.iter().map(|code| (Currency::parse(code.as_str().unwrap()).unwrap(), 2_999)).collect();
    let numbered = (0..PRODUCTS).map(|n| format!("SKU-{n:02}"));
    for sku in numbered.chain(EXAMPLES.map(str::to_owned)) {
        let product = shop.generated(&system.pg, &sku).await.unwrap();
        products::set_prices(&system.pg, &product, &prices).await.unwrap();
    }
    let (edge, worker) = (system.edge().await, system.worker().await);

    let url = format!("http://{}/api/v1/openapi.json", edge.address);
    let output = block_in_place(|| run(&tools, &url, &key));
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    println!("{said}");
    worker.stop().await;
    edge.stop().await;
}

fn run(tools: &Python, url: &str, key: &str) -> Output {
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi");
    let scratch = tempfile::tempdir().unwrap();
    let launch = tools.program("schemathesis").folder(scratch.path()).env("ANONYMOUSPAY_KEY", key);
    let launch = launch.env("ANONYMOUSPAY_HOOKS", settings.join("hooks.py"));
    launch.arg("--config-file").arg(settings.join("schemathesis.toml")).args(["run", url, "--no-color"]).output().unwrap()
}
