//! Federated names, in the egress: a cluster for each member, and above them aggregate clusters
//! that take the first member that works.
//!
//! A member's cluster is its own: unlike that of a peer's imports, it has a fixed server name,
//! health checks, and takes a gateway out after one failure. An aggregate cluster knows an order
//! and no shares. So where members share a priority, there is one aggregate for each share, and
//! each connection draws one of them: see [`shares`].

use super::shares::{Share, shares};
use super::{EgressInputs, Quiet, localities};
use fedgate_core::ServiceName;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::federate::{
    FederatedMember, FederatedPort, HealthCheck, MemberPlace, ServerIdentity,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// The cluster without endpoints for names without a usable member: the access log has its name.
pub(super) const NO_MEMBER: &str = "no_member";

/// Everything that the cluster of a member is made from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MemberCluster {
    pub(super) name: String,
    pub(super) service: ServiceName,
    /// The member in access logs: a peer's name, or `local`.
    pub(super) member: String,
    /// Each group takes over if those before it are not reachable.
    pub(super) addresses: Vec<BTreeSet<SocketAddr>>,
    pub(super) quiet: Quiet,
    /// `None` for this cluster's own workloads.
    pub(super) peer: Option<PeerMember>,
}

impl MemberCluster {
    /// Returns true if Envoy finds out by itself whether the member works.
    fn has_health_checks(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.checks.is_some())
    }
}

/// What a peer's member has besides addresses.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerMember {
    pub(super) bundle: TrustBundle,
    pub(super) server: Arc<ServerIdentity>,
    /// What Envoy asks the peer's gateways, if they answer anything.
    pub(super) checks: Option<Checks>,
}

/// What Envoy asks a peer's gateways. It has room for one question.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Checks {
    /// The health name, and as whom the gateways answer for it: whether they work themselves.
    Gateways(ServiceName, Arc<ServerIdentity>),
    /// The Service behind them, as the object says.
    Service(HealthCheck),
}

/// Clusters in an order of preference.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Aggregate {
    pub(super) name: String,
    pub(super) clusters: Vec<String>,
}

/// A port for callers, and where its connections go.
pub(super) struct Outlet<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) listen: u16,
    /// Aggregates with their weights. Empty if no member can be used.
    pub(super) ways: Vec<(String, u32)>,
    /// How many addresses a connection tries.
    pub(super) attempts: u32,
}

/// All that the egress has for these names.
#[derive(Default)]
pub(super) struct Federated<'a> {
    pub(super) members: Vec<MemberCluster>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) outlets: Vec<Outlet<'a>>,
}

/// How many attempts to connect a connection makes at least and at most. The workers learn a moment
/// after a failed attempt that an address is out of rotation, so each address gets two. That moment
/// is long on a busy machine: twelve attempts take about two seconds.
const ATTEMPTS: (usize, usize) = (12, 24);

pub(super) fn federated<'a>(inputs: &EgressInputs<'a>) -> Federated<'a> {
    let mut federated = Federated::default();
    let mut members: BTreeMap<String, MemberCluster> = BTreeMap::new();
    for port in inputs.federated.iter().flat_map(|service| &service.ports) {
        let Some(listen) = inputs.ports.get(&port.service) else { continue };
        let used: Vec<_> = port
            .callable()
            .filter_map(|member| Some((member, member_cluster(inputs, member)?)))
            .filter(|(member, cluster)| member.state.is_used() || cluster.has_health_checks())
            .collect();
        let addresses: usize =
            used.iter().map(|(_, cluster)| cluster.addresses.iter().flatten().count()).sum();
        let ordered = used.iter().map(|(member, cluster)| (*member, cluster.name.clone()));
        let ways = ways(port, shares(ordered.collect()), &mut federated.aggregates);
        federated.outlets.push(Outlet {
            service: &port.service,
            listen: *listen,
            ways,
            attempts: (2 * addresses).clamp(ATTEMPTS.0, ATTEMPTS.1).try_into().unwrap_or(u32::MAX),
        });
        members.extend(used.into_iter().map(|(_, cluster)| (cluster.name.clone(), cluster)));
    }
    federated.members = members.into_values().collect();
    federated
}

fn ways(
    port: &FederatedPort,
    shares: Vec<Share>,
    aggregates: &mut Vec<Aggregate>,
) -> Vec<(String, u32)> {
    let only = shares.len() == 1;
    let way = |(number, share): (usize, Share)| {
        // No host name contains a `|`.
        let name = match only {
            true => format!("federated|{}", port.service),
            false => format!("federated|{}|{number}", port.service),
        };
        aggregates.push(Aggregate { name: name.clone(), clusters: share.clusters });
        (name, share.weight)
    };
    shares.into_iter().enumerate().map(way).collect()
}

/// The name of a member's cluster.
pub(super) fn cluster_of(member: &ServiceName) -> String {
    format!("member|{member}")
}

/// Returns a member's cluster; `None` if there is nothing to connect to.
fn member_cluster(inputs: &EgressInputs<'_>, member: &FederatedMember) -> Option<MemberCluster> {
    let service = member.service.as_ref()?;
    let name = cluster_of(service);
    let MemberPlace::Peer(peer) = &member.place else {
        let addresses = inputs.endpoints.get(service)?.clone();
        return (!addresses.is_empty()).then(|| MemberCluster {
            name,
            service: service.clone(),
            member: "local".to_owned(),
            addresses: vec![addresses],
            quiet: inputs.quiet,
            peer: None,
        });
    };
    let (_, import) = inputs.imports.find(service)?;
    let bundle = inputs.bundles.get(&import.trust_domain).filter(|b| !b.roots.is_empty())?;
    let by_health_name = || {
        let target = inputs.probe_targets.get(peer).filter(|target| target.health)?;
        Some(Checks::Gateways(target.service.clone()?, target.server.clone()))
    };
    let checks = member.check.clone().map(Checks::Service).or_else(by_health_name);
    Some(MemberCluster {
        name,
        service: service.clone(),
        member: peer.to_string(),
        addresses: localities::groups(import, inputs.locality),
        quiet: inputs.quiet,
        peer: Some(PeerMember {
            bundle: bundle.clone(),
            server: Arc::clone(&import.server),
            checks,
        }),
    })
}
