//! The counters of one Envoy, from either of the forms in which it shows them.

use serde::Serialize;
use std::collections::BTreeMap;

/// What one Envoy has counted since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Decided connections by outcome and reason.
    pub decisions: BTreeMap<(String, String), u64>,
    /// Decided connections by peer and outcome.
    pub peers: BTreeMap<(String, String), u64>,
    /// Connections that had passed and were closed by a new table.
    pub revoked: u64,
    /// Connections that ended before their client had shown an identity.
    pub undecided: u64,
    /// Allowed connections whose cluster the proxy did not accept.
    pub route_failures: u64,
    /// Connections to the federation's listener that are open; `None` if the proxy does not say.
    pub open: Option<u64>,
    /// Clusters by the name of their metrics: on the gateway, one for each export; on the egress, one
    /// for each peer, and one for each member of a federated name.
    pub clusters: BTreeMap<String, Traffic>,
    /// Listeners with a TCP proxy, by the name of their metrics: on the egress, one for each import,
    /// and one for each federated name.
    pub listeners: BTreeMap<String, Traffic>,
}

/// What went through a cluster or a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Open connections.
    pub open: u64,
    /// All connections.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub failures: u64,
    /// Bytes from the client to the service.
    pub to_service: u64,
    /// Bytes from the service to the client.
    pub from_service: u64,
}

impl Traffic {
    /// Adds other traffic.
    pub fn add(&mut self, other: &Self) {
        self.open += other.open;
        self.connections += other.connections;
        self.failures += other.failures;
        self.to_service += other.to_service;
        self.from_service += other.from_service;
    }
}

impl Counters {
    /// How often an egress could not connect to a peer's gateways. `trust_domain` is as in the names
    /// of metrics.
    pub fn failures_of(&self, trust_domain: &str) -> u64 {
        let ways = ["", "+passthrough"].map(|way| format!("peer|{trust_domain}{way}"));
        ways.iter().filter_map(|way| self.clusters.get(way)).map(|way| way.failures).sum()
    }

    /// What an egress sent to a peer's service as a member of federated names. `service` is its
    /// `HOST:PORT` as in the names of metrics; Envoy has no colons there.
    pub fn of_member(&self, service: &str) -> Traffic {
        let name = format!("member|{}", service.replace(':', "_"));
        let mut traffic = self.clusters.get(&name).copied().unwrap_or_default();
        // A connection that fails is tried elsewhere.
        traffic.connections = traffic.connections.saturating_sub(traffic.failures);
        traffic
    }

    /// Reads Envoy's own form: `NAME: VALUE`, as `/stats` of its admin address shows it.
    pub fn of_admin(text: &str) -> Self {
        let mut counters = Self::default();
        for line in text.lines() {
            if let Some((name, value)) = line.rsplit_once(": ")
                && let Ok(value) = value.parse()
            {
                counters.take(name, value);
            }
        }
        counters
    }

    fn take(&mut self, name: &str, value: u64) {
        // `wasmcustom.` or `dynamicmodulescustom.`, by how the filter runs.
        if let Some((_, name)) = name.split_once("custom.fedgate.") {
            return self.take_filters(name, value);
        }
        if let Some(rest) = name.strip_prefix("cluster.") {
            if let Some((cluster, metric)) = rest.rsplit_once('.') {
                cluster_metric(&mut self.clusters, cluster, metric, value);
            }
        } else if let Some(rest) = name.strip_prefix("tcp.") {
            if let Some((listener, metric)) = rest.rsplit_once('.') {
                listener_metric(&mut self.listeners, listener, metric, value);
            }
        } else if let Some(rest) = name.strip_prefix("listener.")
            && let Some((listener, "downstream_cx_active")) = rest.rsplit_once('.')
        {
            match listener {
                "federation" => self.open = Some(value),
                other if is_of_worker(other) => {}
                other => self.listeners.entry(other.to_owned()).or_default().open = value,
            }
        }
    }

    /// The filter's counters have their labels in their names; a peer's name may have dots.
    fn take_filters(&mut self, name: &str, value: u64) {
        let labels = |rest: &str, label: &str| {
            let (outcome, word) = rest.split_once(label)?;
            Some((outcome.to_owned(), word.to_owned()))
        };
        if let Some(rest) = name.strip_prefix("connections.outcome.") {
            self.decisions.extend(labels(rest, ".reason.").map(|labels| (labels, value)));
        } else if let Some(rest) = name.strip_prefix("peer_connections.outcome.") {
            let labels = labels(rest, ".peer.").map(|(outcome, peer)| ((peer, outcome), value));
            self.peers.extend(labels);
        } else {
            self.take_event(name, value);
        }
    }

    fn take_event(&mut self, name: &str, value: u64) {
        match name {
            "revoked_connections" => self.revoked = value,
            "undecided_connections" => self.undecided = value,
            "route_failures" => self.route_failures = value,
            _ => {}
        }
    }

