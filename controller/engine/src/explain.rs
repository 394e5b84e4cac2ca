//! Explains why a call passes or not: the steps of the decision, each with its evidence.
//!
//! The answer comes from the very table in force ([`admit`], [`judge`]); the compiled federation
//! adds who made the decision. So an explanation cannot contradict the gateway.

use crate::running::Running;
use fedgate_core::{
    Admission, Callers, Decision, Mode, PeerName, PeerRow, ServiceName, SpiffeId, Table,
    TrustDomain, admit, decide_passthrough, judge,
};
use fedgate_federation::Federation;
use fedgate_federation::federate::{
    ConditionStatus, ConditionType, Import, PeerReport, ServerIdentity, Standing,
};
use fedgate_federation::grant::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A question: may `from` reach `to`?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The service that is called: ours, or a peer's.
    pub to: ServiceName,
    /// The caller.
    #[serde(default)]
    pub from: Caller,
}

/// The caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Caller {
    /// Not specified: every peer is judged.
    #[default]
    Unknown,
    /// The workload with this SPIFFE ID.
    Identity(String),
    /// Any workload of this peer.
    Peer(PeerName),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The service that was asked about.
    pub to: ServiceName,
    /// The steps, in the order of the decision. The last one decides.
    pub steps: Vec<Step>,
    /// The answer for each peer, if the question is about one of our services and names no caller.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub peers: Vec<PeerAnswer>,
    /// Whether the call passes, as far as this cluster can know. If no caller is named, whether a
    /// call of any peer does.
    pub passes: bool,
    /// The reason word of the decision. `None` for an import, because the peer's gateway decides.
    pub reason: Option<String>,
}

/// Whether a call from any workload of a peer passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAnswer {
    /// The peer.
    pub peer: PeerName,
    /// Whether the call passes.
    pub passes: bool,
    /// The reason word of the decision.
    pub reason: Option<String>,
    /// The step that decided.
    pub detail: String,
}

/// One step of the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is checked.
    pub check: String,
    /// Whether the check holds.
    pub holds: bool,
    /// The evidence.
    pub detail: String,
}

/// What an explanation is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The compiled federation in force.
    pub federation: &'a Federation,
    /// The table in force. It is older than the federation if the last table could not be built.
    pub table: &'a Table,
    /// The local port of each import. `None` if imports are names in the mesh.
    pub egress: Option<&'a BTreeMap<ServiceName, SocketAddr>>,
    /// Which of the site's Envoys run. `None` if that is not known.
    pub running: Option<Running>,
}

/// Answers a question.
pub fn explain(sources: &Sources<'_>, question: &Question) -> Explanation {
    let ours = TrustDomain::parse(sources.table.trust_domain());
    match ours.is_ok_and(|ours| ours.owns(&question.to.host)) {
        true => Way::default().export(sources, question),
        false => Way::default().import(sources, question),
    }
}

#[derive(Default)]
struct Way {
    steps: Vec<Step>,
}

impl Way {
    fn step(&mut self, check: &str, holds: bool, detail: impl Into<String>) {
        self.steps.push(Step { check: check.to_owned(), holds, detail: detail.into() });
    }

    fn end(self, question: &Question, reason: Option<&str>) -> Explanation {
        let passes = self.steps.iter().all(|step| step.holds);
        // If the gateway lets the call pass but another step fails, the gateway's reason is not the
        // reason.
        let reason = reason.filter(|reason| passes || *reason != "granted").map(str::to_owned);
        let to = question.to.clone();
        Explanation { to, steps: self.steps, peers: Vec::new(), passes, reason }
    }

    /// A call from any peer: the answer for each.
    fn any_peer(mut self, sources: &Sources<'_>, question: &Question) -> Explanation {
        let peers = sources.federation.peers.iter().map(|report| &report.peer.name);
        let peers: Vec<_> =
            peers.map(|peer| Self::default().peer(sources, question, peer).answer(peer)).collect();
        if peers.is_empty() {
            self.step(
                "peer",
                false,
                "there is no IstioFederation of another cluster, so there is nobody to call",
            );
        }
        let reason = match peers.iter().find(|answer| answer.passes).or(peers.first()) {
            Some(answer) => answer.reason.clone(),
            None => Some("unknown_peer".to_owned()),
        };
        let passes = peers.iter().any(|answer| answer.passes);
        Explanation { to: question.to.clone(), steps: self.steps, peers, passes, reason }
    }

