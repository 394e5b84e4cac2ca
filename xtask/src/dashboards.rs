//! Checks that Grafana would load the chart's dashboards, and show them as they are meant.
//!
//! Grafana itself is not part of the checks. Its published types (`grafana-foundation-sdk`) say what
//! a dashboard may contain; what they leave open is checked here: numbers and places of panels,
//! units, data sources and variables.

use crate::go::{Module, Program};
use crate::root;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

/// The dashboards, relative to the checkout.
const DASHBOARDS: [&str; 2] =
    ["deploy/chart/files/dashboard.json", "deploy/chart/files/dashboard-federation.json"];
/// Grafana's grid has this many columns.
const COLUMNS: u64 = 24;
/// Grafana's own variables that a query may use.
const BUILT_IN: [&str; 4] = ["__rate_interval", "__interval", "__range", "__from"];
/// How a query of Prometheus may answer.
const FORMATS: [&str; 3] = ["time_series", "table", "heatmap"];
const SDK: &str = "github.com/grafana/grafana-foundation-sdk/go";

/// Checks the chart's dashboards.
///
/// # Errors
/// When Grafana would refuse one, or not show something in it; the message lists all.
pub(crate) fn check() -> Result<()> {
    let mut found = Vec::new();
    for path in DASHBOARDS {
        let text = std::fs::read_to_string(root().join(path))
            .with_context(|| format!("cannot read {path}"))?;
        found.extend(faults(&text)?.into_iter().map(|fault| format!("{path}: {fault}")));
    }
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// What Grafana would refuse in a dashboard, or not show, a line each.
///
/// # Errors
/// When the program that knows Grafana's types cannot be built or started, or the dashboard is not
/// JSON.
pub fn faults(dashboard: &str) -> Result<Vec<String>> {
    let module = Module::new("grafana");
    let program = module.program(&Program {
        name: "grafana-dashboard",
        package: ".",
        stamps: Vec::new(),
        tags: "",
        variable: "GRAFANA_DASHBOARD",
        takes: "about half a minute",
    })?;
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(dashboard.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() == said.is_empty(), "{}: {said}", output.status);
    let mut faults: Vec<String> = said.lines().map(str::to_owned).collect();
    let units = module.files_of(SDK)?.join("units/types_gen.go");
    let units = std::fs::read_to_string(&units)
        .with_context(|| format!("cannot read {}", units.display()))?;
    faults.extend(faults_in(&serde_json::from_str(dashboard)?, &units));
    Ok(faults)
}

/// What Grafana's types leave open. `units` is the source that lists Grafana's units.
fn faults_in(dashboard: &Value, units: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let variables = list(&dashboard["templating"]["list"]);
    let names = variables.iter().filter_map(|one| one["name"].as_str()).collect::<BTreeSet<_>>();
    for one in variables {
        let (name, kind) = (one["name"].as_str().unwrap_or("?"), one["type"].as_str());
        if !matches!(kind, Some("datasource" | "query")) {
            faults.push(format!(
                "variable {name}: expected a type that is used here, found {kind:?}"
            ));
        }
        if kind == Some("query") {
            faults.extend(of_source(one, &names).map(|fault| format!("variable {name}: {fault}")));
        }
    }
    let panels = list(&dashboard["panels"]);
    if panels.is_empty() {
        faults.push("panels: there are none".to_owned());
    }
    for (at, panel) in panels.iter().enumerate() {
        let title = panel["title"].as_str().unwrap_or("?");
        let of_panel = of_panel(panel, &names, units);
        faults.extend(of_panel.into_iter().map(|fault| format!("panel {title:?}: {fault}")));
        for before in panels.iter().take(at) {
            let other = before["title"].as_str().unwrap_or("?");
            if before["id"] == panel["id"] {
                faults.push(format!("panel {title:?}: has the id of {other:?}"));
            }
            if overlap(&before["gridPos"], &panel["gridPos"]) {
                faults.push(format!("panel {title:?}: lies over {other:?}"));
            }
        }
    }
    faults
}

fn of_panel(panel: &Value, names: &BTreeSet<&str>, units: &str) -> Vec<String> {
    let mut faults: Vec<_> = of_source(panel, names).collect();
    let place = &panel["gridPos"];
    let [x, width, height] = ["x", "w", "h"].map(|side| place[side].as_u64().unwrap_or(0));
    if width == 0 || height == 0 || x + width > COLUMNS {
        faults.push(format!("gridPos: expected a place within {COLUMNS} columns, found {place}"));
    }
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
    if !units.contains(&format!(" = \"{unit}\"\n")) {
        faults.push(format!("unit: Grafana has no {unit:?}"));
    }
    let targets = list(&panel["targets"]);
    if targets.is_empty() {
        faults.push("targets: there are none".to_owned());
    }
    let mut refs = BTreeSet::new();
    for target in targets {
        faults.extend(of_target(target, names, panel["type"] == "table"));
        if !refs.insert(target["refId"].as_str()) {
            faults.push(format!("targets: two have the refId {}", target["refId"]));
        }
    }
    faults
}

fn of_target(target: &Value, names: &BTreeSet<&str>, in_table: bool) -> Vec<String> {
    let mut faults: Vec<_> = of_source(target, names).collect();
    let expression = target["expr"].as_str().unwrap_or_default();
    for variable in variables(expression) {
        if !names.contains(variable) && !BUILT_IN.contains(&variable) {
            faults.push(format!("{expression}: there is no variable ${variable}"));
        }
    }
    let format = target["format"].as_str().unwrap_or("time_series");
    if !FORMATS.contains(&format) {
        faults.push(format!("format: expected one of {FORMATS:?}, found {format:?}"));
    }
    // Otherwise the table shows one series, with a row for each moment.
    if in_table && (format != "table" || target["instant"] != true) {
        faults.push(
            "a query of a table needs \"format\": \"table\" and \"instant\": true".to_owned(),
        );
    }
    faults
}

/// Panels, queries and variables name their data source by the variable: a person chooses it.
fn of_source(owner: &Value, names: &BTreeSet<&str>) -> impl Iterator<Item = String> {
    let source = &owner["datasource"];
    let is_chosen = source["uid"] == "${datasource}" && names.contains("datasource");
    let fault = (source["type"] != "prometheus" || !is_chosen)
        .then(|| format!("datasource: expected the variable of a Prometheus, found {source}"));
    fault.into_iter()
}

/// The variables that an expression uses, as `$name` or `${name}`.
fn variables(expression: &str) -> impl Iterator<Item = &str> {
    expression.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .next()
            .unwrap_or_default()
    })
}

