//! Clusters: of the gateway to the exports' endpoints, of the egress to the peers' gateways.

use super::resource::{address, metric_name, socket_address, typed};
use super::{FilePath, health, trust};
use fedgate_core::ServiceName;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::document::{GatewayAddress, GatewayHost};
use fedgate_federation::federate::Import;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A cluster without endpoints: the listener's own route, for connections that nobody has decided about.
pub(super) const BLACK_HOLE: &str = "black_hole";

/// As Istio: limits belong to the listener. Envoy's own default, 1,024 connections to each cluster, is an outage to come.
const NO_LIMIT: u32 = u32::MAX;

pub(super) fn black_hole() -> Value {
    cluster(BLACK_HOLE, "STATIC", Vec::new())
}

/// The cluster of an export. Its endpoints are in this cluster; they get the bytes as they came out of TLS.
pub(super) fn export(service: &ServiceName, endpoints: &BTreeSet<SocketAddr>) -> Value {
    cluster(&service.cluster(), "STATIC", endpoints.iter().copied().map(address).collect())
}

/// The cluster of the health name: this Envoy's own listener.
pub(super) fn health(service: &ServiceName, socket: &str) -> Value {
    cluster(&service.cluster(), "STATIC", vec![health::address(socket)])
}

/// The cluster of a way to a peer, for all imports that go there: the peer's gateways.
///
/// A gateway that takes no connection leaves rotation after two tries, for 10 s at first and 60 s at most. When all of them
/// have left, all are tried (`healthy_panic_threshold`, in percent).
pub(super) fn peer(name: &str, import: &Import, bundle: &TrustBundle, identity: &FilePath) -> Value {
    let named = import.gateways.iter().any(|gateway| matches!(gateway.address, GatewayHost::Name(_)));
    let gateways = import.gateways.iter().map(gateway_address).collect();
    let mut cluster = cluster(name, if named { "STRICT_DNS" } else { "STATIC" }, gateways);
    cluster["transport_socket"] = trust::upstream_tls(identity, bundle, &import.server);
    cluster["common_lb_config"] = json!({ "healthy_panic_threshold": { "value": 1 } });
    cluster["outlier_detection"] = json!({
        "split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 2,
        "interval": "5s",
        "base_ejection_time": "10s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 100,
    });
    if named {
        cluster["dns_lookup_family"] = "ALL".into();
        cluster["respect_dns_ttl"] = true.into();
        // A peer whose names cannot be resolved must not hold up the others: Envoy's start waits for first answers.
        cluster["wait_for_warm_on_init"] = false.into();
    }
    cluster
}

fn gateway_address(gateway: &GatewayAddress) -> Value {
    socket_address(&gateway.address.to_string(), gateway.port.get())
}

fn cluster(name: &str, discovery: &str, addresses: Vec<Value>) -> Value {
    let endpoint = |address: Value| json!({ "endpoint": { "address": address } });
    let endpoints: Vec<_> = addresses.into_iter().map(endpoint).collect();
    let mut cluster = json!({
        "name": name,
        "alt_stat_name": metric_name(name),
        "type": discovery,
        "connect_timeout": "5s",
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
