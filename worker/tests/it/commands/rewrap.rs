//! Replacing secrets: after re-wrapping, the old ones can be taken away and everything still opens.

use std::sync::Arc;
use std::time::Duration;

use common::clock::SystemClock;
use common::fulfill::{FulfillOutcome, FulfillRequest};
use common::ids::OrderId;
use common::job::{JOB_PLACE, NewOrder};
use common::license::{self, LicenseDigester};
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use serde_json::json;
use storage::pg::held_license_keys;
use storage::pg::license_keys::{self, Busy, Need};
use storage::pg::rewrap::{self, Shelf};
use storage::pg::{dead_letters, orders, stores};
use uuid::Uuid;
use worker::allocation::Allocator;
use worker::fulfillment::Fulfillment;

use super::Installation;

const OLD_SEALING: &str = "t1:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
const OLD_DIGEST: &str = "t1:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=";
const OLD_PEPPER: &str = "t1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const NEW_SEALING: &str = "t2:BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY=";
const NEW_DIGEST: &str = "t2:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const NEW_PEPPER: &str = "t2:CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

const STOCK: &str = "AAA-1\nAAA-2\nAAA-3\n";

impl Installation {
    fn with_secrets(&self, sealing: &str, digest: &str, pepper: &str) -> Self {
        let secrets = [("SECRETS__SEALING", sealing), ("SECRETS__LICENSE_DIGEST", digest), ("SECRETS__API_KEY_PEPPER", pepper)];
        let settings = secrets.into_iter().fold(self.settings.clone(), |settings, (name, value)| settings.set(name, value));
        Self { settings, pg: self.pg.clone() }
    }

    fn rotating(&self) -> Self {
        let both = |new: &str, old: &str| format!("{new},{old}");
        self.with_secrets(&both(NEW_SEALING, OLD_SEALING), &both(NEW_DIGEST, OLD_DIGEST), &both(NEW_PEPPER, OLD_PEPPER))
    }

    fn rotated(&self) -> Self {
        self.with_secrets(NEW_SEALING, NEW_DIGEST, NEW_PEPPER)
    }

    fn sealer(&self, purpose: Purpose) -> Sealer {
        Sealer::new(&self.settings.load().unwrap().secrets.sealing, purpose, rand::random())
    }

    fn import_stock(&self) -> serde_json::Value {
        self.run_with(&["--json", "stock", "import", "--store", "demo", "--sku", "POOL", "-"], STOCK).json()
    }

