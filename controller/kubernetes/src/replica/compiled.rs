//! What one compilation gave, as the writer takes it.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::sources::memory::pack;
use fedgate_core::PeerName;
use fedgate_engine::in_force::InForce;
use fedgate_federation::Finding;
use fedgate_federation::federate::{PeerReport, Standing};
use fedgate_federation::knowledge::PeerKnowledge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one compilation gave.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// What is in force.
    pub in_force: InForce,
    /// Whether a leader compiled it. What a follower knows is no reason to write or delete anything, also when it has just become the leader.
    pub as_leader: bool,
    /// What is missing in this cluster: roots, a gateway that peers can reach.
    pub missing: Vec<Finding>,
    /// Whether a table could be built since the start. Without one the gateway keeps what it has.
    pub has_table: bool,
    /// The generation of each `IstioFederation` that was looked at, by name.
    pub generations: BTreeMap<String, Option<i64>>,
    /// The `metadata.uid` of each object that an operator wrote.
    pub uids: BTreeMap<(Kind, Key), String>,
    /// What is known of each peer.
    pub knowledge: BTreeMap<PeerName, PeerKnowledge>,
    /// What is kept of each peer over a restart.
    pub saved: BTreeMap<PeerName, Saved>,
    /// The peers that have been asked since this replica leads.
    pub(crate) asked: BTreeSet<PeerName>,
}

/// What is kept of a peer over a restart.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    /// What was known when it was kept.
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
    /// Whether there is nothing new to be said of an `IstioFederation`: a leader that has just begun knows of a peer what was written
    /// down, which is older than what its status says.
    pub(crate) fn is_pending(&self, name: &str) -> bool {
        let accepted = |report: &&PeerReport| report.standing == Standing::Accepted;
        let report = self.in_force.federation.peers.iter().find(|report| report.peer.name.as_str() == name);
        report.filter(accepted).is_some_and(|report| !self.asked.contains(&report.peer.name))
    }

    /// Whether a peer has not even been asked since the start, and nothing was kept of it. Until then its roots are unknown, and the
    /// gateway keeps those that it has.
    pub(crate) fn awaits_first_answer(&self) -> bool {
        let unasked = |knowledge: Option<&PeerKnowledge>| {
            knowledge.is_none_or(|knowledge| knowledge.public.is_none() && knowledge.public_exchange.is_none())
        };
        let peers = self.in_force.federation.peers.iter().filter(|report| report.standing == Standing::Accepted);
        peers.map(|report| self.knowledge.get(&report.peer.name)).any(unasked)
    }

    /// The peers whose private document has not been heard of since the start, nor was kept from before: what they offered then
    /// stays for now.
    pub(crate) fn unheard(&self) -> BTreeSet<String> {
        let unheard = |name: &&PeerName| {
            self.knowledge.get(*name).is_none_or(|knowledge| knowledge.private.is_none() && knowledge.held.is_none())
        };
        let names = self.in_force.federation.peers.iter().map(|report| &report.peer.name);
        names.filter(unheard).map(ToString::to_string).collect()
    }
}
