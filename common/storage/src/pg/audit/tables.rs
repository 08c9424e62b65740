//! Checks that Postgres makes by itself, over whole tables. One entry each: what must hold, and the query for what does not. A query gives
//! one column, the violation in words. Indexes are not used: what a damaged one hides would stay hidden. So every query must be one that
//! reads each table a fixed number of times (joins that can be hashed, no conditions with `or` between subqueries).

use common::event::EventKind;
use common::order::{Allocated, OrderStatus};

use super::{Audit, Check, EXAMPLES_MAX, Figures, Moment, StorageError, count};

/// A check that is a query.
struct TableCheck {
    name: &'static str,
    statement: &'static str,
    /// How many rows the query looks at.
    examined: fn(&Figures) -> u64,
    violations: String,
}

impl Audit<'_> {
    /// Makes all checks of this file.
    pub(super) async fn tables(&self) -> Result<Vec<Check>, StorageError> {
        // No nested loops: a planner without statistics, as after a crash, takes a large table for a small one, and would read it once a row.
        self.switch("off").await?;
        let mut checks = Vec::new();
        for TableCheck { name, statement, examined, violations } in all(self.moment) {
            self.say(&format!("checking {name}"));
            let sql = format!(
                "with violations (example) as materialized ({violations})
                 select (select count(*) from violations), array(select example from violations order by 1 limit {EXAMPLES_MAX})"
            );
            let row = self.tx.query_one(&sql, &[]).await?;
            let mut check = Check::new(name, statement);
            check.examined = examined(&self.figures);
            row.get::<_, Vec<String>>(1).into_iter().for_each(|example| check.violated(|| example));
            check.violations = count(row.get(0));
            checks.push(check);
        }
        self.switch("on").await?;
        Ok(checks)
    }

    async fn switch(&self, how: &str) -> Result<(), StorageError> {
        let ways = ["indexscan", "indexonlyscan", "bitmapscan", "nestloop"];
        let sql: String = ways.iter().map(|way| format!("set local enable_{way} = {how};")).collect();
        Ok(self.tx.batch_execute(&sql).await?)
    }
}

/// These statuses as a list of SQL.
fn statuses(which: impl Fn(OrderStatus) -> bool) -> String {
    let names: Vec<String> = OrderStatus::ALL.into_iter().filter(|status| which(*status)).map(|status| format!("'{status}'")).collect();
    names.join(", ")
}

/// Whether an order has items while it stands here. What is still to be worked on, or was never sold, is only a request.
fn has_items(status: OrderStatus) -> bool {
    !matches!(status, OrderStatus::Processing | OrderStatus::Failed)
}

/// What makes a row one of its kind: the promises that Postgres keeps, by the table and the columns of each unique index.
const UNIQUE_INDEXES: &str = "
    ('orders', 'id'), ('orders', 'store_id, live, external_reference'), ('orders', 'store_id, live, idempotency_key'),
    ('order_items', 'order_id, line'), ('order_keys', 'order_id, line, position'), ('order_keys', 'license_key_id'),
    ('license_keys', 'id'), ('held_license_keys', 'id'), ('license_digests', 'store_id, live, digest'),
    ('events', 'id'), ('events', 'order_id, sequence'), ('webhook_endpoints', 'id'), ('webhook_deliveries', 'id'),
    ('webhook_attempts', 'delivery_id, attempt'), ('carts', 'id'), ('carts', 'store_id, live, session_id'), ('carts', 'order_id'),
    ('accounts', 'email'), ('memberships', 'account_id, store_id'), ('account_invites', 'digest'), ('portal_sessions', 'digest')";

fn all(moment: Moment) -> Vec<TableCheck> {
    let mut checks = licenses();
    checks.extend(orders());
    checks.extend(webhooks());
    checks.extend(bookkeeping());
    if moment == Moment::AtRest {
        checks.push(TableCheck {
            name: "nothing_left_to_do",
            statement: "No order waits to be worked on.",
            examined: Figures::orders_in_all,
            violations: "select format('order %s of store %s is processing since %s', left(id, 40), store_id, created_at)
                         from orders where status = 'processing'"
                .into(),
        });
    }
    checks
}

