//! This cluster's address ranges, so that peers can detect an overlap.

use super::gateway::Node;
use super::json::cidrs;
use crate::api::watch::Key;
use fedgate_federation::document::Network;
use ipnet::IpNet;
use kube::api::DynamicObject;
use std::collections::BTreeMap;

/// The ranges of a `ServiceCIDR`.
pub(crate) type ServiceCidr = Vec<IpNet>;

/// Extracts the ranges.
pub(crate) fn keep(object: DynamicObject) -> ServiceCidr {
    cidrs(object.data.pointer("/spec/cidrs"))
}

/// The network: the configured values, otherwise those of the cluster. Adjacent ranges of Nodes are
/// joined.
pub(crate) fn network(
    configured: Network,
    nodes: &BTreeMap<Key, Node>,
    services: &BTreeMap<Key, ServiceCidr>,
) -> Network {
    let Network { name, mut pod_cidrs, mut service_cidrs } = configured;
    if pod_cidrs.is_empty() {
        pod_cidrs =
            IpNet::aggregate(&nodes.values().flat_map(|node| node.pod_cidrs.clone()).collect());
    }
    if service_cidrs.is_empty() {
        service_cidrs = IpNet::aggregate(&services.values().flatten().copied().collect());
    }
    Network { name, pod_cidrs, service_cidrs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(text: &str) -> Vec<IpNet> {
        text.split(' ').filter(|cidr| !cidr.is_empty()).map(|cidr| cidr.parse().unwrap()).collect()
    }

    fn key(name: &str) -> Key {
        Key { namespace: String::new(), name: name.into() }
    }

    #[test]
    fn configured_ranges_take_precedence() {
        let node = |range| {
            let mut node = Node::default();
            node.pod_cidrs = cidrs(range);
            node
        };
        let nodes = BTreeMap::from([
            (key("a"), node("10.1.0.0/24")),
            (key("b"), node("10.1.1.0/24 fd00::/64")),
        ]);
        let services = BTreeMap::from([(key("kubernetes"), cidrs("10.96.0.0/12"))]);
        let found = network(Network::default(), &nodes, &services);
        assert_eq!(
            (found.pod_cidrs, found.service_cidrs),
            (cidrs("10.1.0.0/23 fd00::/64"), cidrs("10.96.0.0/12"))
        );
        let configured = Network { pod_cidrs: cidrs("10.8.0.0/16"), ..Network::default() };
        assert_eq!(network(configured, &nodes, &services).pod_cidrs, cidrs("10.8.0.0/16"));
    }
}
