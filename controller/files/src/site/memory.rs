//! What the state folder keeps for a restart.

use super::Site;
use crate::admin::AdminAddress;
use crate::state::{StateError, StateFolder};
use fedgate_core::PeerName;
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_federation::{Federation, Finding};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

pub(super) const PUBLISHED: &str = "published.json";
pub(super) const EGRESS_PORTS: &str = "egress-ports.json";
pub(super) const EGRESS_ADDRESSES: &str = "egress-addresses.json";
const PEERS: &str = "peers";

/// How long the main loop saves knowledge before it does something else. A slow disk then delays no
/// table.
const SAVING: Duration = Duration::from_millis(25);

/// The peers whose knowledge is not saved yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Those whose turn has not come.
    waiting: BTreeSet<PeerName>,
    /// The peer that was saved last. The next one by name comes next, so that none waits forever.
    last: Option<PeerName>,
    /// Those that could not be saved, with the reason.
    failed: BTreeMap<PeerName, StateError>,
}

impl Unsaved {
    fn next(&mut self) -> Option<PeerName> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.waiting.range::<PeerName, _>((after, Bound::Unbounded)).next();
        let next = later.or(self.waiting.first())?.clone();
        self.waiting.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }

    fn forget(&mut self, peer: &PeerName) {
        self.waiting.remove(peer);
        self.failed.remove(peer);
    }
}

impl Site {
    /// Queues a peer's knowledge for saving, if it differs enough from what was saved.
    pub(super) fn note_unsaved(&mut self, peer: &PeerName) {
        let Some(knowledge) = self.compiler.knowledge.get(peer) else { return };
        if knowledge.needs_saving(self.saved.get(peer), &self.compiler.times()) {
            self.unsaved.waiting.insert(peer.clone());
        }
    }

    /// Returns true if there is knowledge to save.
    pub(crate) fn has_unsaved(&self) -> bool {
        !self.unsaved.waiting.is_empty()
    }

    /// Saves knowledge for a short time. Returns true if that failed for a peer; the next round and
    /// the next compilation try again.
    pub(crate) fn save_some(&mut self) -> bool {
        let (began, before) = (Instant::now(), self.unsaved.failed.len());
        while let Some(peer) = self.unsaved.next() {
            self.save(&peer);
            if began.elapsed() >= SAVING {
                break;
            }
        }
        self.unsaved.failed.len() > before
    }

    /// Saves everything that is still queued, before the end.
    pub(crate) fn save_all(&mut self) {
        while let Some(peer) = self.unsaved.next() {
            self.save(&peer);
        }
    }

    fn save(&mut self, peer: &PeerName) {
        let Some(knowledge) = self.compiler.knowledge.get(peer) else { return };
        match self.state.save(&knowledge_file(peer), knowledge) {
            Ok(()) => {
                self.unsaved.failed.remove(peer);
                self.saved.insert(peer.clone(), knowledge.clone());
            }
            Err(error) => drop(self.unsaved.failed.insert(peer.clone(), error)),
        }
    }

    /// Tries again to save what is known of peers and could not be saved.
    pub(super) fn unsaved_knowledge(&mut self) -> Vec<Finding> {
        for peer in self.unsaved.failed.keys().cloned().collect::<Vec<_>>() {
            self.save(&peer);
        }
        self.unsaved.failed.values().map(|error| self.not_written("state/peers/", error)).collect()
    }

    /// Forgets what was known of peers whose objects are gone.
    pub(super) fn forget_removed_peers(&mut self) {
        for gone in self.compiler.forget_removed_peers() {
            self.state.remove(&knowledge_file(&gone));
            self.saved.remove(&gone);
            self.unsaved.forget(&gone);
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
