//! Explains why a call passes or not: the steps of the decision, each with its evidence.
//!
//! The answer comes from the very table in force ([`fedgate_core::admit`],
//! [`fedgate_core::judge`]); the compiled federation adds who made the decision. So an explanation
//! cannot contradict the gateway.

mod caller;
mod evidence;
mod export;
mod federated;
mod import;

pub(crate) use federated::explain as explain_federated;

use crate::confirmations::Confirmations;
use crate::in_force::confirmed;
use crate::running::Running;
use fedgate_core::{PeerName, Reason, ServiceName, Table, TrustDomain};
use fedgate_federation::Federation;
use fedgate_federation::federate::PeerReport;
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

impl Explanation {
    /// Returns true if the call passes only because the peer is in audit mode.
    pub fn is_audited(&self) -> bool {
        self.passes && self.reason.as_deref().is_some_and(|word| word != Reason::Granted.word())
    }
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
    /// When peers' documents were last confirmed.
    pub confirmations: &'a Confirmations,
}

/// Answers a question.
pub fn explain(sources: &Sources<'_>, question: &Question) -> Explanation {
    let ours = TrustDomain::parse(sources.table.trust_domain());
    let explainer = Explainer::new(sources, question);
    match ours.is_ok_and(|ours| ours.owns(&question.to.host)) {
        true => explainer.export(),
        false => explainer.import(),
    }
}

/// An explanation in the making.
struct Explainer<'a> {
    sources: &'a Sources<'a>,
    question: &'a Question,
    steps: Vec<Step>,
}

impl<'a> Explainer<'a> {
    fn new(sources: &'a Sources<'a>, question: &'a Question) -> Self {
        Self { sources, question, steps: Vec::new() }
    }

    fn step(&mut self, check: &str, holds: bool, detail: impl Into<String>) {
        self.steps.push(Step { check: check.to_owned(), holds, detail: detail.into() });
    }

    fn end(self, reason: Option<&str>) -> Explanation {
        let passes = self.steps.iter().all(|step| step.holds);
        // If the gateway lets the call pass but another step fails, the gateway's reason is not the
        // reason.
        let reason = reason.filter(|reason| passes || *reason != "granted").map(str::to_owned);
        let to = self.question.to.clone();
        Explanation { to, steps: self.steps, peers: Vec::new(), passes, reason }
    }

    /// Whether the peer's identities can be verified.
    fn trust(&mut self, report: &PeerReport) {
        let trust_domain = &report.peer.trust_domain;
        match self.sources.federation.bundles.get(trust_domain) {
            Some(bundle) => {
                let roots: Vec<_> =
                    bundle.roots.iter().map(|root| root.fingerprint().to_string()).collect();
                let confirmed = confirmed(report, self.sources.confirmations)
                    .public
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
                    evidence::exchange(report, "Public")
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
