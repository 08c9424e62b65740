//! The tax rates that operators lay over the compiled-in ones, batch over batch: one batch is one imported file. They are never changed,
//! never pruned, and only taken away all at once.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use common::geo::CountryCode;
use common::tax::{Category, Percent, Period, Stacking, TaxRate, TaxTable, TaxType, parse_date};
use tokio_postgres::Row;

use super::changes::{self, ChangeKind};
use super::{GenericClient, StorageError};

/// The most rows of all batches together. Every edge and worker keeps them in memory.
pub const ROWS_MAX: i64 = 5_000;

fn read(row: &Row) -> Result<TaxRate, String> {
    let day = |text: &str| parse_date(text).map_err(|error| error.to_string());
    let optional_day = |column| row.get::<_, Option<&str>>(column).map(day).transpose();
    let word = |column| row.get::<_, &str>(column);
    let unknown = |column| format!("{:?} is not a word of this version", word(column));
    let ppm = u32::try_from(row.get::<_, i32>(5)).map_err(|error| error.to_string())?;
    Ok(TaxRate {
        country: CountryCode::parse(word(1)).map_err(|error| error.to_string())?,
        subdivision: row.get(2),
        tax: TaxType::parse(word(3)).ok_or_else(|| unknown(3))?,
        category: Category::parse(word(4)).ok_or_else(|| unknown(4))?,
        percent: Percent::from_ppm(ppm).map_err(|error| error.to_string())?,
        period: Period::new(optional_day(6)?, optional_day(7)?).map_err(|error| error.to_string())?,
        stacking: Stacking::parse(word(8)).ok_or_else(|| unknown(8))?,
        source: row.get(9),
        as_of: day(word(10))?,
    })
}

/// All batches, the oldest, which lies lowest, first.
async fn batches(client: &impl GenericClient) -> Result<Vec<Vec<TaxRate>>, StorageError> {
    let rows = client
        .query(
            "select batch, country, subdivision, tax_type, category, rate_ppm, to_char(valid_from, 'YYYY-MM-DD'),
                    to_char(valid_to, 'YYYY-MM-DD'), stacking, source, to_char(as_of, 'YYYY-MM-DD'), line
             from tax_rates order by batch, line",
            &[],
        )
        .await?;
    let mut batches: BTreeMap<i64, Vec<TaxRate>> = BTreeMap::new();
    for row in &rows {
        let (batch, line) = (row.get(0), row.get::<_, i32>(11));
        let rate = read(row).map_err(|error| StorageError::Corrupt(format!("tax rate {line} of batch {batch}: {error}")))?;
        batches.entry(batch).or_default().push(rate);
    }
    Ok(batches.into_values().collect())
}

/// The compiled-in table with everything on top that operators have imported.
pub async fn table(client: &impl GenericClient, compiled_in: &TaxTable) -> Result<TaxTable, StorageError> {
    let mut table = compiled_in.clone();
    for (index, batch) in batches(client).await?.into_iter().enumerate() {
        let laid = table.with_overrides(batch);
        table = laid.map_err(|error| StorageError::Corrupt(format!("tax rates of import {}: {error}", index + 1)))?;
    }
    Ok(table)
}

/// Keeps other imports waiting until the transaction ends: what is laid on top is checked against what lies there.
pub async fn lock(tx: &impl GenericClient) -> Result<(), StorageError> {
    tx.execute("lock table tax_rates in share row exclusive mode", &[]).await?;
    Ok(())
}

/// How many rows there are.
pub async fn count(client: &impl GenericClient) -> Result<i64, StorageError> {
    Ok(client.query_one("select count(*) from tax_rates", &[]).await?.get(0))
}

/// Lays rows on top as one batch, and records the change: the last statements of their transaction, under [`lock`].
pub async fn insert(tx: &impl GenericClient, rates: &[TaxRate]) -> Result<(), StorageError> {
    let column = |of: fn(&TaxRate) -> String| rates.iter().map(of).collect::<Vec<_>>();
    let optional = |of: fn(&TaxRate) -> Option<String>| rates.iter().map(of).collect::<Vec<_>>();
    let ppm: Vec<i32> = rates.iter().map(|rate| rate.percent.ppm() as i32).collect();
    let row = tx
        .query_one(
            "with batch as (select coalesce(max(batch), 0) + 1 as id from tax_rates),
                  laid as (
                      insert into tax_rates (batch, line, country, subdivision, tax_type, category, rate_ppm, valid_from, valid_to,
                                             stacking, source, as_of)
                      select batch.id, line, country, subdivision, tax_type, category, rate_ppm, valid_from::date, valid_to::date,
                             stacking, source, as_of::date
                      from batch, unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[],
                                         $9::text[], $10::text[]) with ordinality
                           as of (country, subdivision, tax_type, category, rate_ppm, valid_from, valid_to, stacking, source, as_of, line))
             select id from batch",
            &[
                &column(|rate| rate.country.to_string()),
                &optional(|rate| rate.subdivision.clone()),
                &column(|rate| rate.tax.as_str().to_owned()),
                &column(|rate| rate.category.as_str().to_owned()),
                &ppm,
                &optional(|rate| rate.period.from().map(|day| day.to_string())),
                &optional(|rate| rate.period.to().map(|day| day.to_string())),
                &column(|rate| rate.stacking.as_str().to_owned()),
                &column(|rate| rate.source.clone()),
                &column(|rate| rate.as_of.to_string()),
            ],
        )
        .await?;
    changes::record(tx, ChangeKind::Tax, row.get(0)).await?;
    Ok(())
}

/// Takes all batches away, and records the change: the last statements of their transaction, under [`lock`]. Returns how many rows went.
pub async fn clear(tx: &impl GenericClient) -> Result<u64, StorageError> {
    let gone = tx.execute("delete from tax_rates", &[]).await?;
    changes::record(tx, ChangeKind::Tax, 0).await?;
    Ok(gone)
}

/// The table as edges and workers hold it in memory: loaded at the start and again whenever the feed tells of a change.
#[derive(Debug)]
pub struct LiveTable {
    compiled_in: TaxTable,
    now: RwLock<Option<Arc<TaxTable>>>,
}

impl LiveTable {
    /// Not loaded yet.
    pub fn new(compiled_in: TaxTable) -> Self {
        Self { compiled_in, now: RwLock::default() }
    }

    /// What holds, as last loaded. `None` before: without what operators have laid on top, rates would be a guess.
    pub fn table(&self) -> Option<Arc<TaxTable>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads it anew. Rows that cannot be used change nothing, and keep nothing else from being loaded: they are an error in the log.
    pub async fn load(&self, client: &impl GenericClient) -> Result<(), StorageError> {
        match table(client, &self.compiled_in).await {
            Ok(table) => *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table)),
            Err(StorageError::Corrupt(error)) => {
                tracing::error!(error, "tax rates that cannot be used; `worker tax refresh` takes away what was imported");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
