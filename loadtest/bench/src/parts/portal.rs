//! How long a partner waits for a page of the portal when the store has a hundred thousand orders, a million license keys in stock and a
//! hundred busy API keys: one page at a time, from the request's first byte to the answer's last, over loopback.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use common::ids::OrderId;
use common::mode::Mode;
use common::partner::{Bearer, INVITE, Role, hash_password};
use common::webhook::ids::EndpointId;
use http::Method;
use storage::Pg;
use storage::pg::accounts;
use storage::pg::audit_log::Actor;
use testkit::browser::Browser;
use testkit::http::Client;
use testkit::shop::Shop;

use crate::parts::Plan;
use crate::report::{Good, Promise, Report};
use crate::spread::{Spread, percentile};
use crate::system::Servers;

const EMAIL: &str = "owner@shop.example";
const PASSWORD: &str = "correct horse battery";
/// In the store's catalogue, each with an equal part of the stock.
const PRODUCTS: usize = 50;
const API_KEYS: usize = 100;
/// Between two orders: a hundred thousand of them are 29 days.
const ORDER_EVERY_MS: u64 = 25_000;
/// Orders made in one statement.
const TOGETHER: usize = 10_000;

const PAGE: Promise = Promise {
    what: "a page of the portal, 100,000 orders and 1 M license keys: p99 of the slowest kind",
    good: Good::AtMost,
    must: 20.0,
    glory: 10.0,
    unit: " ms",
    decimals: 1,
};

/// Measures.
pub async fn run(plan: &Plan<'_>) -> Result<Report> {
    let servers = Servers::start(&plan.folder, plan.progress).await?;
    let shop = Shop::open(&servers.pg, "my-store").await?;
    let (orders, keys) = (plan.size(100_000, 2_000), plan.size(1_000_000, 5_000));
    plan.say(format!("portal: making {orders} orders and {keys} license keys"));
    let (which, _) = shop.endpoint(&servers.pg, Mode::Live, "https://partner.example/webhooks").await?;
    let webhook = EndpointId(which.id);
    let middle = fill(&servers.pg, &shop, orders, keys).await?;
    let settings = servers.settings().set("LIMITS__PAGES", "1000000");
    let edge = servers.start_edge(&plan.programs.edge, &settings, None).await?;
    let mut browser = signed_in(&servers.pg, &shop, Client::new(edge.address, false)).await?;

    let store = format!("/portal/stores/{}", shop.slug);
    let product: i64 = servers.pg.client().await?.query_one("select min(id) from products", &[]).await?.get(0);
    let pages = [
        ("stores", "/portal/".to_owned()),
        ("API keys", format!("{store}/keys/")),
        ("orders", format!("{store}/orders/")),
        ("orders, from the middle on", format!("{store}/orders/?after={middle}")),
        ("orders of an address", format!("{store}/orders/?q=Customer-77@example.com")),
        ("orders of a reference", format!("{store}/orders/?q=reference-77")),
        ("orders of a rare status", format!("{store}/orders/?status=refunded")),
        ("orders of a status that none has", format!("{store}/orders/?status=disputed")),
        ("order", format!("{store}/orders/{middle}/")),
        ("products and stock", format!("{store}/products/")),
        ("product", format!("{store}/products/{product}/")),
        ("marketplace tab", format!("{store}/market/")),
        ("usage", format!("{store}/usage/")),
        ("Payments & Commerce", format!("{store}/payments/")),
        ("webhook endpoint and its deliveries", format!("{store}/webhooks/{webhook}/")),
        ("deliveries that were given up", format!("{store}/webhooks/{webhook}/?status=exhausted")),
        ("audit log", format!("{store}/audit-log/")),
        ("audit log, people", format!("{store}/audit-log/?kind=member")),
    ];
    let requests = plan.size(300, 20);
    let mut slowest = Vec::new();
    let mut each: Vec<[Vec<f64>; 2]> = pages.iter().map(|_| Default::default()).collect();
    for round in 0..=plan.rounds {
        let mut worst = 0.0_f64;
        for ((name, address), measured) in pages.iter().zip(&mut each) {
            let mut times_ns = Vec::with_capacity(requests);
            for _ in 0..requests {
                let started = Instant::now();
                let answer = browser.ask(Method::GET, address, &[]).await;
                times_ns.push(u64::try_from(started.elapsed().as_nanos())?);
                ensure!(answer.status == 200, "{name}: {}", answer.status);
            }
            times_ns.sort_unstable();
            let [p50, p99] = [0.5, 0.99].map(|share| percentile(&times_ns, share) as f64 / 1e6);
            // The first round warms up.
            if round > 0 {
                worst = worst.max(p99);
                measured[0].push(p50);
                measured[1].push(p99);
            }
        }
        if round > 0 {
            plan.say(format!("portal {round}/{}: p99 of the slowest kind of page {worst:.1} ms", plan.rounds));
            slowest.push(worst);
        }
    }
    let mut report = Report::default();
    report.measured(PAGE, Spread::of(slowest));
    for ((name, _), [p50, p99]) in pages.iter().zip(each) {
        report.note(format!("portal, {name}: p50 {} ms, p99 {} ms", Spread::of(p50).text(1), Spread::of(p99).text(1)));
    }
    edge.stop()?;
    Ok(report)
}

