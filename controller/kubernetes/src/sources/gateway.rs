//! The addresses at which peers reach the gateway (peer protocol, section 4): a configured list,
//! else those of a `LoadBalancer`, else the nodes of a `NodePort`.

use super::json::{cidrs, is_true, list, text};
use super::pod::GatewayPod;
use super::{Observed, balancer};
use crate::api::watch::Key;
use crate::settings::ControllerSettings;
use fedgate_core::ServicePort;
use fedgate_federation::document::{Advertised, GatewayAddress, GatewayHost, Locality};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use ipnet::IpNet;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What is kept of the gateway's Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GatewayService {
    service_type: String,
    ports: Vec<Port>,
    /// `status.loadBalancer.ingress`; if an entry has an IP and a host name, the IP.
    ingress: Vec<String>,
    /// `spec.clusterIPs` and `spec.externalIPs`.
    ips: Vec<IpAddr>,
    /// The annotation that makes its balancer send the PROXY protocol.
    proxy_protocol: Option<&'static str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    port: u16,
    node_port: Option<u16>,
    target_port: Option<TargetPort>,
}

/// A port of the Pods.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum TargetPort {
    Number(u16),
    /// The name that each Pod gives to one of its ports.
    Name(String),
}

impl Port {
    /// The number, as far as it does not depend on the Pod.
    fn of_pods(&self) -> u16 {
        match self.target_port {
            Some(TargetPort::Number(port)) => port,
            _ => self.port,
        }
    }
}

/// What is kept of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Whether it is ready and schedulable.
    takes_traffic: bool,
    external: Vec<String>,
    internal: Vec<String>,
    /// Its region and zone.
    locality: Option<Locality>,
    /// `spec.podCIDRs`.
    pub(super) pod_cidrs: Vec<IpNet>,
}

/// Parses an address; a headless Service has the text `None` instead.
fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

impl GatewayService {
    /// The addresses and ports of the Service itself: its own IPs and those of its load balancer.
    pub(super) fn own(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        let ips = self
            .ingress
            .iter()
            .filter_map(|host| host.parse().ok())
            .chain(self.ips.iter().copied());
        ips.flat_map(|ip| self.ports.iter().map(move |port| (ip, port.port)))
    }

    /// The ports of its Pods; for a named target port the Service's port.
    pub(super) fn target_ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().map(Port::of_pods)
    }

    /// The port of a Pod that the Service's `port` leads to.
    pub(crate) fn port_of(&self, pod: &GatewayPod, port: u16) -> Option<u16> {
        let found = self.ports.iter().find(|found| found.port == port);
        match found.and_then(|found| found.target_port.as_ref()) {
            Some(TargetPort::Name(name)) => pod.ports.get(name).copied(),
            // Istio opens the port of the Gateway object itself where no Service says otherwise.
            _ => Some(found.map_or(port, Port::of_pods)),
        }
    }

    /// Its ports on every node.
    pub(super) fn node_ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().filter_map(|port| port.node_port)
    }
}

impl Node {
    /// Those of its addresses that are IP addresses.
    pub(super) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.external.iter().chain(&self.internal).filter_map(|address| address.parse().ok())
    }
}

/// Extracts what is needed from a Service.
pub(crate) fn keep_service(object: DynamicObject) -> GatewayService {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let ingress =
        |entry: &Value| ["ip", "hostname"].into_iter().find_map(|field| text(&entry[field]));
    GatewayService {
        proxy_protocol: balancer::proxy_protocol(&object),
        service_type: text(&spec["type"]).unwrap_or_default(),
        ports: list(&spec["ports"]).filter_map(|port| Port::deserialize(port).ok()).collect(),
        ingress: list(&status["loadBalancer"]["ingress"]).filter_map(ingress).collect(),
        ips: [&spec["clusterIPs"], &spec["externalIPs"]]
            .into_iter()
            .flat_map(list)
            .filter_map(ip)
            .collect(),
    }
}

/// Extracts what is needed from a Node.
pub(crate) fn keep_node(object: DynamicObject) -> Node {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let addresses = |kind: &str| {
        let of_kind = list(&status["addresses"]).filter(move |address| address["type"] == kind);
        of_kind.filter_map(|address| text(&address["address"])).collect()
    };
    Node {
        takes_traffic: is_true(&status["conditions"], "Ready") && spec["unschedulable"] != true,
        external: addresses("ExternalIP"),
        internal: addresses("InternalIP"),
        locality: locality(object.metadata.labels.as_ref()),
        pod_cidrs: cidrs(spec.get("podCIDRs")),
    }
}

