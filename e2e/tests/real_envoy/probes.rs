//! Whether a peer's gateway can be reached is seen without a call, and without a certificate to show to it.

use crate::fixture::Pair;
use anyhow::{Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

const SUCCEEDED: [&str; 2] = ["True", "Succeeded"];
const FAILED: [&str; 2] = ["False", "ProbeFailed"];

async fn wait_probed(alpha: &Cluster, wanted: [&str; 2]) -> Result<String> {
    alpha.wait_condition("beta", "DataplaneConnectionReady", wanted).await
}

fn probing_often(alpha: &mut Cluster, _: &mut Cluster) -> Result<()> {
    alpha.settings().probe = "1s".into();
    alpha.write_settings()
}

/// The gateway demands a certificate, which the controller has not; that it is beta's it has shown by then.
#[test]
fn a_gateway_that_is_there_is_told_from_one_that_is_not() {
    scenario("probe-gateway", async |run: &RunFolder| {
        let mut pair = Pair::start(run, probing_often).await?;
        ensure!(wait_probed(pair.alpha(), SUCCEEDED).await?.is_empty());
        let [alpha, beta] = &mut pair.federation.clusters;
        beta.stop_gateway();
        let message = wait_probed(alpha, FAILED).await?;
        let address = beta.gateway_address();
        ensure!(message == format!("{address}: connection refused"), "{message}");
        ensure!(alpha.status().await?.import(&pair.web.name()).is_some(), "the import has gone");
        beta.start_gateway().await?;
        wait_probed(alpha, SUCCEEDED).await.map(drop)
    });
}

/// Somebody else stands where beta says that its gateway is: the same name, by another root.
#[test]
fn an_impostor_at_the_gateways_address_is_no_gateway() {
    scenario("probe-impostor", async |run: &RunFolder| {
        let mut pair = Pair::start(run, probing_often).await?;
        wait_probed(pair.alpha(), SUCCEEDED).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        let own = std::mem::replace(beta.authority_mut(), Authority::root("beta")?);
        beta.write_gateway_identity()?;
        let message = wait_probed(alpha, FAILED).await?;
        ensure!(message.contains("signed by no root of the peer"), "{message}");
        *beta.authority_mut() = own;
        beta.write_gateway_identity()?;
        wait_probed(alpha, SUCCEEDED).await.map(drop)
    });
}
