//! Reads what is in Postgres, for [`crate::judge`]. Before the run it has Postgres note every change of a status, which the platform
//! itself has no use for.

use std::collections::HashMap;

use anyhow::{Context, Result};
use common::order::OrderStatus;
use common::seal::Sealer;
use storage::Pg;
use storage::pg::order_items::{self, SoldKey};

use crate::judge::{TrueOrder, Truth};

/// Has every change of an order's status noted from now on.
pub async fn note_moves(pg: &Pg) -> Result<()> {
    let sql = "create table chaos_moves (id bigint generated always as identity, order_id text not null, was text not null, is_now text not null);
        create function chaos_note_move() returns trigger language plpgsql security definer as $$
            begin
                insert into chaos_moves (order_id, was, is_now) values (new.id, old.status, new.status);
                return null;
            end $$;
        create trigger chaos_note_move after update of status on orders for each row
            when (old.status is distinct from new.status) execute function chaos_note_move()";
    Ok(pg.client().await?.batch_execute(sql).await?)
}

/// Reads all orders of these stores, license keys opened, and the moves that were noted.
pub async fn read(pg: &Pg, store_ids: &[i64], sealer: &Sealer) -> Result<Truth> {
    let client = pg.client().await?;
    let place: HashMap<i64, usize> = store_ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
    let mut truth = Truth::default();
    let mut store_of = HashMap::new();
    let sql = "select id, store_id, coalesce(external_reference, ''), status from orders where store_id = any($1)";
    for row in client.query(sql, &[&store_ids]).await? {
        let (id, store_id, reference, status): (String, i64, String, String) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let store = *place.get(&store_id).with_context(|| format!("{id} is of a store that this run did not make"))?;
        store_of.insert(id.clone(), store_id);
        truth.orders.insert(id, TrueOrder { store, reference, status: status.parse()?, license_keys: Vec::new() });
    }
    let keys = client
        .query(
            "select i.order_id, i.product_id, k.license_key_id, k.sealed from order_items i
             join order_keys k on k.order_id = i.order_id and k.line = i.line join orders o on o.id = i.order_id
             where o.store_id = any($1) order by i.order_id, i.line, k.position",
            &[&store_ids],
        )
        .await?;
    for row in keys {
        let (id, product_id): (String, i64) = (row.get(0), row.get(1));
        let (Some(order), Some(&store_id)) = (truth.orders.get_mut(&id), store_of.get(&id)) else {
            anyhow::bail!("there are license keys of {id}, which is not there");
        };
        let key = order_items::open(sealer, store_id, product_id, &SoldKey { id: row.get(2), sealed: row.get(3) })?;
        order.license_keys.push(key.expose().to_owned());
    }
    for row in client.query("select order_id, was, is_now from chaos_moves order by id", &[]).await? {
        let status = |text: &str| text.parse::<OrderStatus>().with_context(|| format!("a status {text:?}"));
        truth.moves.push((row.get(0), status(row.get(1))?, status(row.get(2))?));
    }
    Ok(truth)
}
