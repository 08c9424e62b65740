//! What an edge and a worker may do in the database, and no more: one line for each table. The rights belong to two roles without login;
//! a process logs in as a member of its role, and operators' commands as the owner of the tables.
//!
//! A right is taken away as a column is: the version before runs beside a migration that takes it, so it goes a version after the last
//! statement that needs it. What is listed here is what statements need, and a test compares it with what the database says.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use super::{Pg, StorageError};

/// A program that works in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The gateway.
    Edge,
    /// `worker run`.
    Worker,
}

impl Role {
    /// Both.
    pub const ALL: [Role; 2] = [Role::Edge, Role::Worker];

    /// What the database calls it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Edge => "anonymouspay_edge",
            Role::Worker => "anonymouspay_worker",
        }
    }
}

/// One privilege: `select`, `insert`, `update` or `delete`, and the columns it is for, separated by commas; none means the whole table.
pub type Right = (&'static str, &'static str);

/// What is allowed on one table.
#[derive(Debug)]
pub struct Rights {
    /// The table.
    pub table: &'static str,
    /// What an edge may do.
    pub edge: &'static [Right],
    /// What a worker may do.
    pub worker: &'static [Right],
}

impl Rights {
    /// What this role may do.
    pub fn of(&self, role: Role) -> &'static [Right] {
        match role {
            Role::Edge => self.edge,
            Role::Worker => self.worker,
        }
    }
}

const NEW_ORDER: &str = "id, store_id, live, external_reference, idempotency_key, fingerprint, currency, total_minor, customer_email, \
                         status, sealed_request, next_attempt_at";

const NEW_CART: &str = "id, store_id, live, session_id, browser, market, currency, locale, metadata, skus, quantities, email";

const CART_CHANGES: &str = "browser, skus, quantities, email, country, subdivision, vat_id, order_id, updated_at";

const ENDPOINT_CHANGES: &str = "url, events, enabled, disabled_reason, failures, failing_since, replay, sealed_secret, \
                                sealed_previous_secret, previous_secret_until, updated_at";

const TAX_RATE: &str = "batch, line, country, subdivision, tax_type, category, rate_ppm, valid_from, valid_to, stacking, source, as_of";

