//! A platform as workers would leave it, made through storage: stores with stock, orders in every state that V1 of the platform knows.

use common::event::EventKind;
use common::fulfill::{FulfillRequest, Shortage};
use common::ids::OrderId;
use common::job::NewOrder;
use common::license::{self, LicenseDigester, Pattern};
use common::mode::Mode;
use common::order::{Failure, OrderStatus};
use common::seal::{Purpose, Sealer};
use storage::pg::audit::{self, Moment, Report};
use storage::pg::license_keys::{self, Busy, Need, NewDigest};
use storage::pg::order_items::{self, Item, SoldKey};
use storage::pg::products::{Product, Source};
use storage::pg::{Transaction, dead_letters, events, orders};
use storage::{Pg, StorageError};
use testkit::database::Database;
use testkit::shop::{self, Shop};
use uuid::Uuid;

use crate::patient;

const CREATED_AT: &str = "2026-03-02T12:00:00Z";
/// Part of every e-mail address, reference, idempotency key and license key in here.
pub const PRIVATE: &str = "PRIVATE";

pub struct Platform {
    _database: Database,
    pub pg: Pg,
    pub secrets: config::Secrets,
    pub shop: Shop,
    pub pool: Product,
    made: Product,
    requests: Sealer,
    licenses: Sealer,
    digester: LicenseDigester,
}

impl Platform {
    /// A store with the products `POOL`, without stock, and `MADE`.
    pub async fn new() -> Self {
        let database = Database::new().await.unwrap();
        let pg = patient(&database);
        let secrets = testkit::settings::Settings::new().load().unwrap().secrets;
        let shop = Shop::open(&pg, "one").await.unwrap();
        let (pool, made) = (shop.pooled(&pg, "POOL", &[]).await.unwrap(), shop.generated(&pg, "MADE").await.unwrap());
        let sealer = |purpose| Sealer::new(&secrets.sealing, purpose, rand::random());
        let (requests, licenses, digester) =
            (sealer(Purpose::OrderRequest), sealer(Purpose::License), LicenseDigester::new(&secrets.license_digest));
        Self { _database: database, pg, secrets, shop, pool, made, requests, licenses, digester }
    }

