//! The members of a name, and what each of them lacks.

use super::{FederatedMember, Known, MemberPlace, MemberState, PassedOver};
use crate::federate::{Candidate, ConditionStatus, ConditionType, PeerReport, Standing};
use crate::finding::{Finding, FindingReason, shown};
use crate::object::{
    FederatedServiceObject, MAX_MEMBER_ENTRIES, MAX_MEMBER_PEERS, MAX_PRIORITY, MAX_WEIGHT,
    MemberSpec, ServiceObject, ServicePortSpec, TransportProtocol, is_dns_label,
};
use fedgate_core::{Hostname, PeerName, ServiceName, ServicePort};
use std::collections::{BTreeMap, BTreeSet};

/// The most members behind one port: each takes a cluster of Envoy's and its health checks.
const MOST: usize = 64;

/// A valid entry of `spec.members`.
pub(super) struct Entry<'a> {
    row: usize,
    who: Who,
    /// The Service's name and namespace.
    service: (&'a str, &'a str),
    ports: &'a BTreeMap<String, u16>,
    priority: u32,
    weight: u32,
}

enum Who {
    Local,
    Peers(Vec<PeerName>),
    AllPeers,
}

impl Who {
    /// The field that says it.
    fn field(&self) -> &'static str {
        match self {
            Self::Local => ".local",
            Self::Peers(_) => ".peers",
            Self::AllPeers => ".allPeers",
        }
    }
}

/// Checks an object's members.
pub(super) fn entries(object: &FederatedServiceObject) -> Result<Vec<Entry<'_>>, Box<Finding>> {
    let specs = &object.spec.members;
    if specs.is_empty() {
        let message = "expected the Services behind the name, found none; add this cluster's (local: {}) or those of peers";
        return Err(object.error(FindingReason::NoMembers, "spec.members", message).into());
    }
    if specs.len() > MAX_MEMBER_ENTRIES {
        let message = format!(
            "expected at most {MAX_MEMBER_ENTRIES} entries, found {}; remove some",
            specs.len()
        );
        return Err(object.error(FindingReason::InvalidMember, "spec.members", message).into());
    }
    let mut next = 0;
    let mut entries = Vec::new();
    for (row, spec) in specs.iter().enumerate() {
        let entry = entry(object, row, spec, next)?;
        next = entry.priority.saturating_add(1);
        entries.push(entry);
    }
    entries.sort_by_key(|entry| entry.priority);
    Ok(entries)
}

fn entry<'a>(
    object: &'a FederatedServiceObject,
    row: usize,
    spec: &'a MemberSpec,
    next: u32,
) -> Result<Entry<'a>, Box<Finding>> {
    let invalid = |field: &str, message: String| {
        let field = format!("spec.members[{row}]{field}");
        Box::new(object.error(FindingReason::InvalidMember, field, message))
    };
    let who = who(spec).map_err(|(field, message)| invalid(field, message))?;
    let named = |name: Option<&'a String>, default: &'a String| name.unwrap_or(default).as_str();
    let reference = spec.service.as_ref();
    let service = (
        named(reference.and_then(|service| service.name.as_ref()), &object.name),
        named(reference.and_then(|service| service.namespace.as_ref()), &object.namespace),
    );
    for (field, name) in [(".service.name", service.0), (".service.namespace", service.1)] {
        if !is_dns_label(name) {
            let message = format!(
                "expected a name of lower-case letters, digits and '-', found {:?}; correct it",
                shown(name)
            );
            return Err(invalid(field, message));
        }
    }
    let is_ours = |name: &String| object.spec.ports.iter().any(|port| port.name == *name);
    for (name, port) in &spec.ports {
        if !is_ours(name) {
            let message = format!(
                "expected the name of one of the object's own ports, found {:?}; correct it",
                shown(name)
            );
            return Err(invalid(".ports", message));
        }
        if *port == 0 {
            let message =
                format!("expected a port from 1 to 65535 for {name}, found 0; correct it");
            return Err(invalid(".ports", message));
        }
    }
    let weight = spec.weight.unwrap_or(1);
    if !(1..=MAX_WEIGHT).contains(&weight) {
        let message =
            format!("expected a weight from 1 to {MAX_WEIGHT}, found {weight}; correct it");
        return Err(invalid(".weight", message));
    }
    if let Some(priority) = spec.priority.filter(|priority| *priority > MAX_PRIORITY) {
        let message =
            format!("expected a priority from 0 to {MAX_PRIORITY}, found {priority}; correct it");
        return Err(invalid(".priority", message));
    }
    let priority = spec.priority.unwrap_or(next);
    Ok(Entry { row, who, service, ports: &spec.ports, priority, weight })
}