/// Reads the labels that istiod reads too.
fn locality(labels: Option<&BTreeMap<String, String>>) -> Option<Locality> {
    const LABELS: [&str; 3] = [
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.istio.io/subzone",
    ];
    let parts = LABELS.iter().map_while(|label| labels?.get(*label));
    let parts: Vec<_> = parts.map(String::as_str).collect();
    Locality::parse(&parts.join("/")).ok()
}

/// The gateway's addresses, in order. If there are none, a finding says what to do.
pub(crate) fn addresses(
    settings: &ControllerSettings,
    observed: &Observed,
    findings: &mut Vec<Finding>,
) -> Vec<Advertised> {
    let key = Key {
        namespace: settings.namespaces.gateway().to_owned(),
        name: settings.gateway.service.clone(),
    };
    let service = observed.gateway_services.get(&key);
    let unexpected = service.and_then(|service| service.proxy_protocol).and_then(|annotation| {
        balancer::finding(settings, ObjectRef::service(&key.namespace, &key.name), annotation)
    });
    findings.extend(unexpected);
    if !settings.gateway.advertise.is_empty() {
        return ordered(settings.gateway.advertise.clone());
    }
    let found = match service {
        Some(service) => of_service(service, settings.gateway.port, observed),
        None => Err("there is no such Service".to_owned()),
    };
    found.unwrap_or_else(|why| {
        let object = ObjectRef::service(&key.namespace, &key.name);
        let message = format!(
            "{why}, so peers cannot reach this cluster's gateway; fix the Service, or set addresses with --advertise"
        );
        findings.push(Finding::error(FindingReason::NoGatewayAddress, object, "", message));
        Vec::new()
    })
}

fn of_service(
    service: &GatewayService,
    port: u16,
    observed: &Observed,
) -> Result<Vec<Advertised>, String> {
    let Some(found) = service.ports.iter().find(|found| found.port == port) else {
        return Err(format!("it has no port {port} (--gateway-port)"));
    };
    let (hosts, port, otherwise) = match (service.service_type.as_str(), found.node_port) {
        ("LoadBalancer", _) => (
            service.ingress.iter().map(|host| (host.clone(), None)).collect(),
            found.port,
            "its load balancer has no address yet (status.loadBalancer.ingress)",
        ),
        ("NodePort", Some(node_port)) => (
            node_hosts(&observed.pods, &observed.nodes),
            node_port,
            "no ready, schedulable node runs a ready gateway pod",
        ),
        (other, _) => {
            return Err(format!("expected type LoadBalancer or NodePort, found {other:?}"));
        }
    };
    let address = |(host, locality): (String, Option<Locality>)| {
        let gateway = GatewayAddress {
            address: GatewayHost::parse(&host).ok()?,
            port: ServicePort::new(port)?,
        };
        Some(Advertised { gateway, locality })
    };
    let addresses = ordered(hosts.into_iter().filter_map(address).collect());
    if addresses.is_empty() { Err(otherwise.to_owned()) } else { Ok(addresses) }
}

/// The addresses of nodes that run a gateway and may take traffic, and where each node is. Internal addresses count only
/// for nodes without external ones.
fn node_hosts(
    pods: &BTreeMap<Key, GatewayPod>,
    nodes: &BTreeMap<Key, Node>,
) -> Vec<(String, Option<Locality>)> {
    let names: BTreeSet<_> = pods.values().filter_map(|pod| pod.node.clone()).collect();
    let found =
        names.into_iter().filter_map(|name| nodes.get(&Key { namespace: String::new(), name }));
    let hosts = |node: &Node| {
        let hosts = if node.external.is_empty() { &node.internal } else { &node.external };
        hosts.iter().map(|host| (host.clone(), node.locality.clone())).collect::<Vec<_>>()
    };
    found.filter(|node| node.takes_traffic).flat_map(hosts).collect()
}

