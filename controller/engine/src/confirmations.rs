//! When peers' documents were last confirmed.
//!
//! A peer that sends the same documents again changes nothing but these times, and nothing is
//! compiled for them. So they are kept here, apart from what was compiled.

use fedgate_core::PeerName;
use fedgate_federation::knowledge::PeerKnowledge;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The times of all peers; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Confirmations(Arc<Mutex<BTreeMap<PeerName, Confirmed>>>);

/// When a peer's documents were confirmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// The public document.
    pub public: Option<Timestamp>,
    /// The private document.
    pub private: Option<Timestamp>,
}

impl Confirmed {
    /// The later of the two.
    pub fn newest(&self) -> Option<Timestamp> {
        self.public.max(self.private)
    }

    /// The times in a peer's knowledge.
    fn of(knowledge: &PeerKnowledge) -> Self {
        Self {
            public: knowledge.public.as_ref().map(|known| known.confirmed),
            private: knowledge.private.as_ref().map(|known| known.confirmed),
        }
    }
}

impl Confirmations {
    /// Records when a peer's documents were confirmed.
    pub fn note(&self, peer: &PeerName, knowledge: &PeerKnowledge) {
        let (confirmed, mut all) = (Confirmed::of(knowledge), self.lock());
        match all.get_mut(peer) {
            Some(before) => *before = confirmed,
            None => drop(all.insert(peer.clone(), confirmed)),
        }
    }

    /// When a peer's documents were confirmed; `None` if nothing was recorded.
    pub fn get(&self, peer: &PeerName) -> Option<Confirmed> {
        self.lock().get(peer).copied()
    }

    /// The times of all peers, in order of name.
    pub fn all(&self) -> Vec<(PeerName, Confirmed)> {
        self.lock().iter().map(|(peer, confirmed)| (peer.clone(), *confirmed)).collect()
    }

    /// Drops a peer.
    pub fn forget(&self, peer: &PeerName) {
        self.lock().remove(peer);
    }

    /// Drops all peers: this replica no longer asks them.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerName, Confirmed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
