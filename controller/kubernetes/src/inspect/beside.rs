//! What the operators' page shows besides a snapshot: what the gateway's Pods count, and what
//! happened. Read with the user's kubeconfig, like everything else.

use super::snapshot::{Snapshot, list};
use crate::api::client::describe;
use crate::sources::{pod, selection};
use futures_util::stream::{self, StreamExt};
use hyper::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use std::cmp::Reverse;
use std::time::Duration;
use tokio::time::timeout;

/// Where Istio's proxies show their metrics, and which of them are asked for.
const STATS: &str = "15090/proxy/stats/prometheus?filter=fedgate";
/// The time limit for a Pod's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many Pods are asked at once, and how many at most.
const AT_ONCE: usize = 8;
const MOST_PODS: usize = 50;
/// How many Events are read.
const MOST_EVENTS: u32 = 500;

/// Something that happened in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When, or when last.
    pub at: Timestamp,
    /// The name of the object.
    pub about: String,
    /// Whether the object is a peer's `IstioFederation`.
    pub is_peer: bool,
    /// What happened, in words.
    pub text: String,
}

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

/// What happened, newest first: fedgate's Events, the changes of the peers' trust, and who leads.
/// Events that may not be read are left out.
pub async fn happened(client: &Client, snapshot: &Snapshot) -> Vec<Happened> {
    let own = snapshot.record.namespaces.own();
    // Events about objects without a namespace are in the namespace `default`.
    let (first, second) = tokio::join!(events(client, "default"), events(client, own));
    let mut all: Vec<_> = first.into_iter().chain(second).collect();
    all.extend(notices(snapshot));
    all.extend(leader(snapshot));
    all.sort_by_key(|happened| Reverse(happened.at));
    all
}

async fn events(client: &Client, namespace: &str) -> Vec<Happened> {
    let parameters = ListParams::default().fields("reportingComponent=fedgate").limit(MOST_EVENTS);
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let listed = timeout(PATIENCE, api.list(&parameters)).await;
    let Ok(Ok(listed)) = listed else { return Vec::new() };
    listed.items.into_iter().filter_map(of_event).collect()
}

fn of_event(event: Event) -> Option<Happened> {
    let series = event.series.and_then(|series| series.last_observed_time).map(|time| time.0);
    let at =
        series.or(event.event_time.map(|time| time.0)).or(event.last_timestamp.map(|time| time.0));
    let object = event.involved_object;
    Some(Happened {
        at: at.or(event.metadata.creation_timestamp.map(|time| time.0))?,
        is_peer: object.kind.as_deref() == Some("IstioFederation"),
        about: object.name.unwrap_or_default(),
        text: event.message.or(event.reason)?,
    })
}

/// The changes of the peers' roots, keys and UUIDs, which are kept with what is known of them.
fn notices(snapshot: &Snapshot) -> impl Iterator<Item = Happened> {
    let peers = snapshot.in_force.federation.peers.iter();
    peers.flat_map(|report| {
        report.notices.iter().map(|notice| Happened {
            at: notice.last.unwrap_or(notice.since),
            about: report.peer.name.to_string(),
            is_peer: true,
            text: format!("{}: {}", notice.reason.word(), notice.message),
        })
    })
}

fn leader(snapshot: &Snapshot) -> Option<Happened> {
    let spec = snapshot.lease.as_ref()?.spec.as_ref()?;
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
    Some(Happened {
        at: spec.acquire_time.as_ref()?.0,
        about: holder.to_owned(),
        is_peer: false,
        text: "leads".to_owned(),
    })
}
