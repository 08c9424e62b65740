//! A customer's whole way in a real browser: headless Chromium, on a desk and on a phone, by keyboard alone, with and without scripts; and
//! axe-core finds nothing serious on any page, nor does Google's CSP Evaluator.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use common::cart::Sku;
use common::ids::OrderId;
use common::mode::Mode;
use common::partner::{Bearer, INVITE, Role};
use common::receipt::ReceiptSigner;
use serde_json::json;
use storage::pg::audit_log::Actor;
use storage::pg::{accounts, listings, products};
use testkit::browser::Browser;
use testkit::process::Launch;
use testkit::receiver::{Behavior, Receiver};
use testkit::servers::Host;
use tokio::task::block_in_place;

use crate::checkout::stripe::{Fake, TEST_KEY};
use crate::checkout::{checked, ordered};
use crate::node::{self, NODE};
use crate::system::{System, fulfill, order, order_id_of};
use testkit::python::Python;

pub(super) const NPM_PACKAGES: [&str; 3] = ["playwright-core@1.56.1", "axe-core@4.11.0", "csp_evaluator@1.1.8"];

/// Debian's Chromium, unpacked with its libraries and the fonts it comes with.
pub(super) fn with_chromium(node: Launch) -> Launch {
    let unpacked = Host::of_this_checkout("").unwrap().unpack("chromium", &|line| eprintln!("{line}")).unwrap();
    // Where a library of Chromium's libraries expects its own.
    let more = unpacked.folder.join(format!("usr/lib/{}-linux-gnu/pulseaudio", std::env::consts::ARCH));
    let libraries = [unpacked.libraries, more.into()].join(OsStr::new(":"));
    node.env("CHROMIUM", unpacked.folder.join("usr/lib/chromium/chromium"))
        .env("CHROMIUM_LIBRARIES", libraries)
        .env("FONTCONFIG_PATH", unpacked.folder.join("etc/fonts"))
        .env("XDG_DATA_HOME", unpacked.folder.join("usr/share"))
}

/// What walks need.
struct Walker {
    python: Python,
    packages: PathBuf,
    shots: PathBuf,
}

impl Walker {
    fn ready() -> Self {
        block_in_place(|| {
            let python = Python::with("browser", NODE).unwrap();
            let packages = node::packages(&python, "browser", &NPM_PACKAGES);
            let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
            std::fs::create_dir_all(&shots).unwrap();
            Self { python, packages, shots }
        })
    }

    /// Walks as `browser/<walk>` says, with the folder for screenshots behind the other arguments.
    fn walk(&self, walk: &str, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser").join(walk);
        let node = self.python.program("node").env("NODE_PATH", self.packages.join("node_modules"));
        let said = block_in_place(|| with_chromium(node).arg(script).args(arguments).arg(&self.shots).must_succeed().unwrap());
        assert!(said.trim_end().ends_with("walked"), "{said}");
    }
}

/// Lets somebody into the portal, as `worker partner invite` does, and returns the path of the link that sets their password.
async fn invited(system: &System, store_id: i64) -> String {
    let secret = Bearer::new(rand::random());
    let email = "owner@shop.example";
    accounts::invite(&system.pg, email, store_id, Role::Owner, &secret.digest(INVITE), 3_600.0, Actor::CommandLine).await.unwrap();
    format!("/portal/password/{}/", secret.expose().as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_walks_from_the_link_to_a_key_that_works_and_a_webhook() {
    let walker = Walker::ready();
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", "http://127.0.0.1:8000");
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "WIN-11-PRO").await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    for device in ["desk", "phone"] {
        let link = invited(&system, shop.store_id).await;
        walker.walk("portal.cjs", &[&format!("http://{}", edge.address), &link, device, &receiver.url("/webhooks")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_reads_tries_and_signs() {
    let walker = Walker::ready();
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", "http://127.0.0.1:8000");
    let (shop, _) = system.shop("corner-shop").await;
    shop.generated(&system.pg, "GAME-1").await.unwrap();
    let (_, key) = shop.key(&system.pg, Mode::Test, &[], Default::default()).await.unwrap();
    let edge = system.edge().await;
    for device in ["desk", "phone"] {
        let link = invited(&system, shop.store_id).await;
        walker.walk("developers.cjs", &[&format!("http://{}", edge.address), &link, device, &key]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_walks_from_a_file_of_keys_to_a_sale() {
    const KEYS: usize = 4_000;
    let walker = Walker::ready();
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", "http://127.0.0.1:8000");
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "OFFICE-2024").await.unwrap();
    shop.pooled(&system.pg, "WIN-11-PRO", &[]).await.unwrap();
    let (edge, _worker) = (system.edge().await, system.worker().await);
    for n in 0..8 {
        fulfill(&edge.client(&key), "demo", &order(&format!("catalog-{n}"), &[("OFFICE-2024", 1)])).await;
    }
    // Orders of several kinds, to be looked at.
    let statuses = "update orders set currency = 'GBP', total_minor = 2999,
                        status = (array['refunded', 'disputed', 'partially_refunded', 'fulfilled'])[1 + right(external_reference, 1)::int % 4]";
    let usage = "insert into api_key_usage (key_id, minute, requests, limited)
                 select id, date_trunc('hour', now()) - make_interval(hours => n), 400 + 300 * (n % 7), 60 * (n % 3)
                 from api_keys, generate_series(1, 23) n on conflict do nothing";
    let client = system.pg.client().await.unwrap();
    for sql in [statuses, usage] {
        client.batch_execute(sql).await.unwrap();
    }
    drop(client);
    for device in ["desk", "phone"] {
        let link = invited(&system, shop.store_id).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.csv");
        let keys: String = (0..KEYS).map(|n| format!("{device}-KEY-{n:08},note {n}\n")).collect();
        std::fs::write(&file, format!("license_key,note\n{device}-KEY-00000000,again\n,none\n{keys},none either\n")).unwrap();
        let (base, file) = (format!("http://{}", edge.address), file.to_str().unwrap());
        walker.walk("catalog.cjs", &[&base, &link, device, file, &KEYS.to_string(), &key]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_walks_from_the_link_to_the_end() {
    let walker = Walker::ready();
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
        let product = products::find(&*client, &[(shop.store_id, sku)]).await.unwrap().remove(0);
        assert!(listings::add(&*client, product.id).await.unwrap());
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

    let base = format!("http://{}", edge.address);
    let (checkout, receipt) = (format!("/s/{checkout}"), format!("/s/demo/receipt/{link}/"));
    walker.walk("walk.cjs", &[&base, &checkout, &receipt, &format!("{base}{}", payment.address)]);
}
