//! The audit log: every change of a store is in it, with its change or not at all, and no secret is.

use common::cart::Sku;
use common::geo::CountryCode;
use common::ids::OrderId;
use common::license::LicenseDigester;
use common::mode::Mode;
use common::money::Currency;
use common::order::facts::Policy;
use common::partner::Role;
use common::return_hosts::ReturnHosts;
use common::seal::{Purpose, Sealer};
use serde_json::{Value, json};
use storage::pg::api_keys::{self, NewApiKey, Quotas};
use storage::pg::audit_log::{self, Actor, Change, Entry, What};
use storage::pg::listings::{self, Shown};
use storage::pg::products::{self, Source};
use storage::pg::stores::{self, TaxSettings};
use storage::pg::webhook_endpoints::{self, Changes, NewEndpoint, Which};
use storage::pg::{accounts, memberships, orders};
use storage::stock::key_file::KeyFile;
use storage::stock::{Chunk, Importer, Report};
use storage::{Pg, StorageError};
use testkit::database::Database;
use uuid::Uuid;

use crate::patient;

const ANN: Actor<'static> = Actor::Account("ann@shop.example");

async fn entries(pg: &Pg, store_id: i64) -> Vec<Entry> {
    let mut entries = audit_log::of_store(&*pg.client().await.unwrap(), store_id, None, None, 100).await.unwrap();
    entries.reverse();
    entries
}

