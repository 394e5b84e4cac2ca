//! What an operator sees in a terminal of a cluster: counters, waiting, the far side, the bundle.

use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::gateway::GatewayStub;
use fedgate_e2e::kubernetes::{KubernetesCluster, NAMESPACE};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

const COUNTERS: &str = "\
fedgate_connections{outcome=\"allowed\",reason=\"granted\"} 12
fedgate_connections{outcome=\"refused\",reason=\"not_granted\"} 3
fedgate_peer_connections{outcome=\"allowed\",peer=\"beta\"} 12
fedgate_peer_connections{outcome=\"refused\",peer=\"beta\"} 3
";

async fn document(cluster: &KubernetesCluster, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = cluster.fedgate(arguments).await?;
    let value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code(), value))
}

#[test]
fn top_reads_the_gateways_pods_through_the_api_server() {
    scenario("top", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let alpha = pair.alpha();
        // The Pod is there, and nothing answers in it.
        let output = alpha.fedgate(&["top", "--once"]).await?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1) && error.contains("no Envoy can be asked"),
            "{error}"
        );

        let gateway = GatewayStub::start(alpha).await?;
        gateway.counts(COUNTERS);
        let top = &["top", "--output", "json"];
        let (code, report) = document(alpha, top).await?;
        ensure!(code == Some(0), "{report:#}");
        ensure!(
            report["gateway"]["allowed"] == 12 && report["gateway"]["refused"] == 3,
            "{report:#}"
        );
        ensure!(report["refusals"][0]["reason"] == "not_granted", "{report:#}");
        let beta = json!({ "name": "beta", "allowed": 12, "refused": 3 });
        let peer = &report["peers"][0];
        ensure!(
            ["name", "allowed", "refused"].iter().all(|field| peer[field] == beta[field]),
            "{report:#}"
        );
        // Istio's proxies leave clusters out unless they are told not to.
        ensure!(report["exports"].is_null() && report["imports"].is_null(), "{report:#}");
        let cluster = "envoy_cluster_upstream_cx_tx_bytes_total{cluster_name=\"outbound|80||own.shop.svc.alpha.example\"} 70\n";
        gateway.counts(&format!("{COUNTERS}{cluster}"));
        let (_, report) = document(alpha, top).await?;
        ensure!(report["exports"][0]["toService"] == 70, "{report:#}");

        // Without the permission it says which one is missing.
        let nobody = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "nobody", "namespace": "default" } });
        alpha.objects().apply_one(&nobody).await?;
        let kubeconfig = alpha.plane().service_account_kubeconfig("default", "nobody").await?;
        let kubeconfig = kubeconfig.to_str().context("a path that is text")?;
        let output = alpha.fedgate(&["top", "--kubeconfig", kubeconfig]).await?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && error.contains("forbidden"), "{error}");
        Ok(())
    });
}

#[test]
fn wait_and_check_from_peer_work_on_a_cluster() {
    scenario("wait", async |run: &RunFolder| {
        let pair = Pair::start_with(run, &[("FEDGATE_PROBE", "1s")]).await?;
        let alpha = pair.alpha();
        let output = alpha.fedgate(&["status", "--wait", "--timeout", "5s", "beta"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(1) && text.contains("beta's turn"), "{text}");

        // Each side has its gateway now, and beta has seen ours.
        let _alphas = GatewayStub::start(alpha).await?;
        let _betas = GatewayStub::start(pair.beta()).await?;
        let output = alpha.fedgate(&["status", "--wait", "--timeout", "60s", "beta"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success() && text.contains("beta  ready"), "{text}");
        wait::until("all that beta sees to be as it is", SOON, async || {
            let (code, report) =
                document(alpha, &["check", "--from-peer", "--output", "json"]).await?;
            let checks = report["sections"][0]["checks"].as_array().cloned().unwrap_or_default();
            let good = checks.iter().filter(|check| check["outcome"] == "ok").count();
            ensure!(code == Some(0) && good == 6, "{report:#}");
            Ok(Some(()))
        })
        .await
    });
}

/// Secrets of the cluster are never read, and what users write into objects is left out.
#[test]
fn a_support_bundle_of_a_cluster_has_no_secret() {
    scenario("support-bundle", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let alpha = pair.alpha();
        let secret = "hunter2-correct-horse-battery-staple";
        let planted = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "planted", "namespace": NAMESPACE,
            "annotations": { "note": secret } }, "stringData": { "password": secret } });
        alpha.objects().apply_one(&planted).await?;
        let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "planted", "namespace": NAMESPACE, "annotations": { "fedgate.dev/note": secret } },
            "spec": { "replicas": 0, "selector": { "matchLabels": { "a": "b" } }, "template": {
                "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i",
                    "args": [secret], "env": [{ "name": "PASSWORD", "value": secret }] }] } } } });
        alpha.objects().apply_one(&deployment).await?;
        let _gateway = GatewayStub::start(alpha).await?;
        let leader = alpha.leader().await?;
        pair.wait_happened(&leader, "leads").await?;

        let out = run.path().join("bundle.tar.gz").display().to_string();
        let audit = alpha.plane().audit();
        let output = alpha.fedgate(&["support-bundle", "--out", &out]).await?;
        ensure!(output.status.success(), "{output:?}");
        let unpacked = std::process::Command::new("tar").args(["-xzOf", &out]).output()?;
        let text = String::from_utf8(unpacked.stdout)?;
        ensure!(!text.contains(secret) && !text.contains("hunter2"), "a secret is in it");
        for expected in [
            "\"farSide\"",
            "fedgate_table_generation",
            "\"PASSWORD\"",
            "\"gitVersion\"",
            "\"permissions\"",
            "\"text\": \"leads\"",
        ] {
            ensure!(text.contains(expected), "{expected}: {text}");
        }
        let asked = audit.matching(|request| {
            request.resource == "secrets"
                && !request.user.contains("serviceaccount")
                && ["get", "list", "watch"].contains(&request.verb.as_str())
        });
        ensure!(asked.is_empty(), "an operator's command has read Secrets: {asked:?}");
        Ok(())
    });
}
