//! What the state folder keeps for a restart.

use super::Site;
use crate::admin::AdminAddress;
use crate::state::StateFolder;
use fedgate_core::PeerName;
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::{Federation, Finding};
use std::collections::BTreeMap;

pub(super) const PUBLISHED: &str = "published.json";
pub(super) const EGRESS_PORTS: &str = "egress-ports.json";
const PEERS: &str = "peers";

impl Site {
    /// Saves what is known of a peer, for a restart. After a failure the next round and the next
    /// compilation try again.
    pub(super) fn save(&mut self, peer: &PeerName) {
        let Some(knowledge) = self.compiler.knowledge.get(peer) else { return };
        if !knowledge.needs_saving(self.saved.get(peer), &self.compiler.times()) {
            return;
        }
        match self.state.save(&knowledge_file(peer), knowledge) {
            Ok(()) => {
                self.unsaved.remove(peer);
                self.saved.insert(peer.clone(), knowledge.clone());
            }
            Err(error) => drop(self.unsaved.insert(peer.clone(), error)),
        }
    }

    /// Tries again to save what is known of peers and could not be saved.
    pub(super) fn unsaved_knowledge(&mut self) -> Vec<Finding> {
        for peer in self.unsaved.keys().cloned().collect::<Vec<_>>() {
            self.save(&peer);
        }
        self.unsaved.values().map(|error| self.not_written("state/peers/", error)).collect()
    }

    /// Forgets what was known of peers whose objects are gone.
    pub(super) fn forget_removed_peers(&mut self) {
        for gone in self.compiler.forget_removed_peers() {
            self.state.remove(&knowledge_file(&gone));
            self.saved.remove(&gone);
            self.unsaved.remove(&gone);
        }
    }

    /// Saves the versions of the documents before the documents are published. A version that a
    /// peer has seen must never come back with other content.
    pub(super) fn keep_versions(
        &mut self,
        federation: &Federation,
        findings: &mut Vec<Finding>,
    ) -> bool {
        if federation.published == self.saved_versions {
            return true;
        }
        match self.state.save(PUBLISHED, &federation.published) {
            Ok(()) => self.saved_versions = federation.published.clone(),
            Err(error) => {
                findings.push(self.not_written("state/", &error));
                return false;
            }
        }
        true
    }

    pub(super) fn write_address(&mut self) -> Option<Finding> {
        let address = self.unsaved_address.take()?;
        let error = self.state.save_anyhow("admin.json", &AdminAddress { address }).err()?;
        self.unsaved_address = Some(address);
        Some(self.not_written("state/", &error))
    }
}

fn knowledge_file(peer: &PeerName) -> String {
    format!("{PEERS}/{peer}.json")
}

pub(super) fn load_knowledge(state: &StateFolder) -> BTreeMap<PeerName, PeerKnowledge> {
    let load = |name: String| {
        Some((PeerName::parse(&name).ok()?, state.load(&format!("{PEERS}/{name}.json"))?))
    };
    state.names(PEERS).into_iter().filter_map(load).collect()
}
