//! What keeps working without the controller or istiod, and when the gateway restarts meanwhile.

use super::fixture::{Pair, run, set_exported};
use anyhow::{Result, ensure};
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait;
use std::time::Duration;

/// Envoy retries its configuration stream, and istio-agent its certificate, after up to half a
/// minute.
const RECONNECT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_keeps_working_without_the_controller() -> Result<()> {
    let run = run("no-controller")?;
    let mut pair = Pair::start(&run).await?;
    let client = pair.client().await?;
    pair.beta.cluster.kill_leader().await?;
    pair.alpha.cluster.kill_leader().await?;
    pair.wait_answers(&client).await?;

    // A restarted gateway gets the last table from istiod and the last roots from its volume.
    pair.beta.stop_gateways().await?;
    pair.wait_refused(&client).await?;
    pair.beta.start_gateway().await?;
    pair.wait_answers(&client).await?;

    // A revocation meanwhile takes effect when a controller runs again.
    set_exported(&pair.beta, "web", false).await?;
    let answers = async || Ok(pair.call(&client).await?.status == 200);
    wait::stays("web answers", Duration::from_secs(1), answers).await?;
    pair.beta.cluster.start_replica().await?;
    pair.wait_refused(&client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_keeps_working_without_istiod_but_does_not_start() -> Result<()> {
    let run = run("no-istiod")?;
    let mut pair = Pair::start(&run).await?;
    let client = pair.client().await?;
    pair.beta.istiod.kill()?;
    pair.wait_answers(&client).await?;

    // A new table is written but does not reach the gateway: calls to new Services are refused,
    // calls to others go on.
    let late = Service::new("late", "http", 80, pair.backend.address()).exported();
    pair.beta.cluster.put_service(&late).await?;
    let host = late.host("beta.example");
    let second = Client::start(
        &pair.alpha,
        "second",
        &[Import { host: host.clone(), port: 80, protocol: "HTTP" }],
    )
    .await?;
    let ask = async || {
        let name = host.clone();
        second
            .call(&host, 80, move |address| async move {
                fedgate_e2e::client::plain_get(address, &name).await
            })
            .await
    };
    wait::stays("late is refused", Duration::from_secs(1), async || Ok(ask().await?.status == 503))
        .await?;
    pair.wait_answers(&client).await?;

    // A gateway Pod that starts now gets neither certificate nor listeners, so it accepts no
    // connections. The others go on.
    let pending = pair.beta.start_pending_gateway().await?;
    wait::stays("the new Pod is not ready", Duration::from_secs(3), async || {
        Ok(!pending.is_ready().await)
    })
    .await?;
    ensure!(
        tokio::net::TcpStream::connect(pending.address()).await.is_err(),
        "a Pod without istiod takes connections"
    );
    pair.wait_answers(&client).await?;

    // Once istiod is back, everything catches up.
    pair.beta.istiod.restart().await?;
    wait::until_true("late to answer", RECONNECT, async || Ok(ask().await?.status == 200)).await?;
    wait::until_true("the new Pod to be ready", RECONNECT, async || Ok(pending.is_ready().await))
        .await
}