fn who(spec: &MemberSpec) -> Result<Who, (&'static str, String)> {
    match (&spec.local, &spec.peers, &spec.all_peers) {
        (Some(_), None, None) => Ok(Who::Local),
        (None, None, Some(_)) => Ok(Who::AllPeers),
        (None, Some(names), None) => {
            if names.is_empty() || names.len() > MAX_MEMBER_PEERS {
                let message = format!(
                    "expected 1 to {MAX_MEMBER_PEERS} peers, found {}; name them, or use allPeers: {{}}",
                    names.len()
                );
                return Err((".peers", message));
            }
            let peer = |name: &String| {
                PeerName::parse(name).map_err(|error| {
                    let message = format!(
                        "expected the name of an IstioFederation, found {:?} ({error}); correct it",
                        shown(name)
                    );
                    (".peers", message)
                })
            };
            names.iter().map(peer).collect::<Result<_, _>>().map(Who::Peers)
        }
        _ => Err((
            "",
            "expected exactly one of local, peers and allPeers; add or remove one".to_owned(),
        )),
    }
}

/// All that members are made from.
pub(super) struct Members<'a> {
    known: &'a Known<'a, 'a>,
    /// By name, in the order of reports.
    peers: BTreeMap<&'a PeerName, (&'a Candidate<'a>, &'a PeerReport)>,
    /// The names of all peers' objects, valid or not.
    objects: BTreeSet<&'a str>,
    services: BTreeMap<(&'a str, &'a str), &'a ServiceObject>,
}

impl<'a> Members<'a> {
    pub(super) fn new(known: &'a Known<'a, 'a>) -> Self {
        let peers = known.candidates.iter().zip(known.reports);
        let objects = known.inputs.objects;
        let services = objects.services.iter();
        Self {
            known,
            peers: peers
                .map(|(candidate, report)| (&report.peer.name, (candidate, report)))
                .collect(),
            objects: objects.federations.iter().map(|named| named.name.as_str()).collect(),
            services: services
                .map(|service| ((service.namespace.as_str(), service.name.as_str()), service))
                .collect(),
        }
    }

