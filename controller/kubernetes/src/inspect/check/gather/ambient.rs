//! Finds what is in ambient mode.

use super::super::facts::AmbientClients;
use super::denied::denied;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

/// The label of a namespace or Pod whose traffic Istio's node agent redirects to ztunnel.
const AMBIENT: &str = "istio.io/dataplane-mode=ambient";

/// Asks in the whole cluster; `Err` says why that is impossible.
pub(super) async fn ask(client: &Client) -> Result<AmbientClients, String> {
    let labelled = ListParams::default().labels(AMBIENT);
    let (namespaces, pods) =
        (Api::<Namespace>::all(client.clone()), Api::<Pod>::all(client.clone()));
    let (namespaces, pods) =
        tokio::join!(namespaces.list_metadata(&labelled), pods.list_metadata(&labelled));
    let namespaces = namespaces.map_err(|error| denied(&error, "list", "namespaces", None))?;
    let namespaces = namespaces.items.iter().map(ResourceExt::name_any).collect();
    let pods = pods.map_err(|error| denied(&error, "list", "pods", None))?;
    let pods = pods.items.iter().filter_map(ResourceExt::namespace).collect();
    Ok(AmbientClients::new(namespaces, pods))
}
