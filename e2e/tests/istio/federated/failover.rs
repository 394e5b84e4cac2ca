//! Members that die, and come back.

use super::super::fixture::run;
use super::trio::{
    FAILOVER, MAIL, Trio, WEB, answered_by, fails_over, leads_to, wait_answers, wait_only,
};
use anyhow::{Context, Result, bail};
use fedgate_e2e::istio::{Client, Mesh};
use fedgate_e2e::wait;
use serde_json::json;
use std::time::Duration;

async fn start(trio: &Trio) -> Result<Client> {
    let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }, { "local": {} }]);
    trio.put_web(members, &["beta", "gamma", "local"]).await?;
    trio.put_mail().await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "beta").await?;
    wait_answers(&client, MAIL, "beta").await?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_gateway_is_left_within_two_seconds() -> Result<()> {
    let run = run("federated-failover")?;
    let mut trio = Trio::start(&run).await?;
    let client = start(&trio).await?;

    trio.beta.stop_gateways().await?;
    fails_over(&client, WEB, "gamma").await?;
    fails_over(&client, MAIL, "gamma").await?;
    // Nothing goes back to the dead one, also when Envoy tries it again.
    let stays = async || Ok(answered_by(&client, WEB).await? == "gamma");
    wait::stays("gamma answers", Duration::from_secs(8), stays).await?;

    // The next one dies too: its whole cluster, with all its programs.
    trio.gamma.stop_gateways().await?;
    trio.gamma.istiod.kill()?;
    trio.gamma.cluster.kill_leader().await?;
    fails_over(&client, WEB, "alpha").await?;

    trio.beta.start_gateway().await?;
    wait_answers(&client, MAIL, "beta").await?;
    wait_only(&client, WEB, "beta").await?;
    let stays = async || Ok(answered_by(&client, WEB).await? == "beta");
    wait::stays("beta answers", Duration::from_secs(3), stays).await
}

/// Stops the gateway's Envoy in the middle of what it does, or lets it go on. Its node still
/// accepts connections, but no handshake is answered.
fn hang(mesh: &Mesh, hangs: bool) -> Result<()> {
    let envoy = i32::try_from(mesh.gateway()?.agent().envoy_id()?)?;
    let envoy = rustix::process::Pid::from_raw(envoy).context("a process")?;
    let signal = if hangs { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
    Ok(rustix::process::kill_process(envoy, signal)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_hangs_is_left_within_two_seconds() -> Result<()> {
    let run = run("federated-hang")?;
    let trio = Trio::start(&run).await?;
    let client = start(&trio).await?;
    let mut times = Vec::new();
    // Two attempts of three quarters of a second leave a busy machine little time.
    while times.len() < 3 {
        hang(&trio.beta, true)?;
        times.push(leads_to(&client, MAIL, "gamma").await?);
        let stays = async || Ok(answered_by(&client, MAIL).await? == "gamma");
        wait::stays("gamma answers", Duration::from_secs(1), stays).await?;
        hang(&trio.beta, false)?;
        wait_only(&client, MAIL, "beta").await?;
        if times.last().is_some_and(|took| *took < FAILOVER) {
            return Ok(());
        }
    }
    bail!("gamma answers only after {times:?}")
}
