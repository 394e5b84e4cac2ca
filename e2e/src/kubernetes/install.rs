//! What a cluster has before its controller: what an operator installs, and what the mesh and its
//! gateway add.

use super::addresses::Addresses;
use super::names::{MESH_NAMESPACE, NAMESPACE, SHOP};
use super::objects::Objects;
use super::platform::{Node, Pod};
use crate::run_folder::files_below;
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

/// The name of the gateway's Service and Pods, as in the controller's defaults.
pub const GATEWAY: &str = "fedgate-gateway";

/// The port that peers connect to.
pub const GATEWAY_PORT: u16 = 15443;

/// The gateway's node.
pub const NODE: &str = "node-1";

/// The namespaces that exist before fedgate.
pub(super) const MESH_NAMESPACES: [&str; 2] = [MESH_NAMESPACE, SHOP];

/// All namespaces.
pub(super) const NAMESPACES: [&str; 3] = [MESH_NAMESPACE, SHOP, NAMESPACE];

/// Adds to [`super::seed::Seed::Fedgate`] what differs between clusters.
pub(super) async fn install(
    objects: &Objects,
    addresses: &Addresses,
    mesh_root: &str,
) -> Result<()> {
    install_mesh(objects, addresses).await?;
    mesh_root_certificate(objects, mesh_root).await?;
    gateway(objects, addresses).await
}

/// Adds to [`super::seed::Seed::Mesh`] what differs between clusters: a node.
pub(super) async fn install_mesh(objects: &Objects, addresses: &Addresses) -> Result<()> {
    let node = Node { pod_cidr: Some(addresses.pods.clone()), ..Node::new(NODE, addresses.node) };
    objects.put_node(&node).await
}

/// The files of `deploy/kubernetes` without the Deployments, which would need kubelets:
/// definitions, roles, admission policies.
pub(super) fn deployment() -> Result<Vec<PathBuf>> {
    let folder = xtask::root().join("deploy/kubernetes");
    let mut files = files_below(&folder.join("crds"))?;
    files.sort();
    files.extend(["rbac.yaml", "admission.yaml"].map(|file| folder.join(file)));
    Ok(files)
}

/// Replaces the mesh's root, as istiod does in every namespace.
///
/// # Errors
/// When the API server refuses.
pub async fn mesh_root_certificate(objects: &Objects, pem: &str) -> Result<()> {
    let metadata = json!({ "namespace": NAMESPACE, "name": "istio-ca-root-cert" });
    let data = json!({ "root-cert.pem": pem });
    let roots =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    objects.apply_one(&roots).await.map(drop)
}

/// A gateway behind a load balancer: its Service, its only Pod, and that Pod's node.
async fn gateway(objects: &Objects, addresses: &Addresses) -> Result<()> {
    let labels = json!({ "istio": "fedgate" });
    let port = json!({ "name": "tls", "port": GATEWAY_PORT });
    objects
        .apply_one(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": NAMESPACE, "name": GATEWAY },
            "spec": { "type": "LoadBalancer", "selector": labels, "ports": [port] },
        }))
        .await?;
    objects
        .put_load_balancer(NAMESPACE, GATEWAY, &json!([{ "ip": addresses.gateway.to_string() }]))
        .await?;
    let pod = Pod {
        namespace: NAMESPACE.into(),
        name: format!("{GATEWAY}-1"),
        node: NODE.into(),
        service_account: GATEWAY.into(),
        labels,
        address: addresses.node.to_string(),
        ready: true,
    };
    objects.put_pod(&pod).await
}
