//! A store with something to sell, made through storage as the operator's commands would make it.

use anyhow::{Context, Result};
use common::api_key::{ApiKey, ApiKeyHasher};
use common::cart::Sku;
use common::ids::OrderId;
use common::license::{self, LicenseDigester, LicenseKey, Pattern};
use common::mode::Mode;
use common::money::Currency;
use common::seal::{Purpose, Sealer};
use common::webhook::secret::WebhookSecret;
use storage::Pg;
use storage::pg::Transaction;
use storage::pg::api_keys::{self, NewApiKey, Quotas};
use storage::pg::audit_log::Actor;
use storage::pg::license_keys::{self, FreeKey, NewDigest};
use storage::pg::order_items::Item;
use storage::pg::orders::{self, PendingOrder};
use storage::pg::products::{self, Product, Source};
use storage::pg::stores;
use storage::pg::webhook_endpoints::{self, NewEndpoint, Which};
use uuid::Uuid;

use crate::settings::Settings;

/// A store, and what it takes to make things for it.
#[derive(Debug, Clone)]
pub struct Shop {
    /// Its internal id.
    pub store_id: i64,
    /// Its name in URLs.
    pub slug: String,
    settings: config::Settings,
}

impl Shop {
    /// Makes a store that may fulfill, with the secrets of [`Settings::new`].
    pub async fn open(pg: &Pg, slug: &str) -> Result<Self> {
        Ok(Self { store_id: stores::create(pg, slug, slug, true).await?.id, slug: slug.to_owned(), settings: Settings::new().load()? })
    }

    /// Makes an API key. No scopes means all. Returns its id and the key.
    pub async fn key(&self, pg: &Pg, mode: Mode, scopes: &[&str], quotas: Quotas) -> Result<(i64, String)> {
        let key = ApiKey::generate(mode, rand::random::<u64>);
        let hasher = ApiKeyHasher::new(&self.settings.secrets.api_key_pepper);
        let (pepper_id, hash) = hasher.hash(&key);
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let (store_id, hint) = (self.store_id, key.hint());
        let new = NewApiKey { store_id, mode, name: "test", hint, pepper_id, hash, scopes: &scopes, expires_in_s: None };
        let id = api_keys::create(pg, &new, Actor::CommandLine).await?;
        if quotas != Quotas::default() {
            api_keys::set_quotas(pg, id, quotas, Actor::CommandLine).await?;
        }
        Ok((id, key.expose().to_owned()))
    }

    /// Makes a live key for everything whose limits nobody reaches.
    pub async fn unlimited_key(&self, pg: &Pg) -> Result<String> {
        let per_minute = Some(100_000_000);
        let quotas = Quotas { checkout: per_minute, licensing: per_minute, api: per_minute };
        Ok(self.key(pg, Mode::Live, &[], quotas).await?.1)
    }

    /// Makes a webhook endpoint of this mode for all events. Returns which it is, and its secret.
    pub async fn endpoint(&self, pg: &Pg, mode: Mode, url: &str) -> Result<(Which, WebhookSecret)> {
        let secret = WebhookSecret::generate(&rand::random());
        let which = Which { store_id: self.store_id, mode, id: Uuid::now_v7() };
        let sealer = Sealer::new(&self.settings.secrets.sealing, Purpose::WebhookSecret, rand::random());
        let sealed_secret = &sealer.seal(&webhook_endpoints::place(which.id), secret.expose().as_bytes());
        let made = webhook_endpoints::create(pg, &NewEndpoint { which, url, events: &[], sealed_secret }, Actor::CommandLine).await?;
        made.context("a store has five endpoints at most")?;
        Ok((which, secret))
    }

    /// A product whose keys are made when sold, 29.99 GBP and 34.99 USD.
    pub async fn generated(&self, pg: &Pg, sku: &str) -> Result<Product> {
        self.product(pg, sku, Source::Generator(Pattern::parse(Pattern::DEFAULT)?)).await
    }

    /// A product with these live license keys in stock, 29.99 GBP and 34.99 USD.
    pub async fn pooled(&self, pg: &Pg, sku: &str, keys: &[String]) -> Result<Product> {
        let product = self.product(pg, sku, Source::Pool).await?;
        self.stock(pg, &product, Mode::Live, keys).await?;
        Ok(product)
    }

    async fn product(&self, pg: &Pg, sku: &str, source: Source) -> Result<Product> {
        let prices = [(Currency::parse("GBP")?, 2_999), (Currency::parse("USD")?, 3_499)];
        Ok(products::create(pg, self.store_id, &Sku::parse(sku)?, sku, &source, &prices).await?)
    }

    /// Makes an order of one piece that is to be paid, unless it is there.
    pub async fn pending(
        &self,
        tx: &Transaction<'_>,
        mode: Mode,
        product: &Product,
        id: &OrderId,
        total_minor: i64,
        external_reference: Option<&str>,
    ) -> Result<()> {
        let item = Item { line: 0, product_id: product.id, sku: product.sku.clone(), quantity: 1, keys: Vec::new() };
        let order = PendingOrder {
            id,
            store_id: self.store_id,
            mode,
            external_reference,
            fingerprint: [0; 32],
            currency: Currency::parse("GBP")?,
            total_minor,
            customer_email: "customer@example.com",
            items: &[item],
            created_at_ms: 1_772_452_800_000,
        };
        orders::insert_pending(tx, &order).await?;
        Ok(())
    }

    /// Puts license keys into a product's stock.
    pub async fn stock(&self, pg: &Pg, product: &Product, mode: Mode, keys: &[String]) -> Result<()> {
        let sealer = Sealer::new(&self.settings.secrets.sealing, Purpose::License, rand::random());
        let digester = LicenseDigester::new(&self.settings.secrets.license_digest);
        let (mut free, mut digests) = (Vec::new(), Vec::new());
        for key in keys {
            let (key, id) = (LicenseKey::parse(key)?, Uuid::now_v7());
            let (secret_id, digest) = digester.digest(self.store_id, mode, &key);
            digests.push(NewDigest { store_id: self.store_id, mode, digest, secret_id });
            let sealed = sealer.seal(&license::place(self.store_id, product.id, id), key.expose().as_bytes());
            free.push(FreeKey { id, product_id: product.id, mode, sealed });
        }
        let mut client = pg.client().await?;
        let tx = client.transaction().await?;
        license_keys::claim_digests(&tx, &digests).await?;
        license_keys::insert(&tx, &free).await?;
        Ok(tx.commit().await?)
    }
}

/// `count` license keys that nobody else has, beginning with `prefix`.
pub fn license_keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n:06}")).collect()
}
