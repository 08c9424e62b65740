//! Looking orders up as a partner does: by whatever is known of one, and a page at a time. Every way has an index behind it, so that a page
//! of a store with a million orders costs what a page of a small one does.

use common::ids::OrderId;
use common::mode::Mode;
use common::order::{Order, OrderStatus};
use tokio_postgres::types::ToSql;

use super::{COLUMNS, read};
use crate::pg::{GenericClient, StorageError};

/// Which orders are looked for.
#[derive(Debug, Clone)]
pub struct Search<'s> {
    /// Whose.
    pub store_id: i64,
    /// Live or test.
    pub mode: Mode,
    /// An order's id, its reference or its customer's e-mail address: the whole of it, the address in any case.
    pub text: Option<&'s str>,
    /// Only in this status.
    pub status: Option<OrderStatus>,
    /// Only older than this one.
    pub starting_after: Option<&'s OrderId>,
    /// Only from this one on.
    pub since: Option<&'s OrderId>,
}

/// The orders that are looked for, newest first, at most `limit`.
pub async fn search(client: &impl GenericClient, wanted: &Search<'_>, limit: i64) -> Result<Vec<Order>, StorageError> {
    let live = wanted.mode.is_live();
    let after = wanted.starting_after.map(OrderId::as_str);
    let since = wanted.since.map(OrderId::as_str);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&wanted.store_id, &live, &limit];
    // Only what is asked for is said, and a status in its own letters: some of the indexes know orders of some statuses alone, and a plan
    // for any status could not use them. That makes less than a hundred texts in all.
    let mut only = "store_id = $1 and live = $2".to_owned();
    if let Some(status) = wanted.status {
        only += &format!(" and status = '{status}'");
    }
    if let Some(after) = &after {
        parameters.push(after);
        only += &format!(" and id < ${}", parameters.len());
    }
    if let Some(since) = &since {
        parameters.push(since);
        only += &format!(" and id >= ${}", parameters.len());
    }
    let newest = "order by id desc limit $3";
    let sql = match &wanted.text {
        None => format!("select {COLUMNS} from orders where {only} {newest}"),
        Some(text) => {
            parameters.push(text);
            let text = format!("${}", parameters.len());
            // A look-up for each index: a single condition with `or` would use none.
            let ways = [
                format!("id = upper({text})"),
                format!("external_reference = {text} and status <> 'failed'"),
                format!("external_reference = {text} and status = 'failed'"),
                format!("lower(customer_email) = lower({text})"),
            ];
            let ways = ways.map(|way| format!("(select id from orders where {only} and {way} {newest})")).join(" union ");
            format!("select {COLUMNS} from orders where id in ({ways}) {newest}")
        }
    };
    client.query(&sql, &parameters).await?.iter().map(read).collect()
}

/// One order of a store, whichever its mode.
pub async fn by_id(client: &impl GenericClient, store_id: i64, id: &OrderId) -> Result<Option<Order>, StorageError> {
    let sql = format!("select {} from orders where id = $1 and store_id = $2", COLUMNS);
    client.query_opt(&sql, &[&id.as_str(), &store_id]).await?.as_ref().map(read).transpose()
}
