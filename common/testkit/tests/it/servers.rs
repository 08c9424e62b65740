//! Start, stop, kill, pause and restart of both servers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use testkit::servers::{Host, Kind, Lifetime, Postgres, Redis};

use crate::{binaries, path};

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(10);

pub fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// One command on a fresh connection; `None` when the server says nothing within `deadline`.
pub fn ask_redis(redis: &Redis, command: &str, deadline: Duration) -> Option<String> {
    let url = redis.url();
    let password = url.strip_prefix("redis://:")?.split('@').next()?;
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).ok()?;
    stream.set_read_timeout(Some(deadline)).ok()?;
    stream.write_all(format!("AUTH {password}\r\n{command}\r\nQUIT\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Runs SQL through psql, which lies beside the server.
pub fn sql(postgres: &Postgres, statement: &str) -> String {
    try_sql(postgres, statement).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// The same for what may fail; the complaint carries the SQLSTATE.
pub fn try_sql(postgres: &Postgres, statement: &str) -> Result<String, String> {
    let psql = binaries().tool(Kind::Postgres, "psql").unwrap().env("PGCONNECT_TIMEOUT", "2");
    let output = psql.arg(postgres.url()).args(["-XAt", "-v", "VERBOSITY=verbose", "-c", statement]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn postgres_keeps_its_port_and_data_over_stop_and_kill() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let host = Host::new(&folder.path().join("home"), path()).unwrap();
    let mut postgres = {
        let binaries = host.find_or_unpack(&[Kind::Postgres], &|line| eprintln!("{line}")).unwrap();
        Postgres::start(&binaries, Lifetime::Lasting("pg"), None).unwrap()
    };
    let (url, first) = (postgres.url(), postgres.pid());
    assert_eq!(sql(&postgres, "create table t (n int); insert into t values (42); show fsync").lines().last(), Some("on"));

    postgres.stop().unwrap();
    assert!(!alive(first));
    postgres.restart().unwrap();
    assert_eq!(postgres.url(), url);
    assert_eq!(sql(&postgres, "select n from t"), "42");

    let second = postgres.pid();
    sql(&postgres, "insert into t values (43)");
    postgres.kill().unwrap();
    assert!(!alive(second));
    postgres.restart().unwrap();
    assert_eq!(sql(&postgres, "select sum(n) from t"), "85");

    // A second start on the same folder, after the first has ended.
    drop(postgres);
    let binaries = host.find_or_unpack(&[Kind::Postgres], &|_| {}).unwrap();
    let again = Postgres::start(&binaries, Lifetime::Lasting("pg"), None).unwrap();
    assert_eq!(sql(&again, "select sum(n) from t"), "85");
    let refusal = Postgres::start(&binaries, Lifetime::Lasting("pg"), None).unwrap_err().to_string();
    assert!(refusal.contains("another process uses"), "{refusal}");
}

#[test]
fn temporary_postgres_is_careless_asks_for_a_password_and_leaves_nothing() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let host = Host::new(&folder.path().join("home"), path()).unwrap();
    let binaries = host.find_or_unpack(&[Kind::Postgres], &|line| eprintln!("{line}")).unwrap();
    let postgres = Postgres::start(&binaries, Lifetime::Temporary, None).unwrap();
    assert_eq!(sql(&postgres, "show fsync"), "off");
    assert_eq!(sql(&postgres, "show jit"), "off");

    let program = binaries.program(Kind::Postgres).unwrap().with_file_name("psql");
    let wrong = format!("postgres://anonymouspay:wrong@127.0.0.1:{}/postgres", postgres.port());
    assert!(!Command::new(program).args([&wrong, "-c", "select 1"]).output().unwrap().status.success());

    let pid = postgres.pid();
    drop(postgres);
    assert!(!alive(pid));
    let left: Vec<_> = std::fs::read_dir(host.home().join("runs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["gate"]);
}

#[test]
fn paused_postgres_is_silent_on_new_and_on_open_connections() {
    let mut postgres = Postgres::start(&binaries(), Lifetime::Temporary, None).unwrap();
    let program = binaries().program(Kind::Postgres).unwrap().with_file_name("psql");
    let mut open = Command::new(program)
        .args([&postgres.url(), "-XAtq"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (open.stdin.take().unwrap(), open.stdout.take().unwrap());
    let mut line = [0; 2];
    to.write_all(b"select 1;\n").unwrap();
    from.read_exact(&mut line).unwrap();

    postgres.pause().unwrap();
    let (said, answers) = std::sync::mpsc::channel();
    to.write_all(b"select 2;\n").unwrap();
    std::thread::spawn(move || {
        let mut line = [0; 2];
        from.read_exact(&mut line).unwrap();
        said.send(line).unwrap();
    });
    assert!(answers.recv_timeout(Duration::from_millis(300)).is_err(), "an open connection was still served");
    postgres.resume().unwrap();
    assert_eq!(answers.recv_timeout(Duration::from_secs(10)).unwrap(), *b"2\n");
    drop(to);
    open.wait().unwrap();
    // A paused server can still be ended.
    postgres.pause().unwrap();
    let pid = postgres.pid();
    drop(postgres);
    assert!(!alive(pid));
}

#[test]
fn redis_restarts_empty_on_its_port_and_can_stand_still() {
    let mut redis = Redis::start(&binaries(), None).unwrap();
    let (url, pid, long) = (redis.url(), redis.pid(), Duration::from_secs(5));
    assert!(ask_redis(&redis, "SET a 1", long).unwrap().contains("+OK\r\n+OK\r\n"));

    redis.pause().unwrap();
    assert_eq!(ask_redis(&redis, "GET a", Duration::from_millis(200)), None);
    redis.resume().unwrap();
    assert!(ask_redis(&redis, "GET a", long).unwrap().contains("$1\r\n1\r\n"));

    redis.kill().unwrap();
    assert!(!alive(pid));
    redis.restart().unwrap();
    assert_eq!(redis.url(), url);
    assert!(ask_redis(&redis, "GET a", long).unwrap().contains("$-1\r\n"));

    let mut stranger = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    stranger.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");

    let pid = redis.pid();
    redis.stop().unwrap();
    assert!(!alive(pid));
}

#[test]
fn the_shared_servers_are_the_same_for_everybody() {
    let first = Postgres::shared_for_tests().unwrap();
    assert_eq!(first.url(), Postgres::shared_for_tests().unwrap().url());
    assert_eq!(sql(first, "select 1"), "1");
    let redis = Redis::shared_for_tests().unwrap();
    assert!(ask_redis(redis, "PING", Duration::from_secs(5)).unwrap().contains("+PONG"));
}
