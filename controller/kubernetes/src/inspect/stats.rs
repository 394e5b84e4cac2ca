//! The metrics of the gateway's Envoys, through the API server's proxy to Pods.
//!
//! Envoy's admin address listens on loopback in its Pod, so what can be asked is its port for
//! Prometheus. The user needs the permission to get `pods/proxy` there.

use super::snapshot::list;
use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::sources::memory::{self, Memory, STATE};
use crate::sources::{pod, selection};
use anyhow::{Context, Result};
use futures_util::stream::{self, StreamExt};
use hyper::Request;
use kube::Client;
use std::time::Duration;
use tokio::time::timeout;

/// Where Istio's proxies show their metrics.
const STATS: &str = "15090/proxy/stats/prometheus";
/// The time limit for a Pod's answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many Pods are asked at once.
const AT_ONCE: usize = 8;

/// What a Pod of the gateway answered.
pub struct PodStats {
    /// The Pod's name.
    pub pod: String,
    /// Its metrics in Prometheus' text format, or why there are none.
    pub text: Result<String, String>,
}

/// Asks each ready Pod of the gateway for its metrics. `query` is Envoy's, such as
/// `filter=fedgate&usedonly`.
///
/// # Errors
/// If no controller has run in `namespace`, or the Pods cannot be listed.
pub async fn of_gateway(client: &Client, namespace: &str, query: &str) -> Result<Vec<PodStats>> {
    let object = Kind::ConfigMap.within(client, namespace).get_opt(STATE).await;
    let object = object.map_err(|error| anyhow::anyhow!("{}", describe(&error)))?;
    let record = object.map(memory::keep).and_then(|memory| match memory {
        Memory::Cluster { record, .. } => record,
        _ => None,
    });
    let record = record.with_context(|| {
        format!(
            "no controller has run in the namespace {namespace}: set fedgate's namespace with -n"
        )
    })?;
    let gateway = record.namespaces.gateway();
    let pods = selection::gateway_pods(gateway, &record.gateway_selector);
    let pods = list(client, pods, pod::keep).await?;
    let ready = pods.into_iter().filter(|(_, pod)| pod.is_ready());
    let asked = stream::iter(ready).map(async |(key, _)| {
        let text = metrics(client, gateway, &key.name, query).await;
        PodStats { pod: key.name, text }
    });
    let mut asked: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    asked.sort_by(|a, b| a.pod.cmp(&b.pod));
    Ok(asked)
}

async fn metrics(
    client: &Client,
    namespace: &str,
    pod: &str,
    query: &str,
) -> Result<String, String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{STATS}?{query}");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match timeout(PATIENCE, client.request_text(request)).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(format!(
            "you may not ask it; you need a role that lets you get pods/proxy in {namespace}"
        )),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("it has not answered within {PATIENCE:?}")),
    }
}
