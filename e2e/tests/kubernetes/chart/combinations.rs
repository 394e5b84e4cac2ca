//! The supported combinations of values lint, render as expected, and are accepted by a real API
//! server.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{ControlPlane, Objects, Options};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::{chart, programs};
use serde_json::json;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// A combination, the number of objects of each kind, and texts that must and must not appear.
type Expected = (
    &'static str,
    &'static [(&'static str, usize)],
    &'static [&'static str],
    &'static [&'static str],
);

const EXPECTED: &[Expected] = &[
    (
        "plain",
        &[
            ("Deployment", 2),
            ("Service", 2),
            ("PodDisruptionBudget", 2),
            ("NetworkPolicy", 2),
            ("HorizontalPodAutoscaler", 0),
            ("CustomResourceDefinition", 3),
            ("ValidatingAdmissionPolicy", 4),
            ("ServiceMonitor", 0),
            ("Job", 1),
        ],
        &[
            "type: LoadBalancer",
            "FEDGATE_METADATA_TLS",
            "name: fedgate-filter",
            "helm.sh/resource-policy: keep",
        ],
        &[
            "istio.io/rev:",
            "FEDGATE_METADATA_PLAIN",
            "FEDGATE_FILTER_MODULE",
            "copy-filter",
            "layered_runtime",
            "ip_unprivileged_port_start",
        ],
    ),
    (
        "node-port",
        &[("Deployment", 2), ("PodDisruptionBudget", 0)],
        &[
            "type: NodePort",
            "nodePort: 30443",
            "FEDGATE_METADATA_PLAIN",
            "WasmPlugin",
            "@sha256:",
            "name: registry",
            "name: net.ipv4.ip_unprivileged_port_start",
        ],
        &["FEDGATE_METADATA_TLS", "name: fedgate-filter", "type: LoadBalancer"],
    ),
    (
        "dynamic-module",
        &[("Deployment", 2)],
        &[
            "DynamicModule",
            "copy-filter",
            "name: registry",
            "emptyDir:",
            "configMap: {name: fedgate-filter",
            "dynamic_modules_strip_custom_stat_prefix",
            "stats_tags",
        ],
        &["FEDGATE_FILTER_MODULE"],
    ),
    (
        "namespaces",
        &[("HorizontalPodAutoscaler", 1), ("PodDisruptionBudget", 2)],
        &[
            "istio.io/rev: canary",
            "namespace: federation-gateway",
            "namespace: federation-imports",
            "namespace: istio-config",
        ],
        &["istio-system"],
    ),
    (
        "monitoring",
        &[("ServiceMonitor", 1), ("PodMonitor", 1), ("PrometheusRule", 1), ("Service", 3)],
        &["release: prometheus", "grafana_dashboard"],
        &[],
    ),
    (
        "dkp",
        &[
            ("Deployment", 1),
            ("CustomResourceDefinition", 2),
            ("Role", 0),
            ("NetworkPolicy", 0),
            ("Job", 0),
        ],
        &["federationpolicies.fedgate.dev", "federatedservices.fedgate.dev"],
        &["istiofederations.deckhouse.io", "ValidatingAdmissionPolicy"],
    ),
    (
        "everything",
        &[("Deployment", 3), ("ServiceMonitor", 1)],
        &["name: east-west", "loadBalancerClass: example/class", "clusterIP: \"10.0.0.53\""],
        &[],
    ),
];

#[test]
fn each_combination_lints_and_renders_what_it_must() {
    scenario("combinations", async |_: &RunFolder| {
        let combinations = chart::combinations()?;
        ensure!(combinations.len() == EXPECTED.len(), "{combinations:?}");
        for (name, kinds, has, has_not) in EXPECTED {
            let values = chart::folder().join(format!("ci/{name}.yaml"));
            chart::lint(&values).await?;
            let rendered = chart::render_file(&values).await?;
            for (kind, number) in *kinds {
                let found = rendered.of_kind(kind).count();
                ensure!(found == *number, "{name}: expected {number} {kind}, found {found}");
            }
            let missing: Vec<_> =
                has.iter().filter(|text| !rendered.yaml.contains(**text)).collect();
            let surplus: Vec<_> =
                has_not.iter().filter(|text| rendered.yaml.contains(**text)).collect();
            ensure!(
                missing.is_empty() && surplus.is_empty(),
                "{name}: missing {missing:?}, surplus {surplus:?}"
            );
        }
        Ok(())
    });
}

/// Stands in for the Prometheus operator's definitions: the kinds exist, with any fields.
fn monitoring_kind(kind: &str) -> serde_json::Value {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.monitoring.coreos.com") },
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced", "names": { "kind": kind, "plural": plural },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    })
}

/// A server-side dry run that refuses unknown fields.
async fn dry_run(plane: &ControlPlane, yaml: &str) -> Result<()> {
    let mut kubectl = tokio::process::Command::new(programs::kubectl()?);
    kubectl.args([
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--filename",
        "-",
    ]);
    kubectl
        .env("KUBECONFIG", plane.admin_kubeconfig()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = kubectl.kill_on_drop(true).spawn().context("cannot start kubectl")?;
    let mut input = child.stdin.take().context("kubectl reads")?;
    input.write_all(yaml.as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_api_server_accepts_every_object_of_every_combination() {
    scenario("dry-run", async |run: &RunFolder| {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule"] {
            objects.apply(&monitoring_kind(kind).to_string()).await?;
        }
        for name in [
            "fedgate-system",
            "istio-system",
            "istio-config",
            "federation-gateway",
            "federation-imports",
        ] {
            objects
                .apply_one(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
                .await?;
        }
        for (name, values) in chart::combinations()? {
            let rendered = chart::render_file(&values).await?;
            dry_run(&plane, &rendered.yaml).await.context(name)?;
        }
        let wrong = chart::render_file(&chart::folder().join("ci/plain.yaml"))
            .await?
            .yaml
            .replace("maxSurge", "maxSurprise");
        let refused =
            dry_run(&plane, &wrong).await.err().context("a field that nobody knows was taken")?;
        ensure!(refused.to_string().contains("maxSurprise"), "{refused}");
        Ok(())
    });
}
