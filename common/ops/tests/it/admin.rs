//! The admin listener and what it shows: readiness, heartbeat, metrics; and that it cannot
//! be held up or started twice on one port.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ops::admin::AdminServer;
use ops::health::{Health, Need};
use ops::metrics::Metrics;
use serde_json::Value;

use crate::{PATIENCE, eventually, get, request};

fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn metrics() -> Metrics {
    Metrics::new("test", &[("version", "1.2.3"), ("commit", "abc")]).expect("metrics")
}

fn started(metrics: &Metrics, health: &Health) -> AdminServer {
    AdminServer::start(anywhere(), metrics.clone(), health.clone()).expect("start")
}

/// Status, and the body as JSON.
fn get_json(admin: &AdminServer, path: &str) -> (u16, Value) {
    let answer = get(admin.local_addr(), path);
    (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
}

#[test]
fn readiness_follows_the_required_checks_and_ends_with_draining() {
    let metrics = metrics();
    let health = Health::new(&metrics);
    let database = health.check("database", Need::Required);
    let carrier = health.check("carrier", Need::Optional);
    let admin = started(&metrics, &health);

    let (status, body) = get_json(&admin, "/readyz");
    assert_eq!((status, &body["status"]), (503, &Value::from("not_ready")));
    assert_eq!(body["checks"]["database"]["reason"], "not checked yet");
    assert_eq!(body["checks"]["carrier"]["required"], false);

    database.ok();
    let (status, body) = get_json(&admin, "/readyz");
    assert_eq!((status, &body["status"]), (200, &Value::from("ready")));
    assert_eq!(body["checks"]["database"]["status"], "ok");
    assert_eq!(body["checks"]["carrier"]["status"], "failed");

    carrier.ok();
    database.failed(format!("refused on port {}", 5432));
    let (status, body) = get_json(&admin, "/readyz");
    assert_eq!((status, &body["checks"]["database"]["reason"]), (503, &Value::from("refused on port 5432")));
    let page = get(admin.local_addr(), "/metrics").body;
    assert!(page.contains("test_check_ok{check=\"database\"} 0\n") && page.contains("test_check_ok{check=\"carrier\"} 1\n"), "{page}");

    database.ok();
    assert_eq!(get_json(&admin, "/readyz").0, 200);
    health.set_draining();
    let (status, body) = get_json(&admin, "/readyz");
    assert_eq!((status, &body["status"], &body["checks"]["database"]["status"]), (503, &Value::from("draining"), &Value::from("ok")));
    assert_eq!(get(admin.local_addr(), "/healthz").status, 200, "draining is not dying");
}

#[test]
fn a_check_says_how_long_it_has_been_so() {
    let metrics = metrics();
    let health = Health::new(&metrics);
    let check = health.check("database", Need::Required);
    let admin = started(&metrics, &health);
    let since_ms = || get_json(&admin, "/readyz").1["checks"]["database"]["since_ms"].as_u64().expect("a number");

    check.failed("gone");
    eventually("some time has passed", || since_ms() >= 500);
    check.failed("still gone");
    assert!(since_ms() >= 500, "the same state goes on");
    check.ok();
    assert!(since_ms() < 500, "a new state begins");
}

#[test]
fn a_stuck_main_runtime_is_not_alive_and_recovers() {
    let metrics = metrics();
    let health = Health::with_stuck_after(&metrics, Duration::from_secs(1));
    let admin = started(&metrics, &health);
    let (status, body) = get_json(&admin, "/healthz");
    assert_eq!((status, &body["heartbeat_age_ms"]), (200, &Value::Null), "no heartbeat is expected yet");

    let (block, blocked) = mpsc::channel::<mpsc::Receiver<()>>();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let main_runtime = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(async {
            health.spawn_heartbeat();
            let until_released = tokio::task::spawn_blocking(move || blocked.recv().expect("to be blocked")).await.expect("no panic");
            // What nobody should do in a runtime: now no other task of it can run.
            until_released.recv().expect("to be released");
            ended.await.expect("to be ended");
        });
    });

    let mut beats = Vec::new();
    eventually("the heartbeat goes on", || {
        let (status, body) = get_json(&admin, "/healthz");
        assert_eq!(status, 200, "{body}");
        beats.extend(body["heartbeat_age_ms"].as_u64());
        beats.windows(2).filter(|pair| pair[1] < pair[0]).count() >= 3
    });
    let (release, released) = mpsc::channel();
    block.send(released).expect("block");
    eventually("stuck", || get_json(&admin, "/healthz").0 == 503);
    let (status, body) = get_json(&admin, "/healthz");
    assert_eq!((status, &body["status"]), (503, &Value::from("stuck")));
    assert!(body["heartbeat_age_ms"].as_u64() >= Some(1000), "{body}");

    release.send(()).expect("release");
    eventually("alive again", || get_json(&admin, "/healthz").0 == 200);
    end.send(()).expect("end");
    main_runtime.join().expect("no panic");
}

