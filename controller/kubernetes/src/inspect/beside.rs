//! What the operators' page shows besides a snapshot: what the gateway's Pods count. Read with the
//! user's kubeconfig, like everything else.

use super::snapshot::{Snapshot, list};
use crate::api::client::describe;
use crate::sources::{pod, selection};
use futures_util::stream::{self, StreamExt};
use hyper::Request;
use kube::Client;
use std::time::Duration;
use tokio::time::timeout;

/// Where Istio's proxies show their metrics, and which of them are asked for.
const STATS: &str = "15090/proxy/stats/prometheus?filter=fedgate";
/// The time limit for a Pod's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many Pods are asked at once, and how many at most.
const AT_ONCE: usize = 8;
const MOST_PODS: usize = 50;

/// The metrics of the gateway's ready Pods, in Prometheus' text format.
///
/// # Errors
/// Why they cannot be had, and what to do.
pub async fn metrics(client: &Client, snapshot: &Snapshot) -> Result<Vec<String>, String> {
    let record = &snapshot.record;
    let namespace = record.namespaces.gateway();
    let selection = selection::gateway_pods(namespace, &record.gateway_selector);
    let pods = list(client, selection, pod::keep).await.map_err(|error| format!("{error:#}"))?;
    let ready = pods.into_iter().filter(|(_, pod)| pod.is_ready()).take(MOST_PODS);
    let asked = stream::iter(ready).map(async |(key, _)| ask(client, namespace, &key.name).await);
    let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    if answers.is_empty() {
        return Err(format!("the gateway has no ready Pod in the namespace {namespace}"));
    }
    answers.into_iter().collect()
}

async fn ask(client: &Client, namespace: &str, pod: &str) -> Result<String, String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{STATS}");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match timeout(PATIENCE, client.request_text(request)).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(format!(
            "you may not ask the gateway's Pods; you need a role that lets you get pods/proxy in the namespace {namespace}"
        )),
        Ok(Err(error)) => Err(format!("Pod {namespace}/{pod}: {}", describe(&error))),
        Err(_) => Err(format!("Pod {namespace}/{pod} has not answered within {PATIENCE:?}")),
    }
}