fn licenses() -> Vec<TableCheck> {
    vec![
        TableCheck {
            name: "license_key_places",
            statement: "A license key lies in one place: free in stock, held, or in one order.",
            examined: Figures::license_keys_in_all,
            violations: "select format('license key %s lies in %s', id, string_agg(place, ' and in ' order by place))
                         from (select id, 'stock' as place from license_keys
                               union all select id, 'held stock' from held_license_keys
                               union all select license_key_id, 'order ' || left(order_id, 40) from order_keys) places
                         group by id having count(*) > 1"
                .into(),
        },
        TableCheck {
            name: "license_digest_rows",
            statement: "A digest is kept once per store and mode.",
            examined: |figures| figures.license_digests,
            violations:
                "select format('store %s, %s: one digest is kept %s times', store_id, case when live then 'live' else 'test' end, count(*))
                         from license_digests group by store_id, live, digest having count(*) > 1"
                    .into(),
        },
        TableCheck {
            name: "license_key_balance",
            statement: "In every store and mode there are as many license keys, free, held and sold, as were loaded or made.",
            examined: |figures| figures.license_digests,
            violations: "with places as (
                             select p.store_id, k.live, 'free' as place from license_keys k join products p on p.id = k.product_id
                             union all
                             select p.store_id, k.live, 'held' from held_license_keys k join products p on p.id = k.product_id
                             union all
                             select o.store_id, o.live, 'sold' from order_keys k join orders o on o.id = k.order_id),
                         there as (
                             select store_id, live, count(*) as all_of_them, count(*) filter (where place = 'free') as free,
                                    count(*) filter (where place = 'held') as held, count(*) filter (where place = 'sold') as sold
                             from places group by 1, 2),
                         loaded as (select store_id, live, count(*) as loaded from license_digests group by 1, 2)
                         select format('store %s, %s: %s license keys were loaded or made, and %s are there (%s free, %s held, %s sold)',
                                       store_id, case when live then 'live' else 'test' end, coalesce(loaded, 0), coalesce(all_of_them, 0),
                                       coalesce(free, 0), coalesce(held, 0), coalesce(sold, 0))
                         from there full join loaded using (store_id, live) where loaded is distinct from all_of_them"
                .into(),
        },
    ]
}

