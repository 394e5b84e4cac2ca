//! A Service together with the back end behind it.

use crate::backend::{self, Backend};
use crate::client::{Client, Response, plain_get};
use crate::cluster::Cluster;
use crate::manifest::Service;
use anyhow::{Result, ensure};

/// A Service of a cluster, with its back end.
#[derive(Debug)]
pub struct Deployed {
    /// As its manifest says.
    pub service: Service,
    /// The server.
    pub backend: Backend,
    cluster: String,
    trust_domain: String,
}

impl Deployed {
    /// An HTTP service, port 80. Its manifest is not written yet, see [`Deployed::apply`].
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn http(cluster: &Cluster, name: &str) -> Result<Self> {
        let backend = Backend::http(name, cluster.name()).await?;
        Ok(Self::new(cluster, Service::new(name, "http", 80, backend.address()), backend))
    }

    /// A service that speaks first, port 25.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn greeting(cluster: &Cluster, name: &str) -> Result<Self> {
        let backend = Backend::greeting(name, cluster.name()).await?;
        Ok(Self::new(cluster, Service::new(name, "tcp-smtp", 25, backend.address()), backend))
    }

    fn new(cluster: &Cluster, service: Service, backend: Backend) -> Self {
        Self { service, backend, cluster: cluster.name().into(), trust_domain: cluster.trust_domain().into() }
    }

    /// Changes what the manifest is to say, and writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn apply(&mut self, cluster: &Cluster, change: impl FnOnce(Service) -> Service) -> Result<()> {
        self.service = change(self.service.clone());
        cluster.put_service(&self.service)
    }

    /// Its name.
    pub fn host(&self) -> String {
        self.service.host(&self.trust_domain)
    }

    /// `host:port`, as peers call it.
    pub fn name(&self) -> String {
        self.service.import(&self.trust_domain)
    }

    /// The server name of a client's handshake.
    pub fn sni(&self) -> String {
        self.service.sni(&self.trust_domain)
    }

    /// What its back end calls itself.
    pub fn identity(&self) -> String {
        backend::identity(&self.service.name, &self.cluster)
    }

    /// A program in `from` calls it through the egress: it must answer as itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn call_from(&self, from: &Cluster) -> Result<String> {
        let egress = from.wait_import(&self.name()).await?;
        self.check(plain_get(egress, &self.host()).await?)
    }

    /// A client of its own calls it at the gateway of the cluster `at`: it must answer as itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn call(&self, client: &Client, at: &Cluster) -> Result<String> {
        self.check(client.get(at.gateway_address(), &self.sni(), &self.host()).await?)
    }

    fn check(&self, response: Response) -> Result<String> {
        ensure!(response.status == 200, "the status was {}: {}", response.status, response.body);
        ensure!(response.body == self.identity(), "the answer was {:?}", response.body);
        Ok(response.body)
    }

    /// Tries to call it at the gateway of `at`, and must be refused without the back end's seeing a connection. Returns what
    /// the client saw.
    ///
    /// # Errors
    /// When it got through.
    pub async fn refuses(&self, client: &Client, at: &Cluster) -> Result<String> {
        let before = self.backend.connections();
        let answer = client.get(at.gateway_address(), &self.sni(), &self.host()).await;
        let touched = self.backend.connections() - before;
        ensure!(touched == 0, "the back end was touched: {touched} connections; the client got {answer:?}");
        match answer {
            Ok(response) => anyhow::bail!("it got through: {response:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}
