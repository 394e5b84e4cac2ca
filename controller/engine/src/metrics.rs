//! The metrics that Prometheus scrapes from the admin address, with the prefix `fedgate_`.
//!
//! Gauges follow what is in force; the exporter and the importer keep their own counters. Label
//! values are fixed words, the roles and names of this cluster's certificates, or names of
//! `IstioFederation`s, which an operator chose. Of these names only the first hundred are used.

use crate::federated::MemberStatus;
use crate::in_force::InForce;
use fedgate_core::Table;
use fedgate_exchange::{exporter, importer};
use fedgate_federation::credentials::Credentials;
use fedgate_federation::{Federation, Severity};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::cmp::Reverse;

/// How many peers are shown by name.
const NAMED_PEERS: usize = 100;
/// How many federated names are shown.
const NAMED_SERVICES: usize = 100;

/// All metrics of the controller. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The exporter's metrics.
    pub exporter: exporter::Metrics,
    /// The importer's metrics.
    pub importer: importer::Metrics,
    compilations: Counter,
    table_generation: Gauge,
    table_bytes: Gauge,
    table_outdated: Gauge,
    exports: Gauge,
    imports: Gauge,
    peers: Family<PeersLabels, Gauge>,
    peer_ready: Family<PeerLabels, Gauge>,
    peers_held: Gauge,
    members: Family<MembersLabels, Gauge>,
    findings: Family<FindingsLabels, Gauge>,
    expirations: Family<CertificateLabels, Gauge>,
    starts: Family<CertificateLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeersLabels {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum State {
    Ready,
    NotReady,
}

/// Of a `FederatedService`. An operator chose the names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MembersLabels {
    service: String,
    state: MemberState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum MemberState {
    Taken,
    Waiting,
    PassedOver,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingsLabels {
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
    name: String,
}

impl Metrics {
    /// Registers all metrics.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("fedgate");
        registry.register(
            "compilations",
            "How often the controller compiled its inputs",
            self.compilations.clone(),
        );
        registry.register(
            "table_generation",
            "The generation of the table in force",
            self.table_generation.clone(),
        );
        registry.register(
            "table_bytes",
            "The size of the table in force",
            self.table_bytes.clone(),
        );
        let outdated = "1 when the newest table could not be built or written, so that an older one is in force";
        registry.register("table_outdated", outdated, self.table_outdated.clone());
        registry.register(
            "exports",
            "Service ports that peers may be granted",
            self.exports.clone(),
        );
        registry.register(
            "imports",
            "Service ports of peers that can be reached",
            self.imports.clone(),
        );
        registry.register("peers", "Peers, by whether they are ready", self.peers.clone());
        registry.register(
            "peer_ready",
            "1 when a peer is ready; the first 100 peers by name",
            self.peer_ready.clone(),
        );
        let held = "Peers with a new root, key or UUID that has not taken effect";
        registry.register("peers_held", held, self.peers_held.clone());
        let members =
            "Members of each federated name, by whether they take calls now; the first 100 names";
        registry.register("federated_members", members, self.members.clone());
        registry.register("findings", "Findings, by severity", self.findings.clone());
        let expirations =
            "When each of this cluster's own certificates and roots expires, in seconds since 1970";
        registry.register(
            "certificate_expiration_timestamp_seconds",
            expirations,
            self.expirations.clone(),
        );
        let starts = "When each of this cluster's own certificates and roots became valid, in seconds since 1970";
        registry.register("certificate_start_timestamp_seconds", starts, self.starts.clone());
        self.exporter.register(&mut registry);
        self.importer.register(&mut registry);
        registry
    }

    /// Shows what is in force now. Does not build the whole status, which may be large.
    pub fn show(&self, in_force: &InForce) {
        let InForce { federation, findings, .. } = in_force;
        self.compilations.inc();
        self.exports.set(number(federation.exports.len() as u64));
        self.imports.set(number(federation.imports.len() as u64));
        self.show_peers(in_force);
        self.show_members(in_force);
        self.show_certificates(&in_force.local.credentials);
        for (severity, word) in
            [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "info")]
        {
            let all = federation.findings.iter().chain(findings);
            let count = all.filter(|finding| finding.severity == severity).count();
            self.findings
                .get_or_create(&FindingsLabels { severity: word })
                .set(number(count as u64));
        }
    }

    /// Compares the table in force with the last one made. `None` if the gateway has no table.
    pub fn show_table(&self, made: &Federation, in_force: Option<&Table>) {
        let is_outdated = match (&made.table, in_force) {
            (Ok(made), Some(table)) => made.hash() != table.hash(),
            _ => true,
        };
        self.table_generation.set(number(in_force.map_or(0, Table::generation)));
        self.table_bytes.set(number(in_force.map_or(0, |table| table.as_bytes().len() as u64)));
        self.table_outdated.set(is_outdated.into());
    }

    /// Shows nothing about peers or the table. A replica that does not lead has not asked peers,
    /// and does not write the table.
    pub fn hide(&self) {
        self.table_outdated.set(0);
        self.peers.clear();
        self.peer_ready.clear();
        self.peers_held.set(0);
        self.members.clear();
        self.findings.clear();
        self.imports.set(0);
    }

    fn show_certificates(&self, credentials: &Credentials) {
        self.expirations.clear();
        self.starts.clear();
        let mut all: Vec<_> = credentials.validities.iter().collect();
        // The Pods of a gateway have certificates of one name. The one that ends first is shown: it
        // is set last.
        all.sort_by_key(|validity| Reverse(validity.not_after));
        for validity in all {
            let labels = CertificateLabels {
                certificate: validity.role.word(),
                name: validity.name.clone(),
            };
            self.expirations.get_or_create(&labels).set(validity.not_after.as_second());
            self.starts.get_or_create(&labels).set(validity.not_before.as_second());
        }
    }

    /// Shows which members of federated names take calls.
    pub fn show_members(&self, in_force: &InForce) {
        // Removed names must not remain.
        self.members.clear();
        for name in in_force.federated().take(NAMED_SERVICES) {
            let count = |wanted: fn(&MemberStatus) -> bool| {
                name.members.iter().filter(|member| wanted(member)).count()
            };
            let counts = [
                (MemberState::Taken, count(|member| member.taken)),
                (MemberState::Waiting, count(|member| member.is_used() && !member.taken)),
                (MemberState::PassedOver, count(|member| !member.is_used())),
            ];
            for (state, count) in counts {
                let labels = MembersLabels { service: name.service.to_string(), state };
                self.members.get_or_create(&labels).set(number(count as u64));
            }
        }
    }

    fn show_peers(&self, in_force: &InForce) {
        let (reports, obstacles) = (&in_force.federation.peers, in_force.obstacles());
        let ready = reports.iter().filter(|report| obstacles.is_ready(report)).count();
        for (state, count) in [(State::Ready, ready), (State::NotReady, reports.len() - ready)] {
            self.peers.get_or_create(&PeersLabels { state }).set(number(count as u64));
        }
        let held = reports.iter().filter(|report| report.held_trust.is_some()).count();
        self.peers_held.set(number(held as u64));
        // Removed peers must not remain.
        self.peer_ready.clear();
        for report in reports.iter().take(NAMED_PEERS) {
            let labels = PeerLabels { peer: report.peer.name.to_string() };
            self.peer_ready.get_or_create(&labels).set(obstacles.is_ready(report).into());
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