fn orders() -> Vec<TableCheck> {
    let without_items = statuses(|status| !has_items(status));
    let with_items = statuses(has_items);
    let allocated = |allocated| statuses(move |status| status.allocated() == allocated);
    let (nothing, everything) = (allocated(Allocated::Nothing), allocated(Allocated::Everything));
    vec![
        TableCheck {
            name: "order_ids",
            statement: "An order's id is well-formed and nobody else's.",
            examined: Figures::orders_in_all,
            violations: "select format('%s orders have the id %s', count(*), quote_literal(left(id, 40))) from orders
                         group by id having count(*) > 1 or id !~ '^ORD-[0-9A-HJKMNP-TV-Z]{18}$'"
                .into(),
        },
        TableCheck {
            name: "order_references",
            statement: "An external reference has at most one order that has not failed, per store and mode.",
            examined: Figures::orders_in_all,
            violations: shared("external_reference", "external reference"),
        },
        TableCheck {
            name: "order_idempotency_keys",
            statement: "An idempotency key has at most one order that has not failed, per store and mode.",
            examined: Figures::orders_in_all,
            violations: shared("idempotency_key", "idempotency key"),
        },
        TableCheck {
            name: "order_statuses",
            statement: "An order's status is one that this version knows.",
            examined: Figures::orders_in_all,
            violations: format!(
                "select format('order %s has the status %s', left(id, 40), quote_literal(left(status, 40))) from orders
                 where status not in ({})",
                statuses(|_| true)
            ),
        },
        TableCheck {
            name: "failed_orders",
            statement: "An order that failed says why, and no other does.",
            examined: Figures::orders_in_all,
            violations: "select format('order %s is %s and has %s error code', left(id, 40), left(status, 40),
                                       case when error_code is null then 'no' else 'an' end)
                         from orders where (status = 'failed') <> (coalesce(error_code, '') <> '')"
                .into(),
        },
        TableCheck {
            name: "work_in_progress",
            statement: "Only an order that is being processed has a sealed request, a time of its next attempt and counted starts.",
            examined: Figures::orders_in_all,
            violations: "select format('order %s is %s and still has%s%s%s', left(id, 40), left(status, 40),
                                       case when sealed_request is not null then ' a sealed request' end,
                                       case when next_attempt_at is not null then ' a next attempt' end,
                                       case when starts <> 0 then ' counted starts' end)
                         from orders
                         where status <> 'processing' and (sealed_request is not null or next_attempt_at is not null or starts <> 0)"
                .into(),
        },
        TableCheck {
            name: "order_items",
            statement: "An order has its items, numbered from 0 without a gap, once it is more than a request, and none before.",
            examined: Figures::orders_in_all,
            violations: format!(
                "select format('order %s is %s and has %s items%s', left(o.id, 40), o.status, coalesce(i.items, 0),
                               case when i.first <> 0 or i.last <> i.items - 1 then ', wrongly numbered' when i.fewest < 1 then ', one of no pieces' end)
                 from orders o left join (
                     select order_id, count(*) as items, min(line) as first, max(line) as last, min(quantity) as fewest
                     from order_items group by 1) i on i.order_id = o.id
                 where o.status in ({without_items}) and i.items is not null
                    or o.status in ({with_items}) and (i.items is null or i.first <> 0 or i.last <> i.items - 1 or i.fewest < 1)"
            ),
        },
        TableCheck {
            name: "order_keys",
            statement: "An order holds as many license keys as its items say if it stands fulfilled, all of them or none after that, and none before.",
            examined: |figures| figures.order_items,
            violations: format!(
                "with held as (
                     select order_id, line, count(*) as keys, min(position) as first, max(position) as last from order_keys group by 1, 2),
                 sold as (
                     select i.order_id, sum(i.quantity) as pieces, coalesce(sum(h.keys), 0) as keys,
                            bool_and(coalesce(h.keys, 0) = i.quantity and coalesce(h.first = 0 and h.last = h.keys - 1, true)) as complete
                     from order_items i left join held h on h.order_id = i.order_id and h.line = i.line group by 1)
                 select format('order %s is %s, sells %s pieces and holds %s license keys%s', left(o.id, 40), o.status, s.pieces, s.keys,
                               case when s.keys = s.pieces and not s.complete then ', not as its items say' end)
                 from orders o join sold s on s.order_id = o.id
                 where case when o.status in ({nothing}) then s.keys > 0
                            when o.status in ({everything}) then not s.complete
                            else s.keys > 0 and not s.complete end"
            ),
        },
        TableCheck {
            name: "fulfilled_events",
            statement: "Exactly the orders that hold license keys have told so, with order.fulfilled.",
            examined: |figures| figures.license_keys_sold + figures.events,
            violations: "select case when told.order_id is null then format('order %s holds license keys and never told so', left(held.order_id, 40))
                                     else format('order %s told that it is fulfilled and holds no license key', left(told.order_id, 40)) end
                         from (select distinct order_id from order_keys) held
                         full join (select distinct order_id from events where kind = 'order.fulfilled') told on told.order_id = held.order_id
                         where held.order_id is null or told.order_id is null"
                .into(),
        },
        TableCheck {
            name: "order_totals",
            statement: "The total of an order of the hosted pages is what its customer's tax quote adds up to, in the same currency.",
            examined: Figures::orders_in_all,
            violations: "select format('order %s has a quote and no row', left(c.order_id, 40))
                         from order_checkouts c where not exists (select from orders o where o.id = c.order_id)
                         union all
                         select format('order %s asks for %s %s, and its quote says %s %s', left(o.id, 40), o.total_minor, left(o.currency, 3),
                                       left(c.tax_quote ->> 'gross_minor', 20), left(c.tax_quote ->> 'currency', 3))
                         from order_checkouts c join orders o on o.id = c.order_id
                         where (c.tax_quote ->> 'gross_minor', c.tax_quote ->> 'currency') is distinct from (o.total_minor::text, o.currency)"
                .into(),
        },
        TableCheck {
            name: "order_parts",
            statement: "Items and events belong to an order that exists, and sold license keys to an item that exists.",
            examined: |figures| figures.order_items + figures.license_keys_sold + figures.events,
            violations: format!(
                "select format('item %s of order %s has no order', i.line, left(i.order_id, 40))
                         from order_items i where not exists (select from orders o where o.id = i.order_id)
                         union all
                         select format('event %s of order %s has no order', e.id, left(e.order_id, 40))
                         from events e where e.kind <> '{test}' and not exists (select from orders o where o.id = e.order_id)
                         union all
                         select format('license key %s is sold by item %s of order %s, which does not exist', k.license_key_id, k.line, left(k.order_id, 40))
                         from order_keys k left join order_items i on i.order_id = k.order_id and i.line = k.line
                                           left join orders o on o.id = k.order_id
                         where i.order_id is null or o.id is null",
                test = EventKind::Test.as_str()
            ),
        },
        TableCheck {
            name: "order_stores",
            statement: "An order belongs to a store that exists, and its items are products of that store.",
            examined: |figures| figures.orders_in_all() + figures.order_items,
            violations: "select format('order %s belongs to store %s, which does not exist', left(o.id, 40), o.store_id)
                         from orders o where not exists (select from stores s where s.id = o.store_id)
                         union all
                         select format('item %s of order %s is product %s, which store %s does not have', i.line, left(o.id, 40), i.product_id, o.store_id)
                         from order_items i join orders o on o.id = i.order_id
                         where not exists (select from products p where p.id = i.product_id and p.store_id = o.store_id)"
                .into(),
        },
    ]
}

