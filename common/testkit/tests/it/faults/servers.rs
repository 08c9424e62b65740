//! Servers as a fault harness wants them: other settings, other folders, crashes, and data that outlives them.

use testkit::servers::{Kind, Lifetime, Postgres, PostgresOptions, Redis, RedisOptions};

use crate::binaries;
use crate::servers::{LONG, alive, ask_redis, sql};

#[test]
fn an_immediate_restart_recovers_what_was_committed() {
    let mut postgres = Postgres::start(&binaries(), Lifetime::Temporary, None).unwrap();
    sql(&postgres, "create table t (n int); insert into t values (42)");
    let (url, first) = (postgres.url(), postgres.pid());
    // It must not matter that it stands still.
    postgres.pause().unwrap();
    postgres.restart_immediately().unwrap();
    assert!(!alive(first));
    assert_eq!(postgres.url(), url);
    assert_eq!(sql(&postgres, "select n from t"), "42");
    let log = std::fs::read_to_string(postgres.process().log()).unwrap();
    assert!(log.contains("was not properly shut down; automatic recovery in progress"), "{log}");
}

#[test]
fn a_base_backup_runs_beside_its_original_with_settings_of_its_own() {
    let binaries = binaries();
    let folder = binaries.host().temporary_folder().unwrap();
    let settings = vec!["max_connections=7".to_owned(), "archive_mode=on".to_owned(), "archive_command=/bin/false".to_owned()];
    let original = Postgres::start_with(&binaries, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
    assert_eq!(sql(&original, "show max_connections"), "7");
    assert_eq!(sql(&original, "show archive_command"), "/bin/false");
    sql(&original, "create table t (n int); insert into t values (42)");

    let data = folder.path().join("copy");
    let backup = binaries.tool(Kind::Postgres, "pg_basebackup").unwrap().arg("-D").arg(&data);
    backup.args(["-X", "stream", "--checkpoint=fast", "--no-sync", "-d", &original.url()]).must_succeed().unwrap();
    sql(&original, "insert into t values (43)");

    let without = PostgresOptions { data: Some(data.clone()), ..PostgresOptions::default() };
    let complaint = format!("{:#}", Postgres::start_with(&binaries, without.clone()).unwrap_err());
    assert!(complaint.contains("password"), "{complaint}");
    let copy = Postgres::start_with(&binaries, PostgresOptions { password: Some(original.password().to_owned()), ..without }).unwrap();
    assert_eq!(copy.data(), data);
    assert_eq!(sql(&copy, "select n from t"), "42");
    assert_eq!(sql(&copy, "show max_connections"), "300");
    drop(copy);
    assert!(data.join("PG_VERSION").exists(), "a folder that was given is not ours to remove");
}

#[test]
fn an_append_only_redis_has_its_data_after_a_kill_unless_it_is_not_wanted() {
    let mut redis = Redis::start_with(&binaries(), RedisOptions { append_only: true, ..RedisOptions::default() }).unwrap();
    assert!(ask_redis(&redis, "SET a 1", LONG).unwrap().contains("+OK\r\n+OK\r\n"));
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert!(ask_redis(&redis, "GET a", LONG).unwrap().contains("$1\r\n1\r\n"));
    redis.restart_empty().unwrap();
    assert!(ask_redis(&redis, "GET a", LONG).unwrap().contains("$-1\r\n"));
}

#[test]
fn a_redis_with_a_limit_refuses_what_does_not_fit() {
    let options = RedisOptions { max_memory_bytes: Some(4 << 20), ..RedisOptions::default() };
    let redis = Redis::start_with(&binaries(), options).unwrap();
    // A script that began below the limit may end above it.
    let fill = "EVAL \"for i = 1, 100 do redis.call('SET', i, string.rep('x', 100000)) end\" 0";
    assert!(ask_redis(&redis, &format!("{fill}\r\nSET b 1"), LONG).unwrap().contains("-OOM"));
    assert!(ask_redis(&redis, "PING", LONG).unwrap().contains("+PONG"));
}
