//! What an operator sees in a terminal of a real mesh: what its gateway has counted, and what goes
//! into a bundle for a report.

use super::fixture::{Pair, of_delivery, run};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::kubernetes::KubernetesCluster;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn top_and_the_support_bundle_see_a_gateway_with_the_wasm_filter() -> Result<()> {
    terminal("EnvoyFilter").await
}

#[tokio::test(flavor = "multi_thread")]
async fn top_and_the_support_bundle_see_a_gateway_with_the_native_filter() -> Result<()> {
    terminal("DynamicModule").await
}

async fn terminal(delivery: &str) -> Result<()> {
    let run = run(&format!("terminal-{delivery}"))?;
    let pair = Pair::start_with(&run, &of_delivery(delivery)).await?;
    let client = pair.client().await?;
    let answer = pair.call(&client).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let name = "outbound_.80_._.x.shop.svc.beta.example";
    let stranger = Client::new(None)?.get(pair.beta.gateway_address(), name, "x").await;
    ensure!(stranger.is_err(), "{stranger:?}");

    let beta = &pair.beta.cluster;
    wait::until("top to show the call and the refusal", SOON, async || {
        shows_what_happened(&top(beta).await?).map(Some)
    })
    .await?;
    let out = run.path().join("bundle.tar.gz").display().to_string();
    let audit = beta.plane().audit();
    let output = beta.fedgate(&["support-bundle", "--out", &out]).await?;
    ensure!(output.status.success(), "{output:?}");
    let secrets = audit.matching(|request| {
        request.resource == "secrets"
            && !request.user.contains("serviceaccount")
            && ["get", "list", "watch"].contains(&request.verb.as_str())
    });
    ensure!(secrets.is_empty(), "an operator's command has read Secrets: {secrets:?}");
    has_the_gateway(&unpacked(&out)?)
}

async fn top(cluster: &KubernetesCluster) -> Result<Value> {
    let output = cluster.fedgate(&["top", "--output", "json"]).await?;
    ensure!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).context("top does not print JSON")
}

/// alpha's calls were granted, and the stranger, who belongs to no peer, was refused.
fn shows_what_happened(report: &Value) -> Result<()> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    ensure!(
        report["envoys"][0]["error"].is_null() && number(&report["gateway"]["allowed"]) >= 1,
        "{report:#}"
    );
    let refusal = &report["refusals"][0];
    ensure!(
        refusal["reason"] == "unknown_service" && number(&refusal["connections"]) == 1,
        "{report:#}"
    );
    let peer = &report["peers"][0];
    ensure!(
        peer["name"] == "alpha" && number(&peer["allowed"]) >= 1 && number(&peer["refused"]) == 0,
        "{report:#}"
    );
    let web = &report["exports"][0];
    ensure!(
        web["service"] == "web.shop.svc.beta.example:80" && number(&web["toService"]) > 0,
        "{report:#}"
    );
    Ok(())
}

fn unpacked(archive: &str) -> Result<String> {
    let output = std::process::Command::new("tar").args(["-xzOf", archive]).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn has_the_gateway(bundle: &str) -> Result<()> {
    for expected in [
        "fedgate_connections{outcome=\"allowed\",reason=\"granted\"}",
        "fedgate_peer_connections{outcome=\"allowed\",peer=\"alpha\"}",
        "envoy_server_live",
        "\"farSide\"",
        "web.shop.svc.beta.example",
        "fedgate-table",
    ] {
        ensure!(bundle.contains(expected), "{expected} is not in the bundle:\n{bundle}");
    }
    ensure!(!bundle.contains("PRIVATE KEY"), "a key is in the bundle");
    Ok(())
}
