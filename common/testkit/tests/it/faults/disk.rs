//! Servers on a disk that fills up and has room again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::faults::disk::SmallDisk;
use testkit::process::wait_gone;
use testkit::servers::{Postgres, PostgresOptions, Redis, RedisOptions};

use crate::servers::{LONG, ask_redis, sql, try_sql};
use crate::{binaries, until};

const MB: u64 = 1 << 20;

/// `None` where the machine does not allow it; on ours it must.
fn disk(size_bytes: u64) -> Option<SmallDisk> {
    match SmallDisk::mount(binaries().host(), size_bytes) {
        Ok(disk) => Some(disk),
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            None
        }
    }
}

#[test]
fn a_small_disk_is_ours_alone_can_be_filled_and_ends_with_its_holder() {
    let Some(disk) = disk(8 * MB) else { return };
    assert!(disk.free_bytes().unwrap() <= 8 * MB);
    let inside = disk.path().to_owned();
    let outside: PathBuf = ["/"].into_iter().map(PathBuf::from).chain([inside.iter().skip(4).collect()]).collect();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(outside.is_dir() && !mounts.contains(outside.to_str().unwrap()), "{} is mounted for everybody", outside.display());

    disk.fill().unwrap();
    assert!(inside.join("filler").metadata().unwrap().len() > 7 * MB);
    assert!(!outside.join("filler").exists());
    disk.free().unwrap();
    assert!(disk.free_bytes().unwrap() > 7 * MB);
    let holder = disk.holder_pid();
    drop(disk);
    assert!(wait_gone(holder, Duration::ZERO).unwrap());
    assert!(!inside.exists() && !outside.exists());
}

#[test]
fn postgres_refuses_what_needs_room_and_comes_back_after_running_out_of_log() {
    let Some(disk) = disk(160 * MB) else { return };
    let options = PostgresOptions {
        data: Some(disk.path().join("data")),
        settings: ["max_wal_size=32MB", "min_wal_size=32MB"].map(str::to_owned).to_vec(),
        ..PostgresOptions::default()
    };
    let mut postgres = Postgres::start_with(&binaries(), options).unwrap();
    sql(&postgres, "create table t (n int, padding text); insert into t values (42)");

    disk.fill().unwrap();
    let refusal = try_sql(&postgres, "insert into t select 0, repeat('x', 1000) from generate_series(1, 100)").unwrap_err();
    assert!(refusal.contains("53100"), "{refusal}");
    assert_eq!(sql(&postgres, "select sum(n) from t"), "42");

    // Whether this session panics itself or is ended because another did is a matter of luck.
    try_sql(&postgres, "select pg_switch_wal(); insert into t values (1)").unwrap_err();
    // Recovery needs room for its log too.
    let ended = postgres.process().wait(LONG).unwrap();
    let log = postgres.process().log_tail(40);
    assert!(ended.is_some() && log.contains("PANIC:  could not write to file"), "{log}");
    assert!(postgres.restart().is_err());
    disk.free().unwrap();
    postgres.restart().unwrap();
    assert_eq!(sql(&postgres, "insert into t values (1); select sum(n) from t").lines().last(), Some("43"));
}

#[test]
fn an_append_only_redis_refuses_writes_until_there_is_room() {
    let Some(disk) = disk(8 * MB) else { return };
    let options = RedisOptions { append_only: true, data: Some(disk.path().to_owned()), ..RedisOptions::default() };
    let mut redis = Redis::start_with(&binaries(), options).unwrap();
    assert!(ask_redis(&redis, "SET kept 1", LONG).unwrap().contains("+OK\r\n+OK\r\n"));
    disk.fill().unwrap();
    let write = format!("SET lost {}", "x".repeat(8_000));
    until("Redis refuses", || ask_redis(&redis, &write, LONG).unwrap().contains("-MISCONF"));
    assert!(ask_redis(&redis, "GET kept", LONG).unwrap().contains("$1\r\n1\r\n"), "reading goes on");

    disk.free().unwrap();
    let freed = Instant::now();
    until("Redis takes writes again", || ask_redis(&redis, "SET later 2", LONG).unwrap().contains("+OK\r\n+OK\r\n"));
    assert!(freed.elapsed() < Duration::from_secs(5));
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert!(ask_redis(&redis, "MGET kept later", LONG).unwrap().contains("*2\r\n$1\r\n1\r\n$1\r\n2\r\n"));
}