/// Orders of one store and mode, failed ones left out, that share a value. The value itself is the partner's and is not told.
fn shared(column: &str, what: &str) -> String {
    format!(
        "select format('store %s, %s: one {what} has %s orders: %s', store_id, case when live then 'live' else 'test' end, count(*),
                       string_agg(left(id, 40), ', ' order by id))
         from orders where status <> 'failed' and {column} is not null group by store_id, live, {column} having count(*) > 1"
    )
}

fn webhooks() -> Vec<TableCheck> {
    vec![
        TableCheck {
            name: "delivery_events",
            statement: "A delivery tells of an event that exists, to an endpoint of its store and mode as long as there is one, once.",
            examined: |figures| figures.webhook_deliveries,
            violations: "select format('delivery %s tells of event %s, which does not exist', d.id, d.event_id)
                         from webhook_deliveries d where not exists (select from events e where e.id = d.event_id)
                         union all
                         select format('delivery %s of event %s goes to endpoint %s, which is of another store or mode', d.id, e.id, w.id)
                         from webhook_deliveries d join events e on e.id = d.event_id join webhook_endpoints w on w.id = d.endpoint_id
                         where (w.store_id, w.live) <> (e.store_id, e.live)
                         union all
                         select format('event %s has %s deliveries to endpoint %s', event_id, count(*), endpoint_id)
                         from webhook_deliveries group by event_id, endpoint_id having count(*) > 1"
                .into(),
        },
        TableCheck {
            name: "delivery_attempts",
            statement: "No more attempts are kept of a delivery than were begun, and what was delivered has one that a server took.",
            examined: |figures| figures.webhook_deliveries,
            violations: "with kept as (select delivery_id, max(attempt) as last, bool_or(status between 200 and 299) as taken
                                       from webhook_attempts group by 1)
                         select format('attempts of delivery %s are kept, which does not exist', kept.delivery_id)
                         from kept where not exists (select from webhook_deliveries d where d.id = kept.delivery_id)
                         union all
                         select format('attempt %s of delivery %s is kept, and %s were begun', kept.last, d.id, d.attempts)
                         from webhook_deliveries d join kept on kept.delivery_id = d.id where kept.last > d.attempts
                         union all
                         select format('delivery %s is delivered, and no attempt of it was taken', d.id)
                         from webhook_deliveries d left join kept on kept.delivery_id = d.id
                         where d.status = 'delivered' and not coalesce(kept.taken, false)"
                .into(),
        },
    ]
}

