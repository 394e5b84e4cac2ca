//! Programs in a mesh: those that are called, and those that call through their sidecar.

use super::agent::{Agent, Identity, Role};
use super::mesh::Mesh;
use crate::kubernetes::SHOP;
use anyhow::Result;
use serde_json::json;
use std::net::SocketAddr;

/// An imported service, as a client's sidecar listens for it.
#[derive(Debug, Clone)]
pub struct Import {
    /// The host.
    pub host: String,
    /// The Service's port, which is the listener's as well.
    pub port: u16,
    /// Istio's word for its protocol.
    pub protocol: String,
}

/// A Pod whose sidecar listens at the Pod's address for each import. iptables, which would bring the program's packets to the
/// sidecar, are not there; all that comes after is a sidecar's.
pub struct Client {
    agent: Agent,
}

impl Client {
    /// Starts the Pod `shop/NAME` with the service account NAME.
    ///
    /// # Errors
    /// When its sidecar does not get ready.
    pub async fn start(mesh: &Mesh, name: &str, imports: &[Import]) -> Result<Self> {
        let identity = Identity {
            namespace: SHOP.into(),
            name: name.into(),
            service_account: name.into(),
            labels: json!({ "app": name }),
        };
        let pod = Agent::prepare(&mesh.cluster, mesh.folder(), &identity).await?;
        let egress: Vec<_> = imports
            .iter()
            .map(|import| {
                json!({
                    "bind": pod.address().to_string(),
                    "captureMode": "NONE",
                    "port": { "number": import.port, "protocol": import.protocol, "name": format!("p-{}", import.port) },
                    "hosts": [format!("*/{}", import.host)],
                })
            })
            .collect();
        let spec = json!({ "workloadSelector": { "labels": { "app": name } }, "egress": egress });
        let metadata = json!({ "namespace": SHOP, "name": name });
        let sidecar =
            json!({ "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata, "spec": spec });
        mesh.cluster.objects().apply_one(&sidecar).await?;
        let agent = pod.start(&mesh.cluster, &mesh.istiod, Role::Sidecar).await?;
        Ok(Self { agent })
    }

    /// Where its program would call the import with this port.
    pub fn address(&self, port: u16) -> SocketAddr {
        (self.agent.address(), port).into()
    }

    /// Agent and Envoy.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }
}