/// Fills the store, straight into the tables, and returns the order in the middle.
async fn fill(pg: &Pg, shop: &Shop, orders: usize, keys: usize) -> Result<OrderId> {
    let client = pg.client().await?;
    let store_id = shop.store_id;
    let sql = format!(
        "insert into products (store_id, sku, name, source)
             select {store_id}, 'SKU-' || lpad(n::text, 3, '0'), 'Product ' || n, 'pool' from generate_series(1, {PRODUCTS}) n;
         insert into prices (product_id, currency, amount_minor) select id, c, 2999 from products, unnest(array['EUR', 'GBP', 'USD']) c;
         insert into listings (product_id) select id from products where id % 2 = 0;
         insert into license_keys (id, product_id, live, sealed)
             select gen_random_uuid(), (select min(id) from products) + n % {PRODUCTS}, true, sha256(n::text::bytea)
             from generate_series(1, {keys}) n;
         insert into api_keys (store_id, live, name, hint, pepper_id, hash)
             select {store_id}, true, 'key ' || n, 'sk_live_0000', 'p', sha256(n::text::bytea) from generate_series(1, {API_KEYS}) n;
         insert into api_key_usage (key_id, minute, requests, limited)
             select k.id, date_trunc('hour', now()) - make_interval(hours => n), 5400, 2 from api_keys k, generate_series(0, 90 * 24) n"
    );
    client.batch_execute(&sql).await?;
    let now_ms: i64 = client.query_one("select (extract(epoch from now()) * 1000)::bigint", &[]).await?.get(0);
    let now_ms = u64::try_from(now_ms)?;
    let id = |n: usize| OrderId::new(now_ms - n as u64 * ORDER_EVERY_MS, n as u64);
    let sql = "with made as (
                   insert into orders (id, store_id, live, external_reference, fingerprint, status, currency, total_minor, customer_email, created_at)
                   select id, $1, true, 'reference-' || n, sha256(id::bytea), case when n % 5000 = 7 then 'refunded' else 'fulfilled' end,
                          'GBP', 2999, 'customer-' || n % 1000 || '@example.com', now() - make_interval(secs => n * 25)
                   from unnest($2::text[], $3::integer[]) o (id, n) returning id, created_at),
               told as (
                   insert into events (id, store_id, live, order_id, sequence, kind, body, created_at)
                   select gen_random_uuid(), $1, true, id, n, case n when 1 then 'order.created' else 'order.fulfilled' end, '{}', created_at
                   from made, generate_series(1, 2) n)
               insert into order_items (order_id, line, product_id, sku, quantity)
               select m.id, 0, p.id, p.sku, 1 from made m join products p on p.id = (select min(id) from products) + hashtext(m.id) & 31";
    for first in (1..=orders).step_by(TOGETHER) {
        let numbers: Vec<i32> = (first..=orders.min(first + TOGETHER - 1)).map(i32::try_from).collect::<Result<_, _>>()?;
        let ids: Vec<String> = numbers.iter().map(|&n| id(n as usize).as_str().to_owned()).collect();
        client.execute(sql, &[&store_id, &ids, &numbers]).await?;
    }
    // Everything was delivered, but for a few; and as many changes as orders. Then, as the server does by itself, some time.
    let sql = format!(
        "insert into webhook_deliveries (endpoint_id, event_id, order_id, sequence, attempts, status, settled_at, created_at)
             select w.id, e.id, e.order_id, e.sequence, 1, case when hashtext(e.order_id) % 5000 = 7 then 'exhausted' else 'delivered' end,
                    now(), e.created_at from events e join webhook_endpoints w using (store_id);
         insert into audit_log (store_id, actor, what, object)
             select store_id, '{EMAIL}', case row_number() over () % 100 when 0 then 'member.invited' else 'product.changed' end, 'SKU-001'
             from orders"
    );
    client.batch_execute(&sql).await?;
    client.batch_execute("vacuum analyze").await?;
    Ok(id(orders / 2))
}

async fn signed_in(pg: &Pg, shop: &Shop, client: Client) -> Result<Browser> {
    let link = Bearer::new(rand::random());
    accounts::invite(pg, EMAIL, shop.store_id, Role::Owner, &link.digest(INVITE), 3_600.0, Actor::CommandLine).await?;
    let hash = hash_password(PASSWORD, &rand::random());
    pg.client().await?.execute("update accounts set password_hash = $1", &[&hash]).await?;
    let mut browser = Browser::new(client);
    let page = browser.get("/portal/sign-in/").await;
    let page = browser.submit(&page, &[("email", EMAIL), ("password", PASSWORD)]).await;
    ensure!(page.address == "/portal/", "signing in led to {} ({})", page.address, page.status());
    page.between("/portal/stores/", "/").context("the account sees no store")?;
    Ok(browser)
}
