//! Kubeconfigs and clients for an API server.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use std::net::SocketAddr;

/// A kubeconfig with one cluster, one user and one context. JSON is valid YAML, so it can be
/// written to a file as it is.
pub(super) fn kubeconfig(
    server: SocketAddr,
    ca: &str,
    user: &str,
    token: &str,
) -> serde_json::Value {
    let cluster = json!({ "server": format!("https://{server}"), "certificate-authority-data": BASE64_STANDARD.encode(ca) });
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "cluster", "cluster": cluster }],
        "users": [{ "name": user, "user": { "token": token } }],
        "contexts": [{ "name": "context", "context": { "cluster": "cluster", "user": user } }],
        "current-context": "context",
    })
}

/// A client with this kubeconfig.
pub(super) async fn client(kubeconfig: serde_json::Value) -> Result<kube::Client> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
