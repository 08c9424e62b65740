//! The binary itself: its commands, its exit codes, its log, and its end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::http::Client;
use testkit::settings::Settings;

use crate::stage::{Backstage, GEO, SESSION, session};

fn edge(settings: &Settings, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
    command.env_clear().envs(settings.environment()).args(arguments).stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn ended(mut command: Command) -> (i32, String, String) {
    let output = command.output().expect("the edge");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn version_and_misuse() {
    let (code, stdout, stderr) = ended(edge(&Settings::new(), &["version"]));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, concat!("edge ", env!("CARGO_PKG_VERSION"), "\n"), ""));
    assert_eq!(ended(edge(&Settings::new(), &["--version"])).0, 0);
    for arguments in [&[][..], &["serve"], &["run", "--port=1"]] {
        let (code, stdout, stderr) = ended(edge(&Settings::new(), arguments));
        assert!(code == 2 && stdout.is_empty() && stderr.contains("Usage: edge"), "{arguments:?}: {code} {stderr}");
    }
}

#[test]
fn check_config_prints_what_holds_without_its_secrets() {
    let settings = Settings::new().set("LIMITS__CHECKOUT", "123").postgres("postgres://edge:pass-w0rd@127.0.0.1:5432/shop");
    let (code, stdout, stderr) = ended(edge(&settings, &["check-config"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let table: toml::Table = stdout.parse().expect("TOML");
    assert_eq!(table["limits"]["checkout"].as_integer(), Some(123));
    assert_eq!(table["limits"]["geo"].as_integer(), Some(300));
    assert!(stdout.contains("***") && !stdout.contains("pass-w0rd") && !stdout.contains("AQEBAQ"), "{stdout}");
}

#[test]
fn check_config_and_run_tell_all_problems_at_once() {
    let broken = Settings::new().set("EDGE__LISTEN", "nowhere").set("LIMITS__GEO", "0").set("EDGE__LISTNE", "x").postgres("");
    for command in ["check-config", "run"] {
        let (code, stdout, stderr) = ended(edge(&broken, &[command]));
        assert_eq!((code, stdout.as_str()), (78, ""), "{stderr}");
        for knob in ["edge.listen", "limits.geo", "edge.listne", "postgres.url"] {
            assert!(stderr.to_lowercase().contains(knob) || stderr.contains(&knob.to_uppercase().replace('.', "__")), "{knob} in {stderr}");
        }
    }
    let (code, _, stderr) = ended(edge(&Settings::new(), &["check-config", "--config", "/none/such.toml"]));
    assert!(code == 78 && stderr.contains("/none/such.toml"), "{code} {stderr}");
}

#[test]
fn a_port_that_is_taken_is_a_failure_and_says_which() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = ended(edge(&Settings::new().set("EDGE__LISTEN", &address), &["run"]));
    assert!(code == 1 && stderr.contains(&address) && stderr.contains("edge.listen"), "{code} {stderr}");
}

/// A running edge and the lines that it logs. Killed when a test fails before it has ended.
struct Running {
    child: Child,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Running {
    /// The next line that `wanted` wants, as JSON: every line is.
    fn line(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.log.next().expect("the edge has ended").expect("text");
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hears_that_it_is_ready_and_that_it_stops() {
    let backstage = Backstage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = edge(&backstage.settings, &["run"]);
    let mut child = command.env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut running = Running { child, log };
    let said = |wanted: &str| loop {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == wanted) {
            break;
        }
    };
    tokio::task::block_in_place(|| {
        said("READY=1");
        said("WATCHDOG=1");
        kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
        said("STOPPING=1");
        assert!(running.child.wait().unwrap().success());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_logs_and_stops() {
    let backstage = Backstage::new().await.set("LOG__FORMAT", "json").set("LOG__FILTER", "info,edge=debug");
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = edge(&backstage.settings, &["run"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut running = Running { child, log };
        let started = running.line(|line| line["message"] == "edge started");
        let address: SocketAddr = started["listen"].as_str().unwrap().parse().unwrap();
        assert_eq!((started["level"].as_str(), started["target"].as_str()), (Some("INFO"), Some("edge::runner")));
        let admin: SocketAddr = started["admin"].as_str().unwrap().parse().unwrap();

        let client = Client::new(address, false);
        let headers = [("x-request-id", "find-me"), ("content-type", "application/json")];
        let answer = client.with_key(&backstage.key).send(http::Method::POST, SESSION, &headers, session().to_string()).await.unwrap();
        assert_eq!(answer.status, 201);
        let line = running.line(|line| line["request_id"] == "find-me");
        assert_eq!((line["status"].as_u64(), line["route"].as_str()), (Some(201), Some("checkout_session")), "{line}");
        assert!(!line.to_string().contains(&backstage.key), "{line}");
        let answer = client.get(GEO).await.unwrap();
        let line = running.line(|line| line["route"] == "subdivisions");
        assert_eq!(line["request_id"], answer.header("x-request-id"));

        assert_eq!(Client::new(admin, false).get("/readyz").await.unwrap().status, 200);
        let metrics = Client::new(admin, false).get("/metrics").await.unwrap();
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        assert!(metrics.contains(r#"edge_requests_total{code="201",method="POST",route="checkout_session"} 1"#), "{metrics}");

        kill_process(Pid::from_child(&running.child), signal).unwrap();
        running.line(|line| line["message"].as_str().is_some_and(|message| message.contains("draining")));
        let status = running.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        let mut stdout = String::new();
        running.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "", "the log goes to standard error");
        for line in running.log.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).expect("JSON to the last line");
            assert!(!matches!(line["level"].as_str(), Some("ERROR" | "WARN")), "{line}");
        }
    }
}
