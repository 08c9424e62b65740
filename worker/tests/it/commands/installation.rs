//! Version, configuration, schema and secrets; and how every kind of failure ends.

use common::secret::SecretList;
use testkit::database::Database;
use testkit::servers::{Host, Kind, Lifetime, Postgres};
use testkit::settings::Settings;

use super::Installation;

fn nowhere() -> Installation {
    let settings = Settings::new();
    let pg = storage::Pg::new(&settings.load().unwrap().postgres, "test").unwrap();
    Installation { settings, pg }
}

#[test]
fn version_and_secrets_need_no_configuration() {
    let mut bare = nowhere();
    bare.settings = Settings::new().set("MODE", "nonsense");
    assert_eq!(bare.json(&["version"])["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(bare.run(&["version"]).stdout, format!("worker {}\n", env!("CARGO_PKG_VERSION")));

    let (first, second) = (bare.json(&["secrets", "generate"]), bare.json(&["secrets", "generate"]));
    let purposes = ["api_key_pepper", "session_signing", "sealing", "license_digest"];
    let all: std::collections::HashSet<Vec<u8>> = [&first, &second]
        .into_iter()
        .flat_map(|generated| purposes.map(|purpose| generated[purpose].as_str().unwrap().to_owned()))
        .map(|text| SecretList::parse(&text).unwrap().first().expose().to_vec())
        .collect();
    assert_eq!(all.len(), 8, "no secret is made twice");
}

#[test]
fn generated_secrets_are_an_environment_that_works() {
    let text = nowhere().run(&["secrets", "generate"]).stdout;
    let mut fresh = nowhere();
    for line in text.lines() {
        let (name, value) = line.split_once('=').unwrap();
        fresh.settings = fresh.settings.set(name.strip_prefix("ANONYMOUSPAY_").unwrap(), value);
    }
    let shown = fresh.run(&["check-config"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let id = text.split(['=', ':']).nth(1).unwrap();
    assert_eq!(shown.stdout.matches(&format!("{id}:***")).count(), 4, "{shown:?}");
}

#[test]
fn check_config_shows_everything_but_secrets() {
    let mut nowhere = nowhere();
    nowhere.settings = nowhere.settings.postgres("postgres://user:hunter2@127.0.0.1:1/none").set("LIMITS__CHECKOUT", "7");
    let (text, json) = (nowhere.run(&["check-config"]), nowhere.json(&["check-config"]));
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    assert_eq!((&json["limits"]["checkout"], &json["mode"]), (&7.into(), &"development".into()));
    for shown in [text.stdout, json.to_string()] {
        assert!(shown.contains("t1:***") && !shown.contains("hunter2") && !shown.contains("AwMDAw"), "{shown}");
    }
}

#[test]
fn a_wrong_configuration_is_78_and_all_of_it_is_told() {
    let mut wrong = nowhere();
    wrong.settings = wrong.settings.set("LIMITS__CHECKOUT", "0").set("REDIS__URL", "").set("NO__SUCH", "1");
    for arguments in [&["check-config"][..], &["store", "list"], &["migrate"], &["run"]] {
        wrong.run(arguments).fails(78, &["limits.checkout", "redis.url", "ANONYMOUSPAY_NO__SUCH"]);
    }
    nowhere().run(&["store", "list", "--config", "/no/such/file.toml"]).fails(78, &["/no/such/file.toml"]);
}

#[test]
fn a_configuration_file_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[limits]\ngeo = 11\n").unwrap();
    assert_eq!(nowhere().json(&["--config", file.path().to_str().unwrap(), "check-config"])["limits"]["geo"], 11);
}

#[test]
fn an_unreachable_database_is_75_and_no_password_is_told() {
    let mut unreachable = nowhere();
    unreachable.settings = unreachable.settings.postgres("postgres://user:hunter2@127.0.0.1:1/none");
    for arguments in [&["store", "list"][..], &["migrate"], &["key", "revoke", "1"], &["secrets", "rewrap"]] {
        let ended = unreachable.run(arguments);
        ended.fails(75, &["cannot be reached", "postgres.url"]);
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let nowhere = nowhere();
    let name = "x".repeat(101);
    let slug = "x".repeat(64);
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["store", "create", "--slug", "Demo", "--name", "x"],
        &["store", "create", "--slug=-demo", "--name", "x"],
        &["store", "create", "--slug", &slug, "--name", "x"],
        &["store", "create", "--slug", "demo", "--name", &name],
        &["store", "create", "--slug", "demo", "--name", "a\u{1b}[2J"],
        &["store", "set", "--slug", "demo", "--licensing", "maybe"],
        &["key", "create", "--store", "demo", "--name", "x", "--scope", "everything"],
        &["key", "create", "--store", "demo", "--name", "x", "--mode", "both"],
        &["key", "create", "--store", "demo", "--name", "x", "--expires-in-days", "0"],
        &["key", "revoke", "0"],
        &["key", "roll", "1", "--overlap-hours", "8761"],
        &["product", "create", "--store", "demo", "--sku", "a b", "--name", "x", "--source", "pool", "--price", "GBP=1"],
        &["product", "create", "--store", "demo", "--sku", "a", "--name", "x", "--source", "pool", "--price", "GBP=1.50"],
        &["product", "create", "--store", "demo", "--sku", "a", "--name", "x", "--source", "pool"],
        &[
            "product",
            "create",
            "--store",
            "demo",
            "--sku",
            "a",
            "--name",
            "x",
            "--source",
            "generator",
            "--pattern",
            "XXX",
            "--price",
            "GBP=1",
        ],
        &["product", "price", "--store", "demo", "--sku", "a"],
        &["limit", "set", "--key", "1"],
        &["limit", "set", "--key", "1", "--checkout", "0"],
        &["limit", "set", "--key", "1", "--checkout", "1000000001"],
        &["limit", "set", "--key", "1", "--reset", "--api", "5"],
        &["stock", "import", "--store", "demo", "--sku", "a"],
    ] {
        nowhere.run(arguments).fails(2, &[]);
    }
}

#[tokio::test]
async fn migrate_brings_an_empty_database_up_and_says_what_it_did() {
    let mut empty = Installation::new().await;
    let database = Database::new().await.unwrap();
    let fresh = format!("{}_fresh", database.url().rsplit_once('/').unwrap().1);
    empty.execute(&format!("create database {fresh}")).await;
    empty.settings = empty.settings.postgres(&format!("{}/{fresh}", database.url().rsplit_once('/').unwrap().0));

    empty.run(&["store", "list"]).fails(1, &["worker migrate"]);
    let applied = empty.json(&["migrate"]);
    assert!(applied["applied"][0].as_str().unwrap().contains("spine"), "{applied}");
    assert_eq!(empty.json(&["migrate"]), serde_json::json!({ "applied": [], "missing_roles": [] }));
    assert_eq!(empty.json(&["store", "list"]).as_array().unwrap().len(), 0);
    assert!(empty.run(&["store", "list"]).stdout.contains("none"));
}

#[tokio::test]
async fn who_may_not_is_told_so_with_77_and_nothing_happens() {
    let mut installation = Installation::with_products().await;
    let database: String = {
        let row = installation.pg.client().await.unwrap().query_one("select current_database()::text", &[]).await.unwrap();
        row.get(0)
    };
    let base = Database::new().await.unwrap().worker_url();
    installation.settings = installation.settings.postgres(&format!("{}/{database}", base.rsplit_once('/').unwrap().0));
    for arguments in [
        &["store", "create", "--slug", "other", "--name", "x"][..],
        &["product", "price", "--store", "demo", "--sku", "POOL", "GBP=1"],
        &["key", "create", "--store", "demo", "--name", "x"],
        &["limit", "set", "--key", "1", "--api", "5"],
        &["migrate"],
        &["audit"],
    ] {
        let ended = installation.run(arguments);
        ended.fails(77, &["permission denied for", "42501", "the owner"]);
        assert!(ended.stderr.lines().count() == 1 && !ended.stderr.contains("reached"), "{ended:?}");
    }
}

/// On a server of its own, as the roles of all tests' common server are there already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_may_not_make_roles_is_told_who_may_and_how() {
    let start = || {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).expect("a host");
        let binaries = host.find_or_unpack(&[Kind::Postgres], &|line| eprintln!("{line}")).expect("Postgres' programs");
        Postgres::start(&binaries, Lifetime::Temporary, None).expect("Postgres")
    };
    let server = tokio::task::block_in_place(start);
    let superuser = storage::Pg::new(&Settings::new().postgres(&server.url()).load().unwrap().postgres, "test").unwrap();
    for sql in ["create role shop_owner login password 'owner'", "create database shop owner shop_owner"] {
        superuser.client().await.unwrap().batch_execute(sql).await.unwrap();
    }
    let mut shop = nowhere();
    shop.settings = Settings::new().postgres(&format!("postgres://shop_owner:owner@127.0.0.1:{}/shop", server.port()));
    let said = shop.run(&["migrate"]);
    let create = ["create role anonymouspay_edge nologin;", "create role anonymouspay_worker nologin;"];
    assert!(said.code == 0 && create.iter().all(|sql| said.stdout.contains(sql)) && said.stdout.contains("spine"), "{said:?}");
    assert_eq!(shop.json(&["migrate"])["missing_roles"], serde_json::json!(["anonymouspay_edge", "anonymouspay_worker"]));
    superuser.client().await.unwrap().batch_execute(&create.concat()).await.unwrap();
    assert_eq!(shop.run(&["migrate"]).stdout, "the schema is up to date\n");
}

#[tokio::test]
async fn a_database_that_refuses_says_why_and_no_password_is_told() {
    let mut installation = Installation::new().await;
    let database = Database::new().await.unwrap();
    let (user, rest) = database.url().rsplit_once('@').unwrap();
    let (user, password) = user.rsplit_once(':').unwrap();
    installation.settings = installation.settings.postgres(&format!("{user}:not-{password}@{rest}"));
    let ended = installation.run(&["store", "list"]);
    ended.fails(1, &["password authentication failed"]);
    assert!(!ended.stderr.contains(password) && ended.stderr.lines().count() == 1, "{ended:?}");
    installation.settings = installation.settings.postgres(&format!("{user}:{password}@{}/none", rest.split('/').next().unwrap()));
    installation.run(&["store", "list"]).fails(1, &["database \"none\" does not exist"]);
}
