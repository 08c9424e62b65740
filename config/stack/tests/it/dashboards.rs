//! The Grafana dashboards: well formed, and every expression answered by a real Prometheus that scrapes a system under a mixed load. Pictures of
//! them are drawn in Chromium, into `target/tmp/screenshots`.
//!
//! Knows nothing of the generator: what is judged is the files that people import.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::clock::{Clock, Now, SystemClock};
use serde_json::Value;
use testkit::http::Client;
use testkit::servers::{Host, Prometheus};
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::browser::{NPM_PACKAGES, with_chromium};
use crate::load::Stage;
use crate::node::{self, NODE};
use crate::rules;
use crate::system::{SOON, eventually};
use testkit::python::Python;

/// A panel may show nothing where its description says when.
const RARE: &str = "Empty while";
/// What is not so under a mixed load.
const QUIET: [&str; 6] =
    ["nobody calls", "nobody fulfills", "there are no jobs", "nothing is sent", "Stripe sends nothing", "nobody orders"];
const RATE_INTERVAL: &str = "15s";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All dashboards, with the names of their files.
fn boards() -> Vec<(String, Value)> {
    let folder = std::fs::read_dir(workspace().join("dashboards/grafana")).unwrap();
    let board = |path: PathBuf| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    };
    folder.map(|entry| board(entry.unwrap().path())).collect()
}

/// The panels that ask something.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("no {name} in {of}"))
}

/// Whether a panel has to show something under a mixed load.
fn must_show(panel: &Value) -> bool {
    let reason = text(panel, "description").split_once(RARE).map(|(_, reason)| reason.trim().trim_end_matches('.'));
    reason.is_none_or(|reason| QUIET.contains(&reason))
}

fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    panel["targets"].as_array().unwrap().iter().map(|target| text(target, "expr"))
}

#[test]
fn they_are_well_formed() {
    let boards = boards();
    let mut names: Vec<&str> = boards.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["dependencies", "edge", "overview", "payments", "webhooks", "worker"]);
    for (name, board) in &boards {
        assert_eq!(text(board, "uid"), format!("anonymouspay-{name}"));
        assert!(board.get("id").is_none(), "{name}: an id belongs to one installation");
        let mut ids: Vec<u64> = board["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), board["panels"].as_array().unwrap().len(), "{name}: panel ids repeat");
        assert!((4..=16).contains(&panels(board).count()), "{name}: {} panels", panels(board).count());
        assert!(board["links"].as_array().unwrap().iter().any(|link| link["url"] == "${runbook}"), "{name}: no link to the runbook");
        for panel in panels(board) {
            let title = text(panel, "title");
            assert!(title.ends_with('?'), "{name}: {title} is no question");
            assert!(text(panel, "description").contains("Normal: "), "{name}: {title} does not say what is normal");
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{name}: {title} has no unit");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {title}");
            }
            let place = &panel["gridPos"];
            assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{name}: {title} leaves the grid");
        }
    }
}

#[test]
fn every_panel_that_the_runbook_names_is_there() {
    let boards = boards();
    let titles: Vec<&str> = boards.iter().flat_map(|(_, board)| panels(board)).map(|panel| text(panel, "title")).collect();
    let runbook = std::fs::read_to_string(workspace().join("dashboards/runbook.md")).unwrap();
    let named: Vec<&str> = runbook.split('"').filter(|quoted| quoted.ends_with('?') && !quoted.contains('\n')).collect();
    assert!(named.len() >= 5, "{named:?}");
    for title in named {
        assert!(titles.contains(&title), "there is no panel {title:?}");
    }
}

/// Series with labels are not on any page until something happens, so a misspelt name would look like a quiet day.
#[test]
fn every_metric_is_one_of_ours() {
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap();
    let life = read("common/ops/src/metrics.rs");
    for (prefix, own) in [("edge_", read("edge/src/metrics.rs")), ("worker_", read("worker/src/metrics.rs"))] {
        for (board, json) in boards() {
            for expression in panels(&json).flat_map(expressions) {
                let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                for name in words.filter_map(|word| word.strip_prefix(prefix)).filter(|name| *name != "build_info") {
                    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                    let field = |text: &str| [name, base].iter().any(|name| text.contains(&format!(" {name}: ")));
                    assert!(field(&own) || field(&life), "{board}: there is no {prefix}{name}");
                }
            }
        }
    }
}

