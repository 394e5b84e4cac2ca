//! The addresses that a folder's cluster listens on, from its settings and this machine.

use crate::settings::{Admin, Egress, Gateway, Settings};
use fedgate_envoy::AddressRange;
use fedgate_exchange::settings::MetadataEndpoint;
use fedgate_federation::document::{Advertised, GatewayHost};
use fedgate_federation::own::{OwnAddresses, OwnListener};
use fedgate_process::words;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// All listeners of the cluster's three processes. Port 0 is left out: the real port is not known
/// here, and no listener on such a port forwards anything.
pub(crate) fn addresses(settings: &Settings) -> OwnAddresses {
    let Egress { listen, ports, addresses, .. } = &settings.egress;
    let mut listeners = fixed_listeners(settings);
    // Last, because other listeners may lie within the range.
    listeners.push(range("a port of this cluster's egress (egress.ports)", *listen, ports.clone()));
    let Gateway { advertise, advertise_to, .. } = &settings.gateway;
    let advertised = advertise.iter().chain(advertise_to.values().flatten()).filter_map(ip);
    OwnAddresses {
        listeners: listeners.into_iter().filter(|listener| listener.ports != (0..=0)).collect(),
        hosts: machine().chain(advertised).map(|ip| ip.to_canonical()).collect(),
        networks: addresses.iter().map(AddressRange::network).collect(),
    }
}

/// The ports of `egress.ports` that another listener of this cluster needs. An import must not get
/// one, even while that listener is not up.
pub(crate) fn reserved_ports(settings: &Settings) -> BTreeSet<u16> {
    let Egress { listen: egress, ports, .. } = &settings.egress;
    let meet = |own: &OwnListener| {
        own.address == *egress || own.address.is_unspecified() || egress.is_unspecified()
    };
    fixed_listeners(settings)
        .into_iter()
        .filter(meet)
        .map(|own| *own.ports.start())
        .filter(|port| ports.contains(port))
        .collect()
}

/// The listeners whose port is in the settings.
fn fixed_listeners(settings: &Settings) -> Vec<OwnListener> {
    // Every field is named, so that a new listener cannot be forgotten.
    let Gateway {
        listen: gateway,
        advertise: _,
        advertise_to: _,
        proxy_protocol: _,
        admin: gateway_admin,
        filter: _,
        filter_module: _,
        access_log: _,
        open_files: _,
        health_name: _,
        named_callers: _,
    } = &settings.gateway;
    let Egress {
        listen: _,
        ports: _,
        addresses: _,
        server_names,
        admin: egress_admin,
        locality: _,
        open_files: _,
    } = &settings.egress;
    let MetadataEndpoint { listen: metadata, path: _, proxy_protocol: _, transport: _ } =
        &settings.metadata;
    let Admin { listen: admin } = &settings.admin;
    let mut listeners = vec![
        OwnListener {
            is_gateway: true,
            ..one("this cluster's gateway (gateway.listen)", *gateway)
        },
        one("this cluster's metadata endpoint (metadata.listen)", *metadata),
        one("the gateway's admin address (gateway.admin)", *gateway_admin),
        one("the egress's admin address (egress.admin)", *egress_admin),
        one("the controller's admin address (admin.listen)", *admin),
    ];
    let server_names =
        server_names.map(|address| one("this cluster's egress (egress.serverNames)", address));
    listeners.extend(server_names);
    listeners
}

fn one(name: &str, address: SocketAddr) -> OwnListener {
    range(name, address.ip(), address.port()..=address.port())
}

fn range(name: &str, address: IpAddr, ports: RangeInclusive<u16>) -> OwnListener {
    OwnListener { name: name.to_owned(), address, ports, is_gateway: false }
}

/// Peers reach this machine at this address, perhaps through a router that translates addresses.
fn ip(advertised: &Advertised) -> Option<IpAddr> {
    match advertised.gateway.address {
        GatewayHost::Ip(ip) => Some(ip),
        GatewayHost::Name(_) => None,
    }
}

/// The addresses of this machine's interfaces; none if the system cannot list them. Loopback is
/// recognized anyway.
fn machine() -> impl Iterator<Item = IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(
            "the addresses of this machine cannot be listed, so only loopback ones are known to be its own: {}",
            words::io(&error)
        );
        Vec::new()
    });
    interfaces.into_iter().map(|interface| interface.ip()).collect::<BTreeSet<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(more: &str) -> Settings {
        let text = format!(
            "trustDomain: alpha.example\nmetadata:\n  plain: true\nidentity:\n  certificateChain: a\n  privateKey: b\n  roots: c\n{more}"
        );
        Settings::parse(Path::new("/tmp"), &text).unwrap()
    }

    fn owner(settings: &Settings, address: &str) -> Option<String> {
        addresses(settings).owner(address.parse().unwrap()).map(str::to_owned)
    }

    #[test]
    fn every_listener_of_the_settings_is_known() {
        let settings = settings(
            "gateway: {listen: '127.0.0.1:15443', admin: '127.0.0.1:15001'}\negress: {admin: '127.0.0.1:15002'}\nadmin: {listen: '127.0.0.1:15003'}\n",
        );
        let found = ["15443", "15080", "15001", "15002", "15003", "15100", "15999"]
            .map(|port| owner(&settings, &format!("127.0.0.1:{port}")).unwrap_or_default());
        let expected = [
            "gateway.listen",
            "metadata.listen",
            "gateway.admin",
            "egress.admin",
            "admin.listen",
            "egress.ports",
            "egress.ports",
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{expected}: {found}");
        }
        assert_eq!(owner(&settings, "127.0.0.1:16000"), None);
        assert_eq!(owner(&settings, "127.0.0.2:15443"), None, "the gateway listens on one address");
    }

    #[test]
    fn no_import_gets_the_port_of_another_listener() {
        let here = settings(
            "gateway: {listen: '0.0.0.0:15443', advertise: ['192.0.2.1:443'], admin: '127.0.0.1:15500'}\negress: {serverNames: '127.0.0.1:15444'}\n",
        );
        assert_eq!(reserved_ports(&here), BTreeSet::from([15_443, 15_444, 15_500]));
        let elsewhere = settings(
            "gateway: {listen: '192.0.2.1:15443'}\negress: {serverNames: '127.0.0.2:15444', admin: '127.0.0.1:16000'}\n",
        );
        assert_eq!(reserved_ports(&elsewhere), BTreeSet::new());
    }

    #[test]
    fn a_wildcard_listener_has_all_local_and_advertised_addresses() {
        let settings =
            settings("gateway: {listen: '0.0.0.0:15443', advertise: ['203.0.113.9:443']}\n");
        for own in machine() {
            assert!(owner(&settings, &SocketAddr::new(own, 15_443).to_string()).is_some(), "{own}");
        }
        assert!(owner(&settings, "203.0.113.9:15443").is_some());
        assert_eq!(owner(&settings, "203.0.113.10:15443"), None);
        assert_eq!(owner(&settings, "203.0.113.9:15444"), None);
        assert_eq!(owner(&settings, "127.0.0.1:0"), None, "an unknown port is nobody's");
    }
}
