//! `cargo stack dashboards`: writes `dashboards/grafana/*.json`, so that six dashboards look and behave as one.
//!
//! What is asked is in `dashboards/boards.rs`; here is only how Grafana is told. Knows no server and no installation: the data source, the
//! instances and the runbook's address are variables of each dashboard.

mod boards;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::folder::workspace;

/// Grafana's grid is this wide.
const COLUMNS: u64 = 24;
/// The version of the dashboard format that Grafana 12 writes.
const SCHEMA: u32 = 41;

/// One dashboard.
struct Board {
    /// Part of its address and its file's name; never changed.
    name: &'static str,
    title: &'static str,
    /// Whose instances it can be narrowed to: a series that each of them has.
    instances: &'static str,
    rows: Vec<Row>,
}

/// Panels under a heading.
struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

/// How a panel shows its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// One large number.
    Stat,
    /// Lines over time.
    Series,
    /// Now, line by line.
    Table,
}

/// What is bad, and from where.
#[derive(Clone, Copy)]
enum Bad {
    /// Nothing: the number only informs.
    Never,
    /// Yellow from the first on, red from the second.
    Above(f64, f64),
    /// Yellow below the first, red below the second.
    Below(f64, f64),
}

/// A question and what answers it.
struct Panel {
    look: Look,
    question: &'static str,
    normal: &'static str,
    unit: &'static str,
    bad: Bad,
    /// Expressions with their legends.
    lines: Vec<(String, &'static str)>,
}

impl Panel {
    fn new(look: Look, question: &'static str, unit: &'static str) -> Self {
        Self { look, question, normal: "", unit, bad: Bad::Never, lines: Vec::new() }
    }

    /// What is normal. Where a sentence begins with `Empty while`, it may have nothing to show, and says when.
    fn normal(self, normal: &'static str) -> Self {
        Self { normal, ..self }
    }

    fn bad(self, bad: Bad) -> Self {
        Self { bad, ..self }
    }

    fn line(mut self, legend: &'static str, expression: impl Into<String>) -> Self {
        self.lines.push((expression.into(), legend));
        self
    }

    /// Columns and rows of the grid; `beside` is how many panels of its look share the row.
    fn size(&self, beside: u64) -> (u64, u64) {
        match self.look {
            Look::Stat => (COLUMNS / beside.min(6), 4),
            Look::Series => (COLUMNS / 2, 8),
            Look::Table => (COLUMNS, 5),
        }
    }

    fn json(&self, id: u64, place: Value) -> Value {
        let source = json!({ "type": "prometheus", "uid": "${datasource}" });
        let targets: Vec<Value> = ('A'..='Z').zip(&self.lines).map(|(name, line)| self.target(name, line, &source)).collect();
        let kind = match self.look {
            Look::Stat => "stat",
            Look::Series => "timeseries",
            Look::Table => "table",
        };
        let mut panel = json!({
            "id": id, "type": kind, "title": self.question, "description": self.normal, "datasource": source, "gridPos": place,
            "fieldConfig": { "defaults": self.defaults(), "overrides": [] },
            "options": self.options(),
            "targets": targets,
        });
        if self.look == Look::Table {
            let hidden = json!({ "Time": true, "Value": true });
            panel["transformations"] = json!([{ "id": "organize", "options": { "excludeByName": hidden } }]);
        }
        panel
    }

    fn target(&self, name: char, (expression, legend): &(String, &str), source: &Value) -> Value {
        // What a stat says is so now, or it says nothing: the last value of an instance that has gone must not look well.
        let instant = self.look != Look::Series;
        let format = if self.look == Look::Table { "table" } else { "time_series" };
        json!({
            "refId": name.to_string(), "datasource": source, "expr": expression, "legendFormat": legend,
            "instant": instant, "range": !instant, "format": format,
        })
    }

