//! `FederatedService`s: one name for the same service in several clusters.
//!
//! What is behind a name follows from this cluster's own objects. A member adds nothing to what is
//! imported: a peer's Service is a member only if it is among the imports, so that it has the
//! peer's roots, gateways and identities. A member that cannot take calls is passed over, with a
//! reason.

mod check;
mod host;
mod member;
mod ports;
mod state;

pub use check::{HealthCheck, HealthProbe};
pub use state::{MemberState, PassedOver};

use super::{Candidate, Imports, Inputs, PeerReport, Protocol};
use crate::bundle::TrustBundle;
use crate::finding::{Finding, FindingReason, ObjectRef};
use crate::object::FederatedServiceObject;
use fedgate_core::{Hostname, PeerName, ServiceName, TrustDomain};
use std::collections::BTreeMap;

/// A name for the same service in several clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedService {
    /// The namespace of its object.
    pub namespace: String,
    /// The name of its object.
    pub name: String,
    /// The file that its object comes from, in files mode.
    pub source: Option<String>,
    /// The name that callers use.
    pub host: Hostname,
    /// The ports that callers use, in order of number.
    pub ports: Vec<FederatedPort>,
}

/// A port of a [`FederatedService`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedPort {
    /// The host and port that callers use.
    pub service: ServiceName,
    /// The port's name.
    pub port_name: String,
    /// The protocol, derived from the port's name.
    pub protocol: Protocol,
    /// How callers find out whether peers among its members work, as its object says.
    pub check: Option<HealthCheck>,
    /// The members in order of priority, each Service at most once. Those of one priority are in
    /// the order of the object.
    pub members: Vec<FederatedMember>,
}

/// The Service of one cluster behind a [`FederatedPort`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedMember {
    /// The cluster.
    pub place: MemberPlace,
    /// The port there; the key of an import if the cluster is a peer. `None` if the peer's trust
    /// domain is not known, or if the name is too long.
    pub service: Option<ServiceName>,
    /// Its priority; 0 comes first.
    pub priority: u32,
    /// Its share in the calls of its priority; at least 1.
    pub weight: u32,
    /// Whether it takes calls.
    pub state: MemberState,
    /// How callers find out whether it works; the same for all names that lead to it. `None` for
    /// this cluster's Services, whose workloads have readiness probes.
    pub check: Option<HealthCheck>,
}

/// The cluster of a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberPlace {
    /// This one.
    Local,
    /// A peer.
    Peer(PeerName),
}

impl FederatedService {
    /// Returns the object as findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::federated_service(&self.namespace, &self.name).with_source(self.source.clone())
    }
}

impl FederatedPort {
    /// Returns the members that are not passed over, in order of priority.
    pub fn in_use(&self) -> impl Iterator<Item = &FederatedMember> {
        self.members.iter().filter(|member| member.state.is_used())
    }

    /// Returns the members that an Envoy with health checks may have: also those whose peer failed
    /// the last probe. The Envoy sees within seconds that such a peer is back, the next probe much
    /// later.
    pub fn callable(&self) -> impl Iterator<Item = &FederatedMember> {
        self.members
            .iter()
            .filter(|member| matches!(member.state.reason(), None | Some(PassedOver::PeerNotReady)))
    }

    /// Returns the members that calls go to now, as far as this cluster knows: those with the first
    /// priority that has any. Envoy also passes over members that do not answer it.
    pub fn taken(&self) -> impl Iterator<Item = &FederatedMember> {
        let first = self.in_use().next().map(|member| member.priority);
        self.in_use().take_while(move |member| Some(member.priority) == first)
    }

    /// Returns the error that no member can take calls, with an explanation for each.
    pub fn no_member_ready(&self, object: ObjectRef, why: &[String]) -> Finding {
        let why = match why.is_empty() {
            true => "no peer offers the Service to this cluster".to_owned(),
            false => crate::finding::messages(why.iter()),
        };
        let message = format!(
            "no member can take calls to {} ({why}), so they fail; see what each member lacks with fedgate explain",
            self.service
        );
        Finding::error(FindingReason::NoMemberReady, object, "spec.members", message)
    }
}

impl std::fmt::Display for MemberPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("this cluster"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

/// What is known when the names are compiled.
pub(super) struct Known<'a, 'k> {
    pub(super) inputs: &'a Inputs<'k>,
    pub(super) candidates: &'a [Candidate<'k>],
    /// One for each candidate, in the same order.
    pub(super) reports: &'a [PeerReport],
    pub(super) bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
    pub(super) imports: &'a Imports,
}

/// Returns the names that are in force.
pub(super) fn services(
    known: &Known<'_, '_>,
    findings: &mut Vec<Finding>,
) -> Vec<FederatedService> {
    if known.inputs.objects.federated_services.is_empty() {
        return Vec::new();
    }
    findings.extend(host::suffix_clashes(known));
    let members = member::Members::new(known);
    let mut services = Vec::new();
    for (host, object) in host::claims(known, findings) {
        match service(host, object, &members, findings) {
            Ok(service) => services.push(service),
            Err(fault) => findings.push(*fault),
        }
    }
    findings.extend(check::settle(&mut services));
    services
}

fn service(
    host: Hostname,
    object: &FederatedServiceObject,
    members: &member::Members<'_>,
    findings: &mut Vec<Finding>,
) -> Result<FederatedService, Box<Finding>> {
    let entries = member::entries(object)?;
    let mut ports = Vec::new();
    for ports::CheckedPort { service, name, protocol, check } in ports::checked(&host, object)? {
        ports.push(FederatedPort {
            protocol,
            check,
            members: members.of(object, &entries, &service, &name, findings),
            service,
            port_name: name,
        });
    }
    findings.extend(ports.iter().filter_map(|port| none_ready(object, port)));
    let FederatedServiceObject { namespace, name, source, .. } = object.clone();
    Ok(FederatedService { namespace, name, source, host, ports })
}

fn none_ready(object: &FederatedServiceObject, port: &FederatedPort) -> Option<Finding> {
    if port.in_use().next().is_some() {
        return None;
    }
    let why: Vec<_> = port
        .members
        .iter()
        .filter_map(|member| Some(format!("{}: {}", member.place, member.state.reason()?)))
        .collect();
    Some(port.no_member_ready(object.object(), &why))
}
