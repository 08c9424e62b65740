//! The alerts: well formed by Prometheus' own tool, each with a case that makes it fire and one that does not, and each with a place in the
//! runbook, whose commands exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use testkit::process::Launch;
use testkit::servers::Host;
use tokio::task::block_in_place;

use crate::canaries::programs;

const RULES: [&str; 2] = ["slo", "causes"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards")
}

/// The files of rules.
pub fn files() -> Vec<PathBuf> {
    RULES.map(|name| folder().join(format!("rules/{name}.yml")).canonicalize().unwrap()).into()
}

fn read(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What follows `start` on the lines that begin with it.
fn after<'t>(text: &'t str, start: &'t str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(start))
}

/// What the rules ask, each with the name of its rule: what is recorded, and of alerts what they compare.
pub fn asked() -> Vec<(String, String)> {
    let mut asked = Vec::new();
    for name in RULES {
        let (rules, mut rule) = (read(&format!("rules/{name}.yml")), String::new());
        let mut lines = rules.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if let Some(named) = line.strip_prefix("- record: ").or_else(|| line.strip_prefix("- alert: ")) {
                rule = named.to_owned();
            } else if line == "expr: >-" {
                let expression = lines.next().unwrap();
                let compared = [" > ", " == "].iter().find_map(|sign| expression.rsplit_once(sign)).map_or(expression, |(left, _)| left);
                asked.push((rule.clone(), compared.to_owned()));
            } else if let Some(expression) = line.strip_prefix("expr: ") {
                asked.push((rule.clone(), expression.to_owned()));
            }
        }
    }
    asked
}

/// Whether a rule has to find something under load. Stripe is not asked then, and of nothing there is no share.
pub fn must_find(rule: &str) -> bool {
    rule != "StripeAway"
}

fn promtool() -> Launch {
    let prometheus = Host::of_this_checkout("").unwrap().unpack("prometheus", &|line| eprintln!("{line}")).unwrap();
    Launch::new("promtool", prometheus.folder.join("usr/bin/promtool"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_when_it_has_to_and_only_then() {
    block_in_place(|| {
        promtool().args(["check", "rules"]).args(files()).must_succeed().unwrap();
        let tests = RULES.map(|name| folder().join(format!("rules/tests/{name}_test.yml")));
        promtool().args(["test", "rules"]).args(&tests).must_succeed().unwrap();
    });
}

#[test]
fn every_alert_has_its_cases_and_its_place_in_the_runbook() {
    let runbook = read("runbook.md");
    let headings: BTreeSet<&str> = after(&runbook, "### ").collect();
    let mut alerts = BTreeSet::new();
    for name in RULES {
        let (rules, tests) = (read(&format!("rules/{name}.yml")), read(&format!("rules/tests/{name}_test.yml")));
        let cases: BTreeSet<&str> = after(&tests, "- name: ").collect();
        let links: Vec<&str> = after(&rules, "runbook_url: runbook.md#").collect();
        let named: Vec<&str> = after(&rules, "- alert: ").collect();
        assert_eq!(links, named.iter().map(|alert| alert.to_lowercase()).collect::<Vec<_>>());
        let severities: Vec<&str> = after(&rules, "labels: {severity: ").collect();
        assert_eq!(severities.len(), named.len(), "{severities:?}");
        assert!(severities.iter().all(|severity| ["page}", "ticket}"].contains(severity)), "{severities:?}");
        for alert in named {
            for case in [format!("{alert} fires"), format!("{alert} stays quiet")] {
                assert!(cases.contains(case.as_str()), "no case {case:?}");
            }
            assert!(alerts.insert(alert.to_owned()), "{alert} is there twice");
        }
    }
    let headings: BTreeSet<String> = headings.into_iter().map(str::to_owned).collect();
    assert_eq!(headings, alerts, "one heading for each alert, and none else");
    for (at, _) in runbook.match_indices("](#") {
        let link = runbook[at + 3..].split(')').next().unwrap();
        assert!(alerts.iter().any(|alert| alert.to_lowercase() == link), "#{link} leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbooks_commands_exist() {
    let runbook = read("runbook.md");
    let programs = block_in_place(programs);
    let mut seen = 0;
    for span in runbook.split('`').skip(1).step_by(2) {
        let words: Vec<&str> = span.split_whitespace().collect();
        let Some(at) = ["edge", "worker"].iter().position(|name| words[0] == *name) else { continue };
        // Up to the first that is no subcommand: a value or an option.
        let command: Vec<&str> =
            words[1..].iter().take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')).copied().collect();
        let options = words[1..].iter().filter(|word| word.starts_with("--"));
        let help = block_in_place(|| {
            let subcommand = command.iter().take_while(|word| !word.starts_with("--"));
            Launch::new(words[0], &programs[at]).args(subcommand).arg("--help").must_succeed().unwrap()
        });
        for option in options {
            assert!(help.contains(option), "{span}: there is no {option}");
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen} commands");
}

/// A label's value that no event has would look like a quiet day too.
#[test]
fn every_value_of_a_label_is_one_that_is_counted() {
    let mut seen = 0;
    let programs = [("edge", edge::metrics::EdgeMetrics::DESCRIBED), ("worker", worker::metrics::WorkerMetrics::DESCRIBED)];
    let rules = RULES.map(|name| read(&format!("rules/{name}.yml"))).concat();
    for (program, described) in programs {
        for metric in described.iter().filter(|metric| !metric.values.is_empty()) {
            let (name, label) = (format!("{program}_{}{{", metric.name), metric.labels[0]);
            for (at, _) in rules.match_indices(&name) {
                let matchers = rules[at + name.len()..].split_once('}').unwrap().0;
                let Some(value) = matchers.split_once(label).and_then(|(_, rest)| rest.split('"').nth(1)) else { continue };
                for value in value.split('|') {
                    assert!(metric.values[0].contains(&value), "{name}{matchers}}}: {value} is not counted");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 8, "{seen} values");
}

/// Series with labels are not on any page until something happens, so a misspelt name would look like a quiet day.
#[test]
fn every_metric_is_one_of_ours() {
    let table = read("metrics.md");
    for name in RULES {
        let rules = read(&format!("rules/{name}.yml"));
        for expression in rules.lines().filter(|line| !line.trim_start().starts_with(['#', '-']) && !line.contains("summary:")) {
            for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let Some(own) = word.strip_prefix("edge_").or_else(|| word.strip_prefix("worker_")) else { continue };
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
                let known =
                    [word, base].iter().any(|name| table.contains(&format!("`{name}`"))) || table.contains(&format!("`<program>_{own}`"));
                assert!(known, "{name}: there is no {word}");
            }
        }
    }
}
