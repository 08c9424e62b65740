//! The table of all metrics, `dashboards/metrics.md`, is what the code says. `UPDATE=1 cargo test -p stack --test it metrics::` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ops::metrics::{Described, Life, RuntimeMetrics};

const HEAD: &str = "# Metrics

Every metric of edges (port 9464) and workers (port 9465; the systemd units have ports of their own), made from the code. Labels are bounded: nothing that a caller sends becomes one. Beside
these, both have `<program>_build_info{version}`, which is always 1, and `process_*`: CPU, memory, open files, threads and the time of the start,
named as everywhere.
";

fn kind(of: &str) -> &'static str {
    match of {
        "Counter" | "IntCounter" | "IntCounterVec" => "counter",
        "Gauge" | "IntGauge" | "IntGaugeVec" => "gauge",
        "Histogram" | "HistogramVec" => "histogram",
        other => panic!("{other} is no kind of metric that is known here"),
    }
}

fn table(title: &str, prefix: &str, described: &[&[Described]]) -> String {
    let mut text = format!("\n## {title}\n\n| metric | kind | labels | says |\n|---|---|---|---|\n");
    let mut all: Vec<&Described> = described.iter().flat_map(|part| part.iter()).collect();
    all.sort_by_key(|one| one.name);
    for one in all {
        let values = |label: &str| one.values.iter().map(|values| format!("{label}: {}", values.join(", "))).next();
        let labels: Vec<String> = one.labels.iter().map(|label| values(&format!("`{label}`")).unwrap_or(format!("`{label}`"))).collect();
        writeln!(text, "| `{prefix}_{}` | {} | {} | {} |", one.name, kind(one.kind), labels.join(", "), one.help.trim()).unwrap();
    }
    text
}

#[test]
fn the_table_is_what_the_code_says() {
    let edge = table("Edge", "edge", &[edge::metrics::EdgeMetrics::DESCRIBED]);
    let worker = table("Worker", "worker", &[worker::metrics::WorkerMetrics::DESCRIBED]);
    let both = table("Both, named after each", "<program>", &[Life::DESCRIBED, RuntimeMetrics::DESCRIBED]);
    let text = [HEAD, &edge, &worker, &both].concat();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == text, "dashboards/metrics.md is not what the code says: UPDATE=1 cargo test -p stack --test it metrics::");
}
