//! Clusters: the gateway's for the exports' endpoints, the egress's for the peers' gateways.

use super::connections::{BUFFER, Quiet};
use super::egress::PeerCluster;
use super::federated::{Aggregate, Checks, MemberCluster, NO_MEMBER};
use super::resource::{address, extension, metric_name, typed};
use super::{FilePath, health, health_check, trust};
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

/// The cluster of federated names without a usable member.
pub(super) fn no_member() -> Value {
    cluster(NO_MEMBER, "STATIC", &[])
}

/// The cluster of one member of federated names.
///
/// A member must give way at once to the next one. So one failed connect or handshake takes an
/// address out of rotation, and an answer that is late or missing does too. A peer's gateways are
/// asked for their health name, through the peer's own TLS: that finds dead gateways without a
/// call, and gateways that accept a connection and then close it. If the object has a health check,
/// they are asked that instead, which also finds dead workloads behind them. The workloads of this
/// cluster are not asked: they would have to bear the connects.
///
/// Envoy would let an address back in with each good answer to a health check
/// (`successful_active_health_check_uneject_host`). But the health name can work where the service
/// does not, and each time a call would find out.
pub(super) fn member(member: &MemberCluster, identity: &FilePath) -> Value {
    let group = |group: &BTreeSet<SocketAddr>| group.iter().copied().map(address).collect();
    let groups: Vec<Vec<_>> = member.addresses.iter().map(group).collect();
    let mut cluster = cluster(&member.name, "STATIC", &groups);
    cluster["connect_timeout"] = "1s".into();
    cluster["upstream_connection_options"] = member.quiet.upstream();
    cluster["common_lb_config"] = json!({ "healthy_panic_threshold": { "value": 0 } });
    // By default, some connections go to the next member as soon as 28% of the addresses are out.
    cluster["load_assignment"]["policy"] = json!({ "overprovisioning_factor": 10_000 });
    cluster["outlier_detection"] = json!({
        "split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 1,
        "interval": "0.5s",
        "base_ejection_time": "2s",
        "max_ejection_time": "30s",
        "max_ejection_percent": 100,
        "successful_active_health_check_uneject_host": false,
    });
    for endpoint in endpoints(&mut cluster) {
        endpoint["metadata"] =
            json!({ "filter_metadata": { "fedgate": { "member": member.member } } });
    }
    let Some(peer) = &member.peer else { return cluster };
    cluster["circuit_breakers"]["thresholds"][0]["max_pending_requests"] = MOST_UNFINISHED.into();
    cluster["transport_socket"] =
        trust::member_tls(identity, &peer.bundle, &peer.server, &member.service);
    match &peer.checks {
        Some(Checks::Service(check)) => {
            cluster["health_checks"] = json!([health_check(check, &member.service)]);
        }
        Some(Checks::Gateways(name, server)) => {
            let socket = trust::member_tls(identity, &peer.bundle, server, name);
            ask_gateways(&mut cluster, name, &socket);
        }
        None => {}
    }
    cluster
}

/// Asks a peer's gateways for their health name.
fn ask_gateways(cluster: &mut Value, name: &ServiceName, socket: &Value) {
    let asked = json!({ "fedgate": "health" });
    cluster["transport_socket_matches"] =
        json!([{ "name": "health", "match": asked, "transport_socket": socket }]);
    cluster["health_checks"] = json!([{
        "timeout": "1s",
        "interval": "0.5s",
        // Without calls, Envoy would ask once a minute.
        "no_traffic_interval": "0.5s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 3,
        "http_health_check": { "host": name.host, "path": health::PATH },
        "transport_socket_match_criteria": asked,
    }]);
}

fn endpoints(cluster: &mut Value) -> impl Iterator<Item = &mut Value> {
    let groups = cluster["load_assignment"]["endpoints"].as_array_mut().into_iter().flatten();
    groups.filter_map(|group| group["lb_endpoints"].as_array_mut()).flatten()
}

/// The cluster of one order of members. If none of them works, a connection fails at once
/// (`healthy_panic_threshold`), and the access log says so with the flag `UH`.
pub(super) fn aggregate(aggregate: &Aggregate) -> Value {
    let mut cluster = cluster(&aggregate.name, "STATIC", &[]);
    if let Some(fields) = cluster.as_object_mut() {
        fields.remove("type");
    }
    cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
    cluster["common_lb_config"] = json!({ "healthy_panic_threshold": { "value": 0 } });
    cluster["cluster_type"] = extension(
        "envoy.clusters.aggregate",
        "extensions.clusters.aggregate.v3.ClusterConfig",
        json!({ "clusters": aggregate.clusters }),
    );
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
