//! Turns what is in force into the files that the sinks of the files platform write.

use crate::envoys::Capacity;
use crate::manifests::Endpoints;
use crate::own;
use crate::settings::{IdentityFiles, Settings};
use anyhow::{Context, Result};
use fedgate_core::{Hostname, Options, ServiceName, Table, TrustDomain};
use fedgate_envoy::{
    AccessLog, Allocation, EgressInputs, EgressNames, EnvoyFiles, File, FilterModule,
    GatewayInputs, Identity, PortRequest, allocate, allocate_federated,
};
use fedgate_federation::federate::{Import, Imports, owner};
use fedgate_federation::{Federation, Finding, FindingReason, LocalCluster, ObjectRef};
use fedgate_process::regular_file::{self, MOST_PEM};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener};
use std::path::Path;

/// What stays the same from one table to the next.
pub(crate) struct Deployment {
    /// The folder that Envoy reads.
    pub(crate) files: EnvoyFiles,
    /// The filter's module.
    pub(crate) module: FilterModule,
    /// The certificate and key of both Envoys.
    pub(crate) identity: Identity,
    /// Where the gateway logs connections.
    pub(crate) access_log: AccessLog,
}

impl Deployment {
    /// All files of the gateway. The clusters are those of the table in force, even if the objects
    /// have changed since.
    pub(crate) fn gateway(
        &mut self,
        settings: &Settings,
        local: &LocalCluster,
        federation: &Federation,
        table: &Table,
        endpoints: &Endpoints,
        capacity: &Capacity,
    ) -> Vec<File> {
        let exports = table.exports().map(|(service, _)| {
            let found = endpoints.get(&service).cloned().unwrap_or_default();
            (service, found)
        });
        self.files.gateway(&GatewayInputs {
            trust_domain: &settings.trust_domain,
            listen: settings.gateway.listen,
            proxy_protocol: settings.gateway.proxy_protocol,
            admin: settings.gateway.admin,
            identity: &self.identity,
            local_roots: &local.roots,
            bundles: &federation.bundles,
            exports: &exports.collect(),
            health: federation.health.as_ref(),
            table,
            options: Options {
                named_callers: settings.gateway.named_callers,
                ..Options::default()
            },
            module: &self.module,
            access_log: &self.access_log,
            connections: capacity.gateway.connections_for_now(),
            quiet: settings.connections,
        })
    }

    /// All files of the egress.
    pub(crate) fn egress(
        &mut self,
        settings: &Settings,
        federation: &Federation,
        ports: &BTreeMap<ServiceName, u16>,
        addresses: &BTreeMap<Hostname, IpAddr>,
        endpoints: &Endpoints,
        capacity: &Capacity,
    ) -> Vec<File> {
        self.files.egress(&EgressInputs {
            trust_domain: &settings.trust_domain,
            listen: settings.egress.listen,
            admin: settings.egress.admin,
            identity: &self.identity,
            imports: &federation.imports,
            ports,
            names: EgressNames {
                addresses: Some(addresses),
                server_names: settings.egress.server_names,
            },
            federated: &federation.federated_services,
            endpoints,
            probe_targets: &federation.probe_targets,
            bundles: &federation.bundles,
            access_log: &AccessLog::Stdout,
            connections: capacity.egress.connections_for_now(),
            quiet: settings.connections,
            locality: settings.egress.locality.as_ref(),
        })
    }
}

