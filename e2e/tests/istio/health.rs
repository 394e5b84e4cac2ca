//! The host that DKP's clusters probe, through a gateway configured by istiod.

use super::fixture::{Pair, run};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::Client;
use fedgate_e2e::istio::Mesh;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_answered_and_a_stranger_is_not() -> Result<()> {
    let run = run("health")?;
    let pair = Pair::start(&run).await?;
    let output = pair.beta.cluster.fedgate(&["table", "--output", "json"]).await?;
    let table: Value = serde_json::from_slice(&output.stdout)?;
    let services =
        table["exports"].as_array().into_iter().flatten().filter_map(|row| row["service"].as_str());
    let host = services
        .filter_map(|service| service.strip_suffix(":80"))
        .find(|host| host.starts_with("alliance-"));
    let host = host.with_context(|| format!("no health name in {table}"))?;
    let (gateway, sni) = (pair.beta.gateway_address(), format!("outbound_.80_._.{host}"));

    let caller =
        pair.alpha.cluster.authority().workload("spiffe://alpha.example/ns/d8-istio/sa/prober")?;
    let caller = Client::new(Some(&caller))?;
    wait::until("the gateway to answer for its health", SOON, async || {
        let answer = caller.get_path(gateway, &sni, host, "/healthz").await?;
        ensure!(answer.status == 200 && answer.body == "ok", "{answer:?}");
        Ok(Some(()))
    })
    .await?;
    ensure!(caller.get_path(gateway, &sni, host, "/").await?.status == 404);
    wait_gateway_certificate(&pair.beta).await?;
    let stranger =
        Authority::root("delta")?.workload("spiffe://delta.example/ns/d8-istio/sa/prober")?;
    for identity in [Some(&stranger), None] {
        let answer = Client::new(identity)?.get_path(gateway, &sni, host, "/healthz").await;
        ensure!(answer.is_err(), "a stranger is answered: {answer:?}");
    }
    Ok(())
}

/// Waits until the controller has seen the certificate that istiod has given to the gateway, and
/// reports no problem with it.
async fn wait_gateway_certificate(mesh: &Mesh) -> Result<()> {
    let series = "fedgate_certificate_expiration_timestamp_seconds{certificate=\"leaf\",\
        name=\"spiffe://beta.example/ns/fedgate-system/sa/fedgate-gateway\"}";
    wait::until("the gateway's own certificate to be seen", SOON, async || {
        let output = mesh.cluster.fedgate(&["check", "--output", "json"]).await?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let checks = report["sections"].as_array().into_iter().flatten();
        let mut checks =
            checks.flat_map(|section| section["checks"].as_array().into_iter().flatten());
        let check =
            checks.find(|check| check["name"] == "gateway-certificate").context("no such check")?;
        ensure!(check["outcome"] == "ok", "{check}");
        let expires = mesh.cluster.first_replica()?.metric(series).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        ensure!(expires > now, "{expires}, and now it is {now}");
        Ok(Some(()))
    })
    .await
}