    /// A call from a peer to one of our services: what the gateway's filter does.
    fn export(mut self, sources: &Sources<'_>, question: &Question) -> Explanation {
        let sni = question.to.sni();
        self.step("server name", true, format!("{sni} is of Istio's form"));
        if decide_passthrough(sources.table, Some(&sni)).outcome.passes() {
            return self.passed_through(question, sources.table.generation());
        }
        let admission = match admit(sources.table, Some(&sni)) {
            Ok(admission) => admission,
            Err(reason) => {
                let detail = format!(
                    "{} is not exported: no Service with the label federation.istio.deckhouse.io/public-service: \"\" has this name and port",
                    question.to
                );
                self.step("exported", false, detail);
                return self.end(question, Some(reason.word()));
            }
        };
        self.step(
            "exported",
            true,
            format!("{} is in table generation {}", question.to, sources.table.generation()),
        );
        match &question.from {
            Caller::Unknown => self.any_peer(sources, question),
            Caller::Identity(uri) => self.identity(sources, question, &admission, uri),
            Caller::Peer(peer) => self.peer(sources, question, peer),
        }
    }

    /// A call whose TLS passes through the gateway.
    fn passed_through(mut self, question: &Question, generation: u64) -> Explanation {
        self.step("exported", true, format!("{} is in table generation {generation}", question.to));
        let detail = "the gateway passes TLS through and sees no caller; whom the workload lets in its own AuthorizationPolicy says";
        self.step("gateway mode", true, detail);
        self.end(question, Some("granted"))
    }

    fn identity(
        mut self,
        sources: &Sources<'_>,
        question: &Question,
        admission: &Admission<'_>,
        uri: &str,
    ) -> Explanation {
        let decision = judge(sources.table, admission.export(), Some(uri));
        let reason = Some(decision.reason.word());
        let id = match SpiffeId::parse(uri) {
            Ok(id) => id,
            Err(error) => {
                self.step(
                    "identity",
                    false,
                    format!("the URI SAN is no workload's SPIFFE ID: {error}"),
                );
                return self.end(question, reason);
            }
        };
        self.step("identity", true, format!("{id} is a SPIFFE ID"));
        let Some(peer) = decision.peer else {
            let detail = format!("no IstioFederation has the trust domain {}", id.trust_domain());
            self.step("peer", false, detail);
            return self.end(question, reason);
        };
        self.step("peer", true, format!("{} is peer {}", peer.trust_domain, peer.name));
        self.grant(sources, question, &decision);
        if let Some(report) = report(sources, peer.name) {
            self.trust(sources, report);
        }
        self.end(question, reason)
    }

    /// What the table says about this caller, and who decided it.
    fn grant(&mut self, sources: &Sources<'_>, question: &Question, decision: &Decision<'_>) {
        let decided = decided_by(sources, question, decision.peer.map(|peer| peer.name));
        let audited = match decision.outcome {
            fedgate_core::Outcome::Audited => " (audit mode: reported, and let through)",
            _ => "",
        };
        self.step(
            "granted",
            decision.outcome.passes(),
            format!("{}: {decided}{audited}", decision.reason),
        );
    }

    fn peer(mut self, sources: &Sources<'_>, question: &Question, name: &PeerName) -> Explanation {
        let report = report(sources, name.as_str());
        let Some(row) = sources.table.peers().find(|row| row.name == name.as_str()) else {
            self.step("peer", false, not_in_table(sources, name, report));
            return self.end(question, Some("unknown_peer"));
        };
        self.step("peer", true, format!("{name} has the trust domain {}", row.trust_domain));
        let granted = passes_some_caller(sources, question, &row);
        self.step("granted", granted, decided_by(sources, question, Some(name.as_str())));
        if let Some(report) = report {
            self.trust(sources, report);
        }
        self.end(question, Some(if granted { "granted" } else { "not_granted" }))
    }

