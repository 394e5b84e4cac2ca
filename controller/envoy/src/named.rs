//! Imports by their own names: at an address for each host, and by server name at one port.

use super::access_log::named_log;
use super::egress::Outlet;
use super::listener::{import, routed, server_name};
use super::resource::{address, extension, typed};
use super::{AccessLog, Quiet, connections::BUFFER};
use fedgate_core::{Hostname, ServiceName};
use fedgate_federation::federate::Protocol;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The time for a TLS client's first message.
const FIRST_MESSAGE: &str = "5s";

/// Where imports are reached by their own names.
#[derive(Debug, Clone, Copy, Default)]
pub struct EgressNames<'a> {
    /// The address of each host, where its ports are those of its owner. `None` if hosts have none.
    pub addresses: Option<&'a BTreeMap<Hostname, IpAddr>>,
    /// Where TLS clients reach imports by server name.
    pub server_names: Option<SocketAddr>,
}

impl EgressNames<'_> {
    /// The address of a service, at its own port.
    pub(super) fn of(&self, service: &ServiceName) -> Option<SocketAddr> {
        let address = self.addresses?.get(&service.host)?;
        Some(SocketAddr::new(*address, service.port.get()))
    }
}

/// Everything that the listener for server names is made from: the services with the clusters that
/// lead to them, at most one for each host.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ServerNames {
    listen: SocketAddr,
    services: Vec<(ServiceName, String)>,
    access_log: AccessLog,
    quiet: Quiet,
}

/// The listener of an import at its host's own address. Its name differs from that of the listener
/// at the import's local port.
pub(super) fn at_own_address(
    service: &ServiceName,
    way: &str,
    listen: SocketAddr,
    more: (&AccessLog, Quiet),
) -> Value {
    let mut listener = import(service, way, listen, more);
    listener["name"] = format!("name|{service}").into();
    listener
}

impl ServerNames {
    /// `None` if there is nothing to route to. Envoy refuses a listener without filter chains, and
    /// so no port is open.
    pub(super) fn of(
        listen: SocketAddr,
        outlets: &[Outlet<'_>],
        way: impl Fn(&Outlet<'_>) -> String,
        (access_log, quiet): (&AccessLog, Quiet),
    ) -> Option<Self> {
        let mut by_host: BTreeMap<&Hostname, Vec<&Outlet<'_>>> = BTreeMap::new();
        for outlet in outlets {
            by_host.entry(&outlet.import.service.host).or_default().push(outlet);
        }
        let services: Vec<_> = by_host
            .into_values()
            .filter_map(|ports| chosen(&ports))
            .map(|outlet| (outlet.import.service.clone(), way(outlet)))
            .collect();
        let access_log = access_log.clone();
        (!services.is_empty()).then_some(Self { listen, services, access_log, quiet })
    }

    /// A client's TLS is not ended here: only its server name is read, and it says where the bytes
    /// go. A connection with another name, or without one, matches no chain and is closed.
    pub(super) fn listener(&self) -> Value {
        let inspector = "extensions.filters.listener.tls_inspector.v3.TlsInspector";
        let chain = |(service, way): &(ServiceName, String)| {
            json!({
                "name": service.to_string(),
                "filter_chain_match": { "server_names": [service.host.as_str()] },
                "filters": [server_name(service), routed("server_names", way, self.quiet)],
            })
        };
        let listener = json!({
            "name": "server-names",
            "stat_prefix": "server_names",
            "address": address(self.listen),
            "enable_reuse_port": false,
            "per_connection_buffer_limit_bytes": BUFFER,
            "access_log": [named_log(&self.access_log)],
            "listener_filters_timeout": FIRST_MESSAGE,
            "listener_filters": [extension("envoy.filters.listener.tls_inspector", inspector, json!({}))],
            "filter_chains": self.services.iter().map(chain).collect::<Vec<_>>(),
        });
        typed("config.listener.v3.Listener", listener)
    }
}

/// A server name has no port, so a host needs one that speaks TLS: 443, or the only one whose name
/// says so, or the only one at all. Otherwise it is unclear which is meant, and there is none.
fn chosen<'a, 'b>(ports: &[&'a Outlet<'b>]) -> Option<&'a Outlet<'b>> {
    let https = ports.iter().find(|outlet| outlet.import.service.port.get() == 443);
    let tls = ports.iter().filter(|outlet| outlet.import.protocol == Protocol::Tls);
    let only = |mut ports: Box<dyn Iterator<Item = &&'a Outlet<'b>> + '_>| {
        ports.next().filter(|_| ports.next().is_none()).copied()
    };
    https.copied().or_else(|| only(Box::new(tls))).or_else(|| only(Box::new(ports.iter())))
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
