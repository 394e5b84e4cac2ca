//! A federation of three clusters.

use crate::fixture::wait_imported;
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::{KubernetesCluster, KubernetesFederation};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::MetadataProxy;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};

/// alpha, beta and gamma, all peers of each other, with one controller each.
pub(crate) struct Trio(KubernetesFederation<3>);

impl Trio {
    pub(crate) async fn start(run: &RunFolder) -> Result<Self> {
        let mut federation = KubernetesFederation::start(run, ["alpha", "beta", "gamma"]).await?;
        federation.pair().await?;
        federation.start_controllers().await?;
        Ok(Self(federation))
    }

    pub(crate) fn clusters(&self) -> &[KubernetesCluster; 3] {
        &self.0.clusters
    }

    /// Exports one Service in beta and one in gamma, waits until alpha has imported both, and
    /// returns their hosts.
    pub(crate) async fn export_to_alpha(
        &self,
        web: &Service,
        stock: &Service,
    ) -> Result<[String; 2]> {
        let [alpha, beta, gamma] = self.clusters();
        beta.put_service(web).await?;
        gamma.put_service(stock).await?;
        let hosts = [web.host(&beta.trust_domain()), stock.host(&gamma.trust_domain())];
        for host in &hosts {
            wait_imported(alpha, host).await?;
        }
        Ok(hosts)
    }

    /// From now on, alpha talks to gamma through a proxy that can lie.
    ///
    /// The proxy does not sign. So alpha must not remember what gamma itself may have signed before.
    pub(crate) async fn let_gamma_lie(&self) -> Result<MetadataProxy> {
        let [alpha, beta, gamma] = self.clusters();
        let proxy = MetadataProxy::in_front_of_kubernetes(gamma).await?;
        alpha.remove_peer(gamma.name()).await?;
        let forgotten = async || {
            let peers = alpha.first_replica()?.metric("fedgate_importer_peers").await?;
            ensure!(peers < 2.0, "alpha polls others than {}", beta.name());
            Ok(true)
        };
        wait::until_true("alpha to forget gamma", SOON, forgotten).await?;
        alpha.put_peer_at(gamma, &proxy.url()).await?;
        Ok(proxy)
    }
}
