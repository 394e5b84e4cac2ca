use super::layout::MAX_TABLE_BYTES;
use super::{MAX_CALLER_PATTERNS, Mode};
use crate::callers::Callers;
use crate::name::{PeerName, ServiceName, TrustDomain};
use std::collections::BTreeMap;

/// A peer as the gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its `IstioFederation`'s name.
    pub name: PeerName,
    /// Its trust domain; no two peers have the same.
    pub trust_domain: TrustDomain,
    /// Whether refusals take effect.
    pub mode: Mode,
}

/// A peer's place in a [`TableBuilder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub(super) usize);

/// Who of one peer may reach an export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Whose grant it is.
    pub peer: PeerIndex,
    /// Which of its callers.
    pub callers: Callers,
}

/// Why a table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Two peers have one trust domain: an identity would belong to both.
    #[error("peers {0} and {1} have the same trust domain {2}")]
    SameTrustDomain(PeerName, PeerName, TrustDomain),
    /// The same service is exported twice.
    #[error("service {0} is exported twice")]
    SameService(ServiceName),
    /// A grant names a peer of another builder, or one peer twice.
    #[error("the grants of service {0} name a peer that is not in this table, or one peer twice")]
    WrongGrant(ServiceName),
    /// There are more of something than the format can number.
    #[error("there are {count} {what}, at most {most} fit in a table")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// The table is too large to be read.
    #[error("the table has {0} bytes, at most {MAX_TABLE_BYTES} are read")]
    TooLarge(usize),
}

/// Collects peers and exports, and writes them as a table.
///
/// The same input in any order gives the same bytes. So whether there is anything new to publish is seen by building with
/// the generation that was published last.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    pub(super) trust_domain: TrustDomain,
    pub(super) peers: Vec<Peer>,
    places: BTreeMap<TrustDomain, usize>,
    /// Each service, with the number of its grants; `None` where TLS is passed through.
    pub(super) exports: BTreeMap<ServiceName, Option<usize>>,
    /// Grants in order of peer, stored once: services by peers is a product.
    pub(super) grants: BTreeMap<Vec<Grant>, usize>,
}

impl TableBuilder {
    /// An empty table of the cluster with this trust domain: it refuses everything.
    pub fn new(trust_domain: TrustDomain) -> Self {
        let (peers, places) = (Vec::new(), BTreeMap::new());
        Self { trust_domain, peers, places, exports: BTreeMap::new(), grants: BTreeMap::new() }
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// [`BuildError::SameTrustDomain`] when there is one with its trust domain already.
    pub fn peer(&mut self, peer: Peer) -> Result<PeerIndex, BuildError> {
        if let Some(other) = self.places.get(&peer.trust_domain).and_then(|&place| self.peers.get(place)) {
            return Err(BuildError::SameTrustDomain(other.name.clone(), peer.name, peer.trust_domain));
        }
        let place = self.peers.len();
        self.places.insert(peer.trust_domain.clone(), place);
        self.peers.push(peer);
        Ok(PeerIndex(place))
    }

    /// Adds an exported service with its grants; without any it is known, and refused to all.
    ///
    /// # Errors
    /// [`BuildError::SameService`], [`BuildError::WrongGrant`], or [`BuildError::TooMany`] when one grant has more than
    /// [`MAX_CALLER_PATTERNS`] patterns.
    pub fn export(&mut self, service: ServiceName, mut grants: Vec<Grant>) -> Result<(), BuildError> {
        grants.sort_unstable_by_key(|grant| grant.peer);
        let twice = grants.windows(2).any(|two| matches!(two, [a, b] if a.peer == b.peer));
        if twice || grants.last().is_some_and(|last| last.peer.0 >= self.peers.len()) {
            return Err(BuildError::WrongGrant(service));
        }
        grants.iter().try_for_each(|grant| check_callers(&grant.callers))?;
        self.check_new(&service)?;
        let next = self.grants.len();
        let number = *self.grants.entry(grants).or_insert(next);
        self.exports.insert(service, Some(number));
        Ok(())
    }

    /// Adds an exported service whose TLS the gateway passes through to the workload. It has no grants: the gateway sees no caller, so
    /// that whoever reaches the gateway reaches the workload, which judges.
    ///
    /// # Errors
    /// [`BuildError::SameService`].
    pub fn passthrough(&mut self, service: ServiceName) -> Result<(), BuildError> {
        self.check_new(&service)?;
        self.exports.insert(service, None);
        Ok(())
    }

    fn check_new(&self, service: &ServiceName) -> Result<(), BuildError> {
        match self.exports.contains_key(service) {
            true => Err(BuildError::SameService(service.clone())),
            false => Ok(()),
        }
    }
}

fn check_callers(callers: &Callers) -> Result<(), BuildError> {
    match callers {
        Callers::Only(patterns) => at_most("caller patterns in one grant", patterns.len(), MAX_CALLER_PATTERNS),
        Callers::Any => Ok(()),
    }
}

pub(super) fn at_most(what: &'static str, count: usize, most: usize) -> Result<(), BuildError> {
    match count <= most {
        true => Ok(()),
        false => Err(BuildError::TooMany { what, count, most }),
    }
}
