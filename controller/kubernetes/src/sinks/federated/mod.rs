//! The objects of `FederatedService`s: a name in the mesh, and patches that make its clusters try
//! the members one after another.
//!
//! The name is a ServiceEntry, so that programs can resolve it and sidecars listen for it. istiod
//! makes a cluster from it, and an EnvoyFilter turns that cluster into an aggregate cluster over
//! the members' own ones. Only proxies that see the ServiceEntry have the cluster, so the patches
//! cost the others nothing.
//!
//! As for imports, at most sixteen EnvoyFilters hold the patches of all names.

mod order;
mod patches;
#[cfg(test)]
mod tests;

use super::imports::{MUTUAL_TLS, NO_WAYPOINT, PEERS_NETWORK};
use super::object::{Desired, Head};
use crate::api::kind::Kind;
use crate::api::owner::FEDERATED_SERVICE;
use crate::settings::ControllerSettings;
use fedgate_core::Hostname;
use fedgate_federation::federate::{FederatedPort, FederatedService, Protocol};
use order::{orders, subset};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The number of objects among which the patches are distributed.
const OBJECTS: u32 = 16;

/// The only endpoint of a name, an address that nothing has (RFC 5737). The aggregate cluster never
/// uses it. A proxy without the patch gets no answer from it, and sends nothing in clear text.
///
/// With `resolution: STATIC` istiod would make an EDS cluster, which Envoy refuses as an aggregate
/// cluster, and without endpoints Envoy would look the name up in DNS, where it may be anyone's.
const NOWHERE: &str = "192.0.2.1";

/// The name of the EnvoyFilter with the patches for a host.
pub(crate) fn filter_name(host: &Hostname) -> String {
    let digit = host.as_str().bytes().map(u32::from).sum::<u32>() % OBJECTS;
    format!("fedgate-federated-{digit:x}")
}

/// The EnvoyFilters. They are written before the names: a name without its patches leads nowhere.
pub(crate) fn filters<'a>(
    settings: &'a ControllerSettings,
    services: &'a [FederatedService],
) -> impl Iterator<Item = Desired> + 'a {
    let mut named: BTreeMap<String, Vec<&FederatedService>> = BTreeMap::new();
    for service in services {
        named.entry(filter_name(&service.host)).or_default().push(service);
    }
    named.into_iter().map(|(name, services)| {
        let head = Head {
            kind: Kind::EnvoyFilter,
            namespace: &settings.namespaces.root,
            name: &name,
            owner: settings.namespaces.own(),
            peer: None,
        };
        let of = |service: &&FederatedService| format!("{}/{}", service.namespace, service.name);
        let names: Vec<_> = services.iter().map(of).collect();
        let patches: Vec<_> = services.into_iter().flat_map(patches::patches).collect();
        Desired::new(head, json!({ "spec": { "configPatches": patches } }))
            .annotated(FEDERATED_SERVICE, &names.join(", "))
    })
}

/// The names themselves, and what shares calls among members.
pub(crate) fn names<'a>(
    settings: &'a ControllerSettings,
    services: &'a [FederatedService],
    addresses: &'a BTreeMap<Hostname, IpAddr>,
) -> impl Iterator<Item = Desired> + 'a {
    let name = move |service: &'a FederatedService| {
        let address = addresses.get(&service.host).copied();
        Name { settings, service, address }
    };
    services.iter().map(name).flat_map(|name| {
        // Routes come last: they lead to the subsets of the DestinationRule.
        [name.destination_rule(), Some(name.service_entry()), name.virtual_service()]
            .into_iter()
            .flatten()
    })
}

/// Returns true if Envoy sees the requests of a port.
fn uses_http(port: &FederatedPort) -> bool {
    matches!(port.protocol, Protocol::Http | Protocol::Http2)
}

struct Name<'a> {
    settings: &'a ControllerSettings,
    service: &'a FederatedService,
    /// Its address in the mesh, if we choose it.
    address: Option<IpAddr>,
}

impl Name<'_> {
    fn object(&self, kind: Kind, spec: Value, labels: &[(&str, &str)]) -> Desired {
        let namespaces = &self.settings.namespaces;
        let head = Head {
            kind,
            namespace: namespaces.imports(),
            name: self.host(),
            owner: namespaces.own(),
            peer: None,
        };
        let FederatedService { namespace, name, .. } = self.service;
        Desired::labelled(head, json!({ "spec": spec }), labels)
            .annotated(FEDERATED_SERVICE, &format!("{namespace}/{name}"))
    }

    fn host(&self) -> &str {
        self.service.host.as_str()
    }

    fn service_entry(&self) -> Desired {
        let port = |port: &FederatedPort| {
            json!({
                "number": port.service.port.get(),
                "name": port.port_name,
                "protocol": port.protocol.word(),
            })
        };
        let endpoint = json!({
            "address": NOWHERE,
            "network": PEERS_NETWORK,
            "labels": { MUTUAL_TLS.0: MUTUAL_TLS.1 },
        });
        let mut spec = json!({
            "hosts": [self.host()],
            "location": "MESH_INTERNAL",
            "resolution": "DNS",
            "ports": self.service.ports.iter().map(port).collect::<Vec<_>>(),
            "endpoints": [endpoint],
            "exportTo": self.settings.gateway.export_to,
        });
        if let Some(address) = self.address {
            spec["addresses"] = json!([address]);
        }
        self.object(Kind::ServiceEntry, spec, &[NO_WAYPOINT])
    }

    /// One subset for each order beside the first; `None` if there are none.
    fn destination_rule(&self) -> Option<Desired> {
        let most = self.service.ports.iter().map(|port| orders(port).len()).max()?;
        let subsets: Vec<_> =
            (0..most).filter_map(subset).map(|name| json!({ "name": name })).collect();
        let export_to = &self.settings.gateway.export_to;
        let spec = json!({ "host": self.host(), "subsets": subsets, "exportTo": export_to });
        (!subsets.is_empty()).then(|| self.object(Kind::DestinationRule, spec, &[]))
    }

    /// Shares the connections of ports without HTTP among the orders; `None` if nothing is shared.
    /// It has no routes for HTTP, so an operator's VirtualService can have them.
    fn virtual_service(&self) -> Option<Desired> {
        let (mut tcp, mut tls) = (Vec::new(), Vec::new());
        for port in self.service.ports.iter().filter(|port| !uses_http(port)) {
            let orders = orders(port);
            if orders.len() < 2 {
                continue;
            }
            let number = port.service.port.get();
            let destination = |(order_number, order): (usize, &order::Order)| {
                let mut destination = json!({ "host": self.host(), "port": { "number": number } });
                if let Some(subset) = subset(order_number) {
                    destination["subset"] = subset.into();
                }
                json!({ "destination": destination, "weight": order.weight })
            };
            let route: Vec<_> = orders.iter().enumerate().map(destination).collect();
            match port.protocol {
                Protocol::Tls => {
                    let with_name = json!({ "port": number, "sniHosts": [self.host()] });
                    tls.push(json!({ "match": [with_name], "route": route }));
                }
                _ => tcp.push(json!({ "match": [{ "port": number }], "route": route })),
            }
        }
        if tcp.is_empty() && tls.is_empty() {
            return None;
        }
        let mut spec = json!({
            "hosts": [self.host()],
            "exportTo": self.settings.gateway.export_to,
        });
        for (field, routes) in [("tcp", tcp), ("tls", tls)] {
            if !routes.is_empty() {
                spec[field] = routes.into();
            }
        }
        Some(self.object(Kind::VirtualService, spec, &[]))
    }
}
