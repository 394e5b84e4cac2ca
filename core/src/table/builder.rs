use super::layout::MAX_TABLE_BYTES;
use super::{MAX_CALLER_PATTERNS, Mode};
use crate::callers::Callers;
use crate::name::{PeerName, ServiceName, TrustDomain};
use std::collections::BTreeMap;

/// A peer to add to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name of its `IstioFederation`.
    pub name: PeerName,
    /// Its trust domain, unique among the peers.
    pub trust_domain: TrustDomain,
    /// Whether refusals take effect.
    pub mode: Mode,
}

/// A peer's index in a [`TableBuilder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub(super) usize);

/// The grants of an export in a [`TableBuilder`], for others that have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantSet(usize);

/// The callers of one peer that may reach an export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The peer that holds the grant.
    pub peer: PeerIndex,
    /// The peer's callers that the grant admits.
    pub callers: Callers,
}

/// Why a table could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Two peers have the same trust domain, so an identity would belong to both.
    #[error("peers {0} and {1} have the same trust domain {2}")]
    SameTrustDomain(PeerName, PeerName, TrustDomain),
    /// The same service is exported twice.
    #[error("service {0} is exported twice")]
    SameService(ServiceName),
    /// A grant names a peer of another builder, or the same peer twice.
    #[error("the grants of service {0} name a peer that is not in this table, or one peer twice")]
    WrongGrant(ServiceName),
    /// Some item occurs more often than the format allows.
    #[error("there are {count} {what}, at most {most} fit in a table")]
    TooMany {
        /// The kind of item.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The maximum.
        most: usize,
    },
    /// The table exceeds [`MAX_TABLE_BYTES`].
    #[error("the table has {0} bytes, at most {MAX_TABLE_BYTES} are read")]
    TooLarge(usize),
}

/// Collects peers and exports, and writes them as a table.
///
/// The same input gives the same bytes, whatever its order. To find out whether there is anything
/// new to publish, build with the last published generation and compare.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    pub(super) trust_domain: TrustDomain,
    pub(super) peers: Vec<Peer>,
    index_of: BTreeMap<TrustDomain, usize>,
    /// Each service with the number of its grants; `None` for passthrough.
    pub(super) exports: BTreeMap<ServiceName, Option<usize>>,
    /// Sets of grants, each sorted by peer. Many services have the same grants, so each set is
    /// stored once.
    pub(super) grants: BTreeMap<Vec<Grant>, usize>,
}

impl TableBuilder {
    /// Starts an empty table, which refuses everything, for the cluster with this trust domain.
    pub fn new(trust_domain: TrustDomain) -> Self {
        let (peers, index_of) = (Vec::new(), BTreeMap::new());
        Self { trust_domain, peers, index_of, exports: BTreeMap::new(), grants: BTreeMap::new() }
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// [`BuildError::SameTrustDomain`] if another peer has the same trust domain.
    pub fn peer(&mut self, peer: Peer) -> Result<PeerIndex, BuildError> {
        if let Some(other) =
            self.index_of.get(&peer.trust_domain).and_then(|&index| self.peers.get(index))
        {
            return Err(BuildError::SameTrustDomain(
                other.name.clone(),
                peer.name,
                peer.trust_domain,
            ));
        }
        let index = self.peers.len();
        self.index_of.insert(peer.trust_domain.clone(), index);
        self.peers.push(peer);
        Ok(PeerIndex(index))
    }

    /// Adds an exported service with its grants, and returns them for [`Self::export_alike`]. A
    /// service without grants is known but refuses every caller.
    ///
    /// # Errors
    /// [`BuildError::SameService`], [`BuildError::WrongGrant`], or [`BuildError::TooMany`] if a
    /// grant has more than [`MAX_CALLER_PATTERNS`] patterns.
    pub fn export(
        &mut self,
        service: ServiceName,
        mut grants: Vec<Grant>,
    ) -> Result<GrantSet, BuildError> {
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
        Ok(GrantSet(number))
    }

    /// Adds an exported service with the same grants as another one.
    ///
    /// # Errors
    /// [`BuildError::SameService`], or [`BuildError::WrongGrant`] for the grants of another builder.
    pub fn export_alike(
        &mut self,
        service: ServiceName,
        GrantSet(number): GrantSet,
    ) -> Result<(), BuildError> {
        if number >= self.grants.len() {
            return Err(BuildError::WrongGrant(service));
        }
        self.check_new(&service)?;
        self.exports.insert(service, Some(number));
        Ok(())
    }

    /// Adds an exported service whose TLS the gateway passes through to the workload. It has no
    /// grants, because the gateway does not see the caller. Whoever reaches the gateway reaches the
    /// workload, which judges the caller itself.
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
        Callers::Only(patterns) => {
            at_most("caller patterns in one grant", patterns.len(), MAX_CALLER_PATTERNS)
        }
        Callers::Any => Ok(()),
    }
}

pub(super) fn at_most(what: &'static str, count: usize, most: usize) -> Result<(), BuildError> {
    match count <= most {
        true => Ok(()),
        false => Err(BuildError::TooMany { what, count, most }),
    }
}
