//! The addresses that this cluster itself listens on. No peer's gateway may be there.
//!
//! A peer may announce any address as its gateway. If it were one of the egress's own ports, the
//! egress would connect to itself, and that connection to itself again, until the process runs out
//! of descriptors.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Everything that this cluster listens on, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnAddresses {
    /// The listeners.
    pub listeners: Vec<OwnListener>,
    /// The addresses of a listener on an unspecified address (`0.0.0.0`, `::`), except loopback.
    pub hosts: BTreeSet<IpAddr>,
    /// Networks of this cluster that cannot contain a peer's gateway, such as its Service CIDRs.
    pub networks: Vec<IpNet>,
}

/// One listener, or several that differ only in the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnListener {
    /// What listens there, in words: `the egress (egress.ports)`.
    pub name: String,
    /// The address; unspecified for all addresses.
    pub address: IpAddr,
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// Whether it is the gateway's.
    #[serde(default)]
    pub is_gateway: bool,
}

impl OwnAddresses {
    /// Returns what this cluster has at `address`, in words; `None` if it is not known to have
    /// anything there.
    pub fn owner(&self, address: SocketAddr) -> Option<&str> {
        let ip = address.ip().to_canonical();
        let listener = self
            .listeners
            .iter()
            .find(|own| own.ports.contains(&address.port()) && self.takes(own, ip));
        let network = || {
            self.networks
                .iter()
                .any(|network| network.contains(&ip))
                .then_some("this cluster's own network")
        };
        listener.map(|own| own.name.as_str()).or_else(network)
    }

    /// Returns what this cluster has at `address`, in words, if that is certainly a listener other
    /// than its gateway's. A router may lead any port of other addresses to the gateway, so a
    /// listener on all addresses counts only on loopback.
    pub fn other_than_gateway(&self, address: SocketAddr) -> Option<&str> {
        let ip = address.ip().to_canonical();
        let certainly = |own: &&OwnListener| {
            let on = own.address.to_canonical();
            own.ports.contains(&address.port())
                && (on == ip || (on.is_unspecified() && ip.is_loopback()))
        };
        let mut found = self.listeners.iter().filter(certainly);
        match found.clone().any(|own| own.is_gateway) {
            true => None,
            false => found.next().map(|own| own.name.as_str()),
        }
    }

    fn takes(&self, own: &OwnListener, ip: IpAddr) -> bool {
        match own.address.to_canonical() {
            any if any.is_unspecified() => ip.is_loopback() || self.hosts.contains(&ip),
            one => one == ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> OwnAddresses {
        let listener = |name: &str, address: &str, ports| OwnListener {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            ports,
            is_gateway: name == "gateway",
        };
        OwnAddresses {
            listeners: vec![
                listener("egress", "127.0.0.1", 15_100..=15_999),
                listener("gateway", "0.0.0.0", 15_443..=15_443),
                listener("metadata", "::", 15_080..=15_080),
            ],
            hosts: ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into(),
            networks: vec!["10.96.0.0/12".parse().unwrap()],
        }
    }

    #[test]
    fn a_listener_is_recognised_by_every_spelling_of_its_address() {
        let owners = [
            ("127.0.0.1:15100", "egress"),
            ("127.0.0.1:15999", "egress"),
            ("[::ffff:127.0.0.1]:15100", "egress"),
            ("192.0.2.1:15443", "gateway"),
            ("127.0.0.1:15443", "egress"),
            ("127.7.7.7:15443", "gateway"),
            ("[::ffff:192.0.2.1]:15443", "gateway"),
            ("[2001:db8::1]:15080", "metadata"),
            ("[::1]:15080", "metadata"),
            ("192.0.2.1:15080", "metadata"),
            ("10.96.0.1:443", "this cluster's own network"),
        ];
        for (address, owner) in owners {
            assert_eq!(own().owner(address.parse().unwrap()), Some(owner), "{address}");
        }
    }

    #[test]
    fn another_port_or_host_is_not_ours() {
        for address in [
            "127.0.0.1:15099",
            "127.0.0.1:16000",
            "127.0.0.2:15100",
            "192.0.2.2:15443",
            "10.95.0.1:443",
        ] {
            assert_eq!(own().owner(address.parse().unwrap()), None, "{address}");
        }
        assert_eq!(OwnAddresses::default().owner("127.0.0.1:15443".parse().unwrap()), None);
    }
}
