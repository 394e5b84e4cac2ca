//! A program in a mesh that calls others through its sidecar.

use super::agent::{Agent, Identity, Role};
use super::istiod::Istiod;
use super::mesh::Mesh;
use crate::dns;
use crate::kubernetes::objects::Key;
use crate::kubernetes::{KubernetesCluster, NAMESPACE, SHOP};
use crate::wait::SOON;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// An imported service, for which the client's sidecar listens.
#[derive(Debug, Clone)]
pub struct Import {
    /// The host.
    pub host: String,
    /// The Service's port.
    pub port: u16,
    /// The protocol, as Istio names it.
    pub protocol: &'static str,
}

/// A Pod with a sidecar. Its program resolves an import in the mesh's DNS and calls the returned
/// address, where the sidecar listens. In a real Pod iptables redirects the packets to the sidecar;
/// here it listens on these addresses directly (`captureMode: NONE`).
pub struct Client {
    agent: Agent,
    resolver: SocketAddr,
}

impl Client {
    /// Starts the Pod `shop/NAME` with the service account NAME, once the mesh knows all these
    /// imports.
    ///
    /// # Errors
    /// When an import does not appear, or the sidecar does not become ready.
    pub async fn start(mesh: &Mesh, name: &str, imports: &[Import]) -> Result<Self> {
        Self::start_in((&mesh.cluster, &mesh.istiod), mesh.folder(), name, imports).await
    }

    /// Like [`Self::start_for_names`], but the program resolves names at this server instead of the
    /// agent.
    ///
    /// # Errors
    /// Same as [`Client::start`].
    pub async fn start_resolving_at(
        mesh: &Mesh,
        name: &str,
        imports: &[Import],
        resolver: SocketAddr,
    ) -> Result<Self> {
        let mut egress = listeners(&mesh.cluster, imports, |host| format!("*/{host}")).await?;
        egress.push(json!({ "hosts": ["*/*"] }));
        let parts = (&mesh.cluster, &mesh.istiod);
        Self::start_with_egress(parts, mesh.folder(), name, (imports, egress), resolver).await
    }

    /// Like [`Self::start`], in a cluster with an istiod.
    ///
    /// # Errors
    /// Same as [`Client::start`].
    pub async fn start_in(
        (cluster, istiod): (&KubernetesCluster, &Istiod),
        folder: &Path,
        name: &str,
        imports: &[Import],
    ) -> Result<Self> {
        let egress = listeners(cluster, imports, |host| format!("*/{host}")).await?;
        Self::start_with_egress((cluster, istiod), folder, name, (imports, egress), dns::PROXY)
            .await
    }

    /// Starts a Pod whose sidecar gets the mesh's whole configuration. It listens only for these
    /// imports, but its program can call each host of the mesh there.
    ///
    /// # Errors
    /// Same as [`Client::start`].
    pub async fn start_with_all(mesh: &Mesh, name: &str, imports: &[Import]) -> Result<Self> {
        let mut egress = listeners(&mesh.cluster, imports, |_| "*/*".to_owned()).await?;
        egress.push(json!({ "hosts": ["*/*"] }));
        let parts = (&mesh.cluster, &mesh.istiod);
        Self::start_with_egress(parts, mesh.folder(), name, (imports, egress), dns::PROXY).await
    }

    /// Starts a Pod whose program calls names of `FederatedService`s. Its sidecar also has the
    /// clusters of their members, which it reaches only through these names.
    ///
    /// # Errors
    /// Same as [`Client::start`].
    pub async fn start_for_names(mesh: &Mesh, name: &str, names: &[Import]) -> Result<Self> {
        let mut egress = listeners(&mesh.cluster, names, |host| format!("*/{host}")).await?;
        egress.push(json!({ "hosts": ["*/*"] }));
        let parts = (&mesh.cluster, &mesh.istiod);
        Self::start_with_egress(parts, mesh.folder(), name, (names, egress), dns::PROXY).await
    }

    async fn start_with_egress(
        (cluster, istiod): (&KubernetesCluster, &Istiod),
        folder: &Path,
        name: &str,
        (imports, egress): (&[Import], Vec<Value>),
        resolver: SocketAddr,
    ) -> Result<Self> {
        let pod = Agent::prepare(cluster, folder, &identity(name)).await?;
        let spec = json!({ "workloadSelector": { "labels": { "app": name } }, "egress": egress });
        let metadata = json!({ "namespace": SHOP, "name": name });
        let sidecar = json!({ "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata, "spec": spec });
        cluster.objects().apply_one(&sidecar).await?;
        let client = Self { agent: pod.start(cluster, istiod, Role::Sidecar).await?, resolver };
        for import in imports {
            client.wait_listens(import).await?;
        }
        Ok(client)
    }

    async fn wait_listens(&self, import: &Import) -> Result<()> {
        let what = format!("the sidecar to listen for {}:{}", import.host, import.port);
        crate::wait::until(&what, SOON, async || {
            let connected =
                async |address| Ok(tokio::net::TcpStream::connect(address).await.map(drop)?);
            self.call(&import.host, import.port, connected).await.map(Some)
        })
        .await
    }

    /// Calls an import as the Pod's program would: resolves its name and calls that address. `call`
    /// runs in the Pod.
    ///
    /// # Errors
    /// When the name has no address, or `call` fails.
    pub async fn call<T: Send + 'static, F: Future<Output = Result<T>>>(
        &self,
        host: &str,
        port: u16,
        call: impl FnOnce(SocketAddr) -> F + Send + 'static,
    ) -> Result<T> {
        let (host, resolver) = (host.to_owned(), self.resolver);
        let work = async move || {
            let address = dns::resolve(resolver, &host).await?;
            call((address, port).into()).await
        };
        self.agent.network().inside(work).await
    }

    /// The agent and its Envoy.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }
}

fn identity(name: &str) -> Identity {
    let (namespace, labels) = (SHOP.into(), json!({ "app": name }));
    Identity { namespace, name: name.into(), service_account: name.into(), labels }
}

/// The listeners of a `Sidecar` object, one for each import. `hosts` says which hosts can be called
/// there.
async fn listeners(
    cluster: &KubernetesCluster,
    imports: &[Import],
    hosts: impl Fn(&str) -> String,
) -> Result<Vec<Value>> {
    let mut egress = Vec::new();
    for Import { host, port, protocol } in imports {
        egress.push(json!({
            "bind": allocated(cluster, host).await?.to_string(),
            "captureMode": "NONE",
            "port": { "number": port, "protocol": protocol, "name": format!("import-{}", egress.len()) },
            "hosts": [hosts(host)],
        }));
    }
    Ok(egress)
}

/// The address of an import: fedgate's, if it chose one, or istiod's.
async fn allocated(cluster: &KubernetesCluster, host: &str) -> Result<Ipv4Addr> {
    let address = |object: &Value| {
        let parsed = |address: &Value| address.as_str()?.parse().ok();
        parsed(&object["spec"]["addresses"][0])
            .or_else(|| parsed(&object["status"]["addresses"][0]["value"]))
    };
    let key = Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host);
    let entry = cluster
        .objects()
        .wait_for(key, "to have an address", |object| address(object).is_some())
        .await?;
    address(&entry).context("it has one")
}
