//! What SQL is sent by: each statement is prepared once on each connection, because for most of ours parsing and planning cost more than
//! running. The server plans a prepared statement anew whenever it has analyzed one of its tables.

use std::future::Future;

use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

/// A connection of the pool, or a transaction on one. `sql` must be one of a bounded number of texts: connections remember them for ever.
pub trait GenericClient: Sync {
    /// Without the memory of statements.
    fn plain(&self) -> &(impl tokio_postgres::GenericClient + Sync);

    /// `sql`, prepared.
    fn prepared(&self, sql: &str) -> impl Future<Output = Result<Statement, Error>> + Send;

    /// All rows.
    fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        async move { tokio_postgres::GenericClient::query(self.plain(), &self.prepared(sql).await?, values).await }
    }

    /// The one row. An error when there is none, or more.
    fn query_one(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> impl Future<Output = Result<Row, Error>> + Send {
        async move { tokio_postgres::GenericClient::query_one(self.plain(), &self.prepared(sql).await?, values).await }
    }

    /// The one row if there is one. An error when there are more.
    fn query_opt(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
        async move { tokio_postgres::GenericClient::query_opt(self.plain(), &self.prepared(sql).await?, values).await }
    }

    /// No rows; how many were touched.
    fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> impl Future<Output = Result<u64, Error>> + Send {
        async move { tokio_postgres::GenericClient::execute(self.plain(), &self.prepared(sql).await?, values).await }
    }
}

impl GenericClient for ClientWrapper {
    fn plain(&self) -> &(impl tokio_postgres::GenericClient + Sync) {
        &**self
    }

    fn prepared(&self, sql: &str) -> impl Future<Output = Result<Statement, Error>> + Send {
        self.prepare_cached(sql)
    }
}

impl GenericClient for Transaction<'_> {
    fn plain(&self) -> &(impl tokio_postgres::GenericClient + Sync) {
        &**self
    }

    fn prepared(&self, sql: &str) -> impl Future<Output = Result<Statement, Error>> + Send {
        self.prepare_cached(sql)
    }
}
