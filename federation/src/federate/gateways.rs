//! The addresses of a peer's gateways to which a connection may be opened.
//!
//! A peer's announcement is untrusted. The controller looks up the names
//! ([`crate::knowledge::NameLookup`]). An address that is not a host's, or that is one of our own
//! listeners, is refused.

use super::{Candidate, Inputs, reach};
use crate::document::{GatewayAddress, GatewayHost, Locality, PrivateDocument, is_host};
use crate::finding::{Finding, FindingReason};
use crate::knowledge::NameLookup;
use fedgate_core::Hostname;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The most addresses that are used for one peer's gateways.
const ADDRESSES: usize = 64;

/// A gateway of a peer that may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The address as the peer announces it.
    pub announced: GatewayAddress,
    /// The addresses to connect to. Never empty; no other gateway of the peer has the same address.
    pub addresses: Vec<SocketAddr>,
    /// Where it is, if the peer says so.
    pub locality: Option<Locality>,
}

impl std::fmt::Display for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.announced.fmt(f)
    }
}

/// The result of judging a peer's announced gateways.
#[derive(Debug, Default)]
pub(super) struct Located {
    /// The gateways that may be connected to, in the peer's order.
    pub(super) gateways: Arc<[Gateway]>,
    /// The names that must be looked up.
    pub(super) names: BTreeSet<Hostname>,
    /// Whether a name has not been looked up yet.
    pub(super) pending: bool,
}

/// Judges the gateways that `candidate` announces in its document.
pub(super) fn locate(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    document: &PrivateDocument,
    findings: &mut Vec<Finding>,
) -> Located {
    let mut judge =
        Judge { inputs, candidate, findings, taken: BTreeSet::new(), located: Located::default() };
    let locality = |gateway| document.extension.as_ref()?.locality(gateway).cloned();
    let gateways = document.gateways.iter().filter_map(|gateway| {
        Some(Gateway { locality: locality(gateway), ..judge.gateway(gateway)? })
    });
    Located { gateways: gateways.collect(), ..judge.located }
}

struct Judge<'a> {
    inputs: &'a Inputs<'a>,
    candidate: &'a Candidate<'a>,
    findings: &'a mut Vec<Finding>,
    taken: BTreeSet<SocketAddr>,
    located: Located,
}

impl Judge<'_> {
    /// This cluster's gateways, as this peer may know them.
    fn ours(&self) -> impl Iterator<Item = &GatewayAddress> {
        reach::ours(self.inputs.local, self.candidate)
    }

    fn gateway(&mut self, announced: &GatewayAddress) -> Option<Gateway> {
        if self.ours().any(|ours| ours == announced) {
            self.refuse_own(announced, None, "this cluster's own gateway");
            return None;
        }
        let ips = match &announced.address {
            GatewayHost::Ip(ip) => vec![*ip],
            GatewayHost::Name(name) => self.name(announced, name),
        };
        let addresses: Vec<_> =
            ips.into_iter().filter_map(|ip| self.address(announced, ip)).collect();
        (!addresses.is_empty()).then(|| Gateway {
            announced: announced.clone(),
            addresses,
            locality: None,
        })
    }

    /// Returns the addresses of a name, before they are judged.
    fn name(&mut self, announced: &GatewayAddress, name: &Hostname) -> Vec<IpAddr> {
        self.located.names.insert(name.clone());
        let Some(known) = self.candidate.knowledge.and_then(|knowledge| knowledge.names.get(name))
        else {
            self.located.pending = true;
            return Vec::new();
        };
        let usable = known.usable(&self.candidate.times(self.inputs), self.inputs.now);
        if let Some(finding) = self.lookup_failed(announced, known, usable.is_empty()) {
            self.findings.push(finding);
        }
        usable.to_vec()
    }

    fn lookup_failed(
        &self,
        announced: &GatewayAddress,
        known: &NameLookup,
        dead: bool,
    ) -> Option<Finding> {
        let why = known.failure.as_ref()?;
        let object = self.candidate.peer.object();
        Some(match (dead, known.found) {
            (false, Some(found)) => {
                let message = format!(
                    "gateway {announced} cannot be looked up: {why}; its addresses of {found} stay in use until the staleness limit"
                );
                Finding::warning(FindingReason::GatewayNotFound, object, FIELD, message)
            }
            _ => {
                let message = format!(
                    "gateway {announced} cannot be looked up: {why}; check the name with the peer's operator, and this cluster's DNS"
                );
                Finding::error(FindingReason::GatewayNotFound, object, FIELD, message)
            }
        })
    }

    /// Returns one address of a gateway, unless it must not be connected to or another gateway of
    /// the peer has it.
    fn address(&mut self, announced: &GatewayAddress, ip: IpAddr) -> Option<SocketAddr> {
        let address = SocketAddr::new(ip.to_canonical(), announced.port.get());
        if !is_host(ip) {
            let message = format!(
                "gateway {announced} leads to {ip}: expected the address of a host, found an unspecified, multicast, broadcast or \
                 link-local one"
            );
            self.findings.push(self.error(FindingReason::InvalidGateway, message));
            return None;
        }
        let local = &self.inputs.local;
        let is_advertised = |gateway: &GatewayAddress| {
            gateway.port == announced.port && gateway.address == GatewayHost::Ip(address.ip())
        };
        let advertised = self.ours().any(is_advertised).then_some("this cluster's own gateway");
        if let Some(owner) = advertised.or_else(|| local.own_addresses.owner(address)) {
            let owner = owner.to_owned();
            self.refuse_own(announced, Some(address), &owner);
            return None;
        }
        (self.taken.len() < ADDRESSES && self.taken.insert(address)).then_some(address)
    }

    fn refuse_own(&mut self, announced: &GatewayAddress, address: Option<SocketAddr>, owner: &str) {
        let by_name = address.filter(|_| !announced.address.is_ip());
        let leads =
            by_name.map(|address| format!(" leads to {address}, which")).unwrap_or_default();
        let message = format!(
            "gateway {announced}{leads} is {owner}: expected an address of the peer; ask its operator to correct what it advertises"
        );
        self.findings.push(self.error(FindingReason::OwnGateway, message));
    }

    fn error(&self, reason: FindingReason, message: String) -> Finding {
        Finding::error(reason, self.candidate.peer.object(), FIELD, message)
    }
}

const FIELD: &str = "ingressGateways";
