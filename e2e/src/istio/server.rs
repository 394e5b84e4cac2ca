//! A program in a mesh that is called through its sidecar.

use super::agent::{Agent, Identity, Role};
use super::mesh::Mesh;
use crate::backend::Backend;
use crate::kubernetes::SHOP;
use anyhow::Result;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};

/// The port where the sidecar listens. In a real Pod iptables redirects packets to the sidecar;
/// here it listens on the port directly (`captureMode: NONE`).
const PORT: u16 = 8080;

/// A Pod with a sidecar, and a server that only the sidecar can reach.
pub struct Server<B = Backend> {
    agent: Agent,
    backend: B,
}

impl Server {
    /// Starts the Pod `shop/NAME` with the label `app: NAME` and the service account NAME, and an
    /// HTTP server in it.
    ///
    /// # Errors
    /// When its sidecar does not become ready.
    pub async fn start(mesh: &Mesh, name: &str) -> Result<Self> {
        let cluster = mesh.cluster.name().to_owned();
        Self::start_with(mesh, name, "HTTP", |socket| Backend::http_on(socket, name, &cluster))
            .await
    }
}

impl<B> Server<B> {
    /// The same with another server, which gets its socket.
    ///
    /// # Errors
    /// When the server does not start, or the sidecar does not become ready.
    pub async fn start_with(
        mesh: &Mesh,
        name: &str,
        protocol: &str,
        server: impl FnOnce(tokio::net::TcpListener) -> Result<B>,
    ) -> Result<Self> {
        let identity = Identity {
            namespace: SHOP.into(),
            name: name.into(),
            service_account: name.into(),
            // Istio's injection sets this label on Pods that accept mutual TLS.
            labels: json!({ "app": name, "security.istio.io/tlsMode": "istio" }),
        };
        let pod = Agent::prepare(&mesh.cluster, mesh.folder(), &identity).await?;
        let socket = pod
            .network()
            .inside(async || Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))
            .await?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        let backend = server(tokio::net::TcpListener::from_std(socket)?)?;
        let ingress = json!({
            "port": { "number": PORT, "protocol": protocol, "name": protocol.to_lowercase() },
            "bind": pod.address().to_string(),
            "captureMode": "NONE",
            "defaultEndpoint": format!("127.0.0.1:{port}"),
        });
        let selector = json!({ "labels": { "app": name } });
        let spec = json!({ "workloadSelector": selector, "ingress": [ingress], "egress": [{ "hosts": ["~/*"] }] });
        let metadata = json!({ "namespace": SHOP, "name": name });
        let sidecar = json!({ "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata, "spec": spec });
        mesh.cluster.objects().apply_one(&sidecar).await?;
        let agent = pod.start(&mesh.cluster, &mesh.istiod, Role::Sidecar).await?;
        Ok(Self { agent, backend })
    }

    /// The address of its sidecar.
    pub fn address(&self) -> SocketAddr {
        (self.agent.address(), PORT).into()
    }

    /// The agent and its Envoy.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The server.
    pub fn backend(&self) -> &B {
        &self.backend
    }
}
