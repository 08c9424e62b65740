//! `worker audit`: what it prints, what it tells by its exit code, and that it changes nothing.

use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use serde_json::{Value, json};
use storage::pg::{orders, stores};

use super::Installation;

/// The code of an audit that found something.
const VIOLATED: i32 = 11;

impl Installation {
    /// As an edge does that nobody answers.
    async fn write_down_an_order(&self) {
        let store = stores::find(&*self.pg.client().await.unwrap(), "demo").await.unwrap().unwrap();
        let body = r#"{"customer_email":"a@example.com","items":[{"sku":"POOL","quantity":1}],"external_reference":"ref-1"}"#;
        let request = FulfillRequest::parse(body.as_bytes()).unwrap();
        let order =
            NewOrder { order_id: OrderId::new(1, 1), store_id: store.id, mode: Mode::Live, idempotency_key: None, request, trace: None };
        let sealer = Sealer::new(&self.settings.load().unwrap().secrets.sealing, Purpose::OrderRequest, rand::random());
        let sealed = sealer.seal(order.order_id.as_str().as_bytes(), &serde_json::to_vec(&order.request).unwrap());
        assert!(orders::write_down(&self.pg, &order, &sealed, "2026-03-02T12:00:00Z").await.unwrap());
    }
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[tokio::test]
async fn a_healthy_installation_is_told_to_be_so() {
    let installation = Installation::with_products().await;
    installation.run_with(&["--json", "stock", "import", "--store", "demo", "--sku", "POOL", "-"], "AAA-1\nAAA-2\n").json();
    let stored = installation.everything_stored().await;
    for arguments in [["audit"].as_slice(), &["audit", "--at-rest"]] {
        let report = installation.json(arguments);
        assert_eq!(report["ok"], true, "{report}");
        let keys: Vec<&String> = check(&report, "license_keys_open").as_object().unwrap().keys().collect();
        assert_eq!(keys, ["examined", "examples", "name", "statement", "violations"]);
        assert_eq!(check(&report, "license_keys_open")["examined"], 2);
        assert_eq!((&report["figures"]["license_keys_free"], &report["figures"]["orders"]), (&json!(2), &json!({})));
    }
    let text = installation.run(&["audit"]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{text:?}");
    for word in ["MUST HOLD", "license_key_places", "2 free, 0 held, 0 sold", "0 orders processing"] {
        assert!(text.stdout.contains(word), "{word:?} in {text:?}");
    }
    assert_eq!(installation.everything_stored().await, stored);
}

#[tokio::test]
async fn what_does_not_hold_is_told_and_has_a_code_of_its_own() {
    let installation = Installation::with_products().await;
    installation.run_with(&["--json", "stock", "import", "--store", "demo", "--sku", "POOL", "-"], "AAA-1\nAAA-2\n").json();
    installation
        .execute("insert into held_license_keys (id, product_id, live, sealed) select id, product_id, live, sealed from license_keys")
        .await;
    let ended = installation.run(&["--json", "audit"]);
    assert_eq!(ended.code, VIOLATED, "{ended:?}");
    let report = ended.value();
    assert_eq!((&report["ok"], &check(&report, "license_key_places")["violations"]), (&json!(false), &json!(2)));
    assert!(ended.stderr.contains("license_key_places") && !ended.stdout.contains("AAA-1"), "{ended:?}");
    let text = installation.run(&["audit"]);
    assert_eq!(text.code, VIOLATED, "{text:?}");
    assert!(text.stdout.contains("  ! license key ") && text.stdout.contains("lies in held stock and in stock"), "{text:?}");
}

#[tokio::test]
async fn an_order_that_waits_is_a_violation_only_at_rest() {
    let installation = Installation::with_products().await;
    installation.write_down_an_order().await;
    let report = installation.json(&["audit"]);
    assert_eq!((&report["ok"], &report["figures"]["processing_orders"]), (&json!(true), &json!(1)));
    let ended = installation.run(&["--json", "audit", "--at-rest"]);
    assert_eq!(ended.code, VIOLATED, "{ended:?}");
    assert_eq!(check(&ended.value(), "nothing_left_to_do")["violations"], 1);
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_migrated_is_no_verdict() {
    let installation = Installation::new().await;
    let nowhere =
        Installation { settings: installation.settings.clone().postgres("postgres://u:p@127.0.0.1:1/none"), pg: installation.pg.clone() };
    nowhere.run(&["audit"]).fails(75, &["postgres.url"]);
    installation.execute("delete from refinery_schema_history").await;
    installation.run(&["audit"]).fails(1, &["worker migrate"]);
}
