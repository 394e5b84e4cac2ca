//! The stage: the three clusters with their back ends, all running.

use anyhow::Result;
use fedgate_e2e::authority::Identity;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::envoy::stock::StockGateway;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::MetadataProxy;
use fedgate_e2e::run_folder::RunFolder;

/// A service with the back end behind it.
pub(crate) struct Staged {
    pub(crate) service: Service,
    pub(crate) backend: Backend,
}

/// Everything that the scenes use.
pub(crate) struct Stage {
    pub(crate) federation: Federation<3>,
    /// beta's: exported to alpha only.
    pub(crate) web: Staged,
    /// beta's: exported to all; the server speaks first.
    pub(crate) mail: Staged,
    /// beta's: not exported.
    pub(crate) ledger: Staged,
    /// beta's: not exported until scene 7.
    pub(crate) catalog: Staged,
    /// gamma's: exported to all.
    pub(crate) stock: Staged,
    /// What alpha and beta take for gamma's metadata endpoint, so that gamma can be made to lie.
    pub(crate) gamma_metadata: MetadataProxy,
    /// A gateway for `web` as one builds it without fedgate.
    pub(crate) stock_gateway: StockGateway,
    /// Certificates of workloads, one of each cluster.
    pub(crate) workloads: [Identity; 3],
}

impl Stage {
    /// Writes the clusters' folders, starts everything, and waits until alpha and gamma have imported beta's services.
    pub(crate) async fn build(run: &RunFolder) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &federation.clusters;

        let web = Staged::http("web", "beta").await?.alter(|service| service.exported().for_peers("alpha"));
        let backend = Backend::greeting("mail", "beta").await?;
        let service = Service::new("mail", "tcp-smtp", 25, backend.address()).exported();
        let mail = Staged { service, backend };
        let ledger = Staged::http("ledger", "beta").await?;
        let catalog = Staged::http("catalog", "beta").await?;
        for staged in [&web, &mail, &ledger, &catalog] {
            beta.put_service(&staged.service)?;
        }
        let stock = Staged::http("stock", "gamma").await?.alter(Service::exported);
        gamma.put_service(&stock.service)?;

        let gamma_metadata = MetadataProxy::in_front_of(gamma).await?;
        alpha.put_peer(gamma, &gamma_metadata.url())?;
        beta.put_peer(gamma, &gamma_metadata.url())?;

        let roots = alpha.authority().pem() + &gamma.authority().pem();
        let server = beta.workload()?.write(run.path(), "stock-gateway")?;
        let allowed = alpha.spiffe_id("cart");
        let stock_gateway = StockGateway::start(run, &roots, &server, &allowed, web.backend.address()).await?;
        let workloads = [alpha.workload()?, beta.workload()?, gamma.workload()?];

        federation.start().await?;
        let stage = Self { federation, web, mail, ledger, catalog, stock, gamma_metadata, stock_gateway, workloads };
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

    /// Alpha imports all, gamma what everybody may have.
    async fn wait_imports(&self) -> Result<()> {
        for import in [self.web.import("beta"), self.mail.import("beta"), self.stock.import("gamma")] {
            self.alpha().wait_import(&import).await?;
        }
        self.gamma().wait_import(&self.mail.import("beta")).await?;
        Ok(())
    }
}

impl Staged {
    async fn http(name: &str, cluster: &str) -> Result<Self> {
        let backend = Backend::http(name, cluster).await?;
        Ok(Self { service: Service::new(name, "http", 80, backend.address()), backend })
    }

    fn alter(self, alter: impl FnOnce(Service) -> Service) -> Self {
        Self { service: alter(self.service), ..self }
    }

    /// Its host name in this cluster.
    pub(crate) fn host(&self, cluster: &str) -> String {
        self.service.host(&format!("{cluster}.example"))
    }

    /// `host:port`, as an import is called.
    pub(crate) fn import(&self, cluster: &str) -> String {
        self.service.import(&format!("{cluster}.example"))
    }

    /// The server name of a client's handshake.
    pub(crate) fn sni(&self, cluster: &str) -> String {
        self.service.sni(&format!("{cluster}.example"))
    }
}
