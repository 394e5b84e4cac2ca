//! The state shared by both platforms: everything known, and what follows from it.
//!
//! A platform passes in its sources' objects and what the importer learned. [`Compiler::compile`]
//! runs `federate` over all of it. What survives a restart (knowledge, versions, the last table) is
//! passed in at the start.

use crate::changed::LastObjects;
use crate::confirmations::Confirmations;
use fedgate_core::{PeerName, Table};
use fedgate_exchange::importer::PeerUpdate;
use fedgate_federation::federate::{Memory, Published};
use fedgate_federation::knowledge::{PeerKnowledge, Times};
use fedgate_federation::object::{IstioFederationSpec, Named, Objects, Peer};
use fedgate_federation::{Federation, Finding, Inputs, LocalCluster, Severity, federate_again};
use fedgate_trace::{Causes, Change};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// fedgate's annotations of an object.
type Annotations = BTreeMap<String, String>;

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
    /// When the documents in `knowledge` were last confirmed, for readers between compilations.
    pub confirmations: Confirmations,
    times: Times,
    memory: Memory,
    peers: BTreeSet<PeerName>,
    /// The time of the last compilation.
    compiled: Timestamp,
    last_objects: LastObjects,
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
            confirmations: Confirmations::default(),
            times,
            memory: Memory::default(),
            peers: BTreeSet::new(),
            compiled: Timestamp::UNIX_EPOCH,
            last_objects: LastObjects::default(),
        }
    }

    /// When knowledge becomes stale.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Merges the result of a round with a peer. Returns true if a compilation is needed, which is
    /// also the case if what was stale or expired is fresh again. News of a removed peer is ignored.
    pub fn learned(&mut self, update: PeerUpdate) -> bool {
        let PeerUpdate { peer, mut knowledge, changed, .. } = update;
        if !self.peers.contains(&peer) {
            return false;
        }
        (knowledge.object, knowledge.annotations) = self.last_valid(&peer);
        self.confirmations.note(&peer, &knowledge);
        let is_fresher =
            |before: &PeerKnowledge| knowledge.is_fresher_than(before, &self.times, self.compiled);
        let changed = changed || self.knowledge.get(&peer).is_some_and(is_fresher);
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
        self.compiled = now;
        self.peers = federation.peers.iter().map(|report| report.peer.name.clone()).collect();
        federation
    }

    /// Compiles what has changed, and begins the trace of what follows from `causes`. If nothing is
    /// new, there is no trace: on Kubernetes, what the controller writes wakes it, too.
    pub fn compile_traced(&mut self, now: Timestamp, causes: &mut Causes) -> (Federation, Change) {
        let Some(began) = causes.now() else { return (self.compile(now), Change::default()) };
        let version = |table: &Table| (table.generation(), table.hash());
        let before = version(&self.table);
        let federation = self.compile(now);
        let (objects, count) = self.last_objects.changed(&self.objects);
        let publishes = federation.published != self.previous;
        if count == 0 && !publishes && version(&self.table) == before && !causes.has_answers() {
            causes.clear();
            return (federation, Change::default());
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let change = causes.change(began);
        change.done("compile", began);
        if count > 0 {
            change.set_list("fedgate.objects", objects);
            change.set("fedgate.changed_objects", number(count as u64));
        }
        change.set("fedgate.generation", number(self.table.generation()));
        (federation, change)
    }

    /// The spec and the annotations of a peer's object as they are, or as they last were when it was
    /// valid.
    fn last_valid(&self, peer: &PeerName) -> (Option<IstioFederationSpec>, Annotations) {
        let object = self.objects.federations.iter().find(|named| named.name == peer.as_str());
        let known = self.knowledge.get(peer);
        let before = known.and_then(|known| known.object.as_ref());
        let is_valid = |named: &&Named<IstioFederationSpec>| {
            before == Some(&named.spec) || Peer::parse(named).is_ok()
        };
        match object.filter(is_valid) {
            Some(named) => (Some(named.spec.clone()), named.annotations.clone()),
            None => {
                (before.cloned(), known.map(|known| known.annotations.clone()).unwrap_or_default())
            }
        }
    }

    /// Forgets peers whose objects are gone, and returns their names.
    pub fn forget_removed_peers(&mut self) -> Vec<PeerName> {
        let gone: Vec<_> =
            self.knowledge.keys().filter(|name| !self.peers.contains(*name)).cloned().collect();
        for name in &gone {
            self.knowledge.remove(name);
            self.confirmations.forget(name);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_force::confirmed;
    use fedgate_core::{TableBuilder, TrustDomain};
    use fedgate_federation::credentials::Credentials;
    use fedgate_federation::document::{ClusterUuid, Network, PublicDocument};
    use fedgate_federation::federate::{ConditionStatus, ConditionType, Passthrough};
    use fedgate_federation::key::SigningKey;
    use fedgate_federation::knowledge::{DocumentKind, Known};
    use fedgate_federation::own::OwnAddresses;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn uuid(digit: char) -> ClusterUuid {
        let part = |length| String::from(digit).repeat(length);
        ClusterUuid::parse(&[part(8), part(4), part(4), part(4), part(12)].join("-")).unwrap()
    }

    fn alpha() -> LocalCluster {
        LocalCluster {
            trust_domain: TrustDomain::parse("alpha.example").unwrap(),
            cluster_uuid: uuid('1'),
            authn_key: SigningKey::from_seed(&[1; 32]).unwrap().public(),
            other_key: None,
            roots: Vec::new(),
            credentials: Credentials::default(),
            network: Network::default(),
            gateways: Vec::new(),
            reach: fedgate_federation::federate::Reach::default(),
            gateway_identities: Vec::new(),
            health_name: false,
            passthrough: Passthrough::Impossible(String::new()),
            own_addresses: OwnAddresses::default(),
            federated_suffix: Default::default(),
        }
    }

    fn beta() -> Named<IstioFederationSpec> {
        let spec = IstioFederationSpec {
            trust_domain: "beta.example".to_owned(),
            metadata_endpoint: "https://beta.example/metadata".to_owned(),
            ..IstioFederationSpec::default()
        };
        Named::new("beta", spec)
    }

    /// Knowledge of beta's public document, confirmed at second 0.
    fn known() -> PeerKnowledge {
        let document = PublicDocument {
            cluster_uuid: uuid('2'),
            authn_key: SigningKey::from_seed(&[2; 32]).unwrap().public(),
            roots: Vec::new(),
            extension: None,
        };
        let public =
            Known { document, fetched: at(0), confirmed: at(0), etag: None, findings: Vec::new() };
        let (peer, _) = Peer::parse(&beta()).unwrap();
        let mut known = PeerKnowledge { public: Some(public), ..PeerKnowledge::new(&peer) };
        known.record_not_modified(DocumentKind::Public, at(0));
        known
    }

    #[test]
    fn a_confirmation_needs_a_compilation_only_if_something_was_stale() {
        let name = PeerName::parse("beta").unwrap();
        let table = TableBuilder::new(alpha().trust_domain).build(0).unwrap();
        let mut compiler = Compiler::new(
            alpha(),
            Times::default(),
            BTreeMap::from([(name.clone(), known())]),
            Published::default(),
            Table::read(table).unwrap(),
        );
        compiler.objects = Objects { federations: vec![beta()], ..Objects::default() };
        let confirm = |compiler: &mut Compiler, compiled: i64, confirmed_at: i64| {
            let federation = compiler.compile(at(compiled));
            let report = federation.peer(&name).unwrap().clone();
            let mut knowledge = known();
            knowledge.record_not_modified(DocumentKind::Public, at(confirmed_at));
            let update =
                PeerUpdate { peer: name.clone(), knowledge, changed: false, received: None };
            let needed = compiler.learned(update);
            let stale = report.conditions.iter().find(|one| one.kind == ConditionType::Stale);
            let is_stale = stale.unwrap().status == ConditionStatus::True;
            (is_stale, needed, confirmed(&report, &compiler.confirmations).public)
        };
        assert_eq!(confirm(&mut compiler, 299, 300), (false, false, Some(at(300))));
        assert_eq!(confirm(&mut compiler, 600, 601), (true, true, Some(at(601))));
        assert_eq!(confirm(&mut compiler, 602, 603), (false, false, Some(at(603))));
    }
}
