//! Exports, and the table that they are compiled to.

use super::Inputs;
use super::offer::{Offer, OfferedPort};
use super::passthrough::{self, PassthroughService};
use super::pods::{self, ExportedPod};
use super::publish::next_number;
use crate::document::{Limits, PublicServicePort, is_port_name};
use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use crate::grant::{AdmittedPeers, Granter, PeerGrant, Subject};
use crate::object::{
    GATEWAY_MODE_ANNOTATION, GatewayMode, PUBLIC_SERVICE_LABEL, Peer, ServiceObject,
    ServicePortSpec, TransportProtocol, check_cluster_domain, is_dns_label,
};
use fedgate_core::{
    BuildError, Grant, GrantSet, Hostname, PeerIndex, PeerName, ServiceName, ServicePort, Table,
    TableBuilder, TableError, TrustDomain,
};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::sync::Arc;

/// An exported port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The name under which peers reach it.
    pub service: ServiceName,
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name.
    pub port_name: String,
    /// The Pod, if the export is one of the Service's Pods.
    pub pod: Option<Arc<ExportedPod>>,
    /// What the gateway does with the callers' TLS.
    pub mode: GatewayMode,
    /// The grants of each accepted peer, in order of peer. Exports with the same grants share the
    /// list.
    pub grants: Arc<[PeerGrant]>,
}

impl Export {
    /// Returns the grant of a peer; `None` if the peer is not accepted.
    pub fn grant_of(&self, peer: &PeerName) -> Option<&PeerGrant> {
        self.grants.iter().find(|grant| grant.peer == *peer)
    }
}

/// Why there is no new table.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TableFailure {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It was built but cannot be read. That is a bug in this program.
    #[error("the table that was built cannot be read: {0}")]
    Read(#[from] TableError),
}

impl TableFailure {
    pub(super) fn finding(&self, local: ObjectRef) -> Finding {
        let message = format!(
            "{self}; export less, or have fewer peers and policies: until then the last good table stays in force"
        );
        Finding::error(FindingReason::TableNotBuilt, local, "", message)
    }
}

/// Returns the labelled Services by host name, and the Services whose TLS can be passed through,
/// whether their workloads are prepared yet or not. `known` are the names of all peers' objects.
pub(super) fn offers(
    inputs: &Inputs<'_>,
    known: &BTreeSet<&str>,
    granter: &mut Granter<'_>,
    findings: &mut Vec<Finding>,
) -> (BTreeMap<Hostname, Offer>, Vec<PassthroughService>) {
    let mut passed_through = Vec::new();
    if check_cluster_domain(&inputs.local.trust_domain).is_err() {
        return (BTreeMap::new(), passed_through);
    }
    let mut ordered: Vec<_> = inputs.objects.services.iter().collect();
    ordered.sort_by(|a, b| {
        (&a.namespace, &a.name, &a.source).cmp(&(&b.namespace, &b.name, &b.source))
    });
    let mut offers: BTreeMap<Hostname, Offer> = BTreeMap::new();
    for service in ordered {
        let checked = match is_labelled(service) {
            Ok(false) => continue,
            Ok(true) => check(inputs, service),
            Err(finding) => Err(finding),
        };
        match checked {
            Ok((hostname, _)) if offers.contains_key(&hostname) => {
                let message = "another Service has this namespace and name and is in force; remove one of the two";
                findings.push(Finding::error(
                    FindingReason::DuplicateObject,
                    service.object(),
                    "metadata.name",
                    message,
                ));
            }
            Ok((hostname, CheckedService { mode, ports })) => {
                let admitted = AdmittedPeers::read(service, known, findings);
                let ports = ports
                    .into_iter()
                    .map(|row| offered_port(service, row, &admitted, granter))
                    .collect();
                let offered = Some((service.namespace.clone(), service.name.clone()));
                let offer =
                    Offer { hostname: hostname.clone(), service: offered, pod: None, mode, ports };
                match passthrough::check(inputs.local, service, &offer, &mut passed_through) {
                    Ok(()) => {
                        let pods = pods::offers(service, &offer, findings);
                        offers.extend(pods.into_iter().map(|pod| (pod.hostname.clone(), pod)));
                        offers.insert(hostname, offer);
                    }
                    Err(finding) => findings.push(*finding),
                }
            }
            Err(finding) => findings.push(*finding),
        }
    }
    (offers, passed_through)
}

