//! `worker stock …`: license keys that were bought or made elsewhere, taken in from a file of any size, and how many of them are left.
//! How a key is taken in is `storage::stock`'s.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread;

use clap::Subcommand;
use common::cart::Sku;
use common::license::LicenseDigester;
use common::mode::Mode;
use common::seal::{Purpose, Sealer};
use serde::Serialize;
use storage::pg::audit_log::Actor;
use storage::pg::held_license_keys;
use storage::pg::license_keys;
use storage::pg::products::{self, Product, Source};
use storage::stock::key_file::{FileError, KeyFile};
use storage::stock::{Chunk, Importer, Report};
use tokio::sync::mpsc;

use super::context::Context;
use super::output::Progress;
use super::{Failure, arguments, held_stock};

/// Lines in one transaction.
const CHUNK_LINES: usize = 5_000;

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
    let products = products::of_store(&*client, store.id).await?;
    let free = license_keys::levels(&*client, store.id).await?;
    let held = held_license_keys::levels(&*client, store.id).await?;
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

/// A report for people.
fn text(report: &Report) -> String {
    let lines = report.invalid_lines.iter().map(|invalid| format!("\n  line {}: {}", invalid.line, invalid.reason)).collect::<String>();
    let more = report.invalid - report.invalid_lines.len() as u64;
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!("{} new, {} known already, {} invalid{lines}{more}", report.new, report.duplicate, report.invalid)
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
    let secrets = &context.settings.secrets;
    let digester = LicenseDigester::new(&secrets.license_digest);
    let sealer = Sealer::new(&secrets.sealing, Purpose::License, rand::random());
    let importer = Importer { pg: &context.pg, product: &product, mode, actor: Actor::CommandLine, digester: &digester, sealer: &sealer };
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
    context.output.show(&report, || text(&report))
}

type Chunks = mpsc::Receiver<Result<Chunk, FileError>>;

/// Opens a file; `-` is standard input.
pub fn open(file: &Path) -> io::Result<KeyFile<Box<dyn BufRead + Send>>> {
    let stdin = file == Path::new("-");
    Ok(KeyFile::new(if stdin { Box::new(BufReader::new(io::stdin())) } else { Box::new(BufReader::new(File::open(file)?)) }))
}

/// Reads on a thread of its own, one chunk ahead. The channel closes after the last chunk or the first error.
fn read_in_background(file: &Path) -> Result<(Chunks, thread::JoinHandle<()>), Failure> {
    let mut entries = open(file).map_err(|error| Failure::other(format!("{}: {error}", file.display())))?;
    let (sender, chunks) = mpsc::channel(1);
    let reading = thread::Builder::new().name("key file".into()).spawn(move || {
        while let Some(chunk) = Chunk::read(&mut entries, CHUNK_LINES).transpose() {
            let is_last = chunk.is_err();
            // Nobody receives any more when the import has failed.
            if sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    });
    Ok((chunks, reading.map_err(|error| Failure::other(format!("a thread cannot be started: {error}")))?))
}
