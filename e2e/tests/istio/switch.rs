//! A gateway whose Pods have both filters changes from one to the other, and no call fails.

use super::fixture::{Pair, of_delivery, run, set_exported};
use super::load::Load;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::wait::{self, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_changes_to_the_native_filter_and_back_under_load() -> Result<()> {
    let run = run("switch")?;
    let options = MeshOptions { native_filter: true, ..of_delivery("EnvoyFilter") };
    let mut pair = Pair::start_with(&run, &options).await?;
    pair.alpha.cluster.restart_with(&[("FEDGATE_CONNECTION_LIFETIME", "2s")]).await?;
    let client = pair.client().await?;
    for (delivery, name) in [("DynamicModule", "fedgate_native"), ("EnvoyFilter", "fedgate")] {
        let host = pair.host();
        Load::default().beside(&client, &host, switch(&mut pair, delivery, name)).await?;

        refuses_what_is_not_exported(&pair).await.context(delivery)?;
    }
    set_exported(&pair.beta, "web", false).await?;
    pair.wait_refused(&client).await
}

async fn refuses_what_is_not_exported(pair: &Pair) -> Result<()> {
    let caller = "spiffe://alpha.example/ns/shop/sa/client";
    let caller = pair.alpha.cluster.authority().workload(caller)?;
    let log = pair.beta_log()?;
    let sni = "outbound_.80_._.other.shop.svc.beta.example";
    let gateway = pair.beta.gateway_address();
    let refused = async || {
        let answer = Client::new(Some(&caller))?.get(gateway, sni, &pair.host()).await;
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    };
    log.call_until("unknown_service", refused).await.map(drop)
}

/// Restarts the controller with another delivery, and waits until the gateway runs that filter and
/// no connection of the other one is left.
async fn switch(pair: &mut Pair, delivery: &str, name: &str) -> Result<()> {
    pair.beta.cluster.restart_with(&[("FEDGATE_DELIVERY", delivery)]).await?;
    let agent = pair.beta.gateway()?.agent();
    let named = format!(r#""name": "{name}""#);
    agent.wait_configured("/config_dump?resource=dynamic_listeners", &named).await?;
    wait::until_true("the other filter's connections to end", SOON, async || {
        let config = agent.ask("/config_dump?resource=ecds_filters").await?;
        let draining = agent.stat("listener_manager.total_filter_chains_draining").await?;
        Ok(config.contains(&named) && draining.unwrap_or(0) == 0)
    })
    .await?;
    ensure!(pair.beta.gateways().len() == 1, "the same Pod");
    pair.beta.wait_tables().await
}