#[test]
fn a_taken_port_is_said_before_anything_runs() {
    let metrics = metrics();
    let health = Health::new(&metrics);
    let first = started(&metrics, &health);
    let addr = first.local_addr();
    let error = AdminServer::start(addr, metrics.clone(), health.clone()).expect_err("the port is taken").to_string();
    assert!(error.contains(&addr.to_string()) && error.contains("stop what holds the port"), "{error}");
    first.shutdown();
    AdminServer::start(addr, metrics, health).expect("free again");
}

#[test]
fn shutdown_closes_the_port_and_what_hangs_on_it() {
    let metrics = metrics();
    let admin = started(&metrics, &Health::new(&metrics));
    let addr = admin.local_addr();
    let mut idle = TcpStream::connect(addr).expect("connect");
    assert_eq!(get(addr, "/healthz").status, 200, "the idle connection before it is accepted by now");
    admin.shutdown();
    idle.set_read_timeout(Some(PATIENCE)).expect("set a read timeout");
    match idle.read(&mut [0]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    TcpListener::bind(addr).expect("the port is free");
}

#[test]
fn only_three_pages_and_two_methods() {
    let metrics = metrics();
    let admin = started(&metrics, &Health::new(&metrics));
    let addr = admin.local_addr();
    for path in ["/", "/metrics/", "/readyz2"] {
        assert_eq!(get(addr, path).status, 404, "{path}");
    }
    let refused = request(addr, "POST", "/readyz");
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    for path in ["/healthz", "/readyz", "/metrics"] {
        let (whole, head) = (get(addr, path), request(addr, "HEAD", path));
        assert_eq!((whole.status, head.status, head.body.as_str()), (200, 200, ""), "{path}");
        assert!(head.head.contains("content-length: ") && !head.head.contains("content-length: 0"), "{}", head.head);
        assert!(whole.head.contains("cache-control: no-store") && whole.head.contains("connection: close"), "{}", whole.head);
    }
    assert_eq!(get(addr, "/readyz?verbose").status, 200);
}

#[test]
fn idle_connections_hold_the_listener_up_for_a_moment_only() {
    let metrics = metrics();
    let admin = started(&metrics, &Health::new(&metrics));
    let start = Instant::now();
    let mut idle: Vec<_> = (0..64).map(|_| TcpStream::connect(admin.local_addr()).expect("connect")).collect();
    // This one is served only because an idle one lost its place: read() on one of them tells.
    assert_eq!(get(admin.local_addr(), "/healthz").status, 200);
    assert!(start.elapsed() < Duration::from_millis(4500), "an idle connection is cut before its whole time is up");
    let mut ended = 0;
    for stream in &mut idle {
        stream.set_nonblocking(true).expect("set nonblocking");
        match stream.read(&mut [0; 512]) {
            Ok(_) => ended += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => ended += 1,
        }
    }
    assert!(ended > 0, "the 65th connection did not wait for a place");
    for stream in &mut idle {
        stream.set_nonblocking(false).expect("set blocking");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a read timeout");
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "an idle connection is never closed");
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let metrics = metrics();
    let long = "x".repeat(32 * 1024 * 1024);
    let large =
        ops::prometheus::IntGauge::with_opts(ops::prometheus::Opts::new("large", "Too much for any buffer.").const_label("text", long));
    metrics.registry().register(Box::new(large.expect("gauge"))).expect("register");
    let admin = started(&metrics, &Health::new(&metrics));
    let mut stream = TcpStream::connect(admin.local_addr()).expect("connect");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n").expect("send the request");
    // Nobody reads what is sent here; it fails once the other side has closed.
    eventually("the connection is cut", || stream.write(b" ").is_err());
}

#[test]
fn the_metrics_page_parses_and_names_the_build() {
    let metrics = metrics();
    Extra::register(metrics.registry()).expect("register");
    assert!(Extra::register(metrics.registry()).is_err(), "a name is taken once");
    let admin = started(&metrics, &Health::new(&metrics));
    let answer = get(admin.local_addr(), "/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);

    let page = parse(&answer.body);
    assert_eq!(page["test_build_info{commit=\"abc\",version=\"1.2.3\"}"], 1.0);
    assert_eq!(page["test_panics_total"], 0.0);
    assert_eq!(page["test_queue_wait_seconds_bucket{le=\"0.5\"}"], 0.0);
    assert!(answer.body.contains("# HELP test_queue_wait_seconds How long a thing waited before somebody took it.\n"), "{}", answer.body);
    if cfg!(target_os = "linux") {
        assert!(page["process_open_fds"] > 0.0 && page["process_resident_memory_bytes"] > 0.0);
    }
}

ops::metrics! {
    /// Two lines of help become one.
    struct Extra {
        /// How long a thing waited
        /// before somebody took it.
        queue_wait_seconds: ops::prometheus::Histogram = vec![0.5, 1.0],
    }
}

/// Series → value; panics on a line that is none, and on a series whose family was not introduced.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut families = BTreeMap::new();
    let mut series = BTreeMap::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect(line);
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "introduced twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect(line);
            let family = name.split('{').next().expect(line);
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
            let known =
                families.contains_key(family) || base.is_some_and(|base| families.get(base).is_some_and(|kind| kind == "histogram"));
            assert!(known, "not introduced: {line}");
            assert!(series.insert(name.to_owned(), value.parse().expect(line)).is_none(), "given twice: {line}");
        }
    }
    series
}
