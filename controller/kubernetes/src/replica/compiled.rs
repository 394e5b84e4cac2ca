//! The result of a compilation, for the writer.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::sources::memory::pack;
use crate::sources::slices::Pods;
use fedgate_core::PeerName;
use fedgate_engine::in_force::InForce;
use fedgate_federation::Finding;
use fedgate_federation::federate::{PeerReport, Standing};
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_trace::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The result of a compilation.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// What is in force.
    pub in_force: InForce,
    /// Whether a leader compiled it. A follower's knowledge is no reason to write or delete
    /// anything, even if it has just become the leader.
    pub as_leader: bool,
    /// What this cluster lacks: roots, a gateway that peers can reach.
    pub missing: Vec<Finding>,
    /// Whether a table could be built since the start. Without one the gateway keeps what it has.
    pub has_table: bool,
    /// The generation of each `IstioFederation` that was compiled, by name.
    pub generations: BTreeMap<String, Option<i64>>,
    /// The Pods of exported headless Services.
    pub pods: Pods,
    /// The generation of each `FederatedService` that was compiled.
    pub federated_generations: BTreeMap<Key, Option<i64>>,
    /// The `ServiceExport`s that were compiled.
    pub service_exports: BTreeMap<Key, CompiledExport>,
    /// The `metadata.uid` of each object that an operator wrote.
    pub uids: BTreeMap<(Kind, Key), String>,
    /// What is known of each peer.
    pub knowledge: BTreeMap<PeerName, PeerKnowledge>,
    /// What is stored of each peer for a restart.
    pub saved: BTreeMap<PeerName, Saved>,
    /// The peers that have been asked since this replica leads.
    pub(crate) asked: BTreeSet<PeerName>,
    /// Its trace.
    pub(crate) change: Change,
}

/// What a compilation knew of a `ServiceExport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompiledExport {
    /// Its generation.
    pub generation: Option<i64>,
    /// Whether its Service exists.
    pub has_service: bool,
}

/// What is stored of a peer for a restart.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    /// The knowledge when it was stored.
    pub(crate) knowledge: Arc<PeerKnowledge>,
    /// The same, packed.
    pub packed: Arc<[u8]>,
}

impl Saved {
    pub(crate) fn new(knowledge: &PeerKnowledge) -> Self {
        Self { knowledge: Arc::new(knowledge.clone()), packed: pack(knowledge).into() }
    }
}

impl Compiled {
    /// Returns true if there is nothing new about an `IstioFederation`. A new leader knows only
    /// what was stored of a peer, which is older than what the peer's status shows.
    pub(crate) fn is_pending(&self, name: &str) -> bool {
        let accepted = |report: &&PeerReport| report.standing == Standing::Accepted;
        let report =
            self.in_force.federation.peers.iter().find(|report| report.peer.name.as_str() == name);
        report.filter(accepted).is_some_and(|report| !self.asked.contains(&report.peer.name))
    }

    /// The peers about which there is nothing new, as [`Self::is_pending`].
    pub(crate) fn pending(&self) -> BTreeSet<&PeerName> {
        let peers = self.in_force.federation.peers.iter();
        let accepted = peers.filter(|report| report.standing == Standing::Accepted);
        accepted
            .map(|report| &report.peer.name)
            .filter(|name| !self.asked.contains(*name))
            .collect()
    }

    /// Returns true if there is a peer that was never asked and of which nothing is stored. Until
    /// it answers, its roots are unknown, and the gateway keeps those that it has.
    pub(crate) fn awaits_first_answer(&self) -> bool {
        let unasked = |knowledge: Option<&PeerKnowledge>| {
            knowledge.is_none_or(|knowledge| {
                knowledge.public.is_none() && knowledge.public_exchange.is_none()
            })
        };
        let peers = self
            .in_force
            .federation
            .peers
            .iter()
            .filter(|report| report.standing == Standing::Accepted);
        peers.map(|report| self.knowledge.get(&report.peer.name)).any(unasked)
    }

    /// The peers whose private document is unknown: they have not sent one since the start, and
    /// none is stored. Their former offers stay for now.
    pub(crate) fn unheard(&self) -> BTreeSet<String> {
        let unheard = |name: &&PeerName| {
            self.knowledge
                .get(*name)
                .is_none_or(|knowledge| knowledge.private.is_none() && knowledge.held.is_none())
        };
        let names = self.in_force.federation.peers.iter().map(|report| &report.peer.name);
        names.filter(unheard).map(ToString::to_string).collect()
    }
}
