//! The addresses that this cluster itself listens on. No peer's gateway may be there: an
//! `AUTO_PASSTHROUGH` gateway that took itself for a peer's gateway would forward to itself without
//! end.

use super::Observed;
use super::gateway::GatewayService;
use crate::api::watch::Key;
use crate::settings::ControllerSettings;
use fedgate_federation::document::Network;
use fedgate_federation::own::{OwnAddresses, OwnListener};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// The ports of Istio's proxies: listeners for all connections, admin, health, metrics.
const PROXY: RangeInclusive<u16> = 15_000..=15_099;

/// The gateway's Service, its Pods, the cluster's nodes, the proxies of this mesh, and the
/// cluster's own networks.
pub(super) fn addresses(
    settings: &ControllerSettings,
    observed: &Observed,
    network: &Network,
) -> OwnAddresses {
    let key = Key {
        namespace: settings.namespaces.gateway().to_owned(),
        name: settings.gateway.service.clone(),
    };
    let service = observed.gateway_services.get(&key);
    let mut listeners: Vec<_> = service.into_iter().flat_map(of_service).collect();
    listeners.extend(service.into_iter().flat_map(|service| of_nodes(observed, service)));
    listeners.extend(of_pods(settings, observed, service));
    listeners.push(listener(
        "a proxy of this cluster's own mesh",
        Ipv4Addr::UNSPECIFIED.into(),
        PROXY,
    ));
    OwnAddresses {
        listeners,
        hosts: BTreeSet::new(),
        networks: network.service_cidrs.iter().chain(&network.pod_cidrs).copied().collect(),
    }
}

fn of_service(service: &GatewayService) -> impl Iterator<Item = OwnListener> {
    service
        .own()
        .map(|(ip, port)| listener("the Service of this cluster's own gateway", ip, port..=port))
}

fn of_nodes(observed: &Observed, service: &GatewayService) -> Vec<OwnListener> {
    let name = "a node port of this cluster's own gateway";
    let ips: BTreeSet<_> = observed.nodes.values().flat_map(|node| node.ips()).collect();
    ips.into_iter()
        .flat_map(|ip| service.node_ports().map(move |port| listener(name, ip, port..=port)))
        .collect()
}

fn of_pods(
    settings: &ControllerSettings,
    observed: &Observed,
    service: Option<&GatewayService>,
) -> Vec<OwnListener> {
    let name = "a Pod of this cluster's own gateway";
    let mut ports: BTreeSet<_> =
        service.into_iter().flat_map(|service| service.target_ports()).collect();
    ports.insert(settings.gateway.port);
    let of_pod = |ip: IpAddr| {
        let own = ports.iter().map(move |port| listener(name, ip, *port..=*port));
        own.chain([listener(name, ip, PROXY)]).collect::<Vec<_>>()
    };
    observed.pods.values().filter_map(|pod| pod.ip).flat_map(of_pod).collect()
}

fn listener(name: &str, address: IpAddr, ports: RangeInclusive<u16>) -> OwnListener {
    let is_proxy = ports == PROXY;
    OwnListener { name: name.to_owned(), address, ports, is_gateway: !is_proxy }
}
