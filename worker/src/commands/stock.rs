//! `worker stock …`: license keys that were bought or made elsewhere, taken in so that each exists once, whoever imports the same file
//! how often and at the same time. A key is sealed before it is stored, and never repeated to anybody.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Subcommand;
use common::cart::Sku;
use common::license::{self, LicenseDigest, LicenseDigester, LicenseKey};
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use serde::Serialize;
use storage::pg::held_license_keys;
use storage::pg::license_keys::{self, FreeKey, NewDigest};
use storage::pg::products::{self, Product, Source};
use storage::{Pg, StorageError};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::context::Context;
use super::key_file::{FileError, KeyFile};
use super::output::Progress;
use super::{Failure, arguments, held_stock};

/// Lines in one transaction.
const CHUNK_LINES: usize = 5_000;
/// Invalid lines that the report names; the others are only counted.
const INVALID_LINES_SHOWN: usize = 20;

#[derive(Debug, Subcommand)]
pub enum StockCommand {
    /// Take license keys into a product's pool; those that exist already are left alone
    Import {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// What they are keys for
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
        /// live or test
        #[arg(long, default_value = "live")]
        mode: Mode,
        /// One key a line, or CSV with a header that calls a column license_key or key; - is standard input
        file: PathBuf,
    },
    /// Show how many keys are left, and how many are held
    Level {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
    /// Take all keys in stock out of the sale, as after a restore: some of them may have been sold since that moment
    #[command(group(clap::ArgGroup::new("which").required(true).args(["all", "store"])))]
    Hold {
        /// Of every store
        #[arg(long)]
        all: bool,
        /// Of this store
        #[arg(long, value_parser = arguments::slug)]
        store: Option<String>,
        /// Of this product alone
        #[arg(long, value_parser = Sku::parse, requires = "store", conflicts_with = "all")]
        sku: Option<Sku>,
    },
    /// Put held keys that are known to be unsold back into the stock
    #[command(group(clap::ArgGroup::new("which").required(true).args(["all", "file"])))]
    Release {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// What they are keys for
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
        /// live or test
        #[arg(long, default_value = "live")]
        mode: Mode,
        /// All that are held
        #[arg(long)]
        all: bool,
        /// The keys to release, in the form that import reads; - is standard input
        file: Option<PathBuf>,
    },
}

impl StockCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Import { store, sku, mode, file } => import(context, &store, &sku, mode, &file).await,
            Self::Level { store } => level(context, &store).await,
            Self::Hold { store, sku, .. } => held_stock::hold(context, store.as_deref(), sku.as_ref()).await,
            Self::Release { store, sku, mode, file, .. } => held_stock::release(context, &store, &sku, mode, file.as_deref()).await,
        }
    }
}

async fn level(context: &Context, slug: &str) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Level {
        sku: Sku,
        mode: Mode,
        free: i64,
        held: i64,
    }
    let store = context.store(slug).await?;
    let client = context.client().await?;
    let products = products::of_store(&**client, store.id).await?;
    let free = license_keys::levels(&**client, store.id).await?;
    let held = held_license_keys::levels(&**client, store.id).await?;
    let pooled = products.iter().map(|(product, _)| product).filter(|product| product.source == Source::Pool);
    let level = |product: &Product, mode| {
        let count =
            |of: &[(i64, Mode, i64)]| of.iter().find(|&&(id, of, _)| (id, of) == (product.id, mode)).map_or(0, |&(.., count)| count);
        Level { sku: product.sku.clone(), mode, free: count(&free), held: count(&held) }
    };
    let levels: Vec<Level> = pooled.flat_map(|product| [Mode::Live, Mode::Test].map(|mode| level(product, mode))).collect();
    context.output.list(&levels, ["SKU", "MODE", "FREE", "HELD"], |level| {
        [level.sku.to_string(), level.mode.to_string(), level.free.to_string(), level.held.to_string()]
    })
}

#[derive(Debug, Default, Serialize)]
struct Report {
    new: u64,
    duplicate: u64,
    invalid: u64,
    invalid_lines: Vec<InvalidLine>,
}

#[derive(Debug, Serialize)]
struct InvalidLine {
    line: u64,
    reason: String,
}

impl Report {
    fn text(&self) -> String {
        let lines = self.invalid_lines.iter().map(|invalid| format!("\n  line {}: {}", invalid.line, invalid.reason)).collect::<String>();
        let more = self.invalid - self.invalid_lines.len() as u64;
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        format!("{} new, {} known already, {} invalid{lines}{more}", self.new, self.duplicate, self.invalid)
    }
}

/// A product that has a stock.
pub async fn pooled(context: &Context, slug: &str, sku: &Sku) -> Result<Product, Failure> {
    let product = context.product(&context.store(slug).await?, sku.as_str()).await?;
    if product.source != Source::Pool {
        return Err(Failure::other(format!("the keys of {sku} are generated when sold: only products with --source pool have a stock")));
    }
    Ok(product)
}

