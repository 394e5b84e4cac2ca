//! Alerts and dashboards use only metrics that exist, and Grafana would load the dashboards.

use anyhow::ensure;
use fedgate_e2e::chart;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::Value;
use std::collections::BTreeSet;

const REFERENCE: &str = include_str!("../../../../docs/reference.md");

/// The names of fedgate's metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("fedgate_")).collect()
}

fn is_documented(series: &str) -> bool {
    let metric = series.trim_end_matches("_total").trim_end_matches("_bucket");
    REFERENCE.contains(&format!("`{metric}`"))
}

fn texts<'a>(value: &'a Value, field: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == field => found.push(text),
            _ => texts(value, field, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| texts(value, field, found)),
        _ => {}
    }
}

#[test]
fn alerts_and_panels_use_metrics_that_exist() {
    assert!(!is_documented("fedgate_no_such_thing"));
    scenario("monitoring", async |_: &RunFolder| {
        let rendered = chart::render_file(&chart::folder().join("ci/monitoring.yaml")).await?;
        let rules = rendered.object("PrometheusRule", "fedgate")?;
        let dashboard = rendered.object("ConfigMap", "fedgate-dashboard")?;
        let dashboards: Vec<Value> = ["fedgate.json", "fedgate-federation.json"]
            .into_iter()
            .map(|name| serde_json::from_str(dashboard["data"][name].as_str().unwrap_or_default()))
            .collect::<Result<_, _>>()?;
        let mut asked = Vec::new();
        texts(rules, "expr", &mut asked);
        ensure!(asked.len() >= 8, "{asked:?}");
        dashboards.iter().for_each(|dashboard| texts(dashboard, "expr", &mut asked));
        ensure!(asked.len() >= 35, "{asked:?}");
        for expression in asked {
            let metrics = metrics(expression);
            ensure!(
                !metrics.is_empty() && metrics.iter().all(|metric| is_documented(metric)),
                "{expression}"
            );
        }
        let mut runbooks = Vec::new();
        texts(rules, "runbook_url", &mut runbooks);
        ensure!(
            runbooks.len() >= 8
                && runbooks.iter().all(|url| url.starts_with("docs/troubleshooting.md#fedgate")),
            "{runbooks:?}"
        );
        let mut descriptions = Vec::new();
        texts(rules, "description", &mut descriptions);
        ensure!(
            descriptions.len() >= 8 && descriptions.iter().all(|text| text.ends_with(['.', '?'])),
            "{descriptions:?}"
        );
        Ok(())
    });
}

/// By Grafana's own types. Each change is one that Grafana would refuse or not show.
#[test]
fn grafana_would_load_the_dashboards() {
    const CHANGES: [(&str, &str, &str); 7] = [
        ("\"gridPos\"", "\"gridpos\"", "unexpected field 'gridpos'"),
        ("\"expr\"", "\"exrp\"", "unexpected field 'exrp'"),
        ("\"h\": 8", "\"h\": \"8\"", "gridPos.h"),
        ("\"w\": 12", "\"w\": 25", "gridPos.w"),
        ("\"timeseries\"", "\"timeserie\"", "no panel of the type \"timeserie\""),
        ("\"schemaVersion\": 39", "\"schemaVersion\": \"39\"", "schemaVersion"),
        ("\"cps\"", "\"calls\"", "Grafana has no \"calls\""),
    ];
    scenario("dashboards", async |_: &RunFolder| {
        let rendered = chart::render_file(&chart::folder().join("ci/monitoring.yaml")).await?;
        let dashboards = rendered.object("ConfigMap", "fedgate-dashboard")?;
        for name in ["fedgate.json", "fedgate-federation.json"] {
            let text = dashboards["data"][name].as_str().unwrap_or_default();
            let faults = xtask::dashboards::faults(text)?;
            ensure!(faults.is_empty(), "{name}: {faults:#?}");
            for (from, to, fault) in CHANGES {
                let faults = xtask::dashboards::faults(&text.replace(from, to))?;
                ensure!(faults.iter().any(|one| one.contains(fault)), "{name} {to}: {faults:#?}");
            }
        }
        Ok(())
    });
}
