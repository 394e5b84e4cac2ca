//! Two clusters that reach each other's metadata through an HTTP proxy: a real Envoy.

use anyhow::{Result, ensure};
use fedgate_e2e::authority::Leaf;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::envoy::connect_proxy::ConnectProxy;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};

const PUBLIC: &str = "PublicMetadataExchangeReady";
const PRIVATE: &str = "PrivateMetadataExchangeReady";

/// Both clusters, at names that only the proxy can look up.
async fn start(run: &RunFolder, login: &str) -> Result<(Federation<2>, ConnectProxy)> {
    let mut federation = Federation::new(run, ["alpha", "beta"])?;
    let [alpha, beta] = &federation.clusters;
    let hosts = [
        ("alpha.invalid:443", alpha.metadata_address()),
        ("beta.invalid:443", beta.metadata_address()),
    ];
    let proxy = ConnectProxy::start(run, &hosts).await?;
    for cluster in &mut federation.clusters {
        let name = Leaf::new().dns(&format!("{}.invalid", cluster.name()))?;
        let endpoint = cluster.metadata_authority().sign(&name)?;
        endpoint.write(&cluster.folder().join("identity"), "metadata")?;
        cluster.settings().proxy = Some(format!("http://{login}{}", proxy.address));
        cluster.write_settings()?;
    }
    let [alpha, beta] = &federation.clusters;
    alpha.put_peer(beta, "https://beta.invalid/metadata")?;
    beta.put_peer(alpha, "https://alpha.invalid/metadata")?;
    federation.start_controllers().await?;
    Ok((federation, proxy))
}

async fn refused(alpha: &Cluster) -> Result<String> {
    alpha.wait_condition("beta", PUBLIC, ["False", "FetchFailed"]).await
}

#[test]
fn two_clusters_exchange_metadata_through_a_proxy_and_hear_when_it_is_gone() {
    scenario("http-proxy", async |run: &RunFolder| {
        let (federation, mut proxy) = start(run, "user:secret@").await?;
        let [alpha, beta] = &federation.clusters;
        alpha.wait_condition("beta", PRIVATE, ["True", "Succeeded"]).await?;
        beta.wait_condition("alpha", PRIVATE, ["True", "Succeeded"]).await?;
        // With the proxy gone, both are told which one.
        let address = proxy.address;
        proxy.envoy.process().kill()?;
        let expected = format!("through the proxy http://{address}: ");
        // A request that was on its way fails in another manner.
        wait::until("alpha to be told", SOON, async || {
            let message = refused(alpha).await?;
            ensure!(message.starts_with(&expected) && !message.contains("secret"), "{message}");
            Ok(Some(()))
        })
        .await
    });
}

#[test]
fn a_proxy_that_refuses_the_login_is_named_without_it() {
    scenario("http-proxy-login", async |run: &RunFolder| {
        let (federation, proxy) = start(run, "user:wrong@").await?;
        let [alpha, _] = &federation.clusters;
        let message = refused(alpha).await?;
        ensure!(
            message.contains("the proxy asks for a login") && !message.contains("wrong"),
            "{message}"
        );
        // The proxy writes its log a moment after it has answered.
        wait::until("the proxy to log it", SOON, async || {
            let requests = proxy.requests()?;
            ensure!(!requests.is_empty(), "no request");
            ensure!(requests.iter().all(|(status, _)| *status == 407), "{requests:?}");
            Ok(Some(()))
        })
        .await
    });
}
