//! The audit: what must always hold, looked for in the data itself. It reads one snapshot, so that a system at work is judged as it stood
//! at one moment; it changes nothing, and it trusts neither indexes nor the code that wrote the rows.
//!
//! No license key, e-mail address or reference is ever told: a violation names orders, license keys by id, and stores.

mod licenses;
mod orders;
mod tables;
mod taxes;

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Portal, Row, Statement};

use super::{Pg, StorageError, Transaction, orders as order_rows, snapshot_transaction};

/// The most violations of one check that are told one by one; the others are only counted.
pub const EXAMPLES_MAX: usize = 20;
/// The longest example, in characters: a damaged row may hold anything.
const EXAMPLE_MAX_CHARS: usize = 300;
/// Rows that are fetched at once.
const PAGE_ROWS: i32 = 1_000;

/// How many rows there are in each table, in the order in which [`Audit::count`] reads them.
const ROWS: &str = "select (select count(*) from stores), (select count(*) from order_items), (select count(*) from events),
                           (select count(*) from license_keys), (select count(*) from held_license_keys), (select count(*) from order_keys),
                           (select count(*) from license_digests), (select count(*) from dead_letters), (select count(*) from edges),
                           (select count(*) from webhook_deliveries), (select count(*) from carts), (select count(*) from accounts)";

/// What the system does while it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It may be working: orders may wait to be completed.
    AtWork,
    /// All work is said to be done, after a drain: an order that waits is a violation.
    AtRest,
}

/// What one audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether everything holds.
    pub ok: bool,
    /// Every check, in the order they were made.
    pub checks: Vec<Check>,
    /// How much there is.
    pub figures: Figures,
}

impl Report {
    /// The checks that found something.
    pub fn violated(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.violations > 0)
    }
}

/// One thing that must hold, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its name, in snake case. Stays the same from version to version.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub statement: &'static str,
    /// Rows that were looked at.
    pub examined: u64,
    /// How often it does not hold.
    pub violations: u64,
    /// The first [`EXAMPLES_MAX`] violations, in words.
    pub examples: Vec<String>,
}

impl Check {
    fn new(name: &'static str, statement: &'static str) -> Self {
        Self { name, statement, examined: 0, violations: 0, examples: Vec::new() }
    }

    fn violated(&mut self, example: impl FnOnce() -> String) {
        self.violations += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example().chars().take(EXAMPLE_MAX_CHARS).collect());
        }
    }
}

/// How much there is, at the moment that was looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Stores.
    pub stores: u64,
    /// Orders, by status.
    pub orders: BTreeMap<String, u64>,
    /// Items of orders.
    pub order_items: u64,
    /// Events.
    pub events: u64,
    /// License keys in stock.
    pub license_keys_free: u64,
    /// License keys that are held: in stock, and not for sale.
    pub license_keys_held: u64,
    /// License keys in orders.
    pub license_keys_sold: u64,
    /// License keys that were ever loaded or made.
    pub license_digests: u64,
    /// Orders that wait to be completed.
    pub processing_orders: u64,
    /// For how long the oldest of them has waited, in seconds.
    pub oldest_processing_s: u64,
    /// Work that was given up.
    pub dead_letters: u64,
    /// Edges that follow the change feed, or did until lately.
    pub edges: u64,
    /// Deliveries of events to endpoints, settled or not.
    pub webhook_deliveries: u64,
    /// Carts of the hosted pages, those that became orders included.
    pub carts: u64,
    /// Accounts of the portal.
    pub accounts: u64,
}

impl Figures {
    fn orders_in_all(&self) -> u64 {
        self.orders.values().sum()
    }

    fn license_keys_in_all(&self) -> u64 {
        self.license_keys_free + self.license_keys_held + self.license_keys_sold
    }
}

/// Looks at everything. `say` is told from time to time how far it has come.
///
/// Takes one connection, reads every table several times, and opens every license key. Memory: eight bytes a license key, and a page of
/// rows. The snapshot keeps Postgres from cleaning up behind updates as long as the audit runs, which a large database feels: audit a
/// replica, or at a quiet hour.
pub async fn run(pg: &Pg, secrets: &config::Secrets, moment: Moment, say: &(dyn Fn(&str) + Sync)) -> Result<Report, StorageError> {
    let mut client = pg.client().await?;
    let tx = snapshot_transaction(&mut client).await?;
    // A whole table may take longer than any request may, a migration keep a reader waiting longer, and opening a page of license keys take
    // longer than a request may pause. All are still bounded, and end with the transaction.
    tx.batch_execute(
        "set local statement_timeout = '1h'; set local lock_timeout = '1min'; set local idle_in_transaction_session_timeout = '10min'",
    )
    .await?;
    let mut audit = Audit { figures: Figures::default(), tx, secrets, moment, say };
    audit.figures = audit.count().await?;
    let mut checks = audit.tables().await?;
    checks.push(audit.taxes().await?);
    checks.extend(audit.licenses().await?);
    checks.push(audit.processing_orders().await?);
    checks.extend(audit.order_events().await?);
    let Audit { figures, tx, .. } = audit;
    tx.rollback().await?;
    Ok(Report { ok: checks.iter().all(|check| check.violations == 0), checks, figures })
}

/// An audit on its way.
struct Audit<'a> {
    tx: Transaction<'a>,
    secrets: &'a config::Secrets,
    moment: Moment,
    say: &'a (dyn Fn(&str) + Sync),
    figures: Figures,
}

impl Audit<'_> {
    fn say(&self, line: &str) {
        (self.say)(line);
    }

    async fn count(&self) -> Result<Figures, StorageError> {
        self.say("counting");
        let by_status = self.tx.query("select status, count(*) from orders group by 1", &[]).await?;
        let (processing, oldest_s) = order_rows::processing_backlog(&self.tx).await?;
        let rows = self.tx.query_one(ROWS, &[]).await?;
        let of = |column: usize| count(rows.get(column));
        Ok(Figures {
            stores: of(0),
            orders: by_status.iter().map(|row| (row.get(0), count(row.get(1)))).collect(),
            order_items: of(1),
            events: of(2),
            license_keys_free: of(3),
            license_keys_held: of(4),
            license_keys_sold: of(5),
            license_digests: of(6),
            processing_orders: count(processing),
            oldest_processing_s: oldest_s.max(0.0) as u64,
            dead_letters: of(7),
            edges: of(8),
            webhook_deliveries: of(9),
            carts: of(10),
            accounts: of(11),
        })
    }

    /// Reads a query page by page, while others may be asked in between.
    async fn pages(&self, sql: &str) -> Result<Pages<'_>, StorageError> {
        Ok(Pages { tx: &self.tx, portal: self.tx.bind(sql, &[]).await?, ended: false })
    }

    /// The first column of all rows.
    async fn column<T>(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<T>, StorageError>
    where
        T: for<'row> FromSql<'row>,
    {
        Ok(self.tx.query(statement, values).await?.iter().map(|row| row.get(0)).collect())
    }
}

/// The rows of a query, [`PAGE_ROWS`] at a time.
struct Pages<'a> {
    tx: &'a Transaction<'a>,
    portal: Portal,
    ended: bool,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Row>>, StorageError> {
        if self.ended {
            return Ok(None);
        }
        let rows = self.tx.query_portal(&self.portal, PAGE_ROWS).await?;
        self.ended = rows.len() < PAGE_ROWS as usize;
        Ok(Some(rows))
    }
}

/// A count as Postgres gives it; never negative.
fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}
