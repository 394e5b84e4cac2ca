//! What is collected on Kubernetes, with the user's permissions. Secrets are never asked for.

use super::archive::{Bundle, LARGEST};
use super::files::document_of;
use crate::command::table;
use crate::command::target::Kubernetes;
use crate::terminal::progress::Progress;
use anyhow::Result;
use fedgate_kubernetes::api::client::describe;
use fedgate_kubernetes::inspect::changes::kept;
use fedgate_kubernetes::inspect::{check, snapshot::Snapshot, stats};
use hyper::Request;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::timeout;

/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many objects of a kind are listed.
const MOST: usize = 1_000;
/// How many Pods' logs are asked for, and how much of each.
const MOST_LOGS: usize = 4;
const LARGEST_LOG: usize = 1 << 20;

pub(super) async fn collect(
    bundle: &mut Bundle,
    cluster: &Kubernetes,
    now: Timestamp,
    progress: &mut Progress,
) {
    let client = match cluster.client().await {
        Ok(client) => client,
        Err(error) => return bundle.add_json("cluster", Err(error)),
    };
    let own = cluster.namespace();
    let namespaces = cluster.namespaces(&client).await;
    in_force(bundle, &client, own, now, progress).await;
    let version = get(&client, "/version").await;
    bundle.add_json("server.json", version.map(|version| server(&version)));
    let mut pods = Vec::new();
    for (name, kind, path) in lists(own, namespaces.gateway()) {
        progress.at("listing objects", 0, None);
        let listed = list(&client, kind, &path, bundle).await;
        if let ("pods", Ok(listed)) = (name, &listed) {
            pods = names(listed);
        }
        bundle.add_json(&format!("objects/{name}.json"), listed);
    }
    logs(bundle, &client, own, &pods, progress).await;
    metrics(bundle, &client, own, progress).await;
}

/// Adds what the commands say about the cluster: `status`, `table`, `changes` and `check`.
async fn in_force(
    bundle: &mut Bundle,
    client: &Client,
    own: &str,
    now: Timestamp,
    progress: &mut Progress,
) {
    progress.at("taking a snapshot", 0, None);
    match Snapshot::take(client, own, now).await {
        Ok(snapshot) => {
            bundle.add_json("status.json", Ok(json!(snapshot.status())));
            bundle.add_json("table.json", Ok(table::document(&snapshot.in_force.table)));
        }
        Err(error) => bundle.add_json("status.json", Err(error)),
    }
    let changes = kept(client, own).await.map(|history| json!(history.changes()));
    bundle.add_json("changes.json", changes.map_err(anyhow::Error::msg));
    progress.at("checking the cluster", 0, None);
    let progress = RefCell::new(progress);
    let asked = |done, all| progress.borrow_mut().at("checking the cluster", done, Some(all));
    let report = check::check(client, own, "fedgate", &asked).await;
    bundle.add_json("check.json", serde_json::to_value(&report).map_err(Into::into));
}

/// The lists of objects: the name of each in the bundle, the kind and the path.
fn lists(own: &str, gateway: &str) -> [(&'static str, &'static str, String); 9] {
    [
        (
            "federations",
            "IstioFederation",
            "/apis/deckhouse.io/v1alpha1/istiofederations".to_owned(),
        ),
        (
            "policies",
            "FederationPolicy",
            "/apis/fedgate.dev/v1alpha1/federationpolicies".to_owned(),
        ),
        (
            "federated-services",
            "FederatedService",
            "/apis/fedgate.dev/v1alpha1/federatedservices".to_owned(),
        ),
        (
            "services",
            "Service",
            "/api/v1/services?labelSelector=federation.istio.deckhouse.io%2Fpublic-service"
                .to_owned(),
        ),
        ("deployments", "Deployment", format!("/apis/apps/v1/namespaces/{own}/deployments")),
        ("pods", "Pod", format!("/api/v1/namespaces/{own}/pods")),
        ("gateway-pods", "Pod", format!("/api/v1/namespaces/{gateway}/pods")),
        ("events", "Event", format!("/api/v1/namespaces/{own}/events")),
        (
            "envoyfilters",
            "EnvoyFilter",
            format!("/apis/networking.istio.io/v1alpha3/namespaces/{gateway}/envoyfilters"),
        ),
    ]
}

async fn get(client: &Client, path: &str) -> Result<Value> {
    let request = Request::get(path).body(Vec::new())?;
    match timeout(PATIENCE, client.request::<Value>(request)).await {
        Ok(answer) => answer.map_err(|error| anyhow::anyhow!("{}", describe(&error))),
        Err(_) => anyhow::bail!("there is no answer within {PATIENCE:?}"),
    }
}

fn server(version: &Value) -> Value {
    json!({ "gitVersion": version["gitVersion"], "platform": version["platform"] })
}

/// The listed fields of a kind's objects. Items of a list do not say their kind.
async fn list(client: &Client, kind: &str, path: &str, bundle: &Bundle) -> Result<Value> {
    let sign = if path.contains('?') { '&' } else { '?' };
    let listed = get(client, &format!("{path}{sign}limit={MOST}")).await?;
    let items = listed["items"].as_array().into_iter().flatten();
    let items = items.map(|item| {
        let mut item = item.clone();
        item["kind"] = kind.into();
        document_of(&item, bundle.removal)
    });
    Ok(Value::Array(items.collect()))
}

fn names(listed: &Value) -> Vec<String> {
    let items = listed.as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

async fn logs(
    bundle: &mut Bundle,
    client: &Client,
    namespace: &str,
    pods: &[String],
    progress: &mut Progress,
) {
    for pod in pods.iter().take(MOST_LOGS) {
        progress.at("reading logs", 0, None);
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?tailLines=5000&limitBytes={LARGEST_LOG}"
        );
        bundle.add_lines(&format!("logs/{pod}.log"), text(client, &path).await);
    }
}

async fn text(client: &Client, path: &str) -> Result<(Vec<u8>, bool)> {
    let request = Request::get(path).body(Vec::new())?;
    let text = match timeout(PATIENCE, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| anyhow::anyhow!("{}", describe(&error)))?,
        Err(_) => anyhow::bail!("there is no answer within {PATIENCE:?}"),
    };
    let cut = text.len() > LARGEST;
    Ok((text.into_bytes().into_iter().take(LARGEST).collect(), cut))
}

/// The gateway's metrics. Its admin address is on loopback in its Pods, so its configuration is not
/// at hand.
async fn metrics(bundle: &mut Bundle, client: &Client, namespace: &str, progress: &mut Progress) {
    progress.at("asking the gateway", 0, None);
    match stats::of_gateway(client, namespace, "usedonly").await {
        Ok(pods) => {
            for pod in pods {
                let text = pod.text.map_err(|why| anyhow::anyhow!("{why}"));
                let text = text.map(|text| (text.into_bytes(), false));
                bundle.add_lines(&format!("envoy/{}/stats.txt", pod.pod), text);
            }
        }
        Err(error) => bundle.add_json("envoy", Err(error)),
    }
}