    /// With everything in it that there can be: free, held and sold license keys, in both modes and two stores; orders that were fulfilled
    /// at once and later, revoked, failed and are being processed; references and idempotency keys used again where that is right.
    pub async fn full() -> Self {
        let this = Self::new().await;
        this.stock("POOL", Mode::Live, 10).await;
        this.stock("POOL", Mode::Test, 4).await;
        let other = Shop::open(&this.pg, "two").await.unwrap();
        // The same license keys are other keys in another store.
        other.pooled(&this.pg, "POOL", &keys("POOL", Mode::Live, 2)).await.unwrap();

        this.execute(
            "insert into webhook_endpoints (id, store_id, live, url, events, sealed_secret)
             select gen_random_uuid(), min(id), true, 'https://partner.example/', '{order.created}', '' from stores",
        )
        .await;

        let both = [("POOL", 2), ("MADE", 1)];
        this.sell(&this.order("twice", Some("key"), Mode::Live, &both)).await;
        this.sell(&this.order("twice", Some("key"), Mode::Test, &both)).await;
        let revoked = this.order("revoked", None, Mode::Live, &[("POOL", 1)]);
        this.sell(&revoked).await;
        let client = this.pg.client().await.unwrap();
        orders::set_status(&*client, std::slice::from_ref(&revoked.order_id), OrderStatus::Revoked).await.unwrap();

        this.execute(
            "insert into carts (id, store_id, live, browser, currency, skus, quantities, order_id)
             select '00000000000000000000000000', store_id, live, '', 'GBP', '{POOL}', '{1}', id from orders where status = 'revoked';
             insert into order_checkouts
             select id, false, '{\"gross_minor\": 2999, \"currency\": \"GBP\"}' from orders where status = 'revoked'",
        )
        .await;

        this.execute(
            "insert into accounts (email, password_hash) values ('owner@shop.example', '$argon2id$v=19$');
             insert into memberships (account_id, store_id, role) select a.id, s.id, 'owner' from accounts a, stores s;
             insert into account_invites (account_id, digest, expires_at) select id, 'link', now() + interval '1 day' from accounts;
             insert into portal_sessions (digest, account_id, browser, expires_at)
             select 'session', id, 'browser', now() + interval '7 days' from accounts",
        )
        .await;

        let failed = this.order("again", Some("other key"), Mode::Live, &[("POOL", 900)]);
        this.write_down(&failed).await;
        let shortage = Shortage { sku: this.pool.sku.clone(), requested: 900, available: 5 };
        orders::fail(&*client, &failed.order_id, &Failure { code: "out_of_stock".into(), shortages: vec![shortage] }).await.unwrap();
        this.sell(&this.order("again", Some("other key"), Mode::Live, &[("POOL", 1)])).await;

        let later = this.order("later", None, Mode::Live, &[("POOL", 1), ("MADE", 1)]);
        this.write_down(&later).await;
        this.complete(&later).await;
        this.sell(&this.order("made", None, Mode::Live, &[("MADE", 1)])).await;
        this.write_down(&this.order("waiting", Some("waiting"), Mode::Live, &[("POOL", 1)])).await;

        this.execute(
            "with held as (delete from license_keys where id = (select id from license_keys where live and product_id = 1 limit 1) returning *)
             insert into held_license_keys (id, product_id, live, sealed) select id, product_id, live, sealed from held",
        )
        .await;
        this.execute(
            "insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status)
             select id, 1, now(), 5, 200 from webhook_deliveries where not waits;
             update webhook_deliveries set status = 'delivered', settled_at = now(), attempts = 1 where not waits;
             delete from webhook_attempts where delivery_id in (
                 select d.id from webhook_deliveries d join orders o on o.id = d.order_id where o.status = 'processing');
             delete from webhook_deliveries where order_id in (select id from orders where status = 'processing')",
        )
        .await;
        dead_letters::insert(&*client, Uuid::now_v7(), "fulfill_order", "broken", b"never was sealed").await.unwrap();
        this.shop.unlimited_key(&this.pg).await.unwrap();
        this.execute(
            "insert into tax_rates (batch, line, country, tax_type, category, rate_ppm, stacking, source, as_of)
             values (1, 1, 'GB', 'vat', 'standard', 175000, 'alone', 'HMRC', '2026-11-20')",
        )
        .await;
        this.execute("insert into edges (id, applied_change_id) select 'edge-1', max(id) from changes").await;
        this
    }

    pub async fn stock(&self, prefix: &str, mode: Mode, count: usize) {
        self.shop.stock(&self.pg, &self.pool, mode, &keys(prefix, mode, count)).await.unwrap();
    }

