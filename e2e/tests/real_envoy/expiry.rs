//! What happens to a peer's connections when its documents expire.

use crate::fixture::Gateway;
use anyhow::{Result, ensure};
use fedgate_e2e::client::{Client, Connection, send_line, wait_closed};
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::{MetadataProxy, Reply};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};

/// Both peers of beta have a connection open when they fall silent. Alpha's `IstioFederation` says
/// what happens at the staleness limit; gamma's does not.
struct Silent {
    gateway: Gateway,
    alpha: Connection,
    gamma: Connection,
    proxies: [MetadataProxy; 2],
    /// The server of the open connections.
    _mail: Deployed,
}

impl Silent {
    async fn start(run: &RunFolder, at_expiry: &str) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &mut federation.clusters;
        let settings = beta.settings();
        (settings.stale_after, settings.staleness_limit) = ("3s".into(), "10s".into());
        beta.write_settings()?;
        let proxies =
            [MetadataProxy::in_front_of(alpha).await?, MetadataProxy::in_front_of(gamma).await?];
        let annotation = [("fedgate.dev/at-expiry", at_expiry)];
        beta.put_annotated_peer(alpha, &proxies[0].url(), &annotation)?;
        beta.put_peer(gamma, &proxies[1].url())?;
        let (mut web, mut mail) =
            (Deployed::http(beta, "web").await?, Deployed::greeting(beta, "mail").await?);
        web.apply(beta, Service::exported)?;
        mail.apply(beta, Service::exported)?;
        let alpha_client = Client::new(Some(&alpha.workload()?))?;
        let gamma_client = Client::new(Some(&gamma.workload()?))?;
        federation.start_controllers().await?;
        federation.clusters[1].start_gateway().await?;
        let beta = &federation.clusters[1];
        web.wait_reachable(&alpha_client, beta).await?;
        web.wait_reachable(&gamma_client, beta).await?;
        let alpha = mail.wait_greeting(&alpha_client, beta).await?;
        let gamma = mail.wait_greeting(&gamma_client, beta).await?;
        for proxy in &proxies {
            proxy.alter(|_, _| Reply { status: 503, ..Reply::ok("") });
        }
        let gateway = Gateway { federation, web, alpha_client, gamma_client };
        Ok(Self { gateway, alpha, gamma, proxies, _mail: mail })
    }

    /// Waits until gamma cannot connect any more, which shows that its roots are gone.
    async fn gamma_is_drained(&mut self) -> Result<()> {
        let Gateway { web, gamma_client, .. } = &self.gateway;
        let beta = self.gateway.beta();
        beta.wait_finding("stale").await?;
        web.call(gamma_client, beta).await?;
        beta.wait_finding("expired").await?;
        let refused = async || Ok(web.call(gamma_client, beta).await.is_err());
        wait::until_true("new connections of gamma to be refused", SOON, refused).await?;
        ensure!(
            send_line(&mut self.gamma, "still here").await? == "250 still here",
            "gamma's open connection was cut"
        );
        Ok(())
    }

    /// Both peers are themselves again once their documents are confirmed.
    async fn all_is_well_again(&self) -> Result<()> {
        for proxy in &self.proxies {
            proxy.alter(|_, reply| reply);
        }
        let Gateway { web, alpha_client, gamma_client, .. } = &self.gateway;
        web.wait_reachable(alpha_client, self.gateway.beta()).await?;
        web.wait_reachable(gamma_client, self.gateway.beta()).await
    }
}

#[test]
fn drop_closes_open_connections_and_drain_does_not() {
    scenario("at-expiry-drop", async |run: &RunFolder| {
        let mut silent = Silent::start(run, "Drop").await?;
        silent.gamma_is_drained().await?;
        wait_closed(&mut silent.alpha, SOON).await?;
        let Gateway { web, alpha_client, .. } = &silent.gateway;
        web.wait_refused(alpha_client, silent.gateway.beta()).await?;
        silent.all_is_well_again().await
    });
}

#[test]
fn keep_lets_a_silent_peer_connect() {
    scenario("at-expiry-keep", async |run: &RunFolder| {
        let mut silent = Silent::start(run, "Keep").await?;
        silent.gamma_is_drained().await?;
        let Gateway { web, alpha_client, .. } = &silent.gateway;
        web.call(alpha_client, silent.gateway.beta()).await?;
        ensure!(
            send_line(&mut silent.alpha, "still here").await? == "250 still here",
            "alpha's open connection was cut"
        );
        silent.all_is_well_again().await
    });
}
