//! `worker tax …`: the rates in force, and what operators lay over those that the program brings along. A file is laid on top as a whole
//! or not at all; what it changes is shown, and with `--dry-run` nothing else happens. Edges and workers follow within a second.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use common::clock::{Clock, SystemClock, rfc3339};
use common::geo::{CountryCode, Subdivisions};
use common::tax::import::{BadLine, Difference};
use common::tax::{TaxTable, parse_date};
use serde::Serialize;
use storage::pg::tax_rates;

use super::Failure;
use super::context::Context;
use super::output::or_dash;

/// Far more than the largest file that can be imported needs.
const FILE_MAX_BYTES: u64 = 4 * 1_024 * 1_024;
/// Bad lines that are told one by one; the others are only counted.
const BAD_LINES_SHOWN: usize = 50;

#[derive(Debug, Subcommand)]
pub enum TaxCommand {
    /// Lay a file of rates over those in force, and show what it changes
    Import {
        /// Show only
        #[arg(long)]
        dry_run: bool,
        /// CSV with the columns of common/data/tax_rates.csv; - is standard input
        file: PathBuf,
    },
    /// Show the rates in force
    Show {
        /// Two letters of ISO 3166-1
        #[arg(value_parser = CountryCode::parse)]
        country: CountryCode,
        /// Only what is owed there: the code of ISO 3166-2 without the country
        #[arg(long, value_name = "CODE")]
        subdivision: Option<String>,
        /// On that day, YYYY-MM-DD [default: today, UTC]
        #[arg(long, value_name = "DAY")]
        date: Option<String>,
    },
    /// Take away everything that was imported, so that the rates of this version hold again, and show what that changes
    Refresh {
        /// Show only
        #[arg(long)]
        dry_run: bool,
    },
}

impl TaxCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Import { dry_run, file } => import(context, &file, dry_run).await,
            Self::Show { country, subdivision, date } => show(context, country, subdivision.as_deref(), date.as_deref()).await,
            Self::Refresh { dry_run } => refresh(context, dry_run).await,
        }
    }
}

/// The rates that this version brings along.
fn compiled_in() -> Result<TaxTable, Failure> {
    let damaged = |error: common::geo::DataError| Failure::other(error.to_string());
    TaxTable::load(Arc::new(Subdivisions::load().map_err(damaged)?)).map_err(damaged)
}

/// What an import or a refresh does, or would do.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    /// Rows imported, or taken away.
    rows: u64,
    #[serde(flatten)]
    difference: Difference,
}

impl Report {
    fn text(&self, done: &str) -> String {
        let line = |sign: &'static str| move |line: &String| format!("{sign} {line}\n");
        let removed: String = self.difference.removed.iter().map(line("-")).collect();
        let added: String = self.difference.added.iter().map(line("+")).collect();
        let nothing = if self.difference.is_empty() { "no rate changes\n" } else { "" };
        let done = if self.dry_run {
            format!("{} rates would be {done}: nothing was changed", self.rows)
        } else {
            format!("{} rates {done}", self.rows)
        };
        format!("{removed}{added}{nothing}{done}")
    }
}

async fn import(context: &Context, file: &Path, dry_run: bool) -> Result<(), Failure> {
    let text = read(file)?;
    let mut client = context.client().await?;
    let tx = client.transaction().await.map_err(storage::StorageError::from)?;
    tax_rates::lock(&tx).await?;
    let before = tax_rates::table(&tx, &compiled_in()?).await?;
    let (rates, after) = before.import(&text).map_err(|bad| refused(file, &bad))?;
    let there = tax_rates::count(&tx).await?;
    if there + rates.len() as i64 > tax_rates::ROWS_MAX {
        return Err(Failure::other(format!(
            "{there} rates are imported already, and with these {} there would be more than {}: put what is still needed into one file, \
             and import it after `worker tax refresh`",
            rates.len(),
            tax_rates::ROWS_MAX
        )));
    }
    let report = Report { dry_run, rows: rates.len() as u64, difference: Difference::between(&before, &after) };
    if !dry_run {
        tax_rates::insert(&tx, &rates).await?;
        tx.commit().await.map_err(storage::StorageError::from)?;
    }
    context.output.show(&report, || report.text("imported"))
}

async fn refresh(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let compiled_in = compiled_in()?;
    let mut client = context.client().await?;
    let tx = client.transaction().await.map_err(storage::StorageError::from)?;
    tax_rates::lock(&tx).await?;
    let rows = tax_rates::count(&tx).await? as u64;
    let difference = match tax_rates::table(&tx, &compiled_in).await {
        Ok(before) => Difference::between(&before, &compiled_in),
        // Rows that cannot be used changed nothing, and this is how to get rid of them.
        Err(storage::StorageError::Corrupt(_)) => Difference::default(),
        Err(error) => return Err(error.into()),
    };
    if !dry_run && rows > 0 {
        tax_rates::clear(&tx).await?;
        tx.commit().await.map_err(storage::StorageError::from)?;
    }
    let report = Report { dry_run, rows, difference };
    context.output.show(&report, || report.text("taken away"))
}

async fn show(context: &Context, country: CountryCode, subdivision: Option<&str>, date: Option<&str>) -> Result<(), Failure> {
    let today = rfc3339(SystemClock::new().now().unix_ms);
    let date = parse_date(date.unwrap_or(&today[..10])).map_err(|error| Failure::usage(error.to_string()))?;
    let table = tax_rates::table(&*context.client().await?, &compiled_in()?).await?;
    let rates = table.rates(country, subdivision, date).map_err(|error| Failure::other(error.to_string()))?;
    if context.output.is_json() {
        return context.output.show(&rates, String::new);
    }
    context.output.list(&rates.rates, ["SUBDIVISION", "NAME", "CATEGORY", "PERCENT", "FROM", "UNTIL BEFORE", "AS OF", "SOURCE"], |rate| {
        [
            or_dash(rate.subdivision.as_ref()),
            rate.name(),
            rate.category.as_str().to_owned(),
            rate.percent.to_string(),
            or_dash(rate.period.from()),
            or_dash(rate.period.to()),
            rate.as_of.to_string(),
            rate.source.clone(),
        ]
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::other(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(&error))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(failed(&format!("is larger than {FILE_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| failed(&"is not UTF-8 text"))
}

fn refused(file: &Path, bad: &[BadLine]) -> Failure {
    let shown: String = bad.iter().take(BAD_LINES_SHOWN).map(|bad| format!("\n  {bad}")).collect();
    let more = bad.len().saturating_sub(BAD_LINES_SHOWN);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    Failure::other(format!("{}: nothing was imported:{shown}{more}", file.display()))
}
