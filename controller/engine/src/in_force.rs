//! What is in force, as one immutable snapshot. The admin address and the exporter answer from it.

use crate::confirmations::{Confirmations, Confirmed};
use crate::explain::{Explanation, Question, Sources, explain, explain_federated};
use crate::federated::MemberHealth;
use crate::running::Running;
use crate::status::{Status, is_ready};
use fedgate_core::{
    Hostname, Options, PeerName, PluginConfiguration, ServiceName, Table, write_configuration,
};
use fedgate_federation::federate::{PeerReport, owner};
use fedgate_federation::{Federation, Finding, LocalCluster};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The result of one compilation, and what the sinks made of it.
#[derive(Debug, Clone)]
pub struct InForce {
    /// This cluster.
    pub local: LocalCluster,
    /// The last compilation.
    pub federation: Federation,
    /// The table in force: the last one that could be built and was written where the gateway reads
    /// it.
    pub table: Table,
    /// The local port of each import. `None` if imports are names in the mesh.
    pub egress: Option<BTreeMap<ServiceName, SocketAddr>>,
    /// The address of each imported host, on which the egress listens at the host's own ports. Empty
    /// if there are none, and if imports are names in the mesh.
    pub named: BTreeMap<Hostname, IpAddr>,
    /// Which of the site's Envoys run. `None` before the first answer, and on Kubernetes, where
    /// they are not asked.
    pub running: Option<Running>,
    /// Which members of federated names the egress's Envoy finds alive.
    pub member_health: MemberHealth,
    /// Findings of the sinks.
    pub findings: Vec<Finding>,
    /// When peers' documents were last confirmed. They go on after the compilation.
    pub confirmations: Confirmations,
}

impl InForce {
    /// The state of the federation.
    pub fn status(&self) -> Status {
        let mut status =
            Status::new(&self.local, &self.federation, &self.table, self.egress.as_ref());
        let obstacles = self.obstacles();
        for (peer, report) in status.peers.iter_mut().zip(&self.federation.peers) {
            peer.obstacle = obstacles.of(report);
            peer.ready = obstacles.is_ready(report);
            let confirmed = confirmed(report, &self.confirmations);
            (peer.public_confirmed, peer.private_confirmed) = (confirmed.public, confirmed.private);
        }
        let confirmed: BTreeMap<_, _> =
            status.peers.iter().map(|peer| (peer.name.as_str(), peer.private_confirmed)).collect();
        for import in &mut status.imports {
            import.confirmed = confirmed.get(import.peer.as_str()).copied().flatten();
            let named = self.named.get(&import.service.host);
            let port = import.service.port.get();
            import.named = named.map(|address| SocketAddr::new(*address, port));
        }
        status.federated_services = self.federated().collect();
        status.findings.extend(self.findings.iter().cloned());
        status.findings.sort_by_key(|finding| finding.severity);
        status
    }

    /// The names of the peers to which a call would get through.
    pub fn ready_peers(&self) -> BTreeSet<PeerName> {
        let obstacles = self.obstacles();
        let ready = self.federation.peers.iter().filter(|report| obstacles.is_ready(report));
        ready.map(|report| report.peer.name.clone()).collect()
    }

    /// What stops calls to peers here.
    pub(crate) fn obstacles(&self) -> Obstacles<'_> {
        let with_port = self.egress.as_ref().map(|egress| egress.keys().map(owner).collect());
        Obstacles { in_force: self, with_port }
    }

    /// Explains why a call passes or not.
    pub fn explain(&self, question: &Question) -> Explanation {
        let (egress, running) = (self.egress.as_ref(), self.running);
        let sources = Sources {
            federation: &self.federation,
            table: &self.table,
            egress,
            running,
            confirmations: &self.confirmations,
        };
        match self.federated().find(|name| name.service == question.to) {
            Some(name) => explain_federated(&sources, question, &name),
            None => explain(&sources, question),
        }
    }

    /// The table as the filter's configuration.
    pub fn configuration(&self) -> PluginConfiguration<'static> {
        write_configuration(&self.table, Options::default())
    }
}

/// When the documents that a report is about were last confirmed.
pub(crate) fn confirmed(report: &PeerReport, since: &Confirmations) -> Confirmed {
    let since = since.get(&report.peer.name).unwrap_or_default();
    // A document that is not in force has no time, even if it was confirmed.
    let newest =
        |then: Option<Timestamp>, since: Option<Timestamp>| then.and_then(|_| then.max(since));
    Confirmed {
        public: newest(report.public_confirmed, since.public),
        private: newest(report.private_confirmed, since.private),
    }
}

/// What stops calls to peers here, before they reach a peer.
pub(crate) struct Obstacles<'a> {
    in_force: &'a InForce,
    /// The trust domains of the peers with a local port; `None` if imports need none.
    with_port: Option<BTreeSet<&'a str>>,
}

impl Obstacles<'_> {
    /// Returns true if a call to a peer would get through.
    pub(crate) fn is_ready(&self, report: &PeerReport) -> bool {
        is_ready(&report.conditions) && self.of(report).is_none()
    }

    /// What stops every call to a peer.
    fn of(&self, report: &PeerReport) -> Option<String> {
        let InForce { running, federation, .. } = self.in_force;
        if running.is_some_and(|running| !running.egress) {
            return Some("the egress Envoy does not run".to_owned());
        }
        let has_port = self.with_port.as_ref()?.contains(report.peer.trust_domain.as_str());
        let has_imports = !federation.imports.of_peer(&report.peer).is_empty();
        (has_imports && !has_port).then(|| "no import of it has a local port".to_owned())
    }
}