    fn defaults(&self) -> Value {
        let steps = match self.bad {
            Bad::Never => json!([{ "color": "blue", "value": null }]),
            Bad::Above(warning, bad) => {
                json!([{ "color": "green", "value": null }, { "color": "yellow", "value": warning }, { "color": "red", "value": bad }])
            }
            Bad::Below(warning, bad) => {
                json!([{ "color": "red", "value": null }, { "color": "yellow", "value": bad }, { "color": "green", "value": warning }])
            }
        };
        let mut defaults = json!({ "unit": self.unit, "thresholds": { "mode": "absolute", "steps": steps } });
        match self.look {
            Look::Series => {
                let thresholds = if matches!(self.bad, Bad::Never) { "off" } else { "line" };
                defaults["color"] = json!({ "mode": "palette-classic" });
                defaults["custom"] = json!({ "lineWidth": 2, "fillOpacity": 8, "showPoints": "never", "spanNulls": false, "axisSoftMin": 0,
                    "thresholdsStyle": { "mode": thresholds } });
            }
            Look::Stat => {
                defaults["color"] = json!({ "mode": "thresholds" });
                defaults["noValue"] = json!("no data");
                // Without it, what is unknown would get the color of the lowest step.
                let unknown = json!({ "match": "null+nan", "result": { "text": "no data", "color": "#6e6e6e", "index": 0 } });
                defaults["mappings"] = json!([{ "type": "special", "options": unknown }]);
            }
            Look::Table => {}
        }
        defaults
    }

    fn options(&self) -> Value {
        match self.look {
            Look::Stat => json!({ "colorMode": "background", "graphMode": "none", "textMode": "value",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false } }),
            Look::Series => json!({ "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" } }),
            Look::Table => json!({ "showHeader": true }),
        }
    }
}

/// One large number.
fn stat(question: &'static str, unit: &'static str, bad: Bad, expression: impl Into<String>) -> Panel {
    Panel::new(Look::Stat, question, unit).bad(bad).line("", expression)
}

/// Lines over time.
fn series(question: &'static str, unit: &'static str) -> Panel {
    Panel::new(Look::Series, question, unit)
}

/// Now, line by line.
fn table(question: &'static str, expression: impl Into<String>) -> Panel {
    Panel::new(Look::Table, question, "none").line("", expression)
}

impl Board {
    fn json(&self) -> Value {
        let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
        for row in &self.rows {
            id += 1;
            let place = json!({ "x": 0, "y": y, "w": COLUMNS, "h": 1 });
            panels.push(json!({ "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [], "gridPos": place }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                let beside = row.panels.iter().filter(|other| other.look == panel.look).count() as u64;
                let (w, h) = panel.size(beside);
                if x + w > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                id += 1;
                panels.push(panel.json(id, json!({ "x": x, "y": y, "w": w, "h": h })));
                (x, height) = (x + w, height.max(h));
            }
            y += height;
        }
        json!({
            "uid": format!("anonymouspay-{}", self.name), "title": format!("AnonymousPay · {}", self.title), "tags": ["anonymouspay"],
            "schemaVersion": SCHEMA, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "utc", "refresh": "30s",
            "time": { "from": "now-3h", "to": "now" },
            "links": [
                { "type": "dashboards", "tags": ["anonymouspay"], "title": "Dashboards", "asDropdown": true, "keepTime": true, "includeVars": false },
                { "type": "link", "title": "Runbook", "url": "${runbook}", "icon": "doc", "targetBlank": true },
            ],
            "templating": { "list": self.variables() },
            "annotations": { "list": [] },
            "panels": panels,
        })
    }

    fn variables(&self) -> Value {
        let query = format!("label_values({}, instance)", self.instances);
        json!([
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1 },
            { "name": "instance", "label": "Instance", "type": "query", "datasource": { "type": "prometheus", "uid": "${datasource}" },
              "definition": query, "query": { "query": query, "refId": "instances" }, "refresh": 2, "sort": 1, "includeAll": true, "multi": true,
              "allValue": ".*", "current": { "text": "All", "value": "$__all" } },
            { "name": "runbook", "label": "Runbook", "type": "textbox", "query": "/runbook.md" },
        ])
    }
}

/// Every file with its content.
fn files() -> Vec<(PathBuf, String)> {
    let folder = workspace().join("dashboards/grafana");
    let pretty = |board: &Board| format!("{:#}\n", board.json());
    boards::all().iter().map(|board| (folder.join(board.name).with_extension("json"), pretty(board))).collect()
}

/// Writes them all.
pub fn run() -> Result<ExitCode> {
    for (path, content) in files() {
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_as_written_here() {
        for (path, content) in files() {
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == content, "{} is not what `cargo stack dashboards` writes; run it", path.display());
        }
    }
}
