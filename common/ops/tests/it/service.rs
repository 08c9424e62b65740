//! A whole process: its signals, exit codes, logs and what it counts. The process is this
//! same test binary, started again as a child that runs [`the_service`] alone.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use ops::admin::AdminServer;
use ops::health::{Health, Need};
use ops::metrics::Metrics;
use ops::tasks::{Backoff, Drain, Tasks};
use ops::{log, shutdown};
use serde_json::Value;

use crate::{eventually, get};

/// How the child behaves: `calm`, `stubborn` (does not stop when asked), `crashing` (once) or
/// `silent` (crashing, with the log turned off).
const MOOD: &str = "OPS_TEST_MOOD";

#[test]
#[ignore = "not a test: what the other tests start as a child"]
fn the_service() {
    let Some(mood) = std::env::var_os(MOOD) else { return };
    live(mood.into_string().expect("a mood")).expect("a life without errors");
}

#[tokio::main]
async fn live(mood: String) -> anyhow::Result<()> {
    log::init(log::Format::Json, if mood == "silent" { "off" } else { "info" })?;
    let metrics = Metrics::new("service", &[("version", env!("CARGO_PKG_VERSION"))])?;
    log::install_panic_hook(metrics.panics_total());
    let asked_to_stop = shutdown::on_signals().context("cannot listen for signals")?;

    let health = Health::new(&metrics);
    health.spawn_heartbeat();
    let admin = AdminServer::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), metrics.clone(), health.clone())?;
    println!("\n{}", admin.local_addr());

    let tasks = Tasks::new(&asked_to_stop, &metrics);
    let working = health.check("work", Need::Required);
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(10) };
    let mut runs = 0;
    tasks.spawn_supervised("work", backoff, move |token| {
        runs += 1;
        let crash = (mood == "crashing" || mood == "silent") && runs == 1;
        let stubborn = mood == "stubborn";
        let working = working.clone();
        async move {
            assert!(!crash, "crashing, as asked");
            working.ok();
            token.cancelled().await;
            if stubborn {
                std::future::pending::<()>().await;
            }
            anyhow::Ok(())
        }
    });

    asked_to_stop.cancelled().await;
    health.set_draining();
    anyhow::ensure!(tasks.drain(Duration::from_secs(60)).await == Drain::Drained, "a task did not end in time");
    admin.shutdown();
    Ok(())
}

/// The child; killed if the test ends before it does.
struct Service {
    child: Child,
    admin: SocketAddr,
}

/// What is left of it.
struct Remains {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Remains {
    /// Standard error, of which every line must be a JSON object.
    fn log(&self) -> Vec<Value> {
        self.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

impl Service {
    fn start(mood: &str) -> Service {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "service::the_service", "--ignored", "--nocapture"])
            .env(MOOD, mood)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the child");
        // The test harness says a word of its own first.
        let mut said = BufReader::with_capacity(1, child.stdout.as_mut().expect("stdout")).lines().map_while(Result::ok);
        let admin = said.find_map(|line| line.parse().ok()).expect("the admin address");
        drop(said);
        Service { child, admin }
    }

    fn ready(mood: &str) -> Service {
        let service = Service::start(mood);
        eventually("ready", || get(service.admin, "/readyz").status == 200);
        service
    }

    fn signal(&self, name: &str) {
        // The shell's own kill: the command is not on every machine.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().expect("sh");
        assert!(sent.success(), "kill -{name}");
    }

    fn remains(mut self) -> Remains {
        let (mut stdout, mut stderr, mut code) = (String::new(), String::new(), None);
        eventually("the child has exited", || {
            code = self.child.try_wait().expect("wait");
            code.is_some()
        });
        self.child.stdout.take().expect("stdout").read_to_string(&mut stdout).expect("read");
        self.child.stderr.take().expect("stderr").read_to_string(&mut stderr).expect("read");
        Remains { code: code.and_then(|status| status.code()), stdout, stderr }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).expect("end the child");
        }
    }
}

#[test]
fn one_signal_ends_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let service = Service::ready("calm");
        service.signal(signal);
        let remains = service.remains();
        assert_eq!(remains.code, Some(0));
        assert!(!remains.stdout.contains('{'), "logs do not go to standard output: {}", remains.stdout);
        let log = remains.log();
        let asked = log.iter().find(|line| line["signal"] == format!("SIG{signal}")).expect("the signal is logged");
        let time = asked["timestamp"].as_str().expect("a timestamp");
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        assert_eq!((&asked["level"], &asked["target"]), (&Value::from("INFO"), &Value::from("ops::shutdown")));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, code) in [("TERM", "TERM", 143), ("TERM", "INT", 130), ("INT", "INT", 130)] {
        let service = Service::ready("stubborn");
        service.signal(first);
        eventually("draining", || get(service.admin, "/readyz").body.contains("\"draining\""));
        assert_eq!(get(service.admin, "/healthz").status, 200, "the admin listener outlives the drain");
        service.signal(second);
        assert_eq!(service.remains().code, Some(code), "{first}, {second}");
    }
}

#[test]
fn a_panic_is_one_line_one_count_and_one_restart() {
    let service = Service::ready("crashing");
    eventually("one panic and one restart are counted", || {
        let page = get(service.admin, "/metrics").body;
        page.contains("service_panics_total 1\n") && page.contains("service_task_restarts_total{task=\"work\"} 1\n")
    });
    service.signal("TERM");
    let remains = service.remains();
    assert_eq!(remains.code, Some(0));
    let log = remains.log();
    let panics: Vec<_> = log.iter().filter(|line| line["message"] == "panicked").collect();
    assert_eq!(panics.len(), 1, "{log:?}");
    assert_eq!(panics[0]["panic"], "crashing, as asked");
    assert!(panics[0]["location"].as_str().is_some_and(|location| location.contains("service.rs:")), "{}", panics[0]);
    let restarts: Vec<_> = log.iter().filter(|line| line["task"] == "work").collect();
    assert_eq!((restarts.len(), &restarts[0]["outcome"]), (1, &Value::from("panicked")), "{log:?}");
}

#[test]
fn a_panic_is_seen_with_the_log_turned_off() {
    let service = Service::ready("silent");
    eventually("the panic is counted", || get(service.admin, "/metrics").body.contains("service_panics_total 1\n"));
    service.signal("TERM");
    let remains = service.remains();
    assert!(remains.stderr.contains("crashing, as asked"), "{}", remains.stderr);
}
