//! The chart's gateway after Istio's own injection has what the listener needs, and passes Pod
//! Security `restricted`.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{ControlPlane, Objects, Options};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::{chart, programs};
use serde_json::{Value, json};

/// The output of `istioctl kube-inject` for a workload: it runs istiod's code on istiod's template.
async fn injected(run: &RunFolder, workload: &Value) -> Result<Value> {
    let folder = run.path();
    let injector: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(programs::istio_injection()?)?)?;
    let mut arguments = vec!["kube-inject".to_owned(), "--revision".into(), "default".into()];
    for (flag, name, text) in [
        (
            "--injectConfigFile",
            "inject.yaml",
            injector["data"]["config"].as_str().context("the templates")?.to_owned(),
        ),
        (
            "--valuesFile",
            "values.json",
            injector["data"]["values"].as_str().context("the values")?.to_owned(),
        ),
        ("--meshConfigFile", "mesh.yaml", "trustDomain: alpha.example".into()),
        ("--filename", "workload.yaml", workload.to_string()),
    ] {
        let file = folder.join(name);
        std::fs::write(&file, text)?;
        arguments.extend([flag.to_owned(), file.display().to_string()]);
    }
    let output = tokio::process::Command::new(programs::istioctl()?)
        .args(&arguments)
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Option<Value>> =
        serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    documents.into_iter().flatten().next().context("istioctl printed nothing")
}

#[test]
fn the_injected_gateway_is_complete_and_admitted() {
    scenario("injection", async |run: &RunFolder| {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": "fedgate-system", "labels": labels });
        objects
            .apply_one(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
            .await?;
        for (values, init_containers) in [("plain", 0), ("dynamic-module", 1)] {
            complete_and_admitted(run, &objects, values, init_containers).await?;
        }
        Ok(())
    });
}

async fn complete_and_admitted(
    run: &RunFolder,
    objects: &Objects,
    values: &str,
    init_containers: usize,
) -> Result<()> {
    let file = chart::folder().join(format!("ci/{values}.yaml"));
    let rendered = chart::render_file(&file).await?;
    let workload = injected(run, rendered.object("Deployment", "fedgate-gateway")?).await?;

    let template = &workload["spec"]["template"];
    let proxy = &template["spec"]["containers"][0];
    ensure!(
        template["spec"]["containers"].as_array().is_some_and(|all| all.len() == 1),
        "one container: {template}"
    );
    ensure!(
        proxy["image"].as_str().is_some_and(|image| image.contains("proxyv2")),
        "{}",
        proxy["image"]
    );
    let has = |list: &Value, name: &str| {
        list.as_array().is_some_and(|list| list.iter().any(|item| item["name"] == name))
    };
    for volume in
        ["fedgate-filter", "fedgate-trust-bundle", "istio-token", "custom-bootstrap-volume"]
    {
        ensure!(
            has(&proxy["volumeMounts"], volume) && has(&template["spec"]["volumes"], volume),
            "{volume}: {template}"
        );
    }
    for variable in ["EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "ISTIO_BOOTSTRAP_OVERRIDE", "CA_ADDR"] {
        ensure!(has(&proxy["env"], variable), "{variable}: {proxy}");
    }
    ensure!(proxy["securityContext"]["readOnlyRootFilesystem"] == true, "{proxy}");
    ensure!(template["spec"]["terminationGracePeriodSeconds"] == 300, "{template}");
    let copying = template["spec"]["initContainers"].as_array().into_iter().flatten();
    let copying = copying.filter(|container| container["args"][0] == "copy-filter").count();
    ensure!(copying == init_containers, "{template}");

    let pod = |name: &str, template: &Value| {
        let mut pod = template.clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!("fedgate-system");
        pod
    };
    objects.apply_one(&pod(&format!("fedgate-gateway-{values}"), template)).await?;
    let mut weaker = template.clone();
    weaker["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    let refused =
        objects.apply_one(&pod("denied", &weaker)).await.err().context("root was admitted")?;
    ensure!(format!("{refused:#}").contains("violates PodSecurity"), "{refused:#}");
    Ok(())
}
