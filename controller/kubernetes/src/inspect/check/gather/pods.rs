//! Lists the gateway's Pods, and asks for the table of each, through the API server's proxy.

use super::super::facts::{Pod, Pods};
use crate::api::client::describe;
use crate::inspect::snapshot::list;
use crate::loaded::gauge::{Gauges, QUERY};
use crate::sources::memory::ClusterRecord;
use crate::sources::{pod, selection};
use futures_util::stream::{self, StreamExt};
use hyper::Request;
use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use std::time::Duration;
use tokio::time::timeout;

/// Where Istio's proxies show their metrics.
const STATS: &str = "15090/proxy/stats/prometheus";
/// The container with Istio's proxy.
const PROXY: &str = "istio-proxy";
/// The label with the revision of a Pod's control plane.
const REVISION: &str = "istio.io/rev";
/// The time limit for a Pod's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many Pods are asked at once.
const AT_ONCE: usize = 8;

pub(super) async fn ask(client: &Client, record: &ClusterRecord) -> Pods {
    let namespace = record.namespaces.gateway();
    let selection = selection::gateway_pods(namespace, &record.gateway_selector);
    let pods = list(client, selection, keep).await.map_err(|error| format!("{error:#}"))?;
    let asked = stream::iter(pods).map(async |(key, pod)| {
        let table = if pod.ready {
            table(client, namespace, &key.name).await
        } else {
            Ok(Gauges::default())
        };
        (key.name, Pod { table, ..pod })
    });
    Ok(asked.buffer_unordered(AT_ONCE).collect().await)
}

/// What the object shows of the Pod.
fn keep(object: DynamicObject) -> Pod {
    let spec = &object.data["spec"];
    let containers = ["containers", "initContainers"]
        .into_iter()
        .filter_map(|field| spec[field].as_array())
        .flatten();
    let proxy = containers
        .filter(|container| container["name"] == PROXY)
        .find_map(|container| container["image"].as_str());
    let (proxy, revision) = (proxy.map(str::to_owned), object.labels().get(REVISION).cloned());
    Pod { ready: pod::keep(object).is_ready(), table: Ok(Gauges::default()), proxy, revision }
}

async fn table(client: &Client, namespace: &str, pod: &str) -> Result<Gauges, String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{STATS}?{QUERY}");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match timeout(PATIENCE, client.request_text(request)).await {
        Ok(Ok(text)) => Ok(Gauges::in_text(&text)),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(format!(
            "you may not ask it; you need a role that lets you get pods/proxy in {namespace}"
        )),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("it has not answered within {PATIENCE:?}")),
    }
}