    /// Returns the members of a port, in order of priority.
    pub(super) fn of(
        &self,
        object: &FederatedServiceObject,
        entries: &[Entry<'_>],
        service: &ServiceName,
        port_name: &str,
        findings: &mut Vec<Finding>,
    ) -> Vec<FederatedMember> {
        let named: BTreeSet<_> = entries
            .iter()
            .filter_map(|entry| match &entry.who {
                Who::Peers(peers) => Some(peers),
                Who::Local | Who::AllPeers => None,
            })
            .flatten()
            .collect();
        let mut members: Vec<FederatedMember> = Vec::new();
        let mut rows = BTreeMap::new();
        for entry in entries {
            let number = entry.ports.get(port_name).and_then(|number| ServicePort::new(*number));
            let port = number.unwrap_or(service.port);
            for member in self.of_entry(entry, port, &named) {
                // An unknown peer's Service has no name yet, so the entry's own words are the key.
                let key = (member.place.clone(), entry.service, port);
                if let Some(first) = rows.get(&key) {
                    findings.push(repeated(object, entry, *first, &member));
                    continue;
                }
                rows.insert(key, entry.row);
                findings.extend(finding(object, entry, &member));
                members.push(member);
            }
        }
        if members.len() > MOST {
            let message = format!(
                "expected at most {MOST} members, found {}; the last ones are not used: name fewer",
                members.len()
            );
            findings.push(Finding::warning(
                FindingReason::InvalidMember,
                object.object(),
                "spec.members",
                message,
            ));
            members.truncate(MOST);
        }
        members
    }

    fn of_entry(
        &self,
        entry: &Entry<'_>,
        port: ServicePort,
        named: &BTreeSet<&PeerName>,
    ) -> Vec<FederatedMember> {
        let member = |place, service, state| FederatedMember {
            place,
            service,
            priority: entry.priority,
            weight: entry.weight,
            state,
            check: None,
        };
        match &entry.who {
            Who::Local => {
                let (service, state) = self.local(entry, port);
                vec![member(MemberPlace::Local, service, state)]
            }
            Who::Peers(peers) => {
                let of_peer = |peer: &PeerName| {
                    let (service, state) = self.peer(entry, port, peer);
                    member(MemberPlace::Peer(peer.clone()), service, state)
                };
                peers.iter().map(of_peer).collect()
            }
            Who::AllPeers => {
                let offers = |peer: &&PeerName| {
                    let (service, state) = self.peer(entry, port, peer);
                    let is_member =
                        state.is_used() || state.reason() == Some(PassedOver::PeerNotReady);
                    is_member.then(|| member(MemberPlace::Peer((*peer).clone()), service, state))
                };
                let others = self.peers.keys().copied().filter(|peer| !named.contains(peer));
                others.filter_map(|peer| offers(&peer)).collect()
            }
        }
    }

    fn local(&self, entry: &Entry<'_>, port: ServicePort) -> (Option<ServiceName>, MemberState) {
        let (name, namespace) = entry.service;
        let domain = self.known.inputs.local.trust_domain.as_str();
        let Some(service) = service_name(entry, domain, port) else { return too_long() };
        (Some(service), self.local_state(name, namespace, port))
    }

    fn local_state(&self, name: &str, namespace: &str, port: ServicePort) -> MemberState {
        let Some(object) = self
            .services
            .get(&(namespace, name))
            .filter(|object| object.service_type.as_deref() != Some("ExternalName"))
        else {
            let message = format!("this cluster has no Service {namespace}/{name} with workloads");
            return MemberState::passed_over(PassedOver::NoLocalService, message);
        };
        let is_it = |row: &&ServicePortSpec| {
            row.port == port.get() && row.protocol == TransportProtocol::Tcp
        };
        let Some(row) = object.ports.iter().find(is_it) else {
            let message = format!("the Service {namespace}/{name} has no TCP port {port}");
            return MemberState::passed_over(PassedOver::NoLocalPort, message);
        };
        match row.ready {
            None => MemberState::Unproven("whether its workloads are ready is not known here"),
            Some(0) => {
                let message = format!("no workload of the Service {namespace}/{name} is ready");
                MemberState::passed_over(PassedOver::NoWorkloads, message)
            }
            Some(_) => MemberState::Ready,
        }
    }

    fn peer(
        &self,
        entry: &Entry<'_>,
        port: ServicePort,
        peer: &PeerName,
    ) -> (Option<ServiceName>, MemberState) {
        let Some((candidate, report)) = self.peers.get(peer) else {
            let (reason, message) = match self.objects.contains(peer.as_str()) {
                true => (PassedOver::PeerRefused, format!("IstioFederation {peer} is not valid")),
                false => (PassedOver::UnknownPeer, format!("there is no IstioFederation {peer}")),
            };
            return (None, MemberState::passed_over(reason, message));
        };
        let Some(service) = service_name(entry, report.peer.trust_domain.as_str(), port) else {
            return too_long();
        };
        let state = match &report.standing {
            Standing::Refused { message, .. } => {
                MemberState::passed_over(PassedOver::PeerRefused, message)
            }
            Standing::Accepted => self.accepted(candidate, report, &service),
        };
        (Some(service), state)
    }

    fn accepted(
        &self,
        candidate: &Candidate<'_>,
        report: &PeerReport,
        service: &ServiceName,
    ) -> MemberState {
        let dataplane = report
            .conditions
            .iter()
            .find(|condition| condition.kind == ConditionType::DataplaneConnectionReady);
        if self.known.imports.find(service).is_none() {
            let gateways = dataplane.map(|condition| condition.message.as_str());
            return self.not_imported(candidate, service, gateways.unwrap_or_default());
        }
        match dataplane.map(|condition| (condition.status, condition.message.as_str())) {
            Some((ConditionStatus::True, _)) => MemberState::Ready,
            Some((ConditionStatus::False, message)) => {
                MemberState::passed_over(PassedOver::PeerNotReady, message)
            }
            Some((ConditionStatus::Unknown, _)) | None => {
                MemberState::Unproven("the peer's gateways have not been probed yet")
            }
        }
    }

    /// Returns what a peer lacks whose Service is not among the imports.
    fn not_imported(
        &self,
        candidate: &Candidate<'_>,
        service: &ServiceName,
        gateways: &str,
    ) -> MemberState {
        let inputs = self.known.inputs;
        let Some(document) = candidate.private(inputs) else {
            let was_fetched = candidate.knowledge.is_some_and(|known| known.private.is_some());
            let (reason, message) = match was_fetched {
                true => (PassedOver::Expired, "the peer's document is too old to be used"),
                false => (PassedOver::NotFetched, "the peer's document has not been fetched yet"),
            };
            return MemberState::passed_over(reason, message);
        };
        let offers = document.services.iter().any(|offered| {
            offered.hostname == service.host
                && offered.ports.iter().any(|row| row.port == service.port)
        });
        if !offers {
            let message = format!("the peer does not offer {service} to this cluster");
            return MemberState::passed_over(PassedOver::NotOffered, message);
        }
        match self.known.bundles.contains_key(&candidate.peer.trust_domain) {
            true => MemberState::passed_over(PassedOver::NoGateways, gateways),
            false => {
                let message = "none of the peer's roots can be used";
                MemberState::passed_over(PassedOver::NoRoots, message)
            }
        }
    }
}

fn service_name(entry: &Entry<'_>, domain: &str, port: ServicePort) -> Option<ServiceName> {
    let (name, namespace) = entry.service;
    let host = Hostname::parse(&format!("{name}.{namespace}.svc.{domain}")).ok()?;
    ServiceName::new(host, port).ok()
}

fn too_long() -> (Option<ServiceName>, MemberState) {
    let message = "the Service's name is longer than a client can send";
    (None, MemberState::passed_over(PassedOver::NameTooLong, message))
}

/// Returns what the operator should know of a Service that is a member already: the entry with the
/// lower priority counts, and this one is without effect.
fn repeated(
    object: &FederatedServiceObject,
    entry: &Entry<'_>,
    first: usize,
    member: &FederatedMember,
) -> Finding {
    let service = member.service.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let message = format!(
        "expected each Service once, found{service} of {} again, which is a member by spec.members[{first}]; remove it here, or name another service",
        member.place
    );
    let field = format!("spec.members[{}]{}", entry.row, entry.who.field());
    Finding::warning(FindingReason::InvalidMember, object.object(), field, message)
}

/// Returns what the operator should know of a member beyond its state.
fn finding(
    object: &FederatedServiceObject,
    entry: &Entry<'_>,
    member: &FederatedMember,
) -> Option<Finding> {
    let field = format!("spec.members[{}].peers", entry.row);
    let warning =
        |reason, message: String| Some(Finding::warning(reason, object.object(), field, message));
    let MemberPlace::Peer(peer) = &member.place else { return None };
    match member.state.reason()? {
        PassedOver::UnknownPeer => warning(
            FindingReason::UnknownPeer,
            format!(
                "there is no IstioFederation {peer}, so it is passed over; correct the name or create it"
            ),
        ),
        PassedOver::NotOffered => {
            let service = member.service.as_ref().map(ToString::to_string).unwrap_or_default();
            warning(
                FindingReason::MemberNotOffered,
                format!(
                    "{peer} does not offer {service} to this cluster, so it is passed over; ask its operator to export the Service and to grant it, or correct the name"
                ),
            )
        }
        _ => None,
    }
}