/// All tables. `for update` asks for the right to update some column: where nothing is ever updated, that is the id or the like. Rows
/// that are reached by their `ctid` ask for the right to read the whole table.
pub const RIGHTS: [Rights; 31] = [
    Rights {
        table: "stores",
        edge: &[
            (
                "select",
                "id, slug, name, licensing, country, prices_include_tax, revoke_when_refunded, suspend_while_disputed, return_hosts",
            ),
            // The portal changes these. Whether a store may fulfill what was paid elsewhere is the operator's to say.
            ("update", "country, prices_include_tax, revoke_when_refunded, suspend_while_disputed, return_hosts"),
        ],
        worker: &[("select", "id, revoke_when_refunded, suspend_while_disputed")],
    },
    Rights {
        table: "api_keys",
        edge: &[
            (
                "select",
                "id, store_id, live, name, hint, pepper_id, hash, scopes, checkout_per_minute, licensing_per_minute, api_per_minute, \
                 created_at, expires_at, revoked_at, last_used_at",
            ),
            // The portal makes, replaces and revokes them.
            (
                "insert",
                "store_id, live, name, hint, pepper_id, hash, scopes, checkout_per_minute, licensing_per_minute, api_per_minute, expires_at",
            ),
            ("update", "last_used_at, expires_at, revoked_at"),
        ],
        worker: &[],
    },
    Rights {
        table: "api_key_usage",
        edge: &[
            ("select", "key_id, minute, requests, limited"),
            ("insert", "key_id, minute, requests, limited"),
            ("update", "requests, limited"),
        ],
        worker: &[("select", ""), ("update", "minute"), ("delete", "")],
    },
    Rights {
        table: "products",
        // The portal makes and changes them.
        edge: &[
            ("select", "id, store_id, sku, name, pattern, tax_category, market_title, market_text"),
            ("insert", "store_id, sku, name, source, pattern, tax_category"),
            ("update", "name, tax_category, market_title, market_text"),
        ],
        worker: &[("select", "id, store_id, sku, name, source, pattern, tax_category")],
    },
    Rights {
        table: "prices",
        edge: &[
            ("select", "product_id, currency, amount_minor"),
            ("insert", "product_id, currency, amount_minor"),
            ("update", "amount_minor"),
            ("delete", ""),
        ],
        worker: &[],
    },
    // What operators have imported; both compute with it.
    Rights { table: "tax_rates", edge: &[("select", TAX_RATE)], worker: &[("select", TAX_RATE)] },
    // An edge puts imported keys in and counts them. It can neither read one nor take one out.
    Rights {
        table: "license_keys",
        edge: &[("select", "product_id, live"), ("insert", "id, product_id, live, sealed")],
        worker: &[("select", ""), ("insert", ""), ("update", "id"), ("delete", "")],
    },
    Rights { table: "held_license_keys", edge: &[], worker: &[] },
    Rights {
        table: "license_digests",
        edge: &[("select", "store_id, live, digest"), ("insert", "store_id, live, digest, secret_id")],
        worker: &[("select", "digest"), ("insert", "")],
    },
    Rights {
        table: "orders",
        // Not the sealed request: an edge writes it down, and never reads it.
        edge: &[
            (
                "select",
                "id, store_id, live, external_reference, idempotency_key, fingerprint, status, currency, total_minor, customer_email, \
                 error_code, error_detail, created_at, updated_at, keys_kept",
            ),
            ("insert", NEW_ORDER),
            ("update", "status, keys_kept, sealed_request, next_attempt_at, starts, updated_at"),
        ],
        worker: &[
            ("select", ""),
            ("insert", NEW_ORDER),
            ("update", "status, keys_kept, sealed_request, next_attempt_at, starts, updated_at, error_code, error_detail, idempotency_key"),
            // What it has inserted itself and cannot fulfill.
            ("delete", ""),
        ],
    },
    Rights {
        table: "order_items",
        edge: &[("select", "order_id, line, product_id, sku, quantity"), ("insert", "order_id, line, product_id, sku, quantity")],
        worker: &[("select", ""), ("insert", "")],
    },
    // Written with the order that a customer makes.
    Rights {
        table: "order_checkouts",
        edge: &[("select", "order_id, market, tax_quote"), ("insert", "order_id, market, tax_quote")],
        worker: &[],
    },
    // Sealed license keys of orders, which an edge opens for whoever owns the order.
    Rights {
        table: "order_keys",
        edge: &[("select", "order_id, line, position, license_key_id, sealed")],
        worker: &[("select", ""), ("insert", "")],
    },
    // An edge only writes down what Stripe says; what that means is the worker's to say.
    Rights {
        table: "stripe_events",
        edge: &[("select", "id"), ("insert", "id, live, kind, order_id, payment_intent, fact, reason, status, settled_at")],
        worker: &[("select", ""), ("update", "status, reason, tries, next_attempt_at, settled_at"), ("delete", "")],
    },
    Rights {
        table: "order_payments",
        // What the portal tells of an order.
        edge: &[("select", "order_id, payment_intent, paid_at")],
        worker: &[
            ("select", ""),
            ("insert", ""),
            ("update", "payment_intent, paid_at, is_expired, is_revoked, refunded_minor, charged_minor, awaits_keys"),
        ],
    },
    Rights { table: "order_disputes", edge: &[], worker: &[("select", ""), ("insert", ""), ("update", "status, amount_minor")] },
    Rights {
        table: "events",
        edge: &[
            ("select", "id, store_id, live, order_id, sequence, kind, body, created_at, trace"),
            ("insert", "id, store_id, live, order_id, sequence, kind, body, trace"),
        ],
        worker: &[
            ("select", "id, store_id, live, order_id, sequence, kind, body, trace"),
            ("insert", "id, store_id, live, order_id, sequence, kind, body, trace"),
        ],
    },
    // Partners manage their endpoints through edges, which seal the secrets and, to keep the one before when it is replaced, read it sealed.
    Rights {
        table: "webhook_endpoints",
        edge: &[("select", ""), ("insert", "id, store_id, live, url, events, sealed_secret"), ("update", ENDPOINT_CHANGES), ("delete", "")],
        worker: &[("select", ""), ("update", "failures, failing_since, enabled, disabled_reason, updated_at, replay")],
    },
    Rights {
        table: "webhook_deliveries",
        edge: &[
            ("select", ""),
            ("insert", "endpoint_id, event_id, order_id, sequence, waits, attempts, next_attempt_at"),
            ("update", "status, waits, attempts_before, next_attempt_at, settled_at"),
        ],
        worker: &[
            ("select", ""),
            ("insert", "endpoint_id, event_id, order_id, sequence, waits, attempts, next_attempt_at"),
            ("update", "status, waits, attempts, attempts_before, next_attempt_at, settled_at"),
            ("delete", ""),
        ],
    },
    Rights {
        table: "webhook_attempts",
        edge: &[("select", "")],
        worker: &[("select", ""), ("insert", "delivery_id, attempt, started_at, duration_ms, status, error, answer"), ("delete", "")],
    },
    // What customers put together. Workers only let go of what is old.
    Rights {
        table: "carts",
        edge: &[("select", ""), ("insert", NEW_CART), ("update", CART_CHANGES)],
        worker: &[("select", ""), ("update", "id"), ("delete", "")],
    },
    Rights { table: "listings", edge: &[("select", "product_id, created_at"), ("insert", "product_id"), ("delete", "")], worker: &[] },
    Rights {
        table: "changes",
        edge: &[("select", "id, kind, subject_id, created_at"), ("insert", "kind, subject_id")],
        worker: &[("select", ""), ("delete", "")],
    },
    // Who may sign in to the portal is the operator's to say; an edge keeps sessions, and the passwords that links allow to set.
    Rights { table: "accounts", edge: &[("select", "id, email, password_hash"), ("update", "password_hash")], worker: &[] },
    Rights { table: "memberships", edge: &[("select", "account_id, store_id, role")], worker: &[] },
    Rights {
        table: "account_invites",
        edge: &[("select", "account_id, digest, expires_at"), ("delete", "")],
        worker: &[("select", ""), ("update", "account_id"), ("delete", "")],
    },
    // What partners do in the portal and by the API; operators' commands write it as the owner. Nobody changes what is written.
    Rights {
        table: "audit_log",
        edge: &[
            ("select", "id, store_id, at, actor, what, object, before, after"),
            ("insert", "store_id, actor, what, object, before, after"),
        ],
        worker: &[],
    },
    Rights {
        table: "portal_sessions",
        edge: &[
            ("select", "digest, account_id, browser, seen_at, expires_at, ended_at"),
            ("insert", "digest, account_id, browser, expires_at"),
            ("update", "seen_at, ended_at"),
        ],
        worker: &[("select", ""), ("update", "digest"), ("delete", "")],
    },
    Rights {
        table: "edges",
        edge: &[
            ("select", "id, seen_at, applied_change_id, applied_at"),
            ("insert", "id, applied_change_id"),
            ("update", "seen_at, applied_change_id, applied_at"),
            ("delete", ""),
        ],
        worker: &[("select", ""), ("update", "id"), ("delete", "")],
    },
    Rights {
        table: "dead_letters",
        edge: &[],
        worker: &[("select", ""), ("insert", "id, queue, reason, sealed"), ("update", "id"), ("delete", "")],
    },
    Rights { table: "refinery_schema_history", edge: &[("select", "version")], worker: &[("select", "version")] },
];

