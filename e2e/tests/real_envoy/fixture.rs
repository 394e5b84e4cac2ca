//! Fixtures shared by most tests.

use anyhow::{Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::{Cluster, Settings};
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::MetadataProxy;
use fedgate_e2e::run_folder::RunFolder;
use std::ops::Deref;

/// alpha and gamma are callers with only a controller. beta has a gateway and exports `web` to
/// both.
pub(crate) struct Gateway {
    pub(crate) federation: Federation<3>,
    pub(crate) web: Deployed,
    /// A client with the certificate of a workload in alpha.
    pub(crate) alpha_client: Client,
    /// A client with the certificate of a workload in gamma.
    pub(crate) gamma_client: Client,
}

impl Deref for Gateway {
    type Target = Federation<3>;

    fn deref(&self) -> &Self::Target {
        &self.federation
    }
}

impl Gateway {
    /// Grants `web` to alpha alone. gamma is refused for that reason, and alpha gets through.
    pub(crate) async fn grant_to_alpha_alone(&mut self) -> Result<()> {
        let beta = &self.federation.clusters[1];
        let (web, alpha, gamma) = (&mut self.web, &self.alpha_client, &self.gamma_client);
        web.apply(beta, |service| service.for_peers("alpha"))?;
        web.wait_refused(gamma, beta).await?;
        let log = beta.access_log()?;
        web.refuses(gamma, beta).await?;
        let entry = log.wait_for_reason("not_granted").await?;
        ensure!(entry.peer.as_deref() == Some("gamma"), "{entry:?}");
        web.call(alpha, beta).await.map(drop)
    }

    pub(crate) async fn start(run: &RunFolder) -> Result<Self> {
        Self::start_with(run, |_| Ok(())).await
    }

    /// Starts everything, after `prepare` has changed beta.
    pub(crate) async fn start_with(
        run: &RunFolder,
        prepare: impl FnOnce(&mut Cluster) -> Result<()>,
    ) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        prepare(&mut federation.clusters[1])?;
        let [alpha, beta, gamma] = &federation.clusters;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, Service::exported)?;
        let alpha_client = Client::new(Some(&alpha.workload()?))?;
        let gamma_client = Client::new(Some(&gamma.workload()?))?;
        federation.start_controllers().await?;
        let [_, beta, _] = &mut federation.clusters;
        beta.start_gateway().await?;
        web.wait_reachable(&alpha_client, beta).await?;
        web.wait_reachable(&gamma_client, beta).await?;
        Ok(Self { federation, web, alpha_client, gamma_client })
    }
}

/// Three complete clusters. alpha imports `web` from beta, which is honest, and `stock` from gamma,
/// whose documents pass through a proxy.
pub(crate) struct Liar {
    pub(crate) federation: Federation<3>,
    /// In beta.
    pub(crate) web: Deployed,
    /// In gamma.
    pub(crate) stock: Deployed,
    pub(crate) gamma: MetadataProxy,
}

impl Deref for Liar {
    type Target = Federation<3>;

    fn deref(&self) -> &Self::Target {
        &self.federation
    }
}

impl Liar {
    /// Starts everything, after `prepare` has changed alpha's settings.
    pub(crate) async fn start(
        run: &RunFolder,
        prepare: impl FnOnce(&mut Settings),
    ) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &mut federation.clusters;
        prepare(alpha.settings());
        alpha.write_settings()?;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, Service::exported)?;
        let mut stock = Deployed::http(gamma, "stock").await?;
        stock.apply(gamma, Service::exported)?;
        let proxy = MetadataProxy::in_front_of(gamma).await?;
        alpha.put_peer(gamma, &proxy.url())?;
        federation.start().await?;
        let liar = Self { federation, web, stock, gamma: proxy };
        liar.web.wait_callable_from(liar.alpha()).await?;
        liar.stock.wait_callable_from(liar.alpha()).await?;
        Ok(liar)
    }
}

/// alpha and beta are complete clusters. beta exports `web` and `mail`, and alpha has imported
/// them.
pub(crate) struct Pair {
    pub(crate) federation: Federation<2>,
    pub(crate) web: Deployed,
    pub(crate) mail: Deployed,
}

impl Deref for Pair {
    type Target = Federation<2>;

    fn deref(&self) -> &Self::Target {
        &self.federation
    }
}

impl Pair {
    /// Starts everything, after `prepare` has changed the clusters.
    pub(crate) async fn start(
        run: &RunFolder,
        prepare: impl FnOnce(&mut Cluster, &mut Cluster) -> Result<()>,
    ) -> Result<Self> {
        let mut pair = Self::with_controllers(run, prepare).await?;
        for cluster in &mut pair.federation.clusters {
            cluster.start_envoys().await?;
        }
        pair.web.wait_callable_from(pair.alpha()).await?;
        Ok(pair)
    }

    /// Like [`Self::start`], without the Envoys.
    pub(crate) async fn with_controllers(
        run: &RunFolder,
        prepare: impl FnOnce(&mut Cluster, &mut Cluster) -> Result<()>,
    ) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let [alpha, beta] = &mut federation.clusters;
        prepare(alpha, beta)?;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, Service::exported)?;
        let mut mail = Deployed::greeting(beta, "mail").await?;
        mail.apply(beta, Service::exported)?;
        federation.start_controllers().await?;
        Ok(Self { federation, web, mail })
    }
}
