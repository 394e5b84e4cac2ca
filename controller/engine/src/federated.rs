//! Federated names, as operators see them: which member takes calls now, and why each earlier one
//! is passed over.
//!
//! Two things decide: what this cluster compiled ([`FederatedPort`]), and which members its Envoy
//! finds dead ([`MemberHealth`]). Status, `explain`, the page and the metrics all look through
//! [`FederatedServiceStatus`].

use crate::in_force::InForce;
use fedgate_core::ServiceName;
use fedgate_federation::Finding;
use fedgate_federation::federate::{
    FederatedMember, FederatedPort, FederatedService, MemberPlace, MemberState, PassedOver,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Which members the Envoy that calls them finds alive. Members that it was not asked about are not
/// listed.
pub type MemberHealth = BTreeMap<ServiceName, bool>;

/// A port of a `FederatedService`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederatedServiceStatus {
    /// The host and port that callers use.
    pub service: ServiceName,
    /// The namespace of its object.
    pub namespace: String,
    /// The name of its object.
    pub name: String,
    /// The protocol.
    pub protocol: String,
    /// Where programs of this site reach it: a port of the egress Envoy. `None` if no port is left,
    /// and in a mesh.
    pub address: Option<SocketAddr>,
    /// The address of its host, at which it has its own port. `None` if hosts have none, and in a
    /// mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<SocketAddr>,
    /// Whether it is a name in this cluster's mesh, so that it needs no port.
    #[serde(default)]
    pub in_mesh: bool,
    /// Whether a call would get through: a member that takes calls is ready.
    pub ready: bool,
    /// What stops every call here, before it reaches a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// The members, in order of priority.
    pub members: Vec<MemberStatus>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The name of the peer; `None` for this cluster.
    pub peer: Option<String>,
    /// The Service there.
    pub service: Option<ServiceName>,
    /// Its priority; 0 comes first.
    pub priority: u32,
    /// Its share in the calls of its priority.
    pub weight: u32,
    /// `ready`, `unproven`, or the word for why it is passed over.
    pub state: String,
    /// The explanation; may be empty.
    #[serde(default)]
    pub message: String,
    /// How callers find out whether it works, in words; `None` if its object does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
    /// Whether it takes calls now.
    pub taken: bool,
}

impl MemberStatus {
    fn new(member: &FederatedMember, health: &MemberHealth) -> Self {
        let found = member.service.as_ref().and_then(|name| health.get(name)).copied();
        let (state, message) = match (found, &member.state) {
            (Some(false), MemberState::Ready | MemberState::Unproven(_)) => unhealthy(member),
            // Envoy knows sooner than the next probe that a peer is back.
            (Some(true), MemberState::PassedOver { reason: PassedOver::PeerNotReady, .. }) => {
                (MemberState::Ready.word(), String::new())
            }
            // A health check asks what a call would.
            (Some(true), MemberState::Unproven(_)) if member.check.is_some() => {
                (MemberState::Ready.word(), String::new())
            }
            (_, state) => (state.word(), state.message().to_owned()),
        };
        Self {
            peer: match &member.place {
                MemberPlace::Local => None,
                MemberPlace::Peer(peer) => Some(peer.to_string()),
            },
            service: member.service.clone(),
            priority: member.priority,
            weight: member.weight,
            state: state.to_owned(),
            message,
            health_check: member.check.as_ref().map(ToString::to_string),
            taken: false,
        }
    }

    /// Returns true if it gets calls when its turn comes.
    pub fn is_used(&self) -> bool {
        self.is_ready() || self.state == "unproven"
    }

    /// Returns true if a call to it would get through.
    pub fn is_ready(&self) -> bool {
        self.state == "ready"
    }

    /// The cluster, in words.
    pub fn place(&self) -> &str {
        self.peer.as_deref().unwrap_or("this cluster")
    }
}

/// The state of a member that Envoy finds dead, and the explanation.
fn unhealthy(member: &FederatedMember) -> (&'static str, String) {
    match &member.check {
        Some(check) => {
            let message =
                format!("its health check ({}) fails through all its gateways", check.probe);
            (PassedOver::NotHealthy.word(), message)
        }
        None => {
            let message = "none of its addresses answers the Envoy here".to_owned();
            (PassedOver::NotAnswering.word(), message)
        }
    }
}

/// Returns the members of a port, with those marked that take calls: the ones with the first
/// priority that has any.
fn members(port: &FederatedPort, health: &MemberHealth) -> Vec<MemberStatus> {
    let mut members: Vec<_> =
        port.members.iter().map(|member| MemberStatus::new(member, health)).collect();
    let first = members.iter().find(|member| member.is_used()).map(|member| member.priority);
    for member in &mut members {
        member.taken = member.is_used() && Some(member.priority) == first;
    }
    members
}

/// Errors about names of which the Envoy here finds every member dead, although some could take
/// calls by all that was compiled.
pub fn dead(services: &[FederatedService], health: &MemberHealth) -> Vec<Finding> {
    let ports =
        services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let of_port = |(service, port): (&FederatedService, &FederatedPort)| {
        let members = members(port, health);
        if port.in_use().next().is_none() || members.iter().any(MemberStatus::is_used) {
            return None;
        }
        let why = |member| format!("{}: {}", place_among(&members, member), member.state);
        let why: Vec<_> = members.iter().map(why).collect();
        Some(port.no_member_ready(service.object(), &why))
    };
    ports.filter_map(of_port).collect()
}