/// Returns true if the owner exports the Service. The label's value must be empty; any other value
/// is a mistake and exports nothing.
fn is_labelled(service: &ServiceObject) -> Result<bool, Box<Finding>> {
    match service.labels.get(PUBLIC_SERVICE_LABEL).map(String::as_str) {
        None => Ok(false),
        Some("") => Ok(true),
        Some(value) => {
            let message = format!(
                "expected an empty value, found {:?}; until this is corrected the Service is not exported",
                shown(value)
            );
            let field = format!("metadata.labels[{PUBLIC_SERVICE_LABEL}]");
            Err(Finding::warning(FindingReason::LabelNotEmpty, service.object(), field, message)
                .into())
        }
    }
}

type Ports = Vec<(PublicServicePort, TransportProtocol)>;

struct CheckedService {
    mode: GatewayMode,
    ports: Ports,
}

fn check(
    inputs: &Inputs<'_>,
    service: &ServiceObject,
) -> Result<(Hostname, CheckedService), Box<Finding>> {
    let refused = |reason, field: &str, message: String| {
        Box::new(Finding::error(
            reason,
            service.object(),
            field,
            format!("{message}; until this is corrected the Service is not exported"),
        ))
    };
    if service.service_type.as_deref() == Some("ExternalName") {
        let message =
            "expected a Service with workloads behind it, found type ExternalName".to_owned();
        return Err(refused(FindingReason::ExternalName, "spec.type", message));
    }
    if service.ports.is_empty() {
        return Err(refused(
            FindingReason::NoPorts,
            "spec.ports",
            "expected at least one port, found none".to_owned(),
        ));
    }
    if service.ports.len() > Limits::DEFAULT.ports_per_service {
        let message = format!(
            "expected at most {} ports, which is what peers accept, found {}; spread them over several Services",
            Limits::DEFAULT.ports_per_service,
            service.ports.len()
        );
        return Err(refused(FindingReason::TooManyPorts, "spec.ports", message));
    }
    let hostname = hostname(&inputs.local.trust_domain, service)
        .map_err(|message| refused(FindingReason::InvalidName, "metadata.name", message))?;
    let mut ports: Ports = Vec::new();
    for (index, spec) in service.ports.iter().enumerate() {
        let port =
            check_port(spec, &ports).and_then(|port| check_length(&hostname, port)).map_err(
                |(reason, message)| refused(reason, &format!("spec.ports[{index}]"), message),
            )?;
        ports.push((port, spec.protocol));
    }
    let mode = mode(service).map_err(|message| {
        let field = format!("metadata.annotations[{GATEWAY_MODE_ANNOTATION}]");
        refused(FindingReason::InvalidAnnotation, &field, message)
    })?;
    Ok((hostname, CheckedService { mode, ports }))
}

fn mode(service: &ServiceObject) -> Result<GatewayMode, String> {
    match service.annotations.get(GATEWAY_MODE_ANNOTATION).map(String::as_str) {
        None => Ok(GatewayMode::Terminate),
        Some("passthrough") => Ok(GatewayMode::Passthrough),
        Some(other) => Err(format!(
            "expected \"passthrough\", found {:?}; to have TLS end at the gateway remove the annotation",
            shown(other)
        )),
    }
}

fn hostname(ours: &TrustDomain, service: &ServiceObject) -> Result<Hostname, String> {
    let text = format!("{}.{}.svc.{ours}", service.name, service.namespace);
    // Folding to lower case would turn it into another Service's name.
    let labels = is_dns_label(&service.name) && is_dns_label(&service.namespace);
    let own = Hostname::parse(&text)
        .ok()
        .filter(|hostname| labels && ours.owns(hostname) && hostname.as_str() == text);
    own.ok_or_else(|| {
        let found = format!("{}/{}", service.namespace, service.name);
        format!(
            "expected a namespace and a name of lower-case letters, digits and '-', found {:?}",
            shown(&found)
        )
    })
}

fn check_port(
    spec: &ServicePortSpec,
    before: &Ports,
) -> Result<PublicServicePort, (FindingReason, String)> {
    let Some(name) = spec.name.as_deref().filter(|name| !name.is_empty()) else {
        let message =
            "expected a port with a name, which tells peers its protocol; found none".to_owned();
        return Err((FindingReason::UnnamedPort, message));
    };
    if !is_port_name(name) {
        let message = format!(
            "expected a port name of lower-case letters, digits and '-' (RFC 1123 label), such as http, found {:?}",
            shown(name)
        );
        return Err((FindingReason::InvalidPort, message));
    }
    let Some(port) = ServicePort::new(spec.port) else {
        return Err((
            FindingReason::InvalidPort,
            "expected a port from 1 to 65535, found 0".to_owned(),
        ));
    };
    let is_duplicate = |(row, protocol): &(PublicServicePort, TransportProtocol)| {
        row.name == name || (row.port == port && *protocol == spec.protocol)
    };
    match before.iter().any(is_duplicate) {
        true => Err((
            FindingReason::DuplicatePort,
            format!(
                "expected ports with different names and numbers, found port {port} ({name}), which has the name or the number of one before it"
            ),
        )),
        false => Ok(PublicServicePort { name: name.to_owned(), port }),
    }
}