/// The number of results that are numbers, as of `now`; what Prometheus says where it cannot answer.
pub(super) async fn results(prometheus: SocketAddr, expression: &str, now: &Now) -> Result<usize, String> {
    let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
    let answer =
        Client::new(prometheus, false).get(&format!("/api/v1/query?query={query}&time={}", now.unix_ms as f64 / 1e3)).await.unwrap().json();
    if answer["status"] != "success" {
        return Err(answer["error"].to_string());
    }
    let results = answer["data"]["result"].as_array().unwrap();
    Ok(results.iter().filter(|result| result["value"][1] != "NaN").count())
}

/// What every panel and rule asks and finds no number for, of what has to be there under a mixed load.
async fn silent(prometheus: SocketAddr, now: &Now) -> Vec<String> {
    let (mut silent, mut asked) = (Vec::new(), 0);
    for (name, board) in boards() {
        for panel in panels(&board) {
            for expression in expressions(panel) {
                asked += 1;
                let found = expression.replace("$instance", ".*").replace("$__rate_interval", RATE_INTERVAL);
                let found = results(prometheus, &found, now).await.unwrap_or_else(|error| panic!("{name}: {expression}: {error}"));
                if found == 0 && must_show(panel) {
                    silent.push(format!("{name}: {}: {expression}", text(panel, "title")));
                }
            }
        }
    }
    for (rule, expression) in rules::asked() {
        asked += 1;
        let found = results(prometheus, &expression, now).await.unwrap_or_else(|error| panic!("{rule}: {expression}: {error}"));
        if found == 0 && rules::must_find(&rule) {
            silent.push(format!("{rule}: {expression}"));
        }
    }
    assert!(asked > 130, "only {asked} expressions");
    silent
}

/// The dashboards as pictures, of the last so many seconds.
fn draw(prometheus: &str, seconds: u64, rate_interval: &str) {
    let python = Python::with("browser", NODE).unwrap();
    let packages = node::packages(&python, "browser", &NPM_PACKAGES);
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let node = python.program("node").env("NODE_PATH", packages.join("node_modules"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dashboards/draw.cjs");
    let walk = with_chromium(node).arg(script).arg(prometheus).arg(workspace().join("dashboards/grafana")).arg(&shots);
    let said = walk.args([&seconds.to_string(), rate_interval]).must_succeed().unwrap();
    assert!(said.trim_end().ends_with("walked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_under_load() {
    let stage = Stage::new().await;
    stage.expect_webhooks();
    let (edge, worker) = (stage.system.edge().await, stage.system.worker().await);
    let started = Instant::now();
    let log = tempfile::NamedTempFile::new().unwrap();
    let jobs = [("edge", vec![edge.admin_address()]), ("worker", vec![worker.admin_address()])];
    let server = block_in_place(|| {
        let host = Host::of_this_checkout(std::env::var_os("PATH").unwrap_or_default()).unwrap();
        Prometheus::start(&host, &jobs, &rules::files(), Duration::from_secs(1), log.path(), &|line| eprintln!("{line}")).unwrap()
    });
    let prometheus = server.address();
    // A counter that is first seen after the load has not risen, as far as Prometheus can tell.
    let both = async || (results(prometheus, "up == 1", &SystemClock::new().now()).await == Ok(2)).then_some(());
    eventually("both to be scraped", SOON, both).await;
    let (output, said) = stage.run("mixed", &[]);
    assert!(output.status.success(), "{said}");
    let loaded = SystemClock::new().now();
    let silent = silent(prometheus, &loaded).await;
    assert!(silent.is_empty(), "{}", silent.join("\n"));
    let seconds = started.elapsed().as_secs() + 1;
    block_in_place(|| draw(&format!("http://{prometheus}"), seconds, RATE_INTERVAL));
}

fn prometheus_url() -> String {
    std::env::var_os("PROMETHEUS_URL").and_then(|url| url.into_string().ok()).expect("PROMETHEUS_URL, as http://127.0.0.1:9090")
}

#[tokio::test]
#[ignore = "for people: asks the Prometheus at PROMETHEUS_URL, as cargo stack up --observe prints it, while cargo stack load mixed average runs"]
async fn every_panel_shows_something_of_the_stack() {
    let prometheus = prometheus_url().trim_start_matches("http://").parse().expect("an address");
    let silent = silent(prometheus, &SystemClock::new().now()).await;
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// Pictures of the last quarter of an hour of any Prometheus that scrapes edges and workers: `PROMETHEUS_URL` says which.
#[test]
#[ignore = "for people: draws what the Prometheus at PROMETHEUS_URL has"]
fn pictures() {
    draw(&prometheus_url(), 900, "1m");
}
