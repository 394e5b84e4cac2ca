//! A Service together with the back end behind it.

use crate::backend::{self, Backend};
use crate::client::{Client, Connection, Response, plain_get};
use crate::cluster::{Cluster, SOON};
use crate::manifest::Service;
use crate::wait;
use anyhow::{Result, ensure};
use std::net::SocketAddr;

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
        self.call_through(egress).await
    }

    /// The same through a known port of an egress, which needs no controller.
    ///
    /// # Errors
    /// When it does not answer as itself.
    pub async fn call_through(&self, egress: SocketAddr) -> Result<String> {
        self.check(plain_get(egress, &self.host()).await?)
    }

    /// Waits until a program in `from` gets an answer through the egress.
    ///
    /// # Errors
    /// When it does not.
    pub async fn wait_callable_from(&self, from: &Cluster) -> Result<()> {
        let what = format!("{} to call {}", from.name(), self.name());
        wait::until(&what, SOON, async || self.call_from(from).await.map(Some)).await.map(drop)
    }

    /// A client of its own calls it at the gateway of the cluster `at`: it must answer as itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn call(&self, client: &Client, at: &Cluster) -> Result<String> {
        self.check(client.get(at.gateway_address(), &self.sni(), &self.host()).await?)
    }

    /// Waits until a client gets through at the gateway of `at`: what the controllers tell each other takes a moment.
    ///
    /// # Errors
    /// When it does not.
    pub async fn wait_reachable(&self, client: &Client, at: &Cluster) -> Result<()> {
        let what = format!("{} to be reachable", self.name());
        wait::until(&what, SOON, async || self.call(client, at).await.map(Some)).await.map(drop)
    }

    /// Waits until a client is greeted at the gateway of `at`, and returns the open connection.
    ///
    /// # Errors
    /// When it is not.
    pub async fn wait_greeting(&self, client: &Client, at: &Cluster) -> Result<Connection> {
        let what = format!("{} to greet", self.name());
        let greeted = async || client.greeting(at.gateway_address(), &self.sni()).await.map(Some);
        let (connection, greeting) = wait::until(&what, SOON, greeted).await?;
        ensure!(greeting == format!("220 {}", self.identity()), "the greeting was {greeting:?}");
        Ok(connection)
    }

    /// Waits until a client is refused there.
    ///
    /// # Errors
    /// When it goes on getting through.
    pub async fn wait_refused(&self, client: &Client, at: &Cluster) -> Result<()> {
        let what = format!("{} to be refused", self.name());
        wait::until_true(&what, SOON, async || Ok(self.call(client, at).await.is_err())).await?;
        self.refuses(client, at).await.map(drop)
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
