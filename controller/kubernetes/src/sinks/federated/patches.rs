//! The patches that make Envoy's clusters for a name try its members.

use super::order::{Order, orders, subset};
use super::uses_http;
use fedgate_core::ServiceName;
use fedgate_envoy::health_check;
use fedgate_federation::federate::{FederatedMember, FederatedPort, FederatedService, MemberPlace};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How long a connection to a member may take, with the TLS handshake. Two attempts fail within two
/// seconds, after which the next member gets the calls.
const CONNECT: &str = "0.75s";

/// All patches for one name.
pub(super) fn patches(service: &FederatedService) -> Vec<Value> {
    let of_port = |port: &FederatedPort| {
        let orders = orders(port);
        let mut patches: Vec<_> = orders
            .iter()
            .enumerate()
            .map(|(number, order)| aggregate(&port.service, number, order))
            .collect();
        if uses_http(port) {
            patches.push(retries(&port.service));
            patches.extend(shares(&port.service, &orders));
        }
        patches
    };
    let members = members(service);
    let of_members = members.into_iter().map(|(name, member)| failing_fast(name, member));
    service.ports.iter().flat_map(of_port).chain(of_members).collect()
}

/// The members of all ports, each once.
fn members(service: &FederatedService) -> BTreeMap<&ServiceName, &FederatedMember> {
    let used = service.ports.iter().flat_map(FederatedPort::in_use);
    used.filter_map(|member| Some((member.service.as_ref()?, member))).collect()
}

fn on_cluster(service: &ServiceName, subset: Option<String>, value: &Value) -> Value {
    let mut cluster = json!({ "service": service.host.as_str(), "portNumber": service.port.get() });
    if let Some(subset) = subset {
        cluster["subset"] = subset.into();
    }
    json!({
        "applyTo": "CLUSTER",
        // All clients in the mesh: sidecars, and gateways that route to the name.
        "match": { "context": "ANY", "cluster": cluster },
        "patch": { "operation": "MERGE", "value": value },
    })
}

/// Replaces a cluster of the name by one that stands for its members. The members' own clusters
/// have their server names, roots and identities, and connections are theirs.
fn aggregate(service: &ServiceName, number: usize, order: &Order) -> Value {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "clusters": order.clusters,
    });
    let value = json!({
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": { "name": "envoy.clusters.aggregate", "typed_config": config },
    });
    on_cluster(service, subset(number), &value)
}

/// A member that takes no connections, or whose handshakes fail, is left out after two attempts,
/// for five seconds, then for longer, up to half a minute. What its servers answer does not count,
/// except to a health check, if the object has one.
///
/// For a peer, fedgate's DestinationRule says most of that, for a Service of this cluster nothing
/// does.
fn failing_fast(name: &ServiceName, member: &FederatedMember) -> Value {
    let mut outliers = json!({
        "split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "30s",
        "max_ejection_percent": 100,
    });
    let mut value = json!({ "connect_timeout": CONNECT });
    if member.place == MemberPlace::Local {
        // Programs that call the Service by its own name still reach its last endpoint.
        value["common_lb_config"] = json!({ "healthy_panic_threshold": { "value": 1 } });
        for off in ["consecutive_5xx", "enforcing_consecutive_5xx"] {
            outliers[off] = 0.into();
        }
        for off in ["enforcing_success_rate", "enforcing_local_origin_success_rate"] {
            outliers[off] = 0.into();
        }
    }
    value["outlier_detection"] = outliers;
    if let Some(check) = &member.check {
        value["health_checks"] = json!([health_check(check, name)]);
        // Envoy would otherwise keep a gateway that has left until a check fails.
        value["ignore_health_on_host_removal"] = true.into();
    }
    on_cluster(name, None, &value)
}

/// What is merged into a route of the name.
fn on_route(service: &ServiceName, route: &Value, value: &Value) -> Value {
    let name = format!("{}:{}", service.host, service.port.get());
    json!({
        "applyTo": "HTTP_ROUTE",
        "match": {
            "context": "SIDECAR_OUTBOUND",
            "routeConfiguration": { "vhost": { "name": name, "route": route } },
        },
        "patch": { "operation": "MERGE", "value": { "route": value } },
    })
}

/// A request that is tried again goes to the next member, even if the first is not yet known to be
/// dead. Which requests are tried again is for Istio or a VirtualService to say.
fn retries(service: &ServiceName) -> Value {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "update_frequency": 1,
    });
    let priority =
        json!({ "name": "envoy.retry_priorities.previous_priorities", "typed_config": config });
    let value = json!({ "retry_policy": { "retry_priority": priority } });
    on_route(service, &json!({ "action": "ROUTE" }), &value)
}

/// Shares HTTP requests among the orders, unless a VirtualService routes them: its routes have
/// other names than Istio's own.
fn shares(service: &ServiceName, orders: &[Order]) -> Option<Value> {
    if orders.len() < 2 {
        return None;
    }
    let cluster = |(number, order): (usize, &Order)| {
        let name = match subset(number) {
            None => service.cluster(),
            Some(subset) => {
                format!("outbound|{}|{subset}|{}", service.port.get(), service.host)
            }
        };
        json!({ "name": name, "weight": order.weight })
    };
    let clusters: Vec<_> = orders.iter().enumerate().map(cluster).collect();
    let value = json!({ "weighted_clusters": { "clusters": clusters } });
    Some(on_route(service, &json!({ "name": "default" }), &value))
}