/// Checks that the server name of a port is short enough for clients to send.
fn check_length(
    hostname: &Hostname,
    port: PublicServicePort,
) -> Result<PublicServicePort, (FindingReason, String)> {
    match ServiceName::new(hostname.clone(), port.port) {
        Ok(_) => Ok(port),
        Err(why) => {
            let port = port.port;
            let message = format!(
                "{hostname}:{port}: {why}; shorten the Service's name, its namespace or the cluster's trust domain"
            );
            Err((FindingReason::NameTooLong, message))
        }
    }
}

fn offered_port(
    service: &ServiceObject,
    (row, protocol): (PublicServicePort, TransportProtocol),
    admitted: &AdmittedPeers,
    granter: &mut Granter<'_>,
) -> OfferedPort {
    let subject = Subject {
        namespace: &service.namespace,
        labels: &service.labels,
        port: row.port.get(),
        port_name: &row.name,
    };
    let grants = granter.grants(admitted, &subject);
    OfferedPort { row, protocol, grants }
}

/// Returns the TCP ports of the offers; the gateway forwards nothing else.
pub(super) fn exports(offers: &BTreeMap<Hostname, Offer>) -> Vec<Export> {
    let export = |offer: &Offer, (namespace, name): &(String, String), port: &OfferedPort| {
        Some(Export {
            service: ServiceName::new(offer.hostname.clone(), port.row.port).ok()?,
            namespace: namespace.clone(),
            name: name.clone(),
            port_name: port.row.name.clone(),
            pod: offer.pod.clone(),
            mode: offer.mode,
            grants: Arc::clone(&port.grants),
        })
    };
    let tcp = |offer: &'_ Offer| {
        let service = offer.service.as_ref();
        let ports = offer.ports.iter().filter(|port| port.protocol == TransportProtocol::Tcp);
        ports.filter_map(|port| export(offer, service?, port)).collect::<Vec<_>>()
    };
    let mut exports: Vec<_> = offers.values().flat_map(tcp).collect();
    exports.sort_by(|a, b| a.service.cmp(&b.service));
    exports
}

/// Compiles the table. A peer is left out of it if its flag says that it is dropped; the gateway
/// then closes its connections. The generation stays the same as long as the content does.
pub(super) fn table<'a>(
    inputs: &Inputs<'_>,
    peers: impl Iterator<Item = (&'a Peer, bool)>,
    granter: &Granter<'_>,
    exports: &[Export],
    health: Option<&ServiceName>,
) -> Result<Table, TableFailure> {
    let mut builder = TableBuilder::new(inputs.local.trust_domain.clone());
    let mut indices = BTreeMap::new();
    let peers = peers.zip(granter.modes()).filter(|((_, is_dropped), _)| !is_dropped);
    for ((peer, _), (_, mode)) in peers {
        let row = fedgate_core::Peer {
            name: peer.name.clone(),
            trust_domain: peer.trust_domain.clone(),
            mode,
        };
        indices.insert(&peer.name, builder.peer(row)?);
    }
    // Exports share their lists of grants, so each list is written once.
    let mut sets: BTreeMap<*const PeerGrant, GrantSet> = BTreeMap::new();
    for export in exports {
        let service = export.service.clone();
        match (export.mode, sets.entry(export.grants.as_ptr())) {
            (GatewayMode::Passthrough, _) => builder.passthrough(service)?,
            (GatewayMode::Terminate, Entry::Occupied(set)) => {
                builder.export_alike(service, *set.get())?;
            }
            (GatewayMode::Terminate, Entry::Vacant(entry)) => {
                entry.insert(builder.export(service, grants(&export.grants, &indices))?);
            }
        }
    }
    if let Some(health) = health {
        builder.export(health.clone(), grants(&granter.public(), &indices))?;
    }
    let before = inputs.previous;
    let table = Table::read(builder.build(before.generation)?)?;
    match before.generation > 0 && before.table.as_ref() == Some(&table.hash().to_string()) {
        true => Ok(table),
        false => Ok(Table::read(builder.build(next_number(inputs.now, before.generation))?)?),
    }
}

fn grants(grants: &[PeerGrant], indices: &BTreeMap<&PeerName, PeerIndex>) -> Vec<Grant> {
    let grant = |grant: &PeerGrant| {
        Some(Grant { peer: *indices.get(&grant.peer)?, callers: grant.callers()? })
    };
    grants.iter().filter_map(grant).collect()
}