    pub fn order(&self, reference: &str, key: Option<&str>, mode: Mode, items: &[(&str, u32)]) -> NewOrder {
        let items: Vec<_> = items.iter().map(|(sku, quantity)| format!(r#"{{"sku":"{sku}","quantity":{quantity}}}"#)).collect();
        let body = format!(
            r#"{{"customer_email":"{PRIVATE}@b.example","items":[{}],"external_reference":"{PRIVATE}-{reference}","currency":"GBP","total_minor":2999}}"#,
            items.join(",")
        );
        NewOrder {
            order_id: OrderId::new(1_772_452_800_000, rand::random()),
            store_id: self.shop.store_id,
            mode,
            idempotency_key: key.map(|key| format!("{PRIVATE}-{key}")),
            request: FulfillRequest::parse(body.as_bytes()).unwrap(),
            trace: None,
        }
    }

    /// Makes the order and fulfills it, in one transaction.
    pub async fn sell(&self, order: &NewOrder) {
        let mut client = self.pg.client().await.unwrap();
        let tx = client.transaction().await.unwrap();
        let inserted = orders::insert_fulfilled(&tx, &[order]).await.unwrap();
        assert_eq!(inserted.first(), Some(&order.order_id));
        self.hand_out(&tx, order).await;
        let told = [(EventKind::Created, order), (EventKind::Fulfilled, order)];
        events::insert_of_fulfillment(&tx, &told, CREATED_AT, None).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// As an edge does that nobody answers.
    pub async fn write_down(&self, order: &NewOrder) {
        let json = serde_json::to_vec(&order.request).unwrap();
        let sealed = self.requests.seal(order.order_id.as_str().as_bytes(), &json);
        assert!(orders::write_down(&self.pg, order, &sealed, CREATED_AT).await.unwrap());
    }

    /// Fulfills an order that was written down.
    pub async fn complete(&self, order: &NewOrder) {
        let mut client = self.pg.client().await.unwrap();
        let tx = client.transaction().await.unwrap();
        self.hand_out(&tx, order).await;
        events::insert_of_fulfillment(&tx, &[(EventKind::Fulfilled, order)], CREATED_AT, None).await.unwrap();
        orders::set_status(&tx, std::slice::from_ref(&order.order_id), OrderStatus::Fulfilled).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn hand_out(&self, tx: &Transaction<'_>, order: &NewOrder) {
        let mut items = Vec::new();
        for (line, wanted) in order.request.items.iter().enumerate() {
            let product = [&self.pool, &self.made].into_iter().find(|product| product.sku == wanted.sku).unwrap();
            let keys = match &product.source {
                Source::Pool => {
                    let need = Need { product_id: product.id, mode: order.mode, count: i64::from(wanted.quantity) };
                    let taken = license_keys::take(tx, &[need], Busy::Skip).await.unwrap();
                    taken.into_iter().map(|key| SoldKey { id: key.id, sealed: key.sealed }).collect()
                }
                Source::Generator(pattern) => self.make(tx, order, product, pattern, wanted.quantity).await,
            };
            assert_eq!(keys.len(), wanted.quantity as usize, "enough stock");
            let (line, quantity) = (line as i32, wanted.quantity as i32);
            items.push(Item { line, product_id: product.id, sku: wanted.sku.clone(), quantity, keys });
        }
        order_items::insert(tx, &[(&order.order_id, &items)]).await.unwrap();
    }

    async fn make(&self, tx: &Transaction<'_>, order: &NewOrder, product: &Product, pattern: &Pattern, count: u32) -> Vec<SoldKey> {
        let mut keys = Vec::new();
        for _ in 0..count {
            let (id, key) = (Uuid::now_v7(), pattern.generate(rand::random::<u64>));
            let (secret_id, digest) = self.digester.digest(order.store_id, order.mode, &key);
            let new = NewDigest { store_id: order.store_id, mode: order.mode, digest, secret_id };
            assert_eq!(license_keys::claim_digests(tx, &[new]).await.unwrap(), [digest]);
            let place = license::place(order.store_id, product.id, id);
            keys.push(SoldKey { id, sealed: self.licenses.seal(&place, key.expose().as_bytes()) });
        }
        keys
    }

    pub async fn execute(&self, sql: &str) {
        self.pg.client().await.unwrap().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub async fn audit(&self, moment: Moment) -> Report {
        self.audit_with(&self.secrets, moment).await.unwrap()
    }

    pub async fn audit_with(&self, secrets: &config::Secrets, moment: Moment) -> Result<Report, StorageError> {
        audit::run(&self.pg, secrets, moment, &|_| {}).await
    }
}

/// License keys of one mode; the same call gives the same keys.
pub fn keys(prefix: &str, mode: Mode, count: usize) -> Vec<String> {
    shop::license_keys(&format!("{PRIVATE}-{prefix}-{mode}"), count)
}