    /// Reads Prometheus' form: `NAME{LABEL="VALUE"} NUMBER`, as Istio's proxies show it.
    pub fn of_prometheus(text: &str) -> Self {
        let mut counters = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.trim_end().rsplit_once(' ') else { continue };
            let Ok(value) = value.parse() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            counters.take_series(name, &self::labels(labels), value);
        }
        counters
    }

    fn take_series(&mut self, name: &str, labels: &BTreeMap<String, String>, value: u64) {
        let label = |name: &str| labels.get(name).cloned();
        let cluster = || label("envoy_cluster_name").or_else(|| label("cluster_name"));
        if let Some(name) = name.strip_prefix("fedgate_") {
            match (name, label("outcome"), label("reason"), label("peer")) {
                ("connections", Some(outcome), Some(reason), _) => {
                    self.decisions.insert((outcome, reason), value);
                }
                ("peer_connections", Some(outcome), _, Some(peer)) => {
                    self.peers.insert((peer, outcome), value);
                }
                _ => self.take_event(name, value),
            }
        } else if let Some(metric) = name.strip_prefix("envoy_cluster_")
            && let Some(cluster) = cluster()
        {
            cluster_metric(&mut self.clusters, &cluster, metric, value);
        }
    }
}

/// Whether it is one worker's share of a listener's connections: `LISTENER.worker_0`.
fn is_of_worker(listener: &str) -> bool {
    listener.rsplit_once('.').is_some_and(|(_, last)| last.starts_with("worker_"))
}

type Named = BTreeMap<String, Traffic>;

fn cluster_metric(clusters: &mut Named, cluster: &str, metric: &str, value: u64) {
    let set: fn(&mut Traffic) -> &mut u64 = match metric {
        "upstream_cx_active" => |traffic| &mut traffic.open,
        "upstream_cx_total" => |traffic| &mut traffic.connections,
        "upstream_cx_connect_fail" => |traffic| &mut traffic.failures,
        "upstream_cx_tx_bytes_total" => |traffic| &mut traffic.to_service,
        "upstream_cx_rx_bytes_total" => |traffic| &mut traffic.from_service,
        _ => return,
    };
    *set(clusters.entry(cluster.to_owned()).or_default()) = value;
}

fn listener_metric(listeners: &mut Named, listener: &str, metric: &str, value: u64) {
    let set: fn(&mut Traffic) -> &mut u64 = match metric {
        "downstream_cx_total" => |traffic| &mut traffic.connections,
        "downstream_cx_rx_bytes_total" => |traffic| &mut traffic.to_service,
        "downstream_cx_tx_bytes_total" => |traffic| &mut traffic.from_service,
        _ => return,
    };
    *set(listeners.entry(listener.to_owned()).or_default()) = value;
}

/// The labels of a series. Names of peers and services have no quotes, so escapes are not undone.
fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.trim_end_matches('}').split("\",").filter_map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn envoys_own_form_is_read() {
        let counters = Counters::of_admin(
            "cluster.outbound|80||web_shop_svc_beta_example.upstream_cx_total: 3\n\
             cluster.outbound|80||web_shop_svc_beta_example.upstream_cx_tx_bytes_total: 70\n\
             listener.federation.downstream_cx_active: 2\n\
             listener.outbound|80||web_shop_svc_beta_example.downstream_cx_active: 1\n\
             listener.outbound|80||web_shop_svc_beta_example.worker_0.downstream_cx_active: 1\n\
             cluster.member|web_shop_svc_beta_example_80.upstream_cx_total: 5\n\
             cluster.member|web_shop_svc_beta_example_80.upstream_cx_connect_fail: 2\n\
             tcp.outbound|80||web_shop_svc_beta_example.downstream_cx_rx_bytes_total: 9\n\
             wasmcustom.fedgate.connections.outcome.refused.reason.not_granted: 4\n\
             wasmcustom.fedgate.peer_connections.outcome.allowed.peer.a.peer.reason: 5\n\
             wasmcustom.fedgate.undecided_connections: 6\n\
             a.histogram: P0(nan,1) P25(nan,1)\nnonsense\n",
        );
        assert_eq!(counters.decisions, [(key("refused", "not_granted"), 4)].into());
        assert_eq!(counters.peers, [(key("a.peer.reason", "allowed"), 5)].into());
        assert_eq!((counters.undecided, counters.open), (6, Some(2)));
        let web = counters.clusters["outbound|80||web_shop_svc_beta_example"];
        assert_eq!((web.connections, web.to_service), (3, 70));
        let web = counters.listeners["outbound|80||web_shop_svc_beta_example"];
        assert_eq!((web.open, web.to_service), (1, 9));
        assert_eq!(counters.listeners.len(), 1, "{:?}", counters.listeners);
        let member = counters.of_member("web_shop_svc_beta_example:80");
        assert_eq!((member.connections, member.failures), (3, 2));
    }

    #[test]
    fn prometheus_form_is_read() {
        let counters = Counters::of_prometheus(
            "# TYPE fedgate_connections counter\n\
             fedgate_connections{outcome=\"allowed\",reason=\"granted\"} 7\n\
             fedgate_peer_connections{outcome=\"refused\",peer=\"alpha.1\"} 2\n\
             fedgate_revoked_connections{} 1\n\
             envoy_cluster_upstream_cx_total{cluster_name=\"outbound|80||web.shop.svc.beta.example\"} 3\n",
        );
        assert_eq!(counters.decisions, [(key("allowed", "granted"), 7)].into());
        assert_eq!(counters.peers, [(key("alpha.1", "refused"), 2)].into());
        assert_eq!(counters.revoked, 1);
        assert_eq!(counters.clusters["outbound|80||web.shop.svc.beta.example"].connections, 3);
    }
}
