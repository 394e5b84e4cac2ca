//! What one compilation gave, as the writer takes it.

use crate::in_force::InForce;
use fedgate_core::PeerName;
use fedgate_federation::knowledge::PeerKnowledge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one compilation gave.
#[derive(Debug)]
pub(super) struct Compiled {
    /// What is in force.
    pub in_force: InForce,
    /// Whether a table could be built since the start. Without one the gateway keeps what it has.
    pub has_table: bool,
    /// The generation of each `IstioFederation` that was looked at, by name.
    pub generations: BTreeMap<String, Option<i64>>,
    /// What is known of each peer.
    pub knowledge: BTreeMap<PeerName, PeerKnowledge>,
    /// What is kept of each peer over a restart, packed.
    pub saved: BTreeMap<PeerName, Arc<[u8]>>,
}

impl Compiled {
    /// The peers whose private document has not been heard of since the start, nor was kept from before: what they offered then
    /// stays for now.
    pub(super) fn unheard(&self) -> BTreeSet<String> {
        let unheard = |name: &&PeerName| {
            self.knowledge.get(*name).is_none_or(|knowledge| knowledge.private.is_none() && knowledge.held.is_none())
        };
        let names = self.in_force.federation.peers.iter().map(|report| &report.peer.name);
        names.filter(unheard).map(ToString::to_string).collect()
    }
}
