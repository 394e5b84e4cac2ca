//! The gateway's Pods, and the table that each of them has, by way of the API server's proxy.

use super::super::facts::{Pod, Pods};
use crate::kubernetes::client::told;
use crate::kubernetes::loaded::gauge;
use crate::kubernetes::snapshot::list;
use crate::kubernetes::sources::memory::ClusterRecord;
use crate::kubernetes::sources::{place, pod};
use futures_util::stream::{self, StreamExt};
use hyper::Request;
use kube::Client;
use std::time::Duration;
use tokio::time::timeout;

/// Where Istio's proxies show what they count.
const STATS: &str = "15090/proxy/stats/prometheus";
/// How long a Pod may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are asked at once.
const AT_ONCE: usize = 8;

pub(super) async fn ask(client: &Client, record: &ClusterRecord) -> Pods {
    let namespace = record.places.gateway();
    let place = place::gateway_pods(namespace, &record.gateway_selector);
    let pods = list(client, place, pod::keep).await.map_err(|error| format!("{error:#}"))?;
    let asked = stream::iter(pods).map(async |(key, pod)| {
        let ready = pod.is_ready();
        let generation = if ready { generation(client, namespace, &key.name).await } else { Ok(None) };
        (key.name, Pod { ready, generation })
    });
    Ok(asked.buffer_unordered(AT_ONCE).collect().await)
}

async fn generation(client: &Client, namespace: &str, pod: &str) -> Result<Option<u64>, String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{STATS}?{}", gauge::QUERY);
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match timeout(PATIENCE, client.request_text(request)).await {
        Ok(Ok(text)) => Ok(gauge::in_text(&text)),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
            Err(format!("you may not ask it: that takes a role that lets you get pods/proxy in {namespace}"))
        }
        Ok(Err(error)) => Err(told(&error)),
        Err(_) => Err(format!("it has not answered within {PATIENCE:?}")),
    }
}
