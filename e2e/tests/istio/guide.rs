//! Runs the commands of `docs/istio.md` as a reader types them, on two clusters that have only
//! Istio.

use super::fixture::run;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::plain_get;
use fedgate_e2e::guide;
use fedgate_e2e::istio::istiod::{Istiod, MeshOptions};
use fedgate_e2e::istio::kubelet::Installed;
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::kubernetes::KubernetesCluster;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

const GUIDE: &str = include_str!("../../../docs/istio.md");

/// The guide's call. It would need a kubelet, so the test makes the call itself.
const CALL: &str = "curl -s http://web.shop.svc.beta.example/";

const HOST: &str = "web.shop.svc.beta.example";

#[tokio::test(flavor = "multi_thread")]
async fn from_two_clusters_to_the_first_call() -> Result<()> {
    let run = run("guide")?;
    let [alpha, beta] = [cluster(&run, "alpha").await?, cluster(&run, "beta").await?];
    let backend = Backend::http_at(beta.0.addresses().node, "web", "beta").await?;
    beta.0.put_service(&Service::new("web", "http", 80, backend.address())).await?;
    let hosts: String = [&alpha.0, &beta.0]
        .map(|cluster| format!("{} fedgate.{}\n", cluster.addresses().node, cluster.trust_domain()))
        .concat();
    // This is the test's own copy, mounted over the machine's file.
    std::fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{hosts}"))?;
    let kubeconfig = run.path().join("kubeconfig");
    std::fs::write(&kubeconfig, contexts(&[&alpha.0, &beta.0])?.to_string())?;

    // Everything before the call.
    let (before, after) = GUIDE.split_once(CALL).context("the guide has no call")?;
    let (_, after) = after.split_once("```").context("the call's block has no end")?;
    let (printed, in_alpha, in_beta) = tokio::try_join!(
        commands(before, &run, &kubeconfig),
        Installed::run(&alpha.0, &alpha.1, run.path()),
        Installed::run(&beta.0, &beta.1, run.path()),
    )?;
    for shown in
        ["STATUS: deployed", "successfully rolled out", "fedgate-black-hole", "condition met"]
    {
        ensure!(
            printed.contains(shown),
            "{shown:?} is not in the output of the commands:\n{printed}"
        );
    }
    let client = Client::start_in(
        (&alpha.0, &alpha.1),
        run.path(),
        "client",
        &[Import { host: HOST.into(), port: 80, protocol: "HTTP" }],
    )
    .await?;
    let ask = async || client.call(HOST, 80, |address| plain_get(address, HOST)).await;
    wait::until_true("the first call to be answered", SOON, async || {
        Ok(ask().await?.body == "this is web of beta")
    })
    .await?;

    // Everything after the call: diagnosis, and removal.
    let printed = commands(after, &run, &kubeconfig).await?;
    ensure!(printed.contains("granted"), "{printed}");
    wait::until_true("the call to be refused", SOON, async || {
        Ok(ask().await.map_or(true, |answer| answer.status == 503))
    })
    .await?;
    drop((in_alpha, in_beta));
    Ok(())
}

/// A cluster with an istiod.
async fn cluster(run: &RunFolder, name: &str) -> Result<(KubernetesCluster, Istiod)> {
    let cluster = KubernetesCluster::start_empty(run, name).await?;
    let istiod = Istiod::start(run, &cluster, &MeshOptions::default()).await?;
    Ok((cluster, istiod))
}

/// A kubeconfig with one context for each cluster, named like the cluster.
fn contexts(clusters: &[&KubernetesCluster]) -> Result<Value> {
    let mut whole = json!({ "apiVersion": "v1", "kind": "Config" });
    let [mut all_clusters, mut users, mut contexts] = [Vec::new(), Vec::new(), Vec::new()];
    for cluster in clusters {
        let one: Value =
            serde_json::from_slice(&std::fs::read(cluster.plane().admin_kubeconfig()?)?)?;
        let name = cluster.name();
        all_clusters.push(json!({ "name": name, "cluster": one["clusters"][0]["cluster"] }));
        users.push(json!({ "name": name, "user": one["users"][0]["user"] }));
        contexts.push(json!({ "name": name, "context": { "cluster": name, "user": name } }));
    }
    whole["clusters"] = all_clusters.into();
    whole["users"] = users.into();
    whole["contexts"] = contexts.into();
    Ok(whole)
}

/// Runs the commands in a part of the guide and compares their output with the page. Returns the
/// output.
async fn commands(text: &str, run: &RunFolder, kubeconfig: &Path) -> Result<String> {
    let blocks = guide::blocks(text);
    let folder = run.path().join("checkout");
    std::fs::create_dir_all(&folder)?;
    for (link, target) in [
        ("deploy", xtask::root().join("deploy")),
        ("kubectl", programs::kubectl()?.to_owned()),
        ("helm", programs::helm()?.to_owned()),
        ("kubectl-fedgate", programs::fedgate()?.to_owned()),
    ] {
        if !folder.join(link).exists() {
            std::os::unix::fs::symlink(target, folder.join(link))?;
        }
    }
    let head = format!("set -eu\nPATH={}:$PATH\n", folder.display());
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-c", &(head + &guide::script(&blocks))])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = bash.env("KUBECONFIG", kubeconfig).env("HOME", &folder).output().await?;
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{printed}");
    ensure!(output.status.success(), "{}\n{printed}\n{errors}", output.status);
    guide::check(&blocks, &printed)?;
    Ok(printed.into_owned())
}