/// What to do about a right that is not there.
pub(super) const REMEDY: &str = "run `worker migrate` as the owner of the tables, and make the login of postgres.url a member of its role \
                                 (`grant anonymouspay_edge to …` for edges, `grant anonymouspay_worker to …` for workers); operators' \
                                 commands need the owner itself";

/// Makes the roles that are not there yet, as far as the login may, and gives each that is there exactly its rights on the tables.
pub(super) async fn set_up(client: &mut Client) -> Result<(), StorageError> {
    for role in absent_for(client).await? {
        match client.batch_execute(&format!("create role {} nologin", role.name())).await {
            Ok(()) => {}
            // Roles belong to all databases of the server: somebody who migrates another one was faster.
            Err(error) if matches!(error.code(), Some(&(SqlState::DUPLICATE_OBJECT | SqlState::UNIQUE_VIOLATION))) => {}
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                tracing::info!(role = role.name(), "the login may not create roles");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let absent = absent_for(client).await?;
    let schema: String = client.query_one("select quote_ident(current_schema())", &[]).await?.get(0);
    // One transaction: whoever works meanwhile never sees less than he has.
    let tx = client.transaction().await?;
    for role in Role::ALL.into_iter().filter(|role| !absent.contains(role)) {
        let name = role.name();
        tx.batch_execute(&format!("grant usage on schema {schema} to {name}")).await?;
        for rights in &RIGHTS {
            let table = rights.table;
            let granted: Vec<String> = rights.of(role).iter().map(|&right| shown(right)).collect();
            tx.batch_execute(&format!("revoke all on {table} from {name}")).await?;
            if !granted.is_empty() {
                tx.batch_execute(&format!("grant {} on {table} to {name}", granted.join(", "))).await?;
            }
        }
    }
    Ok(tx.commit().await?)
}

/// As SQL says it: `update (status, starts)`.
fn shown((privilege, columns): Right) -> String {
    if columns.is_empty() { privilege.to_owned() } else { format!("{privilege} ({columns})") }
}

/// The roles that the server does not have. Until they are made and [`super::migrations::run`] has been run again, only the owner of the
/// tables can work with them.
pub async fn absent(pg: &Pg) -> Result<Vec<Role>, StorageError> {
    Ok(absent_for(&**pg.client().await?).await?)
}

async fn absent_for(client: &impl GenericClient) -> Result<Vec<Role>, tokio_postgres::Error> {
    let names: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
    let there = client.query("select rolname::text from pg_roles where rolname = any($1)", &[&names]).await?;
    Ok(Role::ALL.into_iter().filter(|role| !there.iter().any(|row| row.get::<_, &str>(0) == role.name())).collect())
}

/// Of the rights that this role's program needs, those that the login does not have, as SQL says them. The tables must be there.
pub(super) async fn lacking(client: &impl GenericClient, role: Role) -> Result<Vec<String>, StorageError> {
    let (mut tables, mut privileges, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for rights in &RIGHTS {
        for (privilege, of) in rights.of(role) {
            for column in of.split(", ") {
                tables.push(rights.table);
                privileges.push(*privilege);
                columns.push(column);
            }
        }
    }
    let rows = client
        .query(
            "select privilege || case when columns = '{\"\"}' then '' else ' (' || array_to_string(columns, ', ') || ')' end || ' on ' || of
             from (select of, privilege, array_agg(column_of order by place) as columns
                   from unnest($1::text[], $2::text[], $3::text[]) with ordinality as needed (of, privilege, column_of, place)
                   where not case column_of when '' then has_table_privilege(of, privilege)
                                            else has_column_privilege(of, column_of, privilege) end
                   group by 1, 2 order by min(place)) lacking",
            &[&tables, &privileges, &columns],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
