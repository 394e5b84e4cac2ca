//! What both platforms have in common: everything that is known, and what follows from it.
//!
//! A platform hands in what its sources say and what the importer learned; [`Brain::compile`] runs `federate` over all of it.
//! What a platform keeps over a restart (knowledge, versions, the last table) it hands in at the start.

use fedgate_core::{PeerName, Table};
use fedgate_exchange::importer::PeerUpdate;
use fedgate_federation::federate::Published;
use fedgate_federation::knowledge::{PeerKnowledge, Times};
use fedgate_federation::object::{IstioFederationSpec, Objects, Peer};
use fedgate_federation::{Federation, Finding, Inputs, LocalCluster, Severity, federate};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is known. One task owns it, so nothing in it is locked.
pub struct Brain {
    /// This cluster.
    pub cluster: LocalCluster,
    /// What its operators wrote.
    pub objects: Objects,
    /// What is known of the peers.
    pub knowledge: BTreeMap<PeerName, PeerKnowledge>,
    /// The versions of what was published last.
    pub previous: Published,
    /// The table for the gateway: the last one that could be built.
    pub table: Table,
    times: Times,
    peers: Vec<Peer>,
}

impl Brain {
    /// Begins from what was kept.
    pub fn new(
        cluster: LocalCluster,
        times: Times,
        knowledge: BTreeMap<PeerName, PeerKnowledge>,
        previous: Published,
        table: Table,
    ) -> Self {
        Self { cluster, objects: Objects::default(), knowledge, previous, table, times, peers: Vec::new() }
    }

    /// When knowledge is stale.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Takes what a round with a peer gave; whether something follows from it. News of a peer that is gone is passed over.
    pub fn learned(&mut self, update: PeerUpdate) -> bool {
        let PeerUpdate { peer, mut knowledge, changed, .. } = update;
        if !self.peers.iter().any(|known| known.name == peer) {
            return false;
        }
        knowledge.object = self.last_valid(&peer);
        self.knowledge.insert(peer, knowledge);
        changed
    }

    /// Works out what is in force. A table that cannot be built leaves the last one.
    pub fn compile(&mut self, now: Timestamp) -> Federation {
        let federation = federate(&Inputs {
            local: &self.cluster,
            objects: &self.objects,
            knowledge: &self.knowledge,
            previous: &self.previous,
            times: self.times,
            now,
        });
        if let Ok(table) = &federation.table {
            self.take_table(table);
        }
        self.peers = federation.peers.iter().map(|report| report.peer.clone()).collect();
        federation
    }

    /// The spec of a peer's object: as it is, if it is valid, and otherwise as it was when it was last valid.
    fn last_valid(&self, peer: &PeerName) -> Option<IstioFederationSpec> {
        let object = self.objects.federations.iter().find(|named| named.name == peer.as_str());
        let valid = object.filter(|named| Peer::parse(named).is_ok()).map(|named| named.spec.clone());
        valid.or_else(|| self.knowledge.get(peer).and_then(|known| known.object.clone()))
    }

    /// Drops what is known of peers whose objects are gone, and names them.
    pub fn forget_the_others(&mut self) -> Vec<PeerName> {
        let names: BTreeSet<&PeerName> = self.peers.iter().map(|peer| &peer.name).collect();
        let gone: Vec<_> = self.knowledge.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in &gone {
            self.knowledge.remove(name);
        }
        gone
    }

    fn take_table(&mut self, table: &Table) {
        if (table.generation(), table.hash()) != (self.table.generation(), self.table.hash()) {
            tracing::info!(
                generation = table.generation(),
                exports = table.rows(),
                peers = table.peer_count(),
                "new table"
            );
            self.table = table.clone();
        }
    }
}

/// Logs the findings that were not there before.
pub fn tell_new(findings: &[Finding], before: Option<&[Finding]>) {
    let known = |finding: &&Finding| before.is_some_and(|before| before.contains(finding));
    for finding in findings.iter().filter(|finding| !known(finding)) {
        let reason = finding.reason.word();
        match finding.severity {
            Severity::Error => tracing::error!(reason, "{finding}"),
            Severity::Warning => tracing::warn!(reason, "{finding}"),
            Severity::Info => tracing::info!(reason, "{finding}"),
        }
    }
}