fn place_among(members: &[MemberStatus], member: &MemberStatus) -> String {
    let of_cluster = members.iter().filter(|other| other.peer == member.peer).count();
    match member.service.as_ref().filter(|_| of_cluster > 1) {
        Some(service) => format!("{} ({service})", member.place()),
        None => member.place().to_owned(),
    }
}

impl FederatedServiceStatus {
    fn new(in_force: &InForce, service: &FederatedService, port: &FederatedPort) -> Self {
        let members = members(port, &in_force.member_health);
        let egress = in_force.egress.as_ref();
        let address = egress.and_then(|egress| egress.get(&port.service)).copied();
        let named = in_force.named.get(&port.service.host);
        let named = named.map(|address| SocketAddr::new(*address, port.service.port.get()));
        let stopped = in_force.running.is_some_and(|running| !running.egress);
        let obstacle = match () {
            () if stopped => Some("the egress Envoy does not run"),
            () if egress.is_some() && address.is_none() => Some("it has no local port"),
            () => None,
        };
        let is_ready = members.iter().any(|member| member.taken && member.is_ready());
        Self {
            service: port.service.clone(),
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            protocol: port.protocol.word().to_owned(),
            address,
            named,
            in_mesh: egress.is_none(),
            ready: is_ready && obstacle.is_none(),
            obstacle: obstacle.map(str::to_owned),
            members,
        }
    }

    /// The cluster of a member, in words, with the Service there if the cluster has several among
    /// the members.
    pub fn place_of(&self, member: &MemberStatus) -> String {
        place_among(&self.members, member)
    }

    /// The places of the members that take calls now.
    pub fn takers(&self) -> Vec<String> {
        self.taken().map(|member| self.place_of(member)).collect()
    }

    /// The members that take calls now.
    pub fn taken(&self) -> impl Iterator<Item = &MemberStatus> {
        self.members.iter().filter(|member| member.taken)
    }

    /// The members that are passed over although they come before those that take calls; all of
    /// them if none takes any.
    pub fn passed_over(&self) -> impl Iterator<Item = &MemberStatus> {
        let first = self.taken().next().map_or(u32::MAX, |member| member.priority);
        self.members.iter().filter(move |member| !member.taken && member.priority <= first)
    }
}

impl InForce {
    /// The members that an Envoy may have.
    pub fn members(&self) -> BTreeSet<ServiceName> {
        let services = self.federation.federated_services.iter();
        let ports = services.flat_map(|service| &service.ports);
        ports
            .flat_map(FederatedPort::callable)
            .filter_map(|member| member.service.clone())
            .collect()
    }

    /// The federated names, in order.
    pub fn federated(&self) -> impl Iterator<Item = FederatedServiceStatus> {
        self.federation.federated_services.iter().flat_map(|service| {
            service.ports.iter().map(|port| FederatedServiceStatus::new(self, service, port))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_core::PeerName;
    use fedgate_federation::federate::Protocol;

    fn member(peer: &str, state: MemberState) -> FederatedMember {
        FederatedMember {
            place: MemberPlace::Peer(PeerName::parse(peer).unwrap()),
            service: Some(format!("web.shop.svc.{peer}.example:80").parse().unwrap()),
            priority: 0,
            weight: 1,
            state,
            check: None,
        }
    }

    fn name(members: Vec<FederatedMember>) -> FederatedService {
        let port = FederatedPort {
            service: "web.shop.global:80".parse().unwrap(),
            port_name: "http".to_owned(),
            protocol: Protocol::Http,
            check: None,
            members,
        };
        FederatedService {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            source: None,
            host: port.service.host.clone(),
            ports: vec![port],
        }
    }

    #[test]
    fn a_name_is_dead_if_the_envoy_finds_every_usable_member_dead() {
        let lacking = MemberState::PassedOver {
            reason: PassedOver::NotOffered,
            message: "it does not offer it".to_owned(),
        };
        let beta = || member("beta", MemberState::Ready);
        let service = |of: &str| format!("web.shop.svc.{of}.example:80").parse().unwrap();
        let of = |members: Vec<_>, health: &[(&str, bool)]| {
            let health = health.iter().map(|(of, alive)| (service(of), *alive)).collect();
            dead(&[name(members)], &health)
        };
        let found = of(vec![beta(), member("gamma", lacking.clone())], &[("beta", false)]);
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        let expected = "FederatedService shop/web spec.members: no_member_ready: no member can \
                        take calls to web.shop.global:80 (beta: not_answering; gamma: not_offered)";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(of(vec![beta()], &[]), []);
        assert_eq!(of(vec![beta()], &[("beta", true)]), []);
        let both = vec![beta(), member("gamma", MemberState::Ready)];
        assert_eq!(of(both, &[("beta", false), ("gamma", true)]), []);
        // The compilation has reported it.
        assert_eq!(of(vec![member("gamma", lacking)], &[]), []);
    }
}
