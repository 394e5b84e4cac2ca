//! A Pod of the gateway: istio-agent with Envoy, and its mounted volumes.

use super::agent::{Agent, BOOTSTRAP, Identity, Prepared, Role};
use super::istiod::Istiod;
use super::volume::ConfigMapVolume;
use crate::kubernetes::install::{GATEWAY, GATEWAY_PORT};
use crate::kubernetes::{KubernetesCluster, NAMESPACE};
use crate::{chart, programs};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The mount path of the ConfigMap `fedgate-trust-bundle`, relative to the Pod's working folder. In
/// a container the path is absolute; here several Pods share one file system.
pub const TRUST_FOLDER: &str = "etc/fedgate/trust";

/// The mount path of the ConfigMap `fedgate-filter`, relative to the Pod's working folder.
pub const FILTER_FOLDER: &str = "etc/fedgate/filter";

/// The folder that the Pod's init container fills, relative to the Pod's working folder.
pub(super) const NATIVE_FOLDER: &str = "etc/fedgate/native";

/// The controller's setting with that folder. It is set if the Pods have the native filter.
pub(super) const NATIVE_FOLDER_SETTING: &str = "FEDGATE_NATIVE_FILTER_FOLDER";

/// A running Pod of the gateway. Stops when dropped.
pub struct GatewayPod {
    name: String,
    agent: Agent,
    _volumes: Vec<ConfigMapVolume>,
}

impl GatewayPod {
    /// Starts a Pod. A controller must have run before: a Pod waits for its volumes.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(
        cluster: &KubernetesCluster,
        istiod: &Istiod,
        run: &Path,
        name: &str,
    ) -> Result<Self> {
        let (pod, volumes) = mounted(cluster, run, name).await?;
        let agent = pod.start(cluster, istiod, Role::Router).await?;
        Ok(Self { name: name.into(), agent, _volumes: volumes })
    }

    /// Like [`Self::start`], without waiting until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_pending(
        cluster: &KubernetesCluster,
        istiod: &Istiod,
        run: &Path,
        name: &str,
    ) -> Result<Self> {
        let (pod, volumes) = mounted(cluster, run, name).await?;
        let agent = pod.start_pending(cluster, istiod, Role::Router).await?;
        Ok(Self { name: name.into(), agent, _volumes: volumes })
    }

    /// Probes it as the kubelet would. Returns true if it is ready.
    pub async fn is_ready(&self) -> bool {
        self.agent.is_ready().await
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address for connections that bypass the load balancer.
    pub fn address(&self) -> SocketAddr {
        (self.agent.address(), GATEWAY_PORT).into()
    }

    /// The agent and its Envoy.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Stops it as a kubelet does.
    ///
    /// # Errors
    /// When it does not exit.
    pub async fn terminate(mut self) -> Result<()> {
        self.agent.terminate().await
    }

    /// The generation of the filter's current table; 0 if it has none.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn table_generation(&self) -> Result<u64> {
        Ok(self.agent.stat("wasmcustom.fedgate.table.generation").await?.unwrap_or(0))
    }
}

/// Prepares the Pod with its volumes, before anything runs in it.
async fn mounted(
    cluster: &KubernetesCluster,
    run: &Path,
    name: &str,
) -> Result<(Prepared, Vec<ConfigMapVolume>)> {
    let identity = Identity {
        namespace: NAMESPACE.into(),
        name: name.into(),
        service_account: GATEWAY.into(),
        labels: json!({ "istio": "fedgate" }),
    };
    let pod = Agent::prepare(cluster, run, &identity).await?;
    let native = cluster.setting(NATIVE_FOLDER_SETTING).is_some();
    if native {
        copy_filter(&pod.folder).await?;
    }
    write_bootstrap(&pod.folder, native).await?;
    let mut volumes = Vec::new();
    for (config_map, folder) in
        [("fedgate-trust-bundle", TRUST_FOLDER), ("fedgate-filter", FILTER_FOLDER)]
    {
        let folder = pod.folder.join(folder);
        volumes
            .push(ConfigMapVolume::mount(cluster.objects(), NAMESPACE, config_map, folder).await?);
    }
    Ok((pod, volumes))
}

/// Does what the chart's init container does.
async fn copy_filter(pod: &Path) -> Result<()> {
    let filter = pod.join(NATIVE_FOLDER);
    std::fs::create_dir_all(&filter)?;
    let mut copy = Command::new(programs::fedgate()?);
    copy.arg("copy-filter").arg(filter).arg("--from").arg(programs::native_filter()?);
    let output = copy.output().await.context("cannot start fedgate")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Writes the bootstrap that the chart gives to Istio: the labels of the filter's metrics, and what
/// the native filter needs.
async fn write_bootstrap(pod: &Path, native: bool) -> Result<()> {
    // All gateways of a run have the same.
    static WASM: OnceCell<String> = OnceCell::const_new();
    static NATIVE: OnceCell<String> = OnceCell::const_new();
    let (rendered, values) = match native {
        true => (&NATIVE, "ci/dynamic-module.yaml"),
        false => (&WASM, "ci/monitoring.yaml"),
    };
    let text = rendered.get_or_try_init(|| bootstrap(values)).await?;
    let file = pod.join(BOOTSTRAP);
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    Ok(std::fs::write(file, text)?)
}

/// The bootstrap that the chart renders with one of its own files of values.
async fn bootstrap(values: &str) -> Result<String> {
    let rendered = chart::render_file(&chart::folder().join(values)).await?;
    let config_map = rendered.object("ConfigMap", "fedgate-gateway-bootstrap")?;
    let text = config_map["data"]["custom_bootstrap.json"].as_str();
    text.map(str::to_owned).context("the chart has no bootstrap")
}
