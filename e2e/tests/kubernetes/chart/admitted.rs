//! Every Pod passes Pod Security `restricted`.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::chart;
use fedgate_e2e::kubernetes::{ControlPlane, Objects, Options};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};

const NAMESPACE: &str = "restricted";

/// The Pod that a controller would create from a template.
fn pod(name: &str, template: &Value) -> Value {
    let metadata = &template["metadata"];
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": metadata["labels"], "annotations": metadata["annotations"] },
        "spec": template["spec"],
    })
}

async fn refused(objects: &Objects, pod: &Value) -> Result<String> {
    let error = objects.apply_one(pod).await.err().context("it was admitted")?;
    let error = format!("{error:#}");
    ensure!(error.contains("violates PodSecurity \"restricted"), "{error}");
    Ok(error)
}

#[test]
fn every_pod_is_admitted_where_pod_security_is_restricted() {
    scenario("restricted", async |run: &RunFolder| {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": NAMESPACE, "labels": labels });
        objects
            .apply_one(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
            .await?;
        let mut admitted = 0;
        for (name, values) in chart::combinations()? {
            let rendered = chart::render_file(&values).await?;
            for (workload, template) in rendered.pod_templates() {
                let name =
                    format!("{name}-{}", workload["metadata"]["name"].as_str().unwrap_or_default());
                let pod = pod(&name, template);
                objects
                    .apply_one(&pod)
                    .await
                    .with_context(|| format!("{name}: {}", pod["spec"]))?;
                admitted += 1;
            }
        }
        ensure!(admitted >= 14, "{admitted}");
        // Each of these Pods would be refused.
        let rendered = chart::render_file(&chart::folder().join("ci/plain.yaml")).await?;
        for workload in ["fedgate", "fedgate-gateway"] {
            let whole =
                pod("denied", &rendered.object("Deployment", workload)?["spec"]["template"]);
            for (place, value, expected) in [
                ("/spec/securityContext/seccompProfile", Value::Null, "seccompProfile"),
                ("/spec/containers/0/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
                ("/spec/containers/0/securityContext/capabilities", Value::Null, "capabilities"),
                (
                    "/spec/containers/0/securityContext/allowPrivilegeEscalation",
                    json!(true),
                    "allowPrivilegeEscalation",
                ),
            ] {
                let mut weaker = whole.clone();
                *weaker
                    .pointer_mut(place)
                    .with_context(|| format!("{workload} has no {place}"))? = value;
                let error = refused(&objects, &weaker).await?;
                ensure!(error.contains(expected), "{error}");
            }
        }
        Ok(())
    });
}