/// Sorts by address, then port, as the wire format requires.
fn ordered(mut addresses: Vec<Advertised>) -> Vec<Advertised> {
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn service(kind: &str, ingress: Value) -> GatewayService {
        keep_service(read(json!({
            "metadata": { "name": "fedgate-gateway" },
            "spec": { "type": kind, "ports": [{ "port": 80 }, { "port": 15443, "nodePort": 30443 }] },
            "status": { "loadBalancer": { "ingress": ingress } },
        })))
    }

    /// Node `a` is in a zone, and `b` has a zone whose region is not known.
    fn labels(node: &str) -> Value {
        match node {
            "a" => {
                json!({ "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1" })
            }
            _ => json!({ "topology.kubernetes.io/zone": "eu-2" }),
        }
    }

    fn observed() -> Observed {
        let node = |name: &str, ready: &str, unschedulable: bool, addresses: Value| {
            let key = Key { namespace: String::new(), name: name.into() };
            let node = keep_node(read(json!({
                "metadata": { "name": name, "labels": labels(name) },
                "spec": { "unschedulable": unschedulable, "podCIDRs": ["10.1.0.0/24"] },
                "status": { "addresses": addresses, "conditions": [{ "type": "Ready", "status": ready }] },
            })));
            (key, node)
        };
        let pod = |name: &str, node: &str, ready: &str| {
            let key = Key { namespace: "fedgate-system".into(), name: name.into() };
            let pod = super::super::pod::keep(read(json!({
                "metadata": { "name": name },
                "spec": { "nodeName": node },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            })));
            (key, pod)
        };
        let internal = |ip: &str| json!({ "type": "InternalIP", "address": ip });
        Observed {
            nodes: BTreeMap::from([
                node(
                    "a",
                    "True",
                    false,
                    json!([internal("10.0.0.1"), { "type": "ExternalIP", "address": "192.0.2.1" }]),
                ),
                node("b", "True", false, json!([internal("2001:db8::2")])),
                node("c", "False", false, json!([internal("10.0.0.3")])),
                node("d", "True", true, json!([internal("10.0.0.4")])),
                node("e", "True", false, json!([internal("10.0.0.5")])),
            ]),
            pods: BTreeMap::from([
                pod("1", "a", "True"),
                pod("2", "b", "True"),
                pod("3", "c", "True"),
                pod("4", "d", "True"),
                pod("5", "e", "False"),
            ]),
            ..Observed::default()
        }
    }

    fn of(service: &GatewayService) -> Result<Vec<String>, String> {
        of_service(service, 15443, &observed())
            .map(|addresses| addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn all_entries_of_a_load_balancer_are_announced() {
        let ingress = json!([{ "hostname": "lb.example" }, { "ip": "192.0.2.9", "hostname": "x.example" }, { "ip": "2001:db8::9" }]);
        let expected = ["192.0.2.9:15443", "[2001:db8::9]:15443", "lb.example:15443"];
        assert_eq!(of(&service("LoadBalancer", ingress)).unwrap(), expected);
        assert!(of(&service("LoadBalancer", json!([]))).unwrap_err().contains("no address yet"));
    }

    #[test]
    fn a_node_port_is_announced_at_ready_nodes_with_a_gateway_pod() {
        let found = of(&service("NodePort", json!([]))).unwrap();
        assert_eq!(
            found,
            ["192.0.2.1:30443@eu/eu-1", "[2001:db8::2]:30443"],
            "external first; not ready, cordoned: left out"
        );
    }

    #[test]
    fn configured_addresses_take_precedence_over_the_service() {
        let found = |flags: &[&str]| {
            let settings = crate::settings::tests::read(flags).unwrap();
            let mut findings = Vec::new();
            let addresses = addresses(&settings, &Observed::default(), &mut findings);
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            (addresses, findings.iter().map(|finding| finding.reason).collect::<Vec<_>>())
        };
        let (listed, findings) = found(&["--advertise", "192.0.2.9:443,192.0.2.1:443"]);
        assert_eq!(
            (listed.join(" "), findings),
            ("192.0.2.1:443 192.0.2.9:443".to_owned(), vec![])
        );
        assert_eq!(found(&[]), (vec![], vec![FindingReason::NoGatewayAddress]));
    }

    #[test]
    fn a_service_of_another_type_or_port_is_a_finding() {
        assert!(
            of(&service("ClusterIP", json!([]))).unwrap_err().contains("LoadBalancer or NodePort")
        );
        let other = of_service(&service("NodePort", json!([])), 443, &observed()).unwrap_err();
        assert!(other.contains("no port 443"));
    }

    #[test]
    fn a_pods_port_is_the_target_port_of_the_service() {
        let of = |target: Value, ports: Value| {
            let service = json!({ "metadata": { "name": "x" }, "spec": { "ports": [{ "port": 15443, "targetPort": target }] } });
            let pod = json!({ "metadata": { "name": "x" }, "spec": { "containers": [{ "ports": ports }, {}] } });
            keep_service(read(service)).port_of(&super::super::pod::keep(read(pod)), 15443)
        };
        let named = json!([{ "name": "tls", "containerPort": 8443 }, { "containerPort": 1 }]);
        assert_eq!(of(json!(8443), json!([])), Some(8443));
        assert_eq!(of(json!("tls"), named.clone()), Some(8443));
        assert_eq!(of(json!("other"), named), None, "the Pod has no such port");
        assert_eq!(of(json!(null), json!([])), Some(15443));
        assert_eq!(
            service("NodePort", json!([])).port_of(&GatewayPod::default(), 443),
            Some(443),
            "no Service says otherwise"
        );
    }
}
