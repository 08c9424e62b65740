//! Taking license keys in that were bought or made elsewhere, so that each exists once, whoever imports the same file how often and at the
//! same time. A key is sealed before it is stored, and never repeated to anybody: reports name lines.

pub mod key_file;

use std::collections::HashSet;
use std::io::BufRead;

use common::license::{self, LicenseDigest, LicenseDigester, LicenseKey};
use common::mode::Mode;
use common::seal::Sealer;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::pg::audit_log::{self, Actor, Change, What};
use crate::pg::license_keys::{self, FreeKey, NewDigest};
use crate::pg::products::Product;
use crate::pg::{Pg, StorageError};
use key_file::{FileError, KeyFile};

/// Invalid lines that a report names; the others are only counted.
const INVALID_LINES_SHOWN: usize = 20;

/// What came of an import.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Keys that are in stock now and were not before.
    pub new: u64,
    /// Keys that existed already, in stock or sold, or stood in the file before.
    pub duplicate: u64,
    /// Lines that hold no key.
    pub invalid: u64,
    /// The first of them.
    pub invalid_lines: Vec<InvalidLine>,
}

/// A line that holds no key.
#[derive(Debug, Serialize)]
pub struct InvalidLine {
    /// Counted from 1.
    pub line: u64,
    /// Why. Never repeats the line.
    pub reason: String,
}

/// What one transaction takes in.
#[derive(Debug, Default)]
pub struct Chunk {
    keys: Vec<LicenseKey>,
    invalid: Vec<InvalidLine>,
}

impl Chunk {
    /// The next lines of a file, `lines_max` at most. `None` at its end.
    pub fn read<R: BufRead>(entries: &mut KeyFile<R>, lines_max: usize) -> Result<Option<Self>, FileError> {
        let mut chunk = Self::default();
        for entry in entries.by_ref().take(lines_max) {
            let entry = entry?;
            match entry.key {
                Ok(key) => chunk.keys.push(key),
                Err(reason) => chunk.invalid.push(InvalidLine { line: entry.line, reason }),
            }
        }
        Ok(if chunk.keys.is_empty() && chunk.invalid.is_empty() { None } else { Some(chunk) })
    }

    /// The same with its lines counted otherwise: where it was read from a part of a file.
    pub fn with_lines(mut self, count: &impl Fn(u64) -> u64) -> Self {
        self.invalid.iter_mut().for_each(|invalid| invalid.line = count(invalid.line));
        self
    }

    /// The lines that hold no key.
    pub fn invalid_lines(&self) -> impl Iterator<Item = u64> {
        self.invalid.iter().map(|invalid| invalid.line)
    }
}

/// Takes keys into one product's stock.
#[derive(Clone, Copy)]
pub struct Importer<'i> {
    /// Where the stock is.
    pub pg: &'i Pg,
    /// Whose stock; keys of a product that makes its own are never sold.
    pub product: &'i Product,
    /// Live or test.
    pub mode: Mode,
    /// Who imports.
    pub actor: Actor<'i>,
    /// Makes keys known again.
    pub digester: &'i LicenseDigester,
    /// Seals them; one for the purpose `license`.
    pub sealer: &'i Sealer,
}

/// A key on its way in. The order of the file is the order of sale.
struct Incoming<'a> {
    position: usize,
    key: LicenseKey,
    digest: LicenseDigest,
    secret_id: &'a str,
    /// What older secrets make of it.
    older: Vec<LicenseDigest>,
}

impl<'i> Importer<'i> {
    /// Takes a chunk in, in one transaction, and adds to the report.
    pub async fn take_in(&self, chunk: Chunk, report: &mut Report) -> Result<(), StorageError> {
        let lines = chunk.keys.len() as u64;
        let new = if chunk.keys.is_empty() { 0 } else { self.insert(chunk.keys).await? };
        report.new += new;
        report.duplicate += lines - new;
        report.invalid += chunk.invalid.len() as u64;
        let room = INVALID_LINES_SHOWN - report.invalid_lines.len();
        report.invalid_lines.extend(chunk.invalid.into_iter().take(room));
        Ok(())
    }

    /// Inserts the keys that do not exist yet, in one transaction. Returns how many.
    async fn insert(&self, keys: Vec<LicenseKey>) -> Result<u64, StorageError> {
        let mut incoming: Vec<Incoming<'i>> =
            keys.into_iter().enumerate().filter_map(|(position, key)| self.incoming(position, key)).collect();
        // Sorted, the first of equal keys staying: who claims the same digests in the same order waits, and never in a circle.
        incoming.sort_by_key(|incoming| incoming.digest);
        incoming.dedup_by_key(|incoming| incoming.digest);

        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        let older: Vec<LicenseDigest> = incoming.iter().flat_map(|incoming| incoming.older.iter().copied()).collect();
        if !older.is_empty() {
            let known = license_keys::known_digests(&tx, self.product.store_id, self.mode, &older).await?;
            let known: HashSet<LicenseDigest> = known.into_iter().collect();
            incoming.retain(|incoming| !incoming.older.iter().any(|digest| known.contains(digest)));
        }
        let (store_id, mode) = (self.product.store_id, self.mode);
        let digests: Vec<NewDigest<'_>> =
            incoming.iter().map(|&Incoming { digest, secret_id, .. }| NewDigest { store_id, mode, digest, secret_id }).collect();
        let claimed: HashSet<LicenseDigest> = license_keys::claim_digests(&tx, &digests).await?.into_iter().collect();
        incoming.retain(|incoming| claimed.contains(&incoming.digest));
        incoming.sort_by_key(|incoming| incoming.position);
        let free: Vec<FreeKey> = incoming.iter().map(|incoming| self.sealed(&incoming.key)).collect();
        license_keys::insert(&tx, &free).await?;
        if !free.is_empty() {
            let after = json!({ "mode": mode.as_str(), "license_keys": free.len() });
            let (object, before) = (self.product.sku.as_str(), Value::Null);
            audit_log::write(&tx, &Change { store_id, actor: self.actor, what: What::StockImported, object, before, after }).await?;
        }
        tx.commit().await?;
        Ok(free.len() as u64)
    }

    fn incoming(&self, position: usize, key: LicenseKey) -> Option<Incoming<'i>> {
        let mut candidates = self.digester.candidates(self.product.store_id, self.mode, &key).into_iter();
        // There is always a first: a list of secrets is never empty.
        let (secret_id, digest) = candidates.next()?;
        Some(Incoming { position, key, digest, secret_id, older: candidates.map(|(_, digest)| digest).collect() })
    }

    fn sealed(&self, key: &LicenseKey) -> FreeKey {
        let id = Uuid::now_v7();
        let place = license::place(self.product.store_id, self.product.id, id);
        FreeKey { id, product_id: self.product.id, mode: self.mode, sealed: self.sealer.seal(&place, key.expose().as_bytes()) }
    }
}
