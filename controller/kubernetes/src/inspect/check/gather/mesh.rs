//! Asks for the mesh's configuration, its istiods, and what is in ambient mode.

use super::super::facts::{Istiod, Mesh, Pods};
use super::ambient;
use super::denied::denied;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

/// The key of the mesh's configuration.
const KEY: &str = "mesh";
/// The label of istiod's Deployments.
const ISTIOD: &str = "app=istiod";

/// Asks in the mesh's root namespace, for the revision of the gateway's Pods.
pub(super) async fn ask(client: &Client, root: &str, pods: &Pods) -> Mesh {
    let mut revisions = pods.iter().flatten().filter_map(|(_, pod)| pod.revision.as_deref());
    let revision = revisions.find(|revision| *revision != "default");
    let (config, istiods, ambient) = tokio::join!(
        config(client, root, revision),
        istiods(client, root, revision),
        ambient::ask(client)
    );
    Mesh { config, istiods, ambient }
}

async fn config(client: &Client, root: &str, revision: Option<&str>) -> Result<Value, String> {
    let name = revision.map_or_else(|| "istio".to_owned(), |revision| format!("istio-{revision}"));
    let found = Api::<ConfigMap>::namespaced(client.clone(), root).get_opt(&name).await;
    let found = found.map_err(|error| denied(&error, "get", "configmaps", Some(root)))?;
    let map = found.ok_or_else(|| {
        format!("there is no ConfigMap {root}/{name}; set the controller's --root-namespace to the mesh's root namespace")
    })?;
    let yaml = map.data.as_ref().and_then(|data| data.get(KEY));
    let yaml = yaml.ok_or_else(|| format!("ConfigMap {root}/{name} has no key {KEY}"))?;
    serde_saphyr::from_str(yaml)
        .map_err(|error| format!("ConfigMap {root}/{name}, key {KEY}: {error}"))
}

async fn istiods(
    client: &Client,
    root: &str,
    revision: Option<&str>,
) -> Result<Vec<Istiod>, String> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), root);
    let labels = revision
        .map_or_else(|| ISTIOD.to_owned(), |revision| format!("{ISTIOD},istio.io/rev={revision}"));
    let listed = deployments.list(&ListParams::default().labels(&labels)).await;
    let listed = listed.map_err(|error| denied(&error, "list", "deployments.apps", Some(root)))?;
    Ok(listed.items.into_iter().map(istiod).collect())
}

fn istiod(deployment: Deployment) -> Istiod {
    let name = deployment.name_any();
    let container =
        deployment.spec.and_then(|spec| spec.template.spec?.containers.into_iter().next());
    let Some(container) = container else { return Istiod { name, ..Istiod::default() } };
    let environment = container.env.unwrap_or_default();
    let environment = environment
        .into_iter()
        .filter_map(|variable| Some((variable.name, variable.value?)))
        .collect();
    Istiod { name, image: container.image.unwrap_or_default(), environment }
}