    /// Everything that can be sealed: an order with a key of the pool and a generated one, an order that is still to be worked on, and
    /// three dead letters: a job, the request of an order, and one that never was sealed.
    async fn fill(&self) {
        let demo = stores::find(&*self.pg.client().await.unwrap(), "demo").await.unwrap().unwrap();
        let digester = LicenseDigester::new(&self.settings.load().unwrap().secrets.license_digest);
        let fulfillment = Fulfillment {
            pg: self.pg.clone(),
            allocator: Allocator::new(self.sealer(Purpose::License), digester),
            requests: self.sealer(Purpose::OrderRequest),
            clock: Arc::new(SystemClock::new()),
            dispatcher: None,
            starts_max: 0,
        };
        let order = |n: u64, items: &str| {
            let body = format!(r#"{{"customer_email":"a@example.com","items":{items},"external_reference":"ref-{n}"}}"#);
            let request = FulfillRequest::parse(body.as_bytes()).unwrap();
            NewOrder { order_id: OrderId::new(n, n), store_id: demo.id, mode: Mode::Live, idempotency_key: None, request, trace: None }
        };
        let both = r#"[{"sku":"POOL","quantity":1},{"sku":"MADE","quantity":1}]"#;
        let outcome = fulfillment.fulfill(&[order(1, both)]).await.unwrap().pop();
        assert!(matches!(outcome, Some(FulfillOutcome::Order { .. })), "{outcome:?}");

        let given_up = order(2, both);
        fulfillment.write_down(&given_up).await.unwrap();
        let client = self.pg.client().await.unwrap();
        let claimed = orders::claim_fresh(&*client, 1, Duration::from_secs(1)).await.unwrap();
        assert_eq!(fulfillment.complete(claimed).await.unwrap().dead_letters, 1);
        fulfillment.write_down(&order(3, both)).await.unwrap();

        let job = self.sealer(Purpose::Job).seal(JOB_PLACE, b"job");
        dead_letters::insert(&*client, Uuid::now_v7(), "fulfill_order", "broken", &job).await.unwrap();
        dead_letters::insert(&*client, Uuid::now_v7(), "fulfill_order", "broken", b"never was sealed").await.unwrap();
        let pool: i64 = client.query_one("select id from products where sku = 'POOL'", &[]).await.unwrap().get(0);
        assert_eq!(held_license_keys::hold(&*client, pool, Mode::Live, 1).await.unwrap(), 1);
    }

    /// Everything that is sealed, opened with the configured secrets.
    async fn opened(&self) -> Vec<String> {
        let client = self.pg.client().await.unwrap();
        let mut opened = Vec::new();
        for shelf in [Shelf::Free, Shelf::Held, Shelf::Sold] {
            for key in rewrap::licenses(&*client, shelf, Uuid::nil(), 100).await.unwrap() {
                let place = license::place(key.store_id, key.product_id, key.id);
                opened.push(self.sealer(Purpose::License).open(&place, &key.sealed).unwrap().to_vec());
            }
        }
        for (id, sealed) in rewrap::order_requests(&*client, None, 100).await.unwrap() {
            opened.push(self.sealer(Purpose::OrderRequest).open(id.as_str().as_bytes(), &sealed).unwrap().to_vec());
        }
        let letters = rewrap::dead_letters(&*client, Uuid::nil(), 100).await.unwrap();
        opened.push(self.sealer(Purpose::OrderRequest).open(OrderId::new(2, 2).as_str().as_bytes(), &letters[0].sealed).unwrap().to_vec());
        opened.push(self.sealer(Purpose::Job).open(JOB_PLACE, &letters[1].sealed).unwrap().to_vec());
        opened.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }
}

#[tokio::test]
async fn afterwards_the_old_secrets_can_be_taken_away() {
    let old = Installation::with_products().await;
    old.import_stock();
    old.fill().await;
    old.json(&["key", "create", "--store", "demo", "--name", "k"]);
    let before = old.opened().await;

    let rotating = old.rotating();
    let report = rotating.json(&["secrets", "rewrap"]);
    let tally = |seen: u64, rewrapped: u64, unreadable: u64| json!({"seen": seen, "rewrapped": rewrapped, "unreadable": unreadable});
    assert_eq!((&report["license_keys"], &report["held_license_keys"]), (&tally(1, 1, 0), &tally(1, 1, 0)));
    assert_eq!(report["order_keys"], tally(2, 2, 0));
    assert_eq!((&report["order_requests"], &report["dead_letters"]), (&tally(1, 1, 0), &tally(3, 2, 1)));
    assert_eq!(report["digests_rewritten"], 4);
    assert_eq!(report["hanging_on_older"], json!({"sealing": {"t1": 0}, "license_digest": {"t1": 0}}));
    assert_eq!(report["api_keys_by_pepper"], json!({"t1": 1}));

    let new = old.rotated();
    assert_eq!(new.opened().await, before);
    assert_eq!(before.len(), 7);
    let known = new.import_stock();
    assert_eq!((&known["new"], &known["duplicate"]), (&json!(0), &json!(3)), "sold, held and free keys are still known");
    assert_eq!(old.count("select count(*) from license_digests").await, 4);

    let again = rotating.json(&["secrets", "rewrap"]);
    assert_eq!((&again["license_keys"], &again["held_license_keys"]), (&tally(1, 0, 0), &tally(1, 0, 0)));
    assert_eq!(again["order_keys"], tally(2, 0, 0));
    assert_eq!(again["digests_rewritten"], 0);
    let text = rotating.run(&["secrets", "rewrap"]).stdout;
    assert!(text.contains("secrets.sealing: nothing hangs on \"t1\" any more"), "{text}");
    assert!(text.contains("1 live API keys hang on \"t1\"; a hash cannot be made anew"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_and_left_as_it_is() {
    let old = Installation::with_products().await;
    old.import_stock();
    old.fill().await;
    let (stored, before) = (old.everything_stored().await, old.opened().await);
    let ended = old.rotated().run(&["--json", "secrets", "rewrap"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("license key ") && ended.stderr.contains("secret \"t1\", which is not configured"), "{ended:?}");
    let report = ended.value();
    assert_eq!((&report["license_keys"]["unreadable"], &report["held_license_keys"]["unreadable"]), (&json!(1), &json!(1)));
    assert_eq!(report["order_keys"]["unreadable"], 2);
    assert_eq!(report["hanging_on_older"], json!({"sealing": {"t1": 7}, "license_digest": {"t1": 4}}));
    assert_eq!((old.everything_stored().await, old.opened().await), (stored, before));
}

#[tokio::test]
async fn a_key_that_an_order_holds_is_left_alone_and_still_counted() {
    let old = Installation::with_products().await;
    old.import_stock();
    let mut client = old.pg.client().await.unwrap();
    let order = client.transaction().await.unwrap();
    let product_id: i64 = order.query_one("select id from products where sku = 'POOL'", &[]).await.unwrap().get(0);
    let need = Need { product_id, mode: Mode::Live, count: 1 };
    let held = license_keys::take(&order, &[need], Busy::Skip).await.unwrap();

    let report = old.rotating().json(&["secrets", "rewrap"]);
    assert_eq!((&report["license_keys"]["rewrapped"], &report["hanging_on_older"]["sealing"]["t1"]), (&json!(2), &json!(1)));
    // The order comes to nothing, and the key goes back as it was.
    license_keys::insert(&order, &held).await.unwrap();
    order.commit().await.unwrap();
    let report = old.rotating().json(&["secrets", "rewrap"]);
    assert_eq!((&report["license_keys"]["rewrapped"], &report["hanging_on_older"]["sealing"]["t1"]), (&json!(1), &json!(0)));
}