/// Assigns each federated name and each import a local port. Asks the system which ports are free.
/// Those in `open` are the egress's own until it has read its new listeners, so they count as free.
pub(crate) fn egress_ports(
    settings: &Settings,
    federation: &Federation,
    reserved: &BTreeMap<ServiceName, u16>,
    open: &BTreeSet<u16>,
    capacity: &Capacity,
) -> Allocation {
    let others = own::reserved_ports(settings);
    let is_free = |port| {
        let bind = || TcpListener::bind((settings.egress.listen, port));
        !others.contains(&port) && (open.contains(&port) || bind().is_ok())
    };
    let reserved = reserved.iter().filter(|(_, port)| !others.contains(*port));
    let reserved: &BTreeMap<_, _> = &reserved.map(|(name, port)| (name.clone(), *port)).collect();
    let (imports, range) = (&federation.imports, &settings.egress.ports);
    let mut names =
        allocate_federated(&federation.federated_services, reserved, imports, range, is_free);
    let taken = names.values().chain(&others).copied().collect();
    let previous = reserved.iter().filter(|(name, _)| !names.contains_key(*name));
    let request = PortRequest {
        previous: &previous.map(|(name, port)| (name.clone(), *port)).collect(),
        taken: &taken,
        imports,
        peers: &federation.peers.iter().map(|report| report.peer.trust_domain.as_str()).collect(),
        range: range.clone(),
        most: capacity.egress_ports.saturating_sub(names.len()),
    };
    let mut allocation = allocate(&request, is_free);
    allocation.reserved.extend(names.iter().map(|(name, port)| (name.clone(), *port)));
    allocation.ports.append(&mut names);
    allocation
}

/// A finding for each peer whose imports lack ports. It says how many ports that peer has.
pub(crate) fn missing_ports(
    settings: &Settings,
    imports: &Imports,
    ports: &BTreeMap<ServiceName, u16>,
    most: usize,
) -> Vec<Finding> {
    let mut by_peer: BTreeMap<&str, usize> = BTreeMap::new();
    for service in ports.keys() {
        *by_peer.entry(owner(service)).or_default() += 1;
    }
    let range = &settings.egress.ports;
    let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
    let finding = |(peer, imports): (&TrustDomain, &[Import])| {
        let has = by_peer.get(peer.as_str()).copied().unwrap_or_default();
        let missing = imports.len().checked_sub(has).filter(|missing| *missing > 0)?;
        let without = imports.iter().filter(|import| !ports.contains_key(&import.service));
        let message = format!(
            "no port for {} of {peer}: it has {has} of {} ports, and others have {}; no peer gets more \
             than it leaves for others: widen the range, raise the egress's open files, or have the peer offer fewer services",
            named(without, missing),
            most.min(range.len()),
            ports.len() - has,
        );
        Some(Finding::error(FindingReason::NoEgressPort, cluster.clone(), "egress.ports", message))
    };
    imports.by_peer().filter_map(finding).collect()
}

/// A finding for each federated name that has no port.
pub(crate) fn names_without_port(
    federation: &Federation,
    ports: &BTreeMap<ServiceName, u16>,
) -> Vec<Finding> {
    let without = federation.federated_services.iter().filter_map(|service| {
        let port = service.ports.iter().find(|port| !ports.contains_key(&port.service))?;
        let message = format!(
            "no port of egress.ports is free for {}, so it cannot be called; widen the range",
            port.service
        );
        Some(Finding::error(FindingReason::NoEgressPort, service.object(), "spec.ports", message))
    });
    without.collect()
}

/// The first three names, and the number of the others.
fn named<'a>(imports: impl Iterator<Item = &'a Import>, count: usize) -> String {
    const SHOWN: usize = 3;
    let first: Vec<_> = imports.take(SHOWN).map(|import| import.service.to_string()).collect();
    match count - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more services", first.join(", ")),
    }
}

/// Reads the certificate and key of both Envoys.
///
/// # Errors
/// When a file cannot be read, or the two do not belong together. The message names the files but
/// quotes no content.
pub(crate) fn identity(settings: &Settings) -> Result<Identity> {
    let IdentityFiles { certificate_chain, private_key, roots: _ } = &settings.identity;
    let read = |field: &str, path: &Path| {
        regular_file::read(path, MOST_PEM).with_context(|| {
            format!("identity.{field} {}: cannot be read; put a file in PEM there", path.display())
        })
    };
    let (chain, key) =
        (read("certificateChain", certificate_chain)?, read("privateKey", private_key)?);
    Identity::from_pem(&chain, &key)
        .with_context(|| format!("{} and {}", certificate_chain.display(), private_key.display()))
}