fn overlap(one: &Value, other: &Value) -> bool {
    let meet = |start: &str, length: &str| {
        let span = |place: &Value| {
            let [start, length] = [start, length].map(|side| place[side].as_u64().unwrap_or(0));
            (start, start + length)
        };
        let ((from, to), (other_from, other_to)) = (span(one), span(other));
        from < other_to && other_from < to
    };
    meet("x", "w") && meet("y", "h")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::faults_in;
    use serde_json::{Value, json};

    const UNITS: &str = "const Short = \"short\"\n";

    fn dashboard() -> Value {
        let source = json!({ "type": "prometheus", "uid": "${datasource}" });
        let panel = |id: u8, x: u8, kind: &str| {
            json!({
                "id": id, "title": format!("number {id}"), "type": kind, "datasource": source,
                "gridPos": { "x": x, "y": 0, "w": 12, "h": 8 },
                "fieldConfig": { "defaults": { "unit": "short" } },
                "targets": [{
                    "expr": "up{cluster=~\"$cluster\"}[$__range]", "refId": "A", "datasource": source,
                    "format": kind, "instant": true,
                }],
            })
        };
        json!({
            "templating": { "list": [
                { "name": "datasource", "type": "datasource", "query": "prometheus" },
                { "name": "cluster", "type": "query", "datasource": source },
            ] },
            "panels": [panel(1, 0, "table"), panel(2, 12, "time_series")],
        })
    }

    #[test]
    fn each_fault_is_found_and_named() {
        assert_eq!(faults_in(&dashboard(), UNITS), [""; 0]);
        for (place, value, fault) in [
            ("/panels", json!([]), "panels: there are none"),
            ("/panels/1/id", json!(1), "panel \"number 2\": has the id of \"number 1\""),
            ("/panels/1/gridPos/x", json!(11), "panel \"number 2\": lies over \"number 1\""),
            ("/panels/1/gridPos/w", json!(13), "within 24 columns"),
            ("/panels/0/fieldConfig/defaults/unit", json!("shorts"), "Grafana has no \"shorts\""),
            ("/panels/0/targets", json!([]), "targets: there are none"),
            ("/panels/0/targets/0/expr", json!("up{peer=\"${peer}\"}"), "no variable $peer"),
            ("/panels/0/targets/0/format", json!("time_series"), "a query of a table"),
            ("/panels/1/targets/0/format", json!("lines"), "expected one of"),
            ("/panels/1/datasource/uid", json!("prometheus"), "expected the variable"),
            ("/templating/list/0/name", json!("source"), "expected the variable"),
            ("/templating/list/1/type", json!("qery"), "variable cluster: expected a type"),
        ] {
            let mut broken = dashboard();
            *broken.pointer_mut(place).unwrap() = value;
            let faults = faults_in(&broken, UNITS);
            assert!(faults.iter().any(|one| one.contains(fault)), "{place}: {faults:?}");
        }
    }

    #[test]
    fn queries_of_a_panel_have_names_of_their_own() {
        let mut broken = dashboard();
        let target = broken["panels"][0]["targets"][0].clone();
        broken["panels"][0]["targets"].as_array_mut().unwrap().push(target);
        let faults = faults_in(&broken, UNITS);
        assert_eq!(faults, ["panel \"number 1\": targets: two have the refId \"A\""]);
    }
}