    /// A call to a peer's service: what this cluster does, up to the peer's gateway.
    fn import(mut self, sources: &Sources<'_>, question: &Question) -> Explanation {
        let host = &question.to.host;
        let owner =
            sources.federation.peers.iter().find(|report| report.peer.trust_domain.owns(host));
        let Some(report) = owner else {
            self.step(
                "owner",
                false,
                format!("{host} is under the trust domain of no peer, nor under ours"),
            );
            return self.end(question, None);
        };
        self.step("owner", true, format!("{host} belongs to peer {}", report.peer.name));
        if let Standing::Refused { message, .. } = &report.standing {
            self.step("peer accepted", false, message.clone());
            return self.end(question, None);
        }
        self.trust(sources, report);
        match sources.federation.imports.iter().find(|import| import.service == question.to) {
            Some(import) => self.route(sources, report, import),
            None => self.step("announced", false, not_announced(report)),
        }
        self.end(question, None)
    }

    fn route(&mut self, sources: &Sources<'_>, report: &PeerReport, import: &Import) {
        self.step(
            "announced",
            true,
            format!("peer {} offers it, as {}", import.peer, import.protocol.word()),
        );
        self.gateway(report, import);
        let server = match import.server.as_ref() {
            ServerIdentity::AnyOf(trust_domain) if import.passthrough => {
                format!(
                    "the workload, any identity of {trust_domain} (TLS goes through the gateway)"
                )
            }
            ServerIdentity::AnyOf(trust_domain) => format!("any identity of {trust_domain}"),
            ServerIdentity::Exactly(identities) => {
                identities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
            }
        };
        self.step(
            "server identity",
            true,
            format!("{server}, signed by a root of {}", import.trust_domain),
        );
        self.local_port(sources, import);
    }

    /// The peer's gateways, and what the last probe found.
    fn gateway(&mut self, report: &PeerReport, import: &Import) {
        let gateways: Vec<_> = import.gateways.iter().map(ToString::to_string).collect();
        let way = format!("{} with server name {}", gateways.join(", "), import.service.sni());
        let probe = report
            .conditions
            .iter()
            .find(|condition| condition.kind == ConditionType::DataplaneConnectionReady);
        let found = probe.map(|condition| (condition.status, condition.message.as_str()));
        match found {
            Some((ConditionStatus::False, why)) => {
                self.step("gateway", false, format!("{way}; no call gets through: {why}"))
            }
            Some((_, remark)) if !remark.is_empty() => {
                self.step("gateway", true, format!("{way} ({remark})"))
            }
            _ => self.step("gateway", true, way),
        }
    }

    fn local_port(&mut self, sources: &Sources<'_>, import: &Import) {
        let stopped = sources.running.is_some_and(|running| !running.egress);
        match sources.egress.map(|egress| egress.get(&import.service)) {
            Some(Some(address)) if stopped => {
                self.step(
                    "local port",
                    false,
                    format!("{address}, of the egress Envoy, which does not run; start it"),
                );
            }
            None => self.step(
                "in the mesh",
                true,
                format!("workloads of this mesh call {}", import.service),
            ),
            Some(Some(address)) => {
                self.step("local port", true, format!("{address}, of the egress Envoy"))
            }
            Some(None) => self.step(
                "local port",
                false,
                "the range of egress ports is exhausted; widen egress.ports",
            ),
        }
    }

    /// Whether the peer's identities can be verified.
    fn trust(&mut self, sources: &Sources<'_>, report: &PeerReport) {
        let trust_domain = &report.peer.trust_domain;
        match sources.federation.bundles.get(trust_domain) {
            Some(bundle) => {
                let roots: Vec<_> =
                    bundle.roots.iter().map(|root| root.fingerprint().to_string()).collect();
                let confirmed = report
                    .public_confirmed
                    .map(|at| format!(", confirmed at {at:.0}"))
                    .unwrap_or_default();
                self.step(
                    "trust bundle",
                    true,
                    format!("roots of {trust_domain}: {}{confirmed}", roots.join(", ")),
                );
            }
            None => {
                let detail = format!(
                    "no usable root of {trust_domain} is known: its handshakes fail. {}",
                    exchange(report, "Public")
                );
                self.step("trust bundle", false, detail);
            }
        }
    }
}

