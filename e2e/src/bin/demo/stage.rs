//! The stage: three clusters with their back ends, all running.

use anyhow::Result;
use fedgate_e2e::authority::Identity;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::envoy::stock::StockGateway;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::MetadataProxy;
use fedgate_e2e::run_folder::RunFolder;

/// The annotation that holds changes of a peer's roots until they are approved.
pub(crate) const APPROVE: (&str, &str) = ("fedgate.dev/root-change", "Approve");

/// Everything that the scenes use.
pub(crate) struct Stage {
    pub(crate) federation: Federation<3>,
    /// In beta; exported to alpha only.
    pub(crate) web: Deployed,
    /// In beta; exported to all. The server speaks first.
    pub(crate) mail: Deployed,
    /// In beta; not exported.
    pub(crate) ledger: Deployed,
    /// In beta; not exported until scene 7.
    pub(crate) catalog: Deployed,
    /// In gamma; exported to all.
    pub(crate) stock: Deployed,
    /// The metadata endpoint that alpha and beta use for gamma. It can make gamma lie.
    pub(crate) gamma_metadata: MetadataProxy,
    /// A gateway for `web` built without fedgate.
    pub(crate) stock_gateway: StockGateway,
    /// Workload certificates, one for each cluster.
    pub(crate) workloads: [Identity; 3],
}

impl Stage {
    /// Writes the cluster folders, starts everything, and waits until alpha and gamma have imported
    /// beta's services.
    pub(crate) async fn build(run: &RunFolder) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &federation.clusters;

        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, |service| service.exported().for_peers("alpha"))?;
        let mut mail = Deployed::greeting(beta, "mail").await?;
        mail.apply(beta, Service::exported)?;
        let mut ledger = Deployed::http(beta, "ledger").await?;
        ledger.apply(beta, |service| service)?;
        let mut catalog = Deployed::http(beta, "catalog").await?;
        catalog.apply(beta, |service| service)?;
        let mut stock = Deployed::http(gamma, "stock").await?;
        stock.apply(gamma, Service::exported)?;

        let gamma_metadata = MetadataProxy::in_front_of(gamma).await?;
        alpha.put_peer(gamma, &gamma_metadata.url())?;
        beta.put_annotated_peer(gamma, &gamma_metadata.url(), &[APPROVE])?;

        let roots = alpha.authority().pem() + &gamma.authority().pem();
        let server = beta.workload()?.write(run.path(), "stock-gateway")?;
        let allowed = alpha.spiffe_id("cart");
        let stock_gateway =
            StockGateway::start(run, &roots, &server, &allowed, web.backend.address()).await?;
        let workloads = [alpha.workload()?, beta.workload()?, gamma.workload()?];

        federation.start().await?;
        let stage = Self {
            federation,
            web,
            mail,
            ledger,
            catalog,
            stock,
            gamma_metadata,
            stock_gateway,
            workloads,
        };
        stage.wait_imports().await?;
        Ok(stage)
    }

    pub(crate) fn alpha(&self) -> &Cluster {
        &self.federation.clusters[0]
    }

    pub(crate) fn beta(&self) -> &Cluster {
        &self.federation.clusters[1]
    }

    pub(crate) fn beta_mut(&mut self) -> &mut Cluster {
        &mut self.federation.clusters[1]
    }

    pub(crate) fn gamma(&self) -> &Cluster {
        &self.federation.clusters[2]
    }

    /// Waits until alpha has all imports, and gamma those that are exported to everyone.
    async fn wait_imports(&self) -> Result<()> {
        for import in [&self.web, &self.mail, &self.stock] {
            self.alpha().wait_import(&import.name()).await?;
        }
        self.gamma().wait_import(&self.mail.name()).await?;
        for owner in [self.beta(), self.gamma()] {
            owner.wait_table().await?;
        }
        Ok(())
    }
}
