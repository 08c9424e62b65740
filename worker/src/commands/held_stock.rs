//! `worker stock hold` and `worker stock release`: stock that may have been sold in a past that a restore has undone is taken out of the
//! sale, and what is known to be unsold comes back. Both go in batches, and may be stopped and started again at any moment.

use std::collections::HashSet;
use std::path::Path;

use common::cart::Sku;
use common::license::{self, LicenseDigest, LicenseDigester, LicenseKey};
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use serde::Serialize;
use storage::pg::held_license_keys;
use storage::pg::license_keys::FreeKey;
use storage::pg::products::{self, Product, Source};
use storage::pg::stores;
use uuid::Uuid;

use super::Failure;
use super::context::Context;
use super::output::Progress;
use super::stock::{open, pooled};

/// Keys in one transaction.
const BATCH: i64 = 5_000;
/// Keys in a file to release; they are remembered while the held ones are looked through.
const FILE_KEYS_MAX: usize = 1_000_000;

/// Holds the stock of all products, of a store's, or of one. It is held for both modes: a restore makes no difference between them.
pub async fn hold(context: &Context, slug: Option<&str>, sku: Option<&Sku>) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Report {
        held: u64,
        products: u64,
    }
    let products = products_of(context, slug, sku).await?;
    let client = context.client().await?;
    let progress = Progress::new();
    let mut report = Report { held: 0, products: 0 };
    for product in products.iter().filter(|product| product.source == Source::Pool) {
        let before = report.held;
        for mode in [Mode::Live, Mode::Test] {
            loop {
                let held = held_license_keys::hold(&*client, product.id, mode, BATCH).await?;
                report.held += held;
                progress.say(&format!("{} license keys held", report.held));
                if held < BATCH as u64 {
                    break;
                }
            }
        }
        report.products += u64::from(report.held > before);
    }
    drop(progress);
    context.output.show(&report, || format!("{} license keys of {} products are out of the sale now", report.held, report.products))
}

async fn products_of(context: &Context, slug: Option<&str>, sku: Option<&Sku>) -> Result<Vec<Product>, Failure> {
    let mut found = Vec::new();
    let stores = match slug {
        Some(slug) => vec![context.store(slug).await?],
        None => stores::list(&*context.client().await?).await?,
    };
    for store in stores {
        match sku {
            Some(sku) => found.push(pooled(context, &store.slug, sku).await?),
            None => found.extend(products::of_store(&*context.client().await?, store.id).await?.into_iter().map(|(product, _)| product)),
        }
    }
    Ok(found)
}

#[derive(Debug, Default, Serialize)]
struct Released {
    released: u64,
    /// Keys of the file that are not held: sold, free, or never seen.
    not_held: u64,
}

/// Releases the held keys that a file names, or all of them.
pub async fn release(context: &Context, slug: &str, sku: &Sku, mode: Mode, file: Option<&Path>) -> Result<(), Failure> {
    let product = pooled(context, slug, sku).await?;
    let secrets = &context.settings.secrets;
    let reader = Reader {
        sealer: Sealer::new(&secrets.sealing, Purpose::License, rand::random()),
        digester: LicenseDigester::new(&secrets.license_digest),
        product,
        mode,
    };
    let mut wanted = file.map(|file| reader.digests(file)).transpose()?;
    let progress = Progress::new();
    let (mut report, mut after) = (Released::default(), Uuid::nil());
    let client = context.client().await?;
    loop {
        let held = held_license_keys::after(&*client, reader.product.id, mode, after, BATCH).await?;
        let Some(last) = held.last() else { break };
        after = last.id;
        let mut ids = Vec::new();
        for key in &held {
            let is_wanted = match &mut wanted {
                Some(wanted) => wanted.remove(&reader.digest(key)?),
                None => true,
            };
            if is_wanted {
                ids.push(key.id);
            }
        }
        report.released += held_license_keys::release(&*client, &ids).await?;
        progress.say(&format!("{} license keys released", report.released));
    }
    drop(progress);
    report.not_held = wanted.map_or(0, |wanted| wanted.len() as u64);
    let not_held = if report.not_held == 0 { String::new() } else { format!(", {} of the file are not held", report.not_held) };
    context.output.show(&report, || format!("{} license keys are for sale again{not_held}", report.released))
}

/// Tells a product's keys apart.
struct Reader {
    sealer: Sealer,
    digester: LicenseDigester,
    product: Product,
    mode: Mode,
}

impl Reader {
    fn digest(&self, key: &FreeKey) -> Result<LicenseDigest, Failure> {
        let place = license::place(self.product.store_id, self.product.id, key.id);
        let unreadable = |error: String| Failure::other(format!("held license key {} cannot be read: {error}", key.id));
        let plain = self.sealer.open(&place, &key.sealed).map_err(|error| unreadable(error.to_string()))?;
        let text = std::str::from_utf8(&plain).map_err(|error| unreadable(error.to_string()))?;
        let key = LicenseKey::parse(text).map_err(|error| unreadable(error.to_string()))?;
        Ok(self.digester.digest(self.product.store_id, self.mode, &key).1)
    }

    /// Reads a file to its end before anything is released: a line that is no key may stand for one that was meant.
    fn digests(&self, file: &Path) -> Result<HashSet<LicenseDigest>, Failure> {
        let wrong = |what: String| Failure::other(format!("{}: {what}; nothing was released", file.display()));
        let mut digests = HashSet::new();
        for entry in open(file).map_err(|error| wrong(error.to_string()))? {
            let entry = entry.map_err(|error| wrong(error.to_string()))?;
            let key = entry.key.map_err(|reason| wrong(format!("line {}: {reason}", entry.line)))?;
            digests.insert(self.digester.digest(self.product.store_id, self.mode, &key).1);
            if digests.len() > FILE_KEYS_MAX {
                return Err(wrong(format!("more than {FILE_KEYS_MAX} keys: split it")));
            }
        }
        Ok(digests)
    }
}