async fn names(pg: &Pg, store_id: i64) -> Vec<&'static str> {
    entries(pg, store_id).await.iter().map(|entry| entry.what.expect("a name that is known").as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_written_down_once_and_what_changes_nothing_is_not() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let store = stores::create(&pg, "shop", "Shop", true).await.unwrap().id;
    let new = NewApiKey {
        store_id: store,
        mode: Mode::Test,
        name: "Server",
        hint: "sk_test_1234",
        pepper_id: "t1",
        hash: rand::random(),
        scopes: &[],
        expires_in_s: None,
    };
    let key = api_keys::create(&pg, &new, ANN).await.unwrap();
    let rolled = api_keys::roll(&pg, key, "sk_test_5678", "t1", rand::random(), 60.0, ANN).await.unwrap().unwrap();
    let limits = Quotas { api: Some(7), ..Quotas::default() };
    for _ in 0..2 {
        assert!(api_keys::set_quotas(&pg, rolled, limits, Actor::CommandLine).await.unwrap());
        assert!(api_keys::revoke(&pg, rolled, Actor::CommandLine).await.unwrap().is_some());
    }
    let which = Which { store_id: store, mode: Mode::Live, id: Uuid::now_v7() };
    let endpoint = NewEndpoint { which, url: "https://partner.example/hooks/s3cret-path", events: &[], sealed_secret: b"s3cret" };
    webhook_endpoints::create(&pg, &endpoint, ANN).await.unwrap().unwrap();
    let url = Some("https://partner.example/hooks/s3cret-other".to_owned());
    for changes in [
        Changes { url, ..Changes::default() },
        Changes { enabled: Some(false), ..Changes::default() },
        Changes { enabled: Some(true), ..Changes::default() },
    ] {
        for _ in 0..2 {
            webhook_endpoints::change(&pg, which, &changes, Actor::Api).await.unwrap().unwrap();
        }
    }
    webhook_endpoints::rotate_alone(&pg, which, b"s3cret too", false, ANN).await.unwrap().unwrap();
    assert!(webhook_endpoints::remove(&pg, which, ANN).await.unwrap());
    assert!(!webhook_endpoints::remove(&pg, which, ANN).await.unwrap());
    let tax = TaxSettings { country: Some(CountryCode::parse("GB").unwrap()), prices_include_tax: None };
    let policy = Policy { revoke_when_refunded: false, suspend_while_disputed: true };
    for _ in 0..2 {
        stores::set_tax(&pg, store, tax, ANN).await.unwrap();
        stores::set_policy(&pg, store, policy, ANN).await.unwrap();
        stores::set_licensing(&pg, store, false, Actor::CommandLine).await.unwrap();
        stores::set_return_hosts(&pg, store, &ReturnHosts::parse("shop.example").unwrap(), ANN).await.unwrap();
    }
    let product = products::create(&pg, store, &Sku::parse("POOL").unwrap(), "Pool", &Source::Pool, &[]).await.unwrap();
    let shown = Shown { is_listed: true, title: Some("Shown".into()), text: None };
    let secrets = testkit::settings::Settings::new().load().unwrap().secrets;
    let (digester, sealer) =
        (LicenseDigester::new(&secrets.license_digest), Sealer::new(&secrets.sealing, Purpose::License, rand::random()));
    let importer = Importer { pg: &pg, product: &product, mode: Mode::Live, actor: ANN, digester: &digester, sealer: &sealer };
    for _ in 0..2 {
        products::set_prices(&pg, &product, &[(Currency::parse("GBP").unwrap(), 2_999)]).await.unwrap();
        listings::change(&pg, &product, &shown, ANN).await.unwrap();
        let chunk = Chunk::read(&mut KeyFile::new(&b"s3cret-license-key\n"[..]), 10).unwrap().unwrap();
        importer.take_in(chunk, &mut Report::default()).await.unwrap();
    }
    let order = OrderId::new(1_700_000_000_000, rand::random());
    let sql = format!(
        "insert into orders (id, store_id, live, external_reference, fingerprint, status, customer_email)
         values ('{}', {store}, true, 'reference', sha256(''), 'fulfilled', 'customer@example.com')",
        order.as_str()
    );
    pg.client().await.unwrap().batch_execute(&sql).await.unwrap();
    for _ in 0..2 {
        orders::revoke(&pg, store, Mode::Live, &order, Actor::Api).await.unwrap().unwrap();
    }
    accounts::invite(&pg, "bob@shop.example", store, Role::Developer, &[1; 32], 60.0, Actor::CommandLine).await.unwrap();
    for _ in 0..2 {
        memberships::remove(&pg, "bob@shop.example", store, Actor::CommandLine).await.unwrap();
    }
    let expected: Vec<&str> = [
        What::KeyCreated,
        What::KeyReplaced,
        What::KeyLimited,
        What::KeyRevoked,
        What::WebhookCreated,
        What::WebhookChanged,
        What::WebhookDisabled,
        What::WebhookEnabled,
        What::WebhookSecretReplaced,
        What::WebhookRemoved,
        What::StoreTax,
        What::StorePolicy,
        What::StoreLicensing,
        What::StoreReturnHosts,
        What::ProductCreated,
        What::ProductChanged,
        What::ListingChanged,
        What::StockImported,
        What::OrderRevoked,
        What::MemberInvited,
        What::MemberRemoved,
    ]
    .map(What::as_str)
    .to_vec();
    assert_eq!(names(&pg, store).await, expected);
    assert_eq!(expected.len(), What::ALL.len(), "each of them can be made");

    let entries = entries(&pg, store).await;
    let text = format!("{entries:?}");
    assert!(!text.contains("s3cret") && !text.contains("customer@"), "{text}");
    assert_eq!(entries[0].actor, "ann@shop.example");
    assert_eq!((entries[2].actor.as_str(), entries[5].actor.as_str()), ("command line", "API"));
    assert_eq!(entries[0].object, "“Server” (sk_test_1234…)");
    let of_tax = entries.iter().find(|entry| entry.what == Some(What::StoreTax)).unwrap();
    assert_eq!(of_tax.before, json!({ "country": null, "prices_include_tax": null }));
    assert_eq!(of_tax.after, json!({ "country": "GB", "prices_include_tax": null }));
    assert_eq!(entries[5].after["path"], "another one", "that it changed is told, not what it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_comes_and_goes_with_its_change() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let store = stores::create(&pg, "shop", "Shop", true).await.unwrap().id;
    let mut client = pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    let change = Change { store_id: store, actor: ANN, what: What::StoreTax, object: "Shop", before: Value::Null, after: Value::Null };
    audit_log::write(&tx, &change).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(entries(&pg, store).await.is_empty());
    // Where it cannot be written, the change is not made either.
    let sql = "alter table audit_log add constraint full_disk check (false) not valid";
    client.batch_execute(sql).await.unwrap();
    let policy = Policy { revoke_when_refunded: false, suspend_while_disputed: false };
    assert!(matches!(stores::set_policy(&pg, store, policy, ANN).await, Err(StorageError::Refused(_))));
    assert!(stores::get(&*client, store).await.unwrap().unwrap().policy.revoke_when_refunded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_reads_its_own_entries_page_by_page_and_by_kind() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let (store, other) =
        (stores::create(&pg, "shop", "Shop", true).await.unwrap().id, stores::create(&pg, "other", "Other", true).await.unwrap().id);
    for n in 0..7 {
        stores::set_licensing(&pg, store, n % 2 == 1, Actor::CommandLine).await.unwrap();
        stores::set_licensing(&pg, other, n % 2 == 1, Actor::CommandLine).await.unwrap();
        accounts::invite(&pg, &format!("{n}@shop.example"), store, Role::Owner, &[n; 32], 60.0, Actor::CommandLine).await.unwrap();
    }
    let client = pg.client().await.unwrap();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = audit_log::of_store(&*client, store, Some("member"), before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.into_iter().map(|entry| entry.object));
    }
    let expected: Vec<String> = (0..7).rev().map(|n| format!("{n}@shop.example")).collect();
    assert_eq!(seen, expected);
    assert_eq!(audit_log::of_store(&*client, store, None, None, 100).await.unwrap().len(), 14);
}
