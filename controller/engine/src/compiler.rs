//! The state shared by both platforms: everything known, and what follows from it.
//!
//! A platform passes in its sources' objects and what the importer learned. [`Compiler::compile`]
//! runs `federate` over all of it. What survives a restart (knowledge, versions, the last table) is
//! passed in at the start.

use fedgate_core::{PeerName, Table};
use fedgate_exchange::importer::PeerUpdate;
use fedgate_federation::federate::{Memory, Published};
use fedgate_federation::knowledge::{PeerKnowledge, Times};
use fedgate_federation::object::{IstioFederationSpec, Objects, Peer};
use fedgate_federation::{Federation, Finding, Inputs, LocalCluster, Severity, federate_again};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Everything that is known, and what is compiled from it. One task owns it, so it needs no lock.
pub struct Compiler {
    /// This cluster.
    pub cluster: LocalCluster,
    /// What this cluster's operators wrote.
    pub objects: Objects,
    /// What is known of the peers.
    pub knowledge: BTreeMap<PeerName, PeerKnowledge>,
    /// The versions of what was last published.
    pub previous: Published,
    /// The table for the gateway: the last one that could be built.
    pub table: Table,
    times: Times,
    memory: Memory,
    peers: BTreeSet<PeerName>,
}

impl Compiler {
    /// Starts from the persisted state.
    pub fn new(
        cluster: LocalCluster,
        times: Times,
        knowledge: BTreeMap<PeerName, PeerKnowledge>,
        previous: Published,
        table: Table,
    ) -> Self {
        Self {
            cluster,
            objects: Objects::default(),
            knowledge,
            previous,
            table,
            times,
            memory: Memory::default(),
            peers: BTreeSet::new(),
        }
    }

    /// When knowledge becomes stale.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Merges the result of a round with a peer. Returns true if a compilation is needed. News of a
    /// removed peer is ignored.
    pub fn learned(&mut self, update: PeerUpdate) -> bool {
        let PeerUpdate { peer, mut knowledge, changed, .. } = update;
        if !self.peers.contains(&peer) {
            return false;
        }
        knowledge.object = self.last_valid(&peer);
        self.knowledge.insert(peer, knowledge);
        changed
    }

    /// Compiles what has changed. If no table can be built, the last one stays.
    pub fn compile(&mut self, now: Timestamp) -> Federation {
        let inputs = Inputs {
            local: &self.cluster,
            objects: &self.objects,
            knowledge: &self.knowledge,
            previous: &self.previous,
            times: self.times,
            now,
        };
        let federation = federate_again(&inputs, &mut self.memory);
        if let Ok(table) = &federation.table {
            self.take_table(table);
        }
        self.peers = federation.peers.iter().map(|report| report.peer.name.clone()).collect();
        federation
    }

    /// The spec of a peer's object as it is, or as it last was when it was valid.
    fn last_valid(&self, peer: &PeerName) -> Option<IstioFederationSpec> {
        let object = self.objects.federations.iter().find(|named| named.name == peer.as_str());
        let before = self.knowledge.get(peer).and_then(|known| known.object.as_ref());
        let valid = object
            .filter(|named| before == Some(&named.spec) || Peer::parse(named).is_ok())
            .map(|named| &named.spec);
        valid.or(before).cloned()
    }

    /// Forgets peers whose objects are gone, and returns their names.
    pub fn forget_removed_peers(&mut self) -> Vec<PeerName> {
        let gone: Vec<_> =
            self.knowledge.keys().filter(|name| !self.peers.contains(*name)).cloned().collect();
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

/// Logs the findings that are new.
pub fn log_new(findings: &[Finding], before: Option<&[Finding]>) {
    let known: HashSet<&Finding> = before.into_iter().flatten().collect();
    for finding in findings.iter().filter(|finding| !known.contains(finding)) {
        let reason = finding.reason.word();
        match finding.severity {
            Severity::Error => tracing::error!(reason, "{finding}"),
            Severity::Warning => tracing::warn!(reason, "{finding}"),
            Severity::Info => tracing::info!(reason, "{finding}"),
        }
    }
}
