//! Where peers are told to connect. A private link may lead to this cluster for one peer, and a
//! public address for the others. Only the operator knows which: in the settings, or by the
//! annotation of a peer's object, which takes precedence.

use super::{Candidate, Inputs, LocalCluster};
use crate::document::{Advertised, GatewayAddress, GatewayHost, Limits, LocatedGateway};
use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use crate::object::ADVERTISE_ANNOTATION;
use fedgate_core::PeerName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the settings say about addresses, beyond [`LocalCluster::gateways`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reach {
    /// Those of [`LocalCluster::gateways`] whose locality is known.
    pub localities: Vec<LocatedGateway>,
    /// The addresses for single peers, in place of [`LocalCluster::gateways`].
    pub for_peers: BTreeMap<PeerName, Vec<Advertised>>,
}

impl Reach {
    /// Splits a list of advertised addresses into the addresses and what is known of them.
    pub fn split(advertised: &[Advertised]) -> (Vec<GatewayAddress>, Vec<LocatedGateway>) {
        let gateways = advertised.iter().map(|one| one.gateway.clone()).collect();
        (gateways, located(advertised))
    }
}

fn located(advertised: &[Advertised]) -> Vec<LocatedGateway> {
    let located = |one: &Advertised| {
        Some(LocatedGateway { gateway: one.gateway.clone(), locality: one.locality.clone()? })
    };
    // Each gateway is in one place: the first that is named.
    let by_gateway: BTreeMap<_, _> = advertised
        .iter()
        .rev()
        .filter_map(located)
        .map(|located| (located.gateway.clone(), located))
        .collect();
    by_gateway.into_values().collect()
}

/// The addresses that one peer is told, shared among the peers that are told the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// In order of address, each once, and no more than peers accept.
    pub(super) gateways: Arc<[GatewayAddress]>,
    /// In order of gateway.
    pub(super) localities: Arc<[LocatedGateway]>,
}

impl Told {
    fn new(mut gateways: Vec<GatewayAddress>, localities: Vec<LocatedGateway>) -> Self {
        gateways.sort_by_key(|gateway| (gateway.address.to_string(), gateway.port));
        gateways.dedup();
        // Peers refuse a document with more gateways, and any of them will do.
        gateways.truncate(Limits::DEFAULT.gateways);
        let mut localities = localities;
        localities.retain(|located| gateways.contains(&located.gateway));
        localities.sort();
        localities.dedup_by(|a, b| a.gateway == b.gateway);
        Self { gateways: gateways.into(), localities: localities.into() }
    }
}

/// Works out what each peer is told.
pub(super) struct Telling<'a> {
    local: &'a LocalCluster,
    all: Told,
}

impl<'a> Telling<'a> {
    pub(super) fn new(local: &'a LocalCluster, findings: &mut Vec<Finding>) -> Self {
        let cluster = ObjectRef::cluster(local.trust_domain.as_str());
        let is_good = |gateway: &&GatewayAddress| {
            let wrong = other_owner(local, gateway);
            let finding =
                |owner| wrong_listener(cluster.clone(), "gateway.advertise", gateway, owner);
            findings.extend(wrong.map(finding));
            wrong.is_none()
        };
        let gateways = local.gateways.iter().filter(is_good).cloned().collect();
        Self { local, all: Told::new(gateways, local.reach.localities.clone()) }
    }

    /// Returns what a peer is told that is not told anything else.
    pub(super) fn all(&self) -> &Told {
        &self.all
    }

    /// Returns what the peer is told. An address where this cluster has something else than its
    /// gateway is left out, with a finding.
    pub(super) fn of_peer(&self, candidate: &Candidate<'_>, findings: &mut Vec<Finding>) -> Told {
        let Some((advertised, field)) = own(self.local, candidate) else { return self.all.clone() };
        let is_good = |one: &&Advertised| {
            let wrong = other_owner(self.local, &one.gateway);
            let object = candidate.peer.object();
            findings.extend(wrong.map(|owner| wrong_listener(object, &field, &one.gateway, owner)));
            wrong.is_none()
        };
        let good: Vec<_> = advertised.iter().filter(is_good).cloned().collect();
        match good.is_empty() {
            true => self.all.clone(),
            false => {
                let (gateways, localities) = Reach::split(&good);
                Told::new(gateways, localities)
            }
        }
    }
}

/// What this cluster has at an address, if it is not its gateway.
fn other_owner<'a>(local: &'a LocalCluster, gateway: &GatewayAddress) -> Option<&'a str> {
    let GatewayHost::Ip(ip) = gateway.address else { return None };
    local.own_addresses.other_than_gateway(SocketAddr::new(ip, gateway.port.get()))
}

/// The addresses for one peer and where they are from, if it is not told what all are told.
fn own<'a>(
    local: &'a LocalCluster,
    candidate: &'a Candidate<'_>,
) -> Option<(&'a [Advertised], String)> {
    let peer = &candidate.peer;
    let annotated = peer.advertise.as_ref().map(|advertised| {
        (advertised.as_slice(), format!("metadata.annotations[{ADVERTISE_ANNOTATION}]"))
    });
    let set = || {
        let advertised = local.reach.for_peers.get(&peer.name)?;
        Some((advertised.as_slice(), format!("gateway.advertiseTo.{}", peer.name)))
    };
    annotated.or_else(set)
}

fn wrong_listener(
    object: ObjectRef,
    field: &str,
    advertised: &GatewayAddress,
    owner: &str,
) -> Finding {
    let message = format!(
        "{advertised} is {owner}: expected an address of this cluster's gateway; peers are not told this address, so correct or remove it"
    );
    Finding::error(FindingReason::AdvertiseRefused, object, field, message)
}

/// Returns the addresses that are this cluster's own gateway for the peer: those that all peers are
/// told, and its own. Addresses for other peers are not among them: each private network has its
/// own 10.0.0.1.
pub(super) fn ours<'a>(
    local: &'a LocalCluster,
    candidate: &'a Candidate<'_>,
) -> impl Iterator<Item = &'a GatewayAddress> {
    let own = own(local, candidate).map(|(advertised, _)| advertised).unwrap_or_default();
    local.gateways.iter().chain(own.iter().map(|one| &one.gateway))
}

/// Returns a finding for each peer in the settings that does not exist.
pub(super) fn unknown_peers<'a>(
    inputs: &'a Inputs<'_>,
    names: &'a BTreeSet<&str>,
) -> impl Iterator<Item = Finding> + 'a {
    let listed = inputs.local.reach.for_peers.keys();
    listed.filter(|peer| !names.contains(peer.as_str())).map(|peer| {
        let message = format!(
            "there is no IstioFederation {:?}, so nobody is told these addresses; correct the name, or apply the object",
            shown(peer.as_str())
        );
        let cluster = ObjectRef::cluster(inputs.local.trust_domain.as_str());
        let field = format!("gateway.advertiseTo.{peer}");
        Finding::warning(FindingReason::UnknownPeer, cluster, field, message)
    })
}