fn bookkeeping() -> Vec<TableCheck> {
    vec![
        // Of a cart's id no more is told than finds it again: whoever knows it all is halfway into the cart.
        TableCheck {
            name: "cart_orders",
            statement: "What a cart has become is an order of its own store and mode, and no other cart's.",
            examined: |figures| figures.carts,
            violations: "select format('cart %s… of store %s has become order %s, which is not there', left(c.id, 8), c.store_id, left(c.order_id, 40))
                         from carts c left join orders o on o.id = c.order_id and o.store_id = c.store_id and o.live = c.live
                         where c.order_id is not null and o.id is null
                         union all
                         select format('%s carts have become order %s', count(*), left(order_id, 40))
                         from carts where order_id is not null group by order_id having count(*) > 1"
                .into(),
        },
        // An account is told by its id: its address is a person's.
        TableCheck {
            name: "portal_accounts",
            statement: "Each account is one address in lower case, with argon2id of a password or none; roles, links and sessions are of accounts \
                        and stores that are there, and no session goes on after its end.",
            examined: |figures| figures.accounts,
            violations: "select format('account %s has an address with capitals', id) from accounts where email <> lower(email)
                         union all
                         select format('account %s has a password that is not kept as argon2id', id) from accounts
                         where password_hash not like '$argon2id$%'
                         union all
                         select format('account %s, store %s: a role of what is not there', m.account_id, m.store_id)
                         from memberships m left join accounts a on a.id = m.account_id left join stores s on s.id = m.store_id
                         where a.id is null or s.id is null
                         union all
                         select format('account %s is not there, and has a link that sets its password', i.account_id)
                         from account_invites i left join accounts a on a.id = i.account_id where a.id is null
                         union all
                         select format('account %s is not there, and has a session', s.account_id)
                         from portal_sessions s left join accounts a on a.id = s.account_id where a.id is null
                         union all
                         select format('account %s has a session that was seen after its end', account_id) from portal_sessions
                         where seen_at > expires_at or expires_at < created_at"
                .into(),
        },
        TableCheck {
            name: "unique_indexes",
            statement: "The unique indexes that keep orders, license keys, events, carts and accounts apart are there and in force.",
            examined: |_| UNIQUE_INDEXES.matches('(').count() as u64,
            violations: format!(
                "select format('%s has no valid unique index on (%s): restore it, as the migrations have it', wanted.of, wanted.columns)
                 from (values {UNIQUE_INDEXES}) wanted (of, columns)
                 where not exists (
                     select from pg_index i where i.indrelid = wanted.of::regclass and i.indisunique and i.indisvalid and i.indisready
                       and wanted.columns = (
                           select string_agg(a.attname, ', ' order by k.place) from unnest(i.indkey::smallint[]) with ordinality k (number, place)
                           join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number))"
            ),
        },
        TableCheck {
            name: "id_sequences",
            statement: "No row has an id that its sequence has yet to give out.",
            examined: |_| 7,
            violations: "select format('%s has id %s, and its sequence stands at %s', name, highest, coalesce(given, 0))
                         from (select 'stores' as name, max(id) as highest, pg_sequence_last_value(pg_get_serial_sequence('stores', 'id')) as given from stores
                               union all
                               select 'api_keys', max(id), pg_sequence_last_value(pg_get_serial_sequence('api_keys', 'id')) from api_keys
                               union all
                               select 'products', max(id), pg_sequence_last_value(pg_get_serial_sequence('products', 'id')) from products
                               union all
                               select 'accounts', max(id), pg_sequence_last_value(pg_get_serial_sequence('accounts', 'id')) from accounts
                               union all
                               select 'audit_log', max(id), pg_sequence_last_value(pg_get_serial_sequence('audit_log', 'id')) from audit_log
                               union all
                               select 'webhook_deliveries', max(id), pg_sequence_last_value(pg_get_serial_sequence('webhook_deliveries', 'id'))
                               from webhook_deliveries
                               union all
                               select 'changes', max(id), pg_sequence_last_value(pg_get_serial_sequence('changes', 'id')) from changes) ids
                         where highest > coalesce(given, 0)"
                .into(),
        },
        TableCheck {
            name: "edges_behind_the_feed",
            statement: "No edge has applied a change that the change feed has yet to give out.",
            examined: |figures| figures.edges,
            violations: "select format('edge %s has applied change %s, and the feed ends at %s: restart that edge', left(id, 60), applied_change_id, ends)
                         from edges, (select coalesce(pg_sequence_last_value(pg_get_serial_sequence('changes', 'id')), 0) as ends) feed
                         where applied_change_id > ends"
                .into(),
        },
    ]
}
