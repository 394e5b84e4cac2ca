//! Clusters: of the gateway to the exports' endpoints, of the egress to the peers' gateways.

use super::connections::{BUFFER, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
use super::resource::{address, metric_name, typed};
use super::{FilePath, health, trust};
use fedgate_core::ServiceName;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::federate::Import;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A cluster without endpoints: the listener's own route, for connections that nobody has decided about.
pub(super) const BLACK_HOLE: &str = "black_hole";

/// As Istio: limits belong to the listener. Envoy's own default, 1,024 connections to each cluster, is an outage to come.
const NO_LIMIT: u32 = u32::MAX;

/// How many connections to one peer may be without a finished TLS handshake at a time (Envoy's own default); further ones are closed.
///
/// A peer may announce as its gateway an egress of another site, which forwards to whatever it was told is that peer's gateway: perhaps
/// to us. No address here shows such a circle. No handshake in it ever ends, so this is what bounds it.
const MOST_UNFINISHED: u32 = 1024;

pub(super) fn black_hole() -> Value {
    cluster(BLACK_HOLE, "STATIC", Vec::new())
}

/// The cluster of an export. Its endpoints are in this cluster; they get the bytes as they came out of TLS.
pub(super) fn export(service: &ServiceName, endpoints: &BTreeSet<SocketAddr>) -> Value {
    let mut cluster = cluster(&service.cluster(), "STATIC", endpoints.iter().copied().map(address).collect());
    // They are near: one lost packet is made up for by then.
    cluster["connect_timeout"] = "2s".into();
    rotate(&mut cluster);
    cluster
}

/// Who takes no connection leaves rotation after two tries, for 10 s at first and 60 s at most. When all of them have left,
/// all are tried (`healthy_panic_threshold`, in percent), so the first that is back is found at once.
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
    cluster(&service.cluster(), "STATIC", vec![health::address(socket)])
}

/// The cluster of a way to a peer, for all imports that go there: the peer's gateways.
pub(super) fn peer(name: &str, import: &Import, bundle: &TrustBundle, identity: &FilePath) -> Value {
    let mut cluster = cluster(name, "STATIC", import.addresses().map(address).collect());
    cluster["circuit_breakers"]["thresholds"][0]["max_pending_requests"] = MOST_UNFINISHED.into();
    cluster["transport_socket"] = trust::upstream_tls(identity, bundle, &import.server);
    rotate(&mut cluster);
    cluster
}

fn cluster(name: &str, discovery: &str, addresses: Vec<Value>) -> Value {
    let endpoint = |address: Value| json!({ "endpoint": { "address": address } });
    let endpoints: Vec<_> = addresses.into_iter().map(endpoint).collect();
    let mut cluster = json!({
        "name": name,
        "alt_stat_name": metric_name(name),
        "type": discovery,
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "upstream_connection_options": { "tcp_keepalive": {
            "keepalive_time": KEEPALIVE_IDLE,
            "keepalive_interval": KEEPALIVE_INTERVAL,
            "keepalive_probes": KEEPALIVE_PROBES,
        } },
        "circuit_breakers": { "thresholds": [{
            "max_connections": NO_LIMIT,
            "max_pending_requests": NO_LIMIT,
            "max_requests": NO_LIMIT,
            "max_retries": NO_LIMIT,
        }] },
    });
    if !endpoints.is_empty() {
        cluster["load_assignment"] = json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] });
    }
    typed("config.cluster.v3.Cluster", cluster)
}
