//! Runs the conformance suite of the Multi-Cluster Services API against two clusters. Run by
//! `cargo xtask mcs-conformance`; `docs/mcs.md` has the result.
//!
//! The suite expects Pods that run and programs that can be executed in them. Here no kubelet runs,
//! so this program marks the suite's Pods as running, and leaves out the specs that call from them.
//! It also does what an administrator of fedgate does: it creates a `FederatedService` in each
//! cluster for the suite's Service.

use anyhow::{Context, Result};
use fedgate_e2e::kubernetes::{Key, KubernetesCluster, KubernetesFederation, Objects};
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::long_scenario;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::interval;

/// Each spec that fails waits for twenty seconds.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How often the suite's namespaces are looked for.
const OFTEN: Duration = Duration::from_millis(200);

/// The specs that look up names or call from a Pod, or need controllers that make EndpointSlices.
const LEFT_OUT: &str = "!DNS && !Connectivity && !EndpointSlice";

/// The required spec without such a label. It expects a call to fail, so it would pass without a
/// call.
const VACUOUS: &str = "Connectivity to a service that is not exported";

#[test]
fn the_suite_runs() {
    long_scenario("mcs-conformance", PATIENCE, async |run: &RunFolder| {
        let federation = start(run).await?;
        let suite = PathBuf::from(std::env::var("MCS_CONFORMANCE").context("MCS_CONFORMANCE")?);
        let kubeconfig = kubeconfig(run, &federation.clusters)?;
        let [alpha, beta] = federation.clusters.each_ref().map(KubernetesCluster::objects);
        tokio::select! {
            ran = run_suite(&suite, &kubeconfig) => ran,
            ended = stand_in(alpha) => ended,
            ended = stand_in(beta) => ended,
        }
    });
}

async fn start(run: &RunFolder) -> Result<KubernetesFederation<2>> {
    let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
    for cluster in &mut federation.clusters {
        for (name, value) in [
            ("FEDGATE_MCS_EXPORTS", "true"),
            ("FEDGATE_MCS_IMPORTS", "true"),
            ("FEDGATE_FEDERATED_SUFFIX", "svc.clusterset.local"),
        ] {
            cluster.settings().insert(name.into(), value.into());
        }
        cluster.objects().apply_file(programs::mcs_crds()?).await?;
        cluster.objects().apply_file(&xtask::root().join("deploy/mcs/rbac.yaml")).await?;
    }
    federation.pair().await?;
    federation.start_controllers().await?;
    Ok(federation)
}

/// A file with a context for each cluster.
fn kubeconfig(run: &RunFolder, clusters: &[KubernetesCluster]) -> Result<PathBuf> {
    let mut all = json!({ "apiVersion": "v1", "kind": "Config" });
    for kind in ["clusters", "users", "contexts"] {
        all[kind] = json!([]);
    }
    for cluster in clusters {
        let one = std::fs::read_to_string(cluster.plane().admin_kubeconfig()?)?;
        let mut one: Value = serde_json::from_str(&one)?;
        one["contexts"][0]["context"] =
            json!({ "cluster": cluster.name(), "user": cluster.name() });
        for kind in ["clusters", "users", "contexts"] {
            one[kind][0]["name"] = cluster.name().into();
            all[kind].as_array_mut().context("a list")?.push(one[kind][0].take());
        }
    }
    let file = run.path().join("kubeconfig-of-all.json");
    std::fs::write(&file, all.to_string())?;
    Ok(file)
}

async fn run_suite(suite: &Path, kubeconfig: &Path) -> Result<()> {
    let folder = xtask::root().join("target/mcs-conformance");
    std::fs::create_dir_all(&folder)?;
    let mut command = Command::new(suite);
    command.current_dir(&folder).kill_on_drop(true);
    command.arg("-kubeconfig").arg(kubeconfig).args(["-contexts", "alpha,beta"]);
    command.args(["-organization", "fedgate", "-project", "fedgate"]);
    command.args(["-version", env!("CARGO_PKG_VERSION")]);
    command.args(["-ginkgo.no-color", "-ginkgo.label-filter", LEFT_OUT, "-ginkgo.skip", VACUOUS]);
    let status = command.status().await.context("cannot start the suite")?;
    // A spec that fails is a result, which the report has.
    let report = std::fs::read_to_string(folder.join("report.yaml"))
        .with_context(|| format!("the suite ended with {status}, and wrote no report"))?;
    println!("{report}");
    Ok(())
}

/// Does what kubelets and an administrator would, in the suite's namespaces of a cluster.
async fn stand_in(objects: &Objects) -> Result<()> {
    let mut pause = interval(OFTEN);
    loop {
        pause.tick().await;
        for namespace in objects.list(("v1", "Namespace"), None, "").await? {
            let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
            if name.starts_with("mcs-conformance-") && namespace["status"]["phase"] == "Active" {
                run_pods(objects, name).await?;
                federate(objects, name).await?;
            }
        }
    }
}

async fn run_pods(objects: &Objects, namespace: &str) -> Result<()> {
    for pod in objects.list(("v1", "Pod"), Some(namespace), "").await? {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if pod["status"]["phase"] != "Running" {
            let key = Key::namespaced("v1", "Pod", namespace, name);
            objects.patch_status(key, &json!({ "phase": "Running" })).await?;
        }
    }
    Ok(())
}

/// Names the suite's Service, with all that fedgate can forward of it.
async fn federate(objects: &Objects, namespace: &str) -> Result<()> {
    let named = json!({
        "apiVersion": "fedgate.dev/v1alpha1",
        "kind": "FederatedService",
        "metadata": { "namespace": namespace, "name": "hello" },
        "spec": {
            "ports": [{ "name": "tcp", "port": 42 }],
            "members": [{ "local": {} }, { "allPeers": {} }],
        },
    });
    match objects.get(Key::of(&named)?).await? {
        Some(_) => Ok(()),
        None => objects.apply_one(&named).await.map(drop),
    }
}
