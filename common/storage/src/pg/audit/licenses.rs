//! The license keys themselves: each is opened in its place, looked for among the digests as an import would, and told apart from all
//! others by value. Of each key eight bytes of its digest are remembered; only where those meet are whole digests compared, in a second look.

use std::collections::{HashMap, HashSet};

use common::license::{LicenseDigest, LicenseDigester};
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::{Audit, Check, StorageError};
use crate::pg::order_items::{self, SoldKey};

/// Where license keys lie, and what tells where each is sealed to. A key without order, item or product is told by another check.
const SHELVES: [(&str, &str); 3] = [
    (
        "in stock",
        "select k.id, k.sealed, p.store_id, k.product_id, k.live, null::text from license_keys k join products p on p.id = k.product_id",
    ),
    (
        "in held stock",
        "select k.id, k.sealed, p.store_id, k.product_id, k.live, null::text from held_license_keys k join products p on p.id = k.product_id",
    ),
    (
        "in orders",
        "select k.license_key_id, k.sealed, o.store_id, i.product_id, o.live, k.order_id
         from order_keys k join orders o on o.id = k.order_id join order_items i on i.order_id = k.order_id and i.line = k.line",
    ),
];

/// Of these candidates, named by number, the ones that are kept. A key that has two secrets' candidates may be kept under either.
const KNOWN: &str =
    "select distinct c.number from unnest($1::integer[], $2::bigint[], $3::boolean[], $4::bytea[]) as c (number, store_id, live, digest)
                     join license_digests d on d.store_id = c.store_id and d.live = c.live and d.digest = c.digest";

/// Meeting digests that a second look takes apart. More than a few mean that all is lost anyway, and memory is bounded.
const SUSPECTS_MAX: usize = 10_000;

/// A license key that opened.
struct Opened {
    id: Uuid,
    place: String,
    store_id: i64,
    live: bool,
    /// What each configured secret makes of it, the newest first.
    digests: Vec<LicenseDigest>,
}

impl Opened {
    /// What is remembered of the key.
    fn short(&self) -> u64 {
        self.digests.first().map_or(0, short)
    }
}

fn short(digest: &LicenseDigest) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|index| digest[index]))
}

/// Opens license keys.
struct Opener {
    sealer: Sealer,
    digester: LicenseDigester,
}

impl Opener {
    /// Opens a row of this shelf, or says which key does not open.
    fn open(&self, shelf: &str, row: &Row) -> Result<Opened, String> {
        let (id, store_id, product_id, live): (Uuid, i64, i64, bool) = (row.get(0), row.get(2), row.get(3), row.get(4));
        let place =
            row.get::<_, Option<&str>>(5).map_or_else(|| format!("{shelf} of store {store_id}"), |order| format!("in order {order}"));
        match order_items::open(&self.sealer, store_id, product_id, &SoldKey { id, sealed: row.get(1) }) {
            Ok(key) => {
                let digests = self.digester.candidates(store_id, Mode::from_live(live), &key);
                Ok(Opened { id, place, store_id, live, digests: digests.into_iter().map(|(_, digest)| digest).collect() })
            }
            Err(error) => Err(format!("license key {id}, product {product_id}, {place}: {error}")),
        }
    }
}

impl Audit<'_> {
    /// Opens every license key.
    pub(super) async fn licenses(&self) -> Result<[Check; 3], StorageError> {
        let mut open = Check::new("license_keys_open", "A license key opens in its place with the configured secrets.");
        let mut digests =
            Check::new("license_key_digests", "A license key's digest is kept, so that the same key cannot be taken in again.");
        let opener = Opener {
            sealer: Sealer::new(&self.secrets.sealing, Purpose::License, rand::random()),
            digester: LicenseDigester::new(&self.secrets.license_digest),
        };
        let known = self.tx.prepare(KNOWN).await?;
        let mut seen: Vec<u64> = Vec::with_capacity(usize::try_from(self.figures.license_keys_in_all()).unwrap_or(0));
        for (shelf, sql) in SHELVES {
            let mut pages = self.pages(sql).await?;
            while let Some(rows) = pages.next().await? {
                open.examined += rows.len() as u64;
                self.say(&format!("opening license keys {shelf}: {} so far", open.examined));
                let mut page = Vec::with_capacity(rows.len());
                for row in &rows {
                    match opener.open(shelf, row) {
                        Ok(key) => page.push(key),
                        Err(why) => open.violated(|| why),
                    }
                }
                seen.extend(page.iter().map(Opened::short));
                self.look_up(&known, &page, &mut digests).await?;
            }
        }
        let values = self.values(&opener, seen).await?;
        Ok([open, digests, values])
    }

    async fn look_up(&self, known: &Statement, page: &[Opened], check: &mut Check) -> Result<(), StorageError> {
        let candidates = || page.iter().zip(0_i32..).flat_map(|(key, number)| key.digests.iter().map(move |digest| (number, key, digest)));
        let numbers: Vec<i32> = candidates().map(|(number, ..)| number).collect();
        let stores: Vec<i64> = candidates().map(|(_, key, _)| key.store_id).collect();
        let lives: Vec<bool> = candidates().map(|(_, key, _)| key.live).collect();
        let digests: Vec<&[u8]> = candidates().map(|(.., digest)| digest.as_slice()).collect();
        let found: HashSet<i32> = self.column(known, &[&numbers, &stores, &lives, &digests]).await?.into_iter().collect();
        check.examined += page.len() as u64;
        for (key, _) in page.iter().zip(0_i32..).filter(|(_, number)| !found.contains(number)) {
            check.violated(|| format!("license key {}, {}: no configured secret's digest of it is kept", key.id, key.place));
        }
        Ok(())
    }

    /// Tells license keys apart by value.
    async fn values(&self, opener: &Opener, mut seen: Vec<u64>) -> Result<Check, StorageError> {
        let mut check = Check::new("license_key_values", "No two license keys of one store and mode are the same key, wherever they lie.");
        check.examined = seen.len() as u64;
        seen.sort_unstable();
        let mut suspects: HashSet<u64> = HashSet::new();
        for pair in seen.windows(2).filter(|pair| pair[0] == pair[1]) {
            if suspects.len() < SUSPECTS_MAX || suspects.contains(&pair[0]) {
                suspects.insert(pair[0]);
            } else {
                // Not looked at again: among so many, one that is no violation makes no difference.
                check.violations += 1;
            }
        }
        drop(seen);
        if suspects.is_empty() {
            return Ok(check);
        }
        let mut first: HashMap<LicenseDigest, String> = HashMap::new();
        for (shelf, sql) in SHELVES {
            self.say(&format!("telling license keys {shelf} apart"));
            let mut pages = self.pages(sql).await?;
            while let Some(rows) = pages.next().await? {
                for key in rows.iter().filter_map(|row| opener.open(shelf, row).ok()).filter(|key| suspects.contains(&key.short())) {
                    let what = format!("license key {}, {}", key.id, key.place);
                    match key.digests.first().and_then(|digest| first.get(digest)) {
                        Some(other) => check.violated(|| format!("{what}, is the same key as {other}")),
                        None => first.extend(key.digests.first().map(|digest| (*digest, what))),
                    }
                }
            }
        }
        Ok(check)
    }
}
