//! ztunnel's decision about a connection from an ambient Pod: that of `build_request` in its
//! `src/proxy/outbound.rs` since Istio 1.26, given what istiod sent. ztunnel itself is not in any
//! package registry.

use super::workload_api::{AddressBook, Workload};
use std::net::IpAddr;

/// `LoadBalancing.Mode.PASSTHROUGH`.
const PASSTHROUGH: i32 = 3;
/// `TunnelProtocol.HBONE`.
const HBONE: i32 = 1;

/// What happens to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It is closed, and none of its bytes is sent.
    Refused(&'static str),
    /// Its bytes are sent unencrypted.
    Clear(String),
    /// Its bytes are sent through a tunnel with mutual TLS.
    Tunnel,
}

impl AddressBook {
    /// The possible outcomes for connections to this port of a host's address. ztunnel picks one of
    /// the host's endpoints; there is one outcome for each. `network` is the client's.
    pub fn routes(&self, network: &str, host: &str, port: u16) -> Vec<Route> {
        let named = self.services.iter().find(|(_, service)| service.hostname == host);
        let Some((name, service)) = named else {
            return vec![Route::Clear("any address".to_owned())];
        };
        if service.waypoint.is_some() {
            return vec![Route::Tunnel];
        }
        if service.load_balancing.is_some_and(|balancing| balancing.mode == PASSTHROUGH) {
            return vec![Route::Clear("the address that was called".to_owned())];
        }
        let target = |workload: &Workload| {
            let ports = &workload.services.get(name)?.ports;
            ports.iter().find(|of| of.service_port == u32::from(port)).map(|port| port.target_port)
        };
        let endpoints =
            self.workloads.iter().filter_map(|workload| Some((workload, target(workload)?)));
        let routes: Vec<_> =
            endpoints.map(|(workload, port)| workload.route(network, port)).collect();
        if routes.is_empty() { vec![Route::Refused("no endpoint")] } else { routes }
    }

    /// The workload at this address, whatever service the caller meant. `network` is the client's.
    pub fn at(&self, network: &str, address: IpAddr) -> Option<&Workload> {
        self.workloads.iter().find(|workload| {
            workload.network == network && workload.addresses().any(|a| a == address)
        })
    }
}

impl Workload {
    fn route(&self, network: &str, port: u32) -> Route {
        if self.network != network {
            return match self.network_gateway {
                Some(_) => Route::Tunnel,
                None => Route::Refused("no gateway to its network"),
            };
        }
        match self.tunnel_protocol {
            HBONE => Route::Tunnel,
            _ => Route::Clear(format!("{:?} port {port}", self.addresses().collect::<Vec<_>>())),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter_map(|bytes| match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
        })
    }
}
