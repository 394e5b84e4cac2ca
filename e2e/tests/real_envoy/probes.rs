//! The controller detects whether calls would succeed without making one, from the peer's gateway,
//! our certificate there, and our own Envoys.

use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::metadata_proxy::{MetadataProxy, PUBLIC};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;

const SUCCEEDED: [&str; 2] = ["True", "Succeeded"];
const FAILED: [&str; 2] = ["False", "ProbeFailed"];

async fn wait_probed(alpha: &Cluster, wanted: [&str; 2]) -> Result<String> {
    alpha.wait_condition("beta", "DataplaneConnectionReady", wanted).await
}

/// Waits for a failure with such a message. A probe that is on its way when something changes can
/// fail in another manner.
async fn wait_failed(alpha: &Cluster, is_it: impl Fn(&str) -> bool) -> Result<()> {
    wait::until("the probe to fail for this reason", SOON, async || {
        let message = wait_probed(alpha, FAILED).await?;
        ensure!(is_it(&message), "{message}");
        Ok(Some(()))
    })
    .await
}

fn probing_often(alpha: &mut Cluster, _: &mut Cluster) -> Result<()> {
    alpha.settings().probe = "1s".into();
    alpha.write_settings()
}

/// The gateway demands a certificate, which the controller does not have. By then the gateway has
/// proved that it is beta's.
#[test]
fn the_probe_reports_whether_a_gateway_is_reachable() {
    scenario("probe-gateway", async |run: &RunFolder| {
        let mut pair = Pair::start(run, probing_often).await?;
        ensure!(wait_probed(pair.alpha(), SUCCEEDED).await?.is_empty());
        let [alpha, beta] = &mut pair.federation.clusters;
        beta.stop_gateway();
        let refused = format!("{}: connection refused", beta.gateway_address());
        wait_failed(alpha, |message| message.starts_with(&refused)).await?;
        ensure!(alpha.status().await?.import(&pair.web.name()).is_some(), "the import has gone");
        beta.start_gateway().await?;
        wait_probed(alpha, SUCCEEDED).await.map(drop)
    });
}

/// Another server is at beta's gateway address, with the same name from another root.
#[test]
fn an_impostor_at_the_gateways_address_fails_the_probe() {
    scenario("probe-impostor", async |run: &RunFolder| {
        let mut pair = Pair::start(run, probing_often).await?;
        wait_probed(pair.alpha(), SUCCEEDED).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        let own = std::mem::replace(beta.authority_mut(), Authority::root("beta")?);
        beta.write_gateway_identity()?;
        wait_failed(alpha, |message| message.contains("signed by no root of the peer")).await?;
        *beta.authority_mut() = own;
        beta.write_gateway_identity()?;
        wait_probed(alpha, SUCCEEDED).await.map(drop)
    });
}

/// beta learns a wrong root for alpha, so its gateway refuses the certificate of alpha's egress. In
/// TLS 1.3 the egress has sent its data by then.
#[test]
fn a_gateway_that_refuses_our_certificate_is_not_ready() {
    scenario("probe-refused", async |run: &RunFolder| {
        let mut pair = Pair::with_controllers(run, probing_often).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        let proxy = MetadataProxy::in_front_of(alpha).await?;
        let stranger = Authority::root("stranger")?.pem();
        proxy.alter_json(PUBLIC, move |document| document["rootCA"] = stranger.clone().into());
        beta.kill_controller()?;
        std::fs::remove_dir_all(beta.folder().join("state"))?;
        beta.put_peer(alpha, &proxy.url())?;
        beta.start_controller().await?;
        alpha.start_envoys().await?;
        beta.start_envoys().await?;

        let gateway = beta.gateway_address().to_string();
        let refused = async || {
            let message = wait_probed(alpha, FAILED).await?;
            ensure!(message.contains(&gateway) && message.contains("certificate"), "{message}");
            Ok(Some(message))
        };
        let message =
            wait::until("alpha to report that its certificate is refused", 3 * SOON, refused)
                .await?;
        ensure!(pair.web.call_from(alpha).await.is_err(), "a call gets through");
        ensure!(exit_status(alpha, &["status"]).await? == 1, "status is content");
        let (code, printed) = explained(alpha, &pair.web.name()).await?;
        ensure!(
            code == 1 && printed.contains("NO  gateway") && printed.contains(&message),
            "{printed}"
        );

        proxy.alter(|_, truth| truth);
        wait_probed(alpha, SUCCEEDED).await?;
        pair.web.wait_callable_from(alpha).await?;
        wait::until_true("status to be content", SOON, async || {
            Ok(exit_status(alpha, &["status"]).await? == 0)
        })
        .await?;
        let (code, printed) = explained(alpha, &pair.web.name()).await?;
        ensure!(code == 0 && printed.contains("ok  gateway"), "{printed}");
        Ok(())
    });
}

async fn exit_status(cluster: &Cluster, arguments: &[&str]) -> Result<i32> {
    cluster.fedgate(arguments).await?.status.code().context("it was killed")
}

async fn explained(cluster: &Cluster, to: &str) -> Result<(i32, String)> {
    let output = cluster.fedgate(&["explain", "--to", to]).await?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code().context("it was killed")?, printed))
}

/// A dead Envoy of our own is reported by name until it runs again.
#[test]
fn an_own_envoy_that_does_not_run_is_reported() {
    scenario("own-envoys", async |run: &RunFolder| {
        let mut pair = Pair::start(run, probing_often).await?;
        let web = pair.web.name();
        let [alpha, beta] = &mut pair.federation.clusters;
        for cluster in [&*alpha, &*beta] {
            let content = async || Ok(exit_status(cluster, &["status"]).await? == 0);
            wait::until_true("status to be content", SOON, content).await?;
        }
        alpha.stop_egress();
        wait_reported(alpha, "egress").await?;
        let (code, printed) = explained(alpha, &web).await?;
        ensure!(code == 1 && printed.contains("NO  local port"), "{printed}");
        beta.stop_gateway();
        wait_reported(beta, "gateway").await?;

        alpha.start_egress().await?;
        beta.start_gateway().await?;
        for cluster in [&*alpha, &*beta] {
            cluster.wait_no_finding("envoy_not_running").await?;
            let content = async || Ok(exit_status(cluster, &["status"]).await? == 0);
            wait::until_true("status to be content again", 2 * SOON, content).await?;
        }
        pair.web.wait_callable_from(alpha).await?;
        let (code, printed) = explained(alpha, &web).await?;
        ensure!(code == 0, "{printed}");
        Ok(())
    });
}

async fn wait_reported(cluster: &Cluster, role: &str) -> Result<()> {
    let finding = cluster.wait_finding("envoy_not_running").await?;
    let field = finding.field.as_deref();
    ensure!(field == Some(&*format!("envoy/{role}")) && finding.severity == "error", "{finding:?}");
    let peers = cluster.status().await?.0["peers"].clone();
    ensure!(role == "gateway" || peers[0]["ready"] == Value::Bool(false), "{peers:#}");
    ensure!(exit_status(cluster, &["status"]).await? == 1, "status is content");
    Ok(())
}
