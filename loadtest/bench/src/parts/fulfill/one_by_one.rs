//! The same orders made by pgbench, which comes with Postgres: what there would be to gain if nothing were in between, and nothing batched.
//!
//! One transaction an order, with the statements by which the worker changes tables for one, on values as long as the worker's. What the worker
//! reads besides (the catalogue) is left out, and so is all sealing and hashing. Statements are prepared, and as many clients as the worker
//! may have connections keep Postgres busy.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use common::cart::{Line, Sku};
use common::event::{EventBody, EventKind};
use common::fulfill::FulfillRequest;
use common::ids::OrderId;
use common::job::NewOrder;
use common::mode::Mode;
use testkit::process::Launch;
use testkit::servers::Kind;
use uuid::Uuid;

use crate::system::Servers;

/// Sessions that make orders at once.
pub(super) const CLIENTS: usize = 16;

/// The worker's ids grow with time, and so do these.
const SCRIPT: &str = "
\\set number :number + 1
\\set place random(0, :stores - 1)
\\set store :first_id + :place
begin;
insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, currency, total_minor, customer_email, status)
    values ('ORD-' || lpad(to_hex((extract(epoch from clock_timestamp()) * 1000000)::bigint), 13, '0') || lpad(cast(:client_id as text), 3, '0'),
            :store, true, concat_ws('-', cast(:run as text), cast(:client_id as text), cast(:number as text)), null,
            sha256('a request'), null, null, 'you@example.org', 'fulfilled')
    on conflict do nothing returning id as order_id \\gset
with taken as materialized (
    select id from license_keys where product_id = :store and live = true order by id limit 1 for update skip locked)
    delete from license_keys where id in (select id from taken) returning id as key_id, sealed \\gset
insert into order_items (order_id, line, product_id, sku, quantity) values (:order_id, 0, :store, 'WIN-11-PRO', 1);
insert into order_keys (order_id, line, position, license_key_id, sealed) values (:order_id, 0, 0, :key_id, :sealed);
insert into events (id, store_id, live, order_id, sequence, kind, body)
    select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000000)::bigint), 16, '0')
                || lpad(to_hex((random() * 9e18)::bigint), 16, '0'))::uuid, :store, true, :order_id, sequence, kind, body
    from (values (1, 'order.created', cast(:created as text)), (2, 'order.fulfilled', cast(:fulfilled as text))) as event (sequence, kind, body);
commit;
";

/// pgbench, ready to run.
pub(super) struct OneByOne {
    launch: Launch,
    script: PathBuf,
}

impl OneByOne {
    /// The ids of stores, and of their products, are so many from `first_id` on.
    pub(super) fn prepare(servers: &Servers, first_id: i64, stores: usize) -> Result<Self> {
        // Where the account that runs Postgres' programs can read it.
        let script = servers.binaries.host().home().join(format!("bench-{}.sql", std::process::id()));
        std::fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
        let order = sample()?;
        let body = |kind| EventBody::of_fulfillment(kind, &order, Uuid::nil(), "2026-11-22T12:00:00Z").to_json();
        let threads = 2;
        let launch = servers
            .binaries
            .tool(Kind::Postgres, "pgbench")?
            .env("PGPASSWORD", servers.postgres.password())
            .args(["--no-vacuum", "--protocol=prepared", "--host=127.0.0.1", "--username=anonymouspay"])
            .arg(format!("--port={}", servers.postgres.port()))
            .arg(format!("--client={CLIENTS}"))
            .arg(format!("--jobs={threads}"))
            .arg(format!("--define=first_id={first_id}"))
            .arg(format!("--define=stores={stores}"))
            .arg("--define=number=0")
            .arg(format!("--define=created={}", body(EventKind::Created)))
            .arg(format!("--define=fulfilled={}", body(EventKind::Fulfilled)));
        let launch = launch.arg(format!("--file={}", script.display()));
        Ok(Self { launch, script })
    }

    /// Makes so many orders. Returns how many a second, without connecting.
    pub(super) fn run(&self, round: usize, orders: usize) -> Result<f64> {
        let each = orders / CLIENTS;
        let launch = self.launch.clone().arg(format!("--define=run=round-{round}")).arg(format!("--transactions={each}"));
        let said = launch.arg("postgres").must_succeed()?;
        rate(&said, each * CLIENTS)
    }
}

impl Drop for OneByOne {
    fn drop(&mut self) {
        // What stays behind is a kilobyte below `target/`.
        let _ = std::fs::remove_file(&self.script);
    }
}

/// What pgbench reports, if it made all of the orders.
fn rate(said: &str, orders: usize) -> Result<f64> {
    let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    let processed = line("number of transactions actually processed:").context("pgbench tells no number of transactions")?;
    ensure!(processed == format!("{orders}/{orders}"), "pgbench made {processed} orders:\n{said}");
    let tps = line("tps =").and_then(|tps| tps.split_whitespace().next()?.parse().ok());
    tps.with_context(|| format!("pgbench tells no rate:\n{said}"))
}

/// An order as the load asks for it.
fn sample() -> Result<NewOrder> {
    let request = FulfillRequest {
        customer_email: "you@example.org".into(),
        items: vec![Line { sku: Sku::parse("WIN-11-PRO")?, quantity: 1 }],
        external_reference: "000000000000".into(),
        currency: None,
        total_minor: None,
    };
    Ok(NewOrder {
        order_id: OrderId::new(1_772_452_800_250, 0),
        store_id: 1,
        mode: Mode::Live,
        idempotency_key: None,
        request,
        trace: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_only_when_all_orders_were_made() {
        let said =
            |made| format!("number of transactions actually processed: {made}/320\ntps = 7100.5 (without initial connection time)\n");
        assert_eq!(rate(&said(320), 320).unwrap(), 7100.5);
        assert!(rate(&said(319), 320).is_err());
        assert!(rate("", 320).is_err());
    }
}
