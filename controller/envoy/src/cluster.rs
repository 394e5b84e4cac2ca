//! Clusters: the gateway's for the exports' endpoints, the egress's for the peers' gateways.

use super::connections::{BUFFER, Quiet};
use super::egress::PeerCluster;
use super::resource::{address, metric_name, typed};
use super::{FilePath, health, trust};
use fedgate_core::ServiceName;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A cluster without endpoints: the listener's own route, for connections without a decision.
pub(super) const BLACK_HOLE: &str = "black_hole";

/// No limit, as in Istio: limits belong to the listener. Envoy's default, 1,024 connections per
/// cluster, would sooner or later cause an outage.
const NO_LIMIT: u32 = u32::MAX;

/// How many connections to one peer may be in an unfinished TLS handshake at once (Envoy's
/// default). Further ones are closed.
///
/// A peer may announce another site's egress as its gateway. That egress forwards to what it takes
/// for the peer's gateway, which may be ours. Addresses here do not reveal such a loop. No
/// handshake in it ever ends, so this limit bounds it.
const MOST_UNFINISHED: u32 = 1024;

pub(super) fn black_hole() -> Value {
    cluster(BLACK_HOLE, "STATIC", &[])
}

/// The cluster of an export. Its endpoints are local and get the decrypted bytes.
pub(super) fn export(
    service: &ServiceName,
    endpoints: &BTreeSet<SocketAddr>,
    quiet: Quiet,
) -> Value {
    let mut cluster =
        cluster(&service.cluster(), "STATIC", &[endpoints.iter().copied().map(address).collect()]);
    // Endpoints are near, and two seconds are enough to make up for one lost packet.
    cluster["connect_timeout"] = "2s".into();
    cluster["upstream_connection_options"] = quiet.upstream();
    rotate(&mut cluster);
    cluster
}

/// Takes an address out of rotation after two failed connects, for 10 s at first and at most 60 s.
/// If all are out, all are tried (`healthy_panic_threshold`, in percent), so the first to return is
/// found at once.
fn rotate(cluster: &mut Value) {
    cluster["common_lb_config"] = json!({ "healthy_panic_threshold": { "value": 1 } });
    cluster["outlier_detection"] = json!({
        "split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 2,
        "interval": "5s",
        "base_ejection_time": "10s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 100,
    });
}

/// The cluster of the health name: this Envoy's own listener.
pub(super) fn health(service: &ServiceName, socket: &str) -> Value {
    cluster(&service.cluster(), "STATIC", &[vec![health::address(socket)]])
}

/// A cluster with a peer's gateways. All imports that need the same TLS settings share it.
pub(super) fn peer(peer: &PeerCluster, identity: &FilePath) -> Value {
    let group = |group: &BTreeSet<SocketAddr>| group.iter().copied().map(address).collect();
    let groups: Vec<Vec<_>> = peer.addresses.iter().map(group).collect();
    let mut cluster = cluster(&peer.name, "STATIC", &groups);
    cluster["circuit_breakers"]["thresholds"][0]["max_pending_requests"] = MOST_UNFINISHED.into();
    cluster["upstream_connection_options"] = peer.quiet.upstream();
    cluster["transport_socket"] = trust::upstream_tls(identity, &peer.bundle, &peer.server);
    rotate(&mut cluster);
    cluster
}

/// A cluster whose endpoints are in groups; each group takes over if those before it are out of
/// rotation.
fn cluster(name: &str, discovery: &str, groups: &[Vec<Value>]) -> Value {
    let endpoint = |address: &Value| json!({ "endpoint": { "address": address } });
    let group = |(priority, group): (usize, &Vec<Value>)| {
        let endpoints: Vec<_> = group.iter().map(endpoint).collect();
        match priority {
            0 => json!({ "lb_endpoints": endpoints }),
            _ => json!({ "priority": priority, "lb_endpoints": endpoints }),
        }
    };
    let groups = groups.iter().filter(|group| !group.is_empty()).enumerate();
    let endpoints: Vec<_> = groups.map(group).collect();
    let mut cluster = json!({
        "name": name,
        "alt_stat_name": metric_name(name),
        "type": discovery,
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "circuit_breakers": { "thresholds": [{
            "max_connections": NO_LIMIT,
            "max_pending_requests": NO_LIMIT,
            "max_requests": NO_LIMIT,
            "max_retries": NO_LIMIT,
        }] },
    });
    if !endpoints.is_empty() {
        cluster["load_assignment"] = json!({ "cluster_name": name, "endpoints": endpoints });
    }
    typed("config.cluster.v3.Cluster", cluster)
}