impl Explanation {
    /// The short form: the first step that does not hold, or else the grant.
    fn answer(self, peer: &PeerName) -> PeerAnswer {
        let refused = self.steps.iter().find(|step| !step.holds);
        let decided = refused.or_else(|| self.steps.iter().find(|step| step.check == "granted"));
        let detail = decided.map(|step| step.detail.clone()).unwrap_or_default();
        PeerAnswer { peer: peer.clone(), passes: self.passes, reason: self.reason, detail }
    }
}

fn report<'a>(sources: &Sources<'a>, peer: &str) -> Option<&'a PeerReport> {
    sources.federation.peers.iter().find(|report| report.peer.name.as_str() == peer)
}

fn grant_of<'a>(
    sources: &Sources<'a>,
    question: &Question,
    peer: &str,
) -> Option<&'a fedgate_federation::grant::PeerGrant> {
    let export = sources.federation.exports.iter().find(|export| export.service == question.to)?;
    export.grants.iter().find(|grant| grant.peer.as_str() == peer)
}

/// Why a peer is not in the table in force.
fn not_in_table(sources: &Sources<'_>, name: &PeerName, report: Option<&PeerReport>) -> String {
    match report.map(|report| &report.standing) {
        None => format!("there is no valid IstioFederation {name}"),
        Some(Standing::Refused { message, .. }) => format!("{name} is refused: {message}"),
        Some(Standing::Accepted) => format!("{name} is not in it yet: {}", older(sources)),
    }
}

/// Returns true if the table in force lets any caller of the peer through.
fn passes_some_caller(sources: &Sources<'_>, question: &Question, peer: &PeerRow<'_>) -> bool {
    let passes = |callers: &Callers| match callers {
        Callers::Any => true,
        Callers::Only(patterns) => !patterns.is_empty() || peer.mode == Mode::Audit,
    };
    let export = sources.table.export(question.to.host.as_str(), question.to.port);
    let grants = export.map(|export| sources.table.grants(export)).unwrap_or_default();
    grants.iter().any(|(row, callers)| row.name == peer.name && passes(callers))
}

/// The explanation when the objects differ from the table in force.
fn older(sources: &Sources<'_>) -> String {
    let generation = sources.table.generation();
    format!(
        "the table in force (generation {generation}) is older than the objects; see the findings of `fedgate status`"
    )
}

/// Who decided a peer's grant, in a sentence.
fn decided_by(sources: &Sources<'_>, question: &Question, peer: Option<&str>) -> String {
    if sources.federation.table.as_ref().map_or(true, |made| made.hash() != sources.table.hash()) {
        return older(sources);
    }
    if sources.federation.health.as_ref() == Some(&question.to) {
        return "peers probe it to see whether they get through, and all of them may".to_owned();
    }
    let Some(grant) = peer.and_then(|peer| grant_of(sources, question, peer)) else {
        return older(sources);
    };
    match &grant.verdict {
        Verdict::Allowed { callers: Callers::Only(patterns), .. } => {
            let patterns: Vec<_> =
                patterns.iter().map(|p| format!("{}/{}", p.namespace, p.service_account)).collect();
            format!("{grant}, for the callers (namespace/service account) {}", patterns.join(", "))
        }
        _ => grant.to_string(),
    }
}

fn not_announced(report: &PeerReport) -> String {
    format!(
        "peer {} does not offer it to us: it is not labelled there, or not granted to us. {}",
        report.peer.name,
        exchange(report, "Private")
    )
}

/// How the last exchange of a document went.
fn exchange(report: &PeerReport, document: &str) -> String {
    let found = report
        .conditions
        .iter()
        .find(|condition| format!("{:?}", condition.kind).starts_with(document));
    match found {
        Some(condition) if condition.message.is_empty() => {
            format!("{document} metadata: {}", condition.reason)
        }
        Some(condition) => {
            format!("{document} metadata: {}: {}", condition.reason, condition.message)
        }
        None => String::new(),
    }
}
