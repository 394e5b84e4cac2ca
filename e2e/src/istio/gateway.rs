//! A Pod of the gateway: istio-agent with Envoy, and what is mounted beside it.

use super::agent::{Agent, Identity, Role};
use super::istiod::Istiod;
use super::volume::ConfigMapVolume;
use crate::kubernetes::install::{GATEWAY, GATEWAY_PORT};
use crate::kubernetes::{KubernetesCluster, NAMESPACE};
use anyhow::Result;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;

/// Where the ConfigMap `fedgate-trust-bundle` is mounted, from the working folder of a Pod. In a container it is an absolute path;
/// here several Pods share one file system.
pub const TRUST_FOLDER: &str = "etc/fedgate/trust";

/// A running Pod of the gateway. It ends when dropped.
pub struct GatewayPod {
    name: String,
    agent: Agent,
    _volumes: Vec<ConfigMapVolume>,
}

impl GatewayPod {
    /// Starts one. The controller must run: a Pod waits for what it mounts.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(cluster: &KubernetesCluster, istiod: &Istiod, run: &Path, name: &str) -> Result<Self> {
        let identity = Identity {
            namespace: NAMESPACE.into(),
            name: name.into(),
            service_account: GATEWAY.into(),
            labels: json!({ "istio": "fedgate" }),
        };
        let pod = Agent::prepare(cluster, run, &identity).await?;
        let folder = pod.folder.join(TRUST_FOLDER);
        let trust = ConfigMapVolume::mount(cluster.objects(), NAMESPACE, "fedgate-trust-bundle", folder).await?;
        let agent = pod.start(cluster, istiod, Role::Router).await?;
        Ok(Self { name: name.into(), agent, _volumes: vec![trust] })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where peers connect, past any load balancer.
    pub fn address(&self) -> SocketAddr {
        (self.agent.address(), GATEWAY_PORT).into()
    }

    /// Agent and Envoy.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The generation of the table that the filter has in force; 0 when it has none.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn table_generation(&self) -> Result<u64> {
        Ok(self.agent.stat("wasmcustom.fedgate.table.generation").await?.unwrap_or(0))
    }
}