async fn import(context: &Context, slug: &str, sku: &Sku, mode: Mode, file: &Path) -> Result<(), Failure> {
    let product = pooled(context, slug, sku).await?;
    let (mut chunks, reading) = read_in_background(file)?;
    let importer = Importer::new(context, product, mode);
    let progress = Progress::new();
    let mut report = Report::default();
    while let Some(chunk) = chunks.recv().await {
        let taken = match chunk {
            Ok(chunk) => importer.take_in(chunk, &mut report).await.map_err(Failure::from),
            Err(error) => Err(Failure::other(format!("{}: {error}", file.display()))),
        };
        let so_far = format!("{} new, {} known already", report.new, report.duplicate);
        taken.map_err(|failure| failure.and(&format!("until then {so_far}; import the whole file again, no key is taken in twice")))?;
        progress.say(&format!("{so_far}, {} invalid", report.invalid));
    }
    drop(progress);
    reading.join().map_err(|_| Failure::other("reading the file ended before its end: import it again, no key is taken in twice"))?;
    context.output.show(&report, || report.text())
}

/// What one transaction takes in.
#[derive(Debug, Default)]
struct Chunk {
    keys: Vec<LicenseKey>,
    invalid: Vec<InvalidLine>,
}

type Chunks = mpsc::Receiver<Result<Chunk, FileError>>;

/// Reads on a thread of its own, one chunk ahead. The channel closes after the last chunk or the first error.
fn read_in_background(file: &Path) -> Result<(Chunks, thread::JoinHandle<()>), Failure> {
    let entries = KeyFile::open(file).map_err(|error| Failure::other(format!("{}: {error}", file.display())))?;
    let (sender, chunks) = mpsc::channel(1);
    let reading = thread::Builder::new().name("key file".into()).spawn(move || {
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let chunk = entries.by_ref().take(CHUNK_LINES).try_fold(Chunk::default(), |mut chunk, entry| {
                let entry = entry?;
                match entry.key {
                    Ok(key) => chunk.keys.push(key),
                    Err(reason) => chunk.invalid.push(InvalidLine { line: entry.line, reason }),
                }
                Ok(chunk)
            });
            // Nobody receives any more when the import has failed.
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    Ok((chunks, reading.map_err(|error| Failure::other(format!("a thread cannot be started: {error}")))?))
}

struct Importer {
    pg: Pg,
    product: Product,
    mode: Mode,
    digester: LicenseDigester,
    sealer: Sealer,
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

impl Importer {
    fn new(context: &Context, product: Product, mode: Mode) -> Self {
        let secrets = &context.settings.secrets;
        let digester = LicenseDigester::new(&secrets.license_digest);
        let sealer = Sealer::new(&secrets.sealing, Purpose::License, rand::random());
        Self { pg: context.pg.clone(), product, mode, digester, sealer }
    }

    async fn take_in(&self, chunk: Chunk, report: &mut Report) -> Result<(), StorageError> {
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
        let mut incoming: Vec<Incoming<'_>> =
            keys.into_iter().enumerate().filter_map(|(position, key)| self.incoming(position, key)).collect();
        // Sorted, the first of equal keys staying: who claims the same digests in the same order waits, and never in a circle.
        incoming.sort_by_key(|incoming| incoming.digest);
        incoming.dedup_by_key(|incoming| incoming.digest);

        let mut client = self.pg.client().await?;
        let tx = client.transaction().await?;
        let older: Vec<LicenseDigest> = incoming.iter().flat_map(|incoming| incoming.older.iter().copied()).collect();
        if !older.is_empty() {
            let known = license_keys::known_digests(&*tx, self.product.store_id, self.mode, &older).await?;
            let known: HashSet<LicenseDigest> = known.into_iter().collect();
            incoming.retain(|incoming| !incoming.older.iter().any(|digest| known.contains(digest)));
        }
        let (store_id, mode) = (self.product.store_id, self.mode);
        let digests: Vec<NewDigest<'_>> =
            incoming.iter().map(|&Incoming { digest, secret_id, .. }| NewDigest { store_id, mode, digest, secret_id }).collect();
        let claimed: HashSet<LicenseDigest> = license_keys::claim_digests(&*tx, &digests).await?.into_iter().collect();
        incoming.retain(|incoming| claimed.contains(&incoming.digest));
        incoming.sort_by_key(|incoming| incoming.position);
        let free: Vec<FreeKey> = incoming.iter().map(|incoming| self.sealed(&incoming.key)).collect();
        license_keys::insert(&*tx, &free).await?;
        tx.commit().await?;
        Ok(free.len() as u64)
    }

    fn incoming(&self, position: usize, key: LicenseKey) -> Option<Incoming<'_>> {
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
