//! Edges and workers may do what their line says and no more, whatever was migrated, by whom, and how many at once.

use std::collections::BTreeSet;

use storage::Pg;
use storage::pg::roles::{self, RIGHTS, Role};
use storage::pg::{Trouble, listener, migrations};
use testkit::database::{Database, make_logins};
use tokio::sync::broadcast;
use tokio_postgres::error::SqlState;

use crate::{eventually, own_postgres, postgres_settings, soon};

fn login(url: &str) -> Pg {
    Pg::new(&postgres_settings(url), "test").unwrap()
}

async fn words(pg: &Pg, sql: &str) -> BTreeSet<String> {
    pg.client().await.unwrap().query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// What the catalogue says that the two roles, and everybody, may do on tables and columns.
const GRANTED: &str = "
    select format('%s: %s on %s', case grantee when 0 then 'public' else grantee::regrole::text end, privilege_type, relname)
    from pg_class, aclexplode(relacl) where relnamespace = 'public'::regnamespace and grantee <> relowner
    union all
    select format('%s: %s (%s) on %s', case grantee when 0 then 'public' else grantee::regrole::text end, privilege_type, attname, relname)
    from pg_attribute join pg_class c on c.oid = attrelid, aclexplode(attacl) where relnamespace = 'public'::regnamespace";

/// The same, as [`RIGHTS`] says it.
fn wanted() -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for (rights, role) in RIGHTS.iter().flat_map(|rights| Role::ALL.map(|role| (rights, role))) {
        for (privilege, columns) in rights.of(role) {
            let (role, privilege, table) = (role.name(), privilege.to_uppercase(), rights.table);
            wanted.extend(columns.split(", ").map(|column| match column {
                "" => format!("{role}: {privilege} on {table}"),
                column => format!("{role}: {privilege} ({column}) on {table}"),
            }));
        }
    }
    wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_allows_what_the_table_says_and_every_table_has_a_line() {
    let database = Database::new().await.unwrap();
    let pg = database.pg().unwrap();
    let tables = words(&pg, "select tablename::text from pg_tables where schemaname = 'public'").await;
    let lines: BTreeSet<String> = RIGHTS.iter().map(|rights| rights.table.to_owned()).collect();
    assert_eq!(tables, lines, "left: the tables there are; right: the tables with a line in `storage::pg::roles`");
    assert_eq!(lines.len(), RIGHTS.len(), "one line for each");
    assert_eq!(words(&pg, GRANTED).await, wanted());

    // What somebody has given or taken by hand is put right by the next migration.
    let meddling = "grant delete on orders to anonymouspay_edge; grant select (sealed) on license_keys to anonymouspay_edge;
                    revoke insert on orders from anonymouspay_worker; revoke update (starts) on orders from anonymouspay_edge";
    pg.client().await.unwrap().batch_execute(meddling).await.unwrap();
    assert_ne!(words(&pg, GRANTED).await, wanted());
    migrations::run(&pg).await.unwrap();
    assert_eq!(words(&pg, GRANTED).await, wanted());
    let attributes = "select rolname::text from pg_roles where rolname like 'anonymouspay\\_%' and not
                      (rolcanlogin or rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)";
    assert_eq!(words(&pg, attributes).await.len(), 2);
}

/// What neither may do.
const FORBIDDEN_TO_BOTH: [&str; 22] = [
    "drop table orders",
    "truncate orders",
    "alter table orders add column note text",
    "alter table orders disable trigger all",
    "create table public.notes (id bigint)",
    "create index on orders (status)",
    "create function public.f() returns bigint language sql as 'select 1'",
    "create role somebody",
    "create database elsewhere",
    "create extension pg_stat_statements",
    "alter system set fsync = off",
    "alter role anonymouspay_edge superuser",
    "grant anonymouspay_worker to edge",
    "set role anonymouspay",
    "set session authorization anonymouspay",
    "copy (select 1) to program 'true'",
    "copy (select 1) to '/tmp/anonymouspay-copied'",
    "select * from pg_authid",
    "select pg_read_file('/etc/passwd')",
    "delete from license_digests",
    "update audit_log set actor = ''",
    "delete from audit_log",
];

const FORBIDDEN_TO_EDGES: [&str; 31] = [
    "delete from orders",
    "delete from events",
    "delete from api_keys",
    "delete from changes",
    "select sealed from license_keys",
    "delete from license_keys",
    "update license_keys set live = true",
    "select 1 from held_license_keys",
    "update license_digests set live = true",
    "select 1 from dead_letters",
    "delete from events",
    "delete from webhook_deliveries",
    "update webhook_deliveries set attempts = 0",
    "update webhook_endpoints set store_id = 1",
    "insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status) values (1, 1, now(), 1, 200)",
    "select sealed_request from orders",
    "select * from orders",
    "insert into memberships (account_id, store_id, role) values (1, 1, 'owner')",
    "insert into account_invites (account_id, digest, expires_at) values (1, '', now())",
    "update accounts set email = ''",
    "update api_keys set hash = ''",
    "update products set store_id = 1",
    "delete from products",
    "insert into order_keys (order_id, line, position, license_key_id, sealed) values ('', 0, 0, gen_random_uuid(), '')",
    "update order_keys set order_id = ''",
    "update orders set customer_email = ''",
    "update orders set store_id = 1",
    "insert into accounts (email) values ('a')",
    "update stores set licensing = true",
    "insert into audit_log (store_id, actor, what, object, at) values (1, '', 'a.b', '', now())",
    "set role anonymouspay_worker",
];

const FORBIDDEN_TO_WORKERS: [&str; 21] = [
    "update prices set amount_minor = 0",
    "select name from stores",
    "select 1 from prices",
    "select hash from api_keys",
    "update api_keys set hash = ''",
    "select 1 from held_license_keys",
    "insert into products (store_id, sku, name, source) values (1, '', '', 'pool')",
    "update products set store_id = 1",
    "insert into changes (kind, subject_id) values ('store', 1)",
    "update license_keys set sealed = ''",
    "update order_keys set sealed = ''",
    "delete from order_keys",
    "update orders set customer_email = ''",
    "delete from events",
    "update events set body = ''",
    "update webhook_endpoints set url = ''",
    "update webhook_endpoints set sealed_secret = ''",
    "delete from webhook_endpoints",
    "insert into audit_log (store_id, actor, what, object) values (1, '', 'a.b', '')",
    "select 1 from accounts",
    "set role anonymouspay_edge",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_role_has_no_right_to_is_refused() {
    let database = Database::new().await.unwrap();
    for (url, forbidden) in [(database.edge_url(), &FORBIDDEN_TO_EDGES[..]), (database.worker_url(), &FORBIDDEN_TO_WORKERS[..])] {
        let client = login(&url).client().await.unwrap();
        for statement in FORBIDDEN_TO_BOTH.iter().chain(forbidden) {
            let error = client.batch_execute(statement).await.expect_err(statement);
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
        }
        // It is the right that is missing, not the connection.
        client.batch_execute("select version from refinery_schema_history").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_databases_of_one_server_are_migrated_at_once() {
    let server = own_postgres();
    let owner = login(&server.url());
    let base = server.url().rsplit_once('/').unwrap().0.to_owned();
    for n in 0..6 {
        owner.client().await.unwrap().batch_execute(&format!("create database d{n}")).await.unwrap();
    }
    let runs: Vec<_> = (0..6).map(|n| tokio::spawn(migrate(format!("{base}/d{n}")))).collect();
    for run in runs {
        let pg = run.await.unwrap();
        assert_eq!(words(&pg, GRANTED).await, wanted());
    }
}

async fn migrate(url: String) -> Pg {
    let pg = login(&url);
    migrations::run(&pg).await.unwrap();
    pg
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_may_not_make_roles_goes_on_and_grants_them_when_they_are_there() {
    let server = own_postgres();
    let superuser = login(&server.url());
    let run = async |sql: &str| superuser.client().await.unwrap().batch_execute(sql).await.unwrap();
    run("create role shop_owner login password 'owner'").await;
    run("create database shop owner shop_owner").await;
    let (_, place) = server.url().split_once('@').map(|(login, place)| (login.to_owned(), place.to_owned())).unwrap();
    let url = format!("postgres://shop_owner:owner@{}/shop", place.split('/').next().unwrap());
    let owner = login(&url);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    assert_eq!(migrations::run(&owner).await.unwrap().len(), files);
    assert_eq!(roles::absent(&owner).await.unwrap(), Role::ALL);
    // Everything works with the one login that there is.
    let (notices, _) = broadcast::channel(16);
    for role in Role::ALL {
        let pg = owner.clone().with_role(role);
        let listening = tokio::spawn({
            let (pg, notices) = (pg.clone(), notices.clone());
            async move { listener::run(&pg, &[], notices).await }
        });
        soon("the owner to be let in", pg.up()).await;
        listening.abort();
    }

    run("create role anonymouspay_edge nologin").await;
    migrations::run(&owner).await.unwrap();
    assert_eq!(roles::absent(&owner).await.unwrap(), [Role::Worker]);
    run("create role anonymouspay_worker nologin").await;
    migrations::run(&owner).await.unwrap();
    assert_eq!(words(&owner, GRANTED).await, wanted());

    // Who is not the owner is told so, in words.
    let [edge, _] = make_logins(&superuser, &url).await.unwrap();
    let error = migrations::run(&login(&edge)).await.unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
    let said = error.to_string();
    assert!(said.contains("42501") && said.contains("as the owner of the tables"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_without_its_rights_is_told_which_and_let_in_as_soon_as_it_has_them() {
    let database = Database::new().await.unwrap();
    let (owner, pg) = (database.pg().unwrap(), login(&database.edge_url()).with_role(Role::Edge));
    let owner = owner.client().await.unwrap();
    owner.batch_execute("revoke update (starts, status), insert on orders from anonymouspay_edge").await.unwrap();
    let (notices, _) = broadcast::channel(16);
    let _listening = tokio_util::task::AbortOnDropHandle::new(tokio::spawn({
        let pg = pg.clone();
        async move { listener::run(&pg, &[], notices).await }
    }));
    let refused = |trouble: Trouble| if let Trouble::Refused(why) = trouble { Some(why) } else { None };
    eventually("the reason", async || refused(pg.trouble()).is_some()).await;
    let why = refused(pg.trouble()).unwrap();
    println!("{why}");
    for said in ["anonymouspay_edge", "insert (id, store_id", "update (status, starts) on orders", "`worker migrate`", "grant "] {
        assert!(why.contains(said), "{said:?} in {why}");
    }
    assert!(!pg.is_up() && !why.contains("reached"), "{why}");
    migrations::run(&database.pg().unwrap()).await.unwrap();
    soon("the flag", pg.up()).await;

    // A login that is nobody's member, and one that does not exist.
    owner
        .batch_execute("do $$ begin create role stranger login password 'x'; exception when duplicate_object then null; end $$")
        .await
        .unwrap();
    let place = database.url().split_once('@').unwrap().1;
    for (who, words) in
        [("stranger:x", ["permission denied for table", "42501"]), ("nobody:x", ["password authentication failed", "28P01"])]
    {
        let pg = login(&format!("postgres://{who}@{place}")).with_role(Role::Worker);
        let (notices, _) = broadcast::channel(16);
        let _listening = tokio_util::task::AbortOnDropHandle::new(tokio::spawn({
            let pg = pg.clone();
            async move { listener::run(&pg, &[], notices).await }
        }));
        eventually("the reason", async || refused(pg.trouble()).is_some_and(|why| words.iter().all(|word| why.contains(word)))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_has_its_bounds_and_looks_for_tables_in_one_place() {
    let database = Database::new().await.unwrap();
    let pg = login(&database.edge_url());
    let client = pg.client().await.unwrap();
    let settings = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "search_path", "TimeZone"];
    for (name, value) in settings.iter().zip(["5s", "2500ms", "5s", "public,pg_temp", "UTC"]) {
        assert_eq!(client.query_one(&format!("show {name}"), &[]).await.unwrap().get::<_, String>(0), value, "{name}");
    }
    // What a login makes for itself under a table's name is not taken for the table.
    client.batch_execute("create temporary table stores (id bigint, slug text, name text, licensing boolean)").await.unwrap();
    client.batch_execute("insert into pg_temp.stores values (1, 'false', 'false', true)").await.unwrap();
    assert_eq!(storage::pg::stores::list(&*client).await.unwrap().len(), 0);

    // Waiting for a lock ends before the statement's own time does, and passes for what it is: somebody else is in the way.
    let (mut holder, other) = (database.pg().unwrap().client().await.unwrap(), database.pg().unwrap());
    let held = holder.transaction().await.unwrap();
    held.batch_execute("lock table orders").await.unwrap();
    let error: storage::StorageError = other.client().await.unwrap().batch_execute("select 1 from orders").await.unwrap_err().into();
    assert!(error.is_unavailable() && error.to_string().contains("55P03"), "{error}");
}
