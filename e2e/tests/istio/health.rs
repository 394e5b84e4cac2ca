//! The host that DKP's clusters probe, through a gateway configured by istiod.

use super::fixture::{Pair, SOON, run};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::Client;
use fedgate_e2e::wait;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_answered_and_a_stranger_is_not() -> Result<()> {
    let run = run("health")?;
    let pair = Pair::start(&run).await?;
    let output = pair.beta.cluster.fedgate(&["table", "--output", "json"]).await?;
    let table: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let services = table["exports"].as_array().into_iter().flatten().filter_map(|row| row["service"].as_str());
    let host = services.filter_map(|service| service.strip_suffix(":80")).find(|host| host.starts_with("alliance-"));
    let host = host.with_context(|| format!("no health name in {table}"))?;
    let (gateway, sni) = (pair.beta.gateway_address(), format!("outbound_.80_._.{host}"));

    let caller = pair.alpha.cluster.authority().workload("spiffe://alpha.example/ns/d8-istio/sa/prober")?;
    let caller = Client::new(Some(&caller))?;
    wait::until("the gateway to answer for its health", SOON, async || {
        let answer = caller.get_path(gateway, &sni, host, "/healthz").await?;
        ensure!(answer.status == 200 && answer.body == "ok", "{answer:?}");
        Ok(Some(()))
    })
    .await?;
    ensure!(caller.get_path(gateway, &sni, host, "/").await?.status == 404);
    let stranger = Authority::root("delta")?.workload("spiffe://delta.example/ns/d8-istio/sa/prober")?;
    for identity in [Some(&stranger), None] {
        let answer = Client::new(identity)?.get_path(gateway, &sni, host, "/healthz").await;
        ensure!(answer.is_err(), "a stranger is answered: {answer:?}");
    }
    Ok(())
}
