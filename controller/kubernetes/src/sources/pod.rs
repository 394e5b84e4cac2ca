//! What is kept of a gateway's Pod.

use super::json::{is_true, list, text};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The annotation whose change makes the kubelet update the Pod's mounted ConfigMaps at once; its
/// value identifies their content.
pub(crate) const BUNDLE: &str = "fedgate.dev/bundle";

/// The port on which istio-agent serves the metrics of its Envoy.
const STATS_PORT: u16 = 15020;
const STATS_PATH: &str = "/stats/prometheus";

/// What is kept of a gateway's Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GatewayPod {
    /// The node; `None` if the Pod is not ready.
    pub(crate) node: Option<String>,
    /// The mounted files are at least as new as this; `None` if no container of the Pod runs yet.
    pub(crate) started: Option<Timestamp>,
    /// Whether it has ended for good, and only its object is left.
    pub(crate) ended: bool,
    /// The value of [`BUNDLE`].
    pub(crate) mounts: Option<String>,
    /// Its address.
    pub(crate) ip: Option<IpAddr>,
    /// Its ports that have names.
    pub(crate) ports: BTreeMap<String, u16>,
    /// The URL of its proxy's metrics.
    pub(crate) stats: Option<String>,
}

impl GatewayPod {
    /// Returns true if it takes traffic.
    pub(crate) fn is_ready(&self) -> bool {
        self.node.is_some()
    }

    /// Returns true if it runs, or did a moment ago.
    pub(crate) fn runs(&self) -> bool {
        !self.ended && (self.started.is_some() || self.is_ready())
    }
}

/// Extracts what is needed from a Pod.
pub(crate) fn keep(object: DynamicObject) -> GatewayPod {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let goes = object.metadata.deletion_timestamp.is_some();
    let ready = !goes && is_true(&status["conditions"], "Ready");
    GatewayPod {
        node: text(&spec["nodeName"]).filter(|_| ready),
        started: started(status),
        ended: ["Succeeded", "Failed"].iter().any(|phase| status["phase"] == *phase),
        mounts: object.annotations().get(BUNDLE).cloned(),
        ip: status["podIP"].as_str().and_then(|ip| ip.parse().ok()),
        ports: list(&spec["containers"])
            .flat_map(|container| list(&container["ports"]))
            .filter_map(named_port)
            .collect(),
        stats: stats(&object),
    }
}

fn named_port(port: &Value) -> Option<(String, u16)> {
    Some((text(&port["name"])?, port["containerPort"].as_u64()?.try_into().ok()?))
}

/// The URL that Prometheus would scrape, according to the annotations that Istio adds to Pods;
/// without them, Istio's default.
fn stats(object: &DynamicObject) -> Option<String> {
    let annotation = |name: &str| object.annotations().get(name).map(String::as_str);
    let address: IpAddr = object.data["status"]["podIP"].as_str()?.parse().ok()?;
    let port: u16 =
        annotation("prometheus.io/port").and_then(|port| port.parse().ok()).unwrap_or(STATS_PORT);
    let is_path = |path: &&str| {
        path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    };
    let path = annotation("prometheus.io/path").filter(is_path).unwrap_or(STATS_PATH);
    Some(format!("http://{}{path}", SocketAddr::from((address, port))))
}

/// Returns true if a change affects where peers find the gateway.
pub(super) fn is_news(before: &GatewayPod, after: &GatewayPod) -> bool {
    before.node != after.node
}

/// The time since which the Pod runs with its present mounts: the mounted files are at least as
/// new.
///
/// The first start of a container may come long after the mounting, because its image has to be
/// pulled. So for a first start, the time counts at which the kubelet first saw the Pod. Before a
/// restart of a container, the kubelet updates the mounts.
fn started(status: &Value) -> Option<Timestamp> {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let first = time(&status["startTime"]);
    let containers = list(&status["containerStatuses"]);
    let of_container = |container: &Value| {
        let runs = time(&container["state"]["running"]["startedAt"]);
        match container["restartCount"].as_u64() {
            None | Some(0) => first.or(runs),
            Some(_) => runs,
        }
    };
    let containers: Vec<_> = containers.map(of_container).collect();
    match containers.is_empty() {
        true => first,
        false => containers.into_iter().flatten().min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn since(status: Value) -> Option<String> {
        let pod = json!({ "metadata": { "name": "x" }, "status": status });
        keep(serde_json::from_value(pod).unwrap()).started.map(|time| time.to_string())
    }

    #[test]
    fn mounts_are_at_least_as_new_as_the_last_start() {
        let (first, later) = ("2026-11-24T10:00:00Z", "2026-11-24T10:05:00Z");
        let container = |restarts: u64, started: Option<&str>| {
            let state = started
                .map_or(json!({ "waiting": {} }), |at| json!({ "running": { "startedAt": at } }));
            json!({ "name": "istio-proxy", "restartCount": restarts, "state": state })
        };
        let of = |containers: Value| {
            since(json!({ "startTime": first, "containerStatuses": containers }))
        };
        assert_eq!(since(json!({ "phase": "Pending" })), None);
        assert_eq!(of(json!([])).as_deref(), Some(first));
        assert_eq!(
            of(json!([container(0, Some(later))])).as_deref(),
            Some(first),
            "an image takes its time"
        );
        assert_eq!(
            of(json!([container(0, None)])).as_deref(),
            Some(first),
            "it may be mounted already"
        );
        assert_eq!(of(json!([container(1, Some(later))])).as_deref(), Some(later));
        assert_eq!(
            of(json!([container(2, None)])),
            None,
            "it is mounted anew before it starts again"
        );
        assert_eq!(
            since(json!({ "containerStatuses": [container(0, Some(later))] })).as_deref(),
            Some(later)
        );
        let two = json!([container(1, Some(later)), container(0, Some(later))]);
        assert_eq!(of(two).as_deref(), Some(first), "the oldest counts");
    }

    #[test]
    fn metrics_are_where_prometheus_would_scrape() {
        let stats = |annotations: Value, address: &str| {
            let pod = json!({ "metadata": { "name": "x", "annotations": annotations }, "status": { "podIP": address } });
            keep(serde_json::from_value(pod).unwrap()).stats.unwrap_or_default()
        };
        assert_eq!(stats(json!({}), "10.1.2.3"), "http://10.1.2.3:15020/stats/prometheus");
        assert_eq!(
            stats(json!({ "prometheus.io/port": "15090" }), "2001:db8::1"),
            "http://[2001:db8::1]:15090/stats/prometheus"
        );
        assert_eq!(
            stats(json!({ "prometheus.io/path": "/metrics" }), "10.1.2.3"),
            "http://10.1.2.3:15020/metrics"
        );
        let nonsense =
            json!({ "prometheus.io/port": "99999", "prometheus.io/path": "@evil.example/?x" });
        assert_eq!(stats(nonsense, "10.1.2.3"), "http://10.1.2.3:15020/stats/prometheus");
        assert_eq!(stats(json!({}), ""), "");
    }

    #[test]
    fn a_pod_that_has_ended_is_recognized() {
        let pod = |phase: &str| {
            let status = json!({ "phase": phase, "startTime": "2026-11-24T10:00:00Z" });
            keep(
                serde_json::from_value(json!({ "metadata": { "name": "x" }, "status": status }))
                    .unwrap(),
            )
        };
        assert!(!pod("Running").ended && pod("Failed").ended && pod("Succeeded").ended);
    }
}
