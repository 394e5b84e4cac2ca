//! A Service together with its back end.

use crate::backend::{self, Backend};
use crate::client::{Client, Connection, Response, plain_get};
use crate::cluster::Cluster;
use crate::manifest::Service;
use crate::wait::{self, SOON};
use anyhow::{Result, ensure};
use std::net::SocketAddr;

/// How many calls in a row must end alike before a wait is over. Each worker thread of a gateway
/// takes a new table by itself, and a call meets only one of them.
const IN_A_ROW: usize = 5;

/// A Service in a cluster, with its back end.
#[derive(Debug)]
pub struct Deployed {
    /// The content of its manifest.
    pub service: Service,
    /// The running server.
    pub backend: Backend,
    cluster: String,
    trust_domain: String,
}

impl Deployed {
    /// An HTTP service on port 80. Its manifest is not written yet, see [`Deployed::apply`].
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn http(cluster: &Cluster, name: &str) -> Result<Self> {
        let backend = Backend::http(name, cluster.name()).await?;
        Ok(Self::new(cluster, Service::new(name, "http", 80, backend.address()), backend))
    }

    /// A service on port 25 whose server speaks first.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn greeting(cluster: &Cluster, name: &str) -> Result<Self> {
        let backend = Backend::greeting(name, cluster.name()).await?;
        Ok(Self::new(cluster, Service::new(name, "tcp-smtp", 25, backend.address()), backend))
    }

    fn new(cluster: &Cluster, service: Service, backend: Backend) -> Self {
        Self {
            service,
            backend,
            cluster: cluster.name().into(),
            trust_domain: cluster.trust_domain().into(),
        }
    }

    /// Changes the manifest and writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn apply(
        &mut self,
        cluster: &Cluster,
        change: impl FnOnce(Service) -> Service,
    ) -> Result<()> {
        self.service = change(self.service.clone());
        cluster.put_service(&self.service)
    }

    /// Its host name.
    pub fn host(&self) -> String {
        self.service.host(&self.trust_domain)
    }

    /// `host:port`, the name under which peers call it.
    pub fn name(&self) -> String {
        self.service.import(&self.trust_domain)
    }

    /// The SNI that a client sends.
    pub fn sni(&self) -> String {
        self.service.sni(&self.trust_domain)
    }

    /// The text by which its back end identifies itself.
    pub fn identity(&self) -> String {
        backend::identity(&self.service.name, &self.cluster)
    }

    /// Calls it through the egress of `from`, as a program there would. The right back end must
    /// answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn call_from(&self, from: &Cluster) -> Result<String> {
        let egress = from.wait_import(&self.name()).await?;
        self.call_through(egress).await
    }

    /// Like [`Self::call_from`], through a known egress port, which needs no controller.
    ///
    /// # Errors
    /// When the right back end does not answer.
    pub async fn call_through(&self, egress: SocketAddr) -> Result<String> {
        self.check(plain_get(egress, &self.host()).await?)
    }

    /// Waits until a call through the egress of `from` is answered.
    ///
    /// # Errors
    /// When no call is answered in time.
    pub async fn wait_callable_from(&self, from: &Cluster) -> Result<()> {
        let what = format!("{} to call {}", from.name(), self.name());
        wait::until(&what, SOON, async || self.call_from(from).await.map(Some)).await.map(drop)
    }

    /// Calls it with this client at the gateway of the cluster `at`. The right back end must
    /// answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn call(&self, client: &Client, at: &Cluster) -> Result<String> {
        self.check(client.get(at.gateway_address(), &self.sni(), &self.host()).await?)
    }

    /// Waits until the client gets through at the gateway of `at`. The controllers need a moment to
    /// exchange metadata.
    ///
    /// # Errors
    /// When the client does not get through in time.
    pub async fn wait_reachable(&self, client: &Client, at: &Cluster) -> Result<()> {
        let what = format!("{} to be reachable", self.name());
        wait::until(&what, SOON, async || {
            for _ in 0..IN_A_ROW {
                self.call(client, at).await?;
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the client is greeted at the gateway of `at`. Returns the open connection.
    ///
    /// # Errors
    /// When it is not greeted in time.
    pub async fn wait_greeting(&self, client: &Client, at: &Cluster) -> Result<Connection> {
        let what = format!("{} to greet", self.name());
        let greeted = async || client.greeting(at.gateway_address(), &self.sni()).await.map(Some);
        let (connection, greeting) = wait::until(&what, SOON, greeted).await?;
        ensure!(greeting == format!("220 {}", self.identity()), "the greeting was {greeting:?}");
        Ok(connection)
    }

    /// Waits until the client is refused at the gateway of `at`, and no call reaches the back end.
    ///
    /// # Errors
    /// When the client still gets through.
    pub async fn wait_refused(&self, client: &Client, at: &Cluster) -> Result<()> {
        let what = format!("{} to be refused", self.name());
        wait::until(&what, SOON, async || {
            for _ in 0..IN_A_ROW {
                self.refuses(client, at).await?;
            }
            Ok(Some(()))
        })
        .await
    }

    fn check(&self, response: Response) -> Result<String> {
        ensure!(response.status == 200, "the status was {}: {}", response.status, response.body);
        ensure!(response.body == self.identity(), "the answer was {:?}", response.body);
        Ok(response.body)
    }

    /// Calls it at the gateway of `at` and checks that the call is refused and no connection
    /// reaches the back end. Returns the client's error.
    ///
    /// # Errors
    /// When the call got through.
    pub async fn refuses(&self, client: &Client, at: &Cluster) -> Result<String> {
        let before = self.backend.connections();
        let answer = client.get(at.gateway_address(), &self.sni(), &self.host()).await;
        let touched = self.backend.connections() - before;
        ensure!(
            touched == 0,
            "the back end was touched: {touched} connections; the client got {answer:?}"
        );
        match answer {
            Ok(response) => anyhow::bail!("it got through: {response:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}
