//! What a real Prometheus sees of two meshes: the dashboards have no empty panel, the alerts can be
//! evaluated, and the reference lists exactly the metrics that there are.

use super::fixture::{Pair, of_delivery, run};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::istio::Mesh;
use fedgate_e2e::manifest::{federated_service, federation};
use fedgate_e2e::prometheus::{Prometheus, Target};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::collections::BTreeSet;

const REFERENCE: &str = include_str!("../../../docs/reference.md");
const DASHBOARDS: [&str; 2] = ["dashboard.json", "dashboard-federation.json"];

/// The panel that the native filter cannot fill.
const CALLERS: &str = "Callers";

/// The port of Envoy's metrics in a Pod of Istio.
const ENVOY: u16 = 15090;

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_fills_every_panel_with_the_wasm_filter() -> Result<()> {
    panels_are_filled("EnvoyFilter").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_fills_every_panel_with_the_native_filter() -> Result<()> {
    panels_are_filled("DynamicModule").await
}

async fn panels_are_filled(delivery: &str) -> Result<()> {
    let run = run(&format!("monitoring-{delivery}"))?;
    let mut options = of_delivery(delivery);
    let callers = delivery == "EnvoyFilter";
    if callers {
        options.controller.insert("FEDGATE_NAMED_CALLERS".into(), "100".into());
    }
    let pair = Pair::start_with(&run, &options).await?;
    // A peer that never answers, so that there is one that is not ready.
    let ca = pair.beta.cluster.metadata_authority().pem();
    let gamma = federation("gamma", "gamma.example", "https://127.0.0.1:9/metadata", &ca);
    pair.beta.cluster.objects().apply(&gamma).await?;
    let name = federated_service("web", ("http", 80), "[{peers: [beta]}]");
    pair.alpha.cluster.objects().apply(&name).await?;
    let prometheus = start(&run, &[&pair.alpha, &pair.beta]).await?;
    prometheus.wait_scraped(SOON).await?;
    let client = pair.client().await?;
    for name in ["outbound_.80_._.x.shop.svc.beta.example", "x"] {
        let stranger = Client::new(None)?.get(pair.beta.gateway_address(), name, "x").await;
        ensure!(stranger.is_err(), "{stranger:?}");
    }
    // Two values of a counter make a rate.
    for panel in dashboards()?.iter().flat_map(panels) {
        if panel.title == CALLERS && !callers {
            continue;
        }
        wait::until(&format!("the panel {}", panel.title), SOON, async || {
            pair.call(&client).await?;
            for expression in &panel.expressions {
                let answer = prometheus.query(expression).await?;
                ensure!(!answer.is_empty(), "nothing answers {expression}");
            }
            Ok(Some(()))
        })
        .await?;
    }
    ensure!(prometheus.query("fedgate_no_such_metric").await?.is_empty());
    wait::until("each rule to be evaluated", SOON, async || {
        for rule in prometheus.rules().await? {
            ensure!(rule["health"] == "ok", "{}: {}", rule["name"], rule["lastError"]);
        }
        Ok(Some(()))
    })
    .await?;
    wait::until("the metrics of the reference", SOON, async || {
        let mut names = prometheus.names("fedgate_").await?;
        if !callers {
            ensure!(names.insert("fedgate_callers".into()), "the native filter counts callers");
        }
        metrics_are_those_of_the_reference(&names).map(Some)
    })
    .await
}

async fn start(run: &RunFolder, meshes: &[&Mesh]) -> Result<Prometheus> {
    let mut targets = Vec::new();
    for mesh in meshes {
        let cluster = mesh.cluster.name().to_owned();
        let address = mesh.cluster.first_replica()?.probes();
        targets.push(Target { cluster: cluster.clone(), address, path: "/metrics" });
        let address = (mesh.gateway()?.agent().address(), ENVOY).into();
        targets.push(Target { cluster, address, path: "/stats/prometheus" });
    }
    let rules = xtask::root().join("deploy/chart/files/rules.yaml");
    Prometheus::start(&run.path().join("prometheus"), &targets, &rules).await
}

/// A panel of a dashboard.
struct Panel {
    title: String,
    expressions: Vec<String>,
}

fn dashboards() -> Result<Vec<Value>> {
    let folder = xtask::root().join("deploy/chart/files");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).context(name.to_owned())?;
        serde_json::from_str(&text).context(name.to_owned())
    };
    DASHBOARDS.into_iter().map(read).collect()
}

/// The panels, with Grafana's variables replaced.
fn panels(dashboard: &Value) -> Vec<Panel> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let expression = |target: &Value| {
        text(&target["expr"]).replace("$__rate_interval", "30s").replace("$cluster", ".*")
    };
    let panel = |panel: &Value| Panel {
        title: text(&panel["title"]),
        expressions: list(&panel["targets"]).iter().map(expression).collect(),
    };
    list(&dashboard["panels"]).iter().map(panel).collect()
}

/// Compares the names of the series with the tables of the reference.
fn metrics_are_those_of_the_reference(series: &BTreeSet<String>) -> Result<()> {
    let names: BTreeSet<_> = series.iter().map(|series| metric(series)).collect();
    let documented = documented();
    ensure!(documented.len() > 30, "the reference lists {documented:?}");
    let missing: Vec<_> = names.difference(&documented).collect();
    ensure!(missing.is_empty(), "docs/reference.md does not list {missing:?}");
    let absent: Vec<_> =
        documented.difference(&names).filter(|name| !BY_EVENT.contains(name)).collect();
    ensure!(absent.is_empty(), "docs/reference.md lists {absent:?}, which nothing exports");
    Ok(())
}

/// Metrics that exist once something has happened that does not happen here.
const BY_EVENT: [&str; 8] = [
    // Those of `fedgate dns`, which answers no names here.
    "fedgate_dns_answers",
    "fedgate_dns_names",
    "fedgate_exporter_dropped_connections",
    "fedgate_failed_writes",
    "fedgate_importer_notices",
    "fedgate_importer_panics",
    // The native filter defines all of its counters when it starts, the other one at their first
    // use.
    "fedgate_revoked_connections",
    "fedgate_route_failures",
];

/// The metric of a series.
fn metric(series: &str) -> &str {
    let ends = ["_total", "_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series)
}

/// The metrics that the reference's tables list.
fn documented() -> BTreeSet<&'static str> {
    let rows = REFERENCE.lines().filter(|line| line.starts_with("| `fedgate_"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| name.split('{').next().unwrap_or(name))
        .collect()
}
