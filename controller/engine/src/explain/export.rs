//! A call from a peer to one of our services: what the gateway's filter does.

use super::evidence::{audited, best_outcome, decided_by, not_in_table, report};
use super::{Caller, Explainer, Explanation};
use crate::status::told;
use fedgate_core::{
    Admission, Decision, MeshHost, Outcome, PeerName, ServiceName, SpiffeId, admit,
    decide_passthrough, judge,
};
use fedgate_federation::federate::PeerReport;
use fedgate_federation::object::{PODS_ANNOTATION, PUBLIC_SERVICE_LABEL};

/// Why a name is in no row of the table.
fn not_exported(service: &ServiceName) -> String {
    match MeshHost::parse(&service.host) {
        Some(MeshHost { pod: Some(pod), service: name, namespace, .. }) => format!(
            "{service} is not exported: the Service {namespace}/{name} is not exported at this port, does not offer its Pods by name \
             (annotation {PODS_ANNOTATION}), or has no Pod {pod}; see the findings of `fedgate status`"
        ),
        _ => format!(
            "{service} is not exported: no exported Service has this name and port; the label {PUBLIC_SERVICE_LABEL}: \"\" exports one"
        ),
    }
}

impl Explainer<'_> {
    pub(super) fn export(mut self) -> Explanation {
        let sni = self.question.to.sni();
        self.step("server name", true, format!("{sni} is of Istio's form"));
        if decide_passthrough(self.sources.table, Some(&sni)).outcome.passes() {
            return self.passed_through();
        }
        let admission = match admit(self.sources.table, Some(&sni)) {
            Ok(admission) => admission,
            Err(reason) => {
                self.step("exported", false, not_exported(&self.question.to));
                return self.end(Some(reason.word()));
            }
        };
        self.step(
            "exported",
            true,
            format!(
                "{} is in table generation {}",
                self.question.to,
                self.sources.table.generation()
            ),
        );
        match &self.question.from {
            Caller::Unknown => self.any_peer(),
            Caller::Identity(uri) => self.identity(&admission, uri),
            Caller::Peer(peer) => self.peer(peer),
        }
    }

    /// A call whose TLS passes through the gateway.
    fn passed_through(mut self) -> Explanation {
        let generation = self.sources.table.generation();
        self.step(
            "exported",
            true,
            format!("{} is in table generation {generation}", self.question.to),
        );
        let detail = "the gateway passes TLS through and sees no caller; the workload's own AuthorizationPolicy decides whom to let in";
        self.step("gateway mode", true, detail);
        self.end(Some("granted"))
    }

    /// A call from any peer: the answer for each.
    fn any_peer(mut self) -> Explanation {
        let peers = self.sources.federation.peers.iter().map(|report| &report.peer.name);
        let peers: Vec<_> = peers
            .map(|peer| Self::new(self.sources, self.question).peer(peer).answer(peer))
            .collect();
        if peers.is_empty() {
            self.step(
                "peer",
                false,
                "there is no IstioFederation of another cluster, so no peer can call it",
            );
        }
        let reason = match peers.iter().find(|answer| answer.passes).or(peers.first()) {
            Some(answer) => answer.reason.clone(),
            None => Some("unknown_peer".to_owned()),
        };
        let passes = peers.iter().any(|answer| answer.passes);
        Explanation { to: self.question.to.clone(), steps: self.steps, peers, passes, reason }
    }

    fn identity(mut self, admission: &Admission<'_>, uri: &str) -> Explanation {
        let decision = judge(self.sources.table, admission.export(), Some(uri));
        let reason = Some(decision.reason.word());
        let id = match SpiffeId::parse(uri) {
            Ok(id) => id,
            Err(error) => {
                self.step(
                    "identity",
                    false,
                    format!("the URI SAN is not a workload's SPIFFE ID: {error}"),
                );
                return self.end(reason);
            }
        };
        self.step("identity", true, format!("{id} is a SPIFFE ID"));
        let Some(peer) = decision.peer else {
            let peers = &self.sources.federation.peers;
            let dropped = peers.iter().find(|report| {
                report.is_dropped && report.peer.trust_domain.as_str() == id.trust_domain()
            });
            let detail = match dropped {
                Some(report) => not_in_table(self.sources, &report.peer.name, Some(report)),
                None => format!("no IstioFederation has the trust domain {}", id.trust_domain()),
            };
            self.step("peer", false, detail);
            return self.end(reason);
        };
        self.step("peer", true, format!("{} is peer {}", peer.trust_domain, peer.name));
        self.grant(&decision);
        if let Some(report) = report(self.sources, peer.name) {
            self.trust(report);
        }
        self.end(reason)
    }

    /// What the table says about this caller, and who decided it.
    fn grant(&mut self, decision: &Decision<'_>) {
        let decided = decided_by(self.sources, self.question, decision.peer.map(|peer| peer.name));
        let detail = format!("{}: {decided}{}", decision.reason, audited(decision.outcome));
        self.step("granted", decision.outcome.passes(), detail);
    }

    /// Where the peer connects, if only the peer is told these addresses.
    fn told(&mut self, report: &PeerReport) {
        let peer = &report.peer;
        let Some(document) = self.sources.federation.private_documents.get(&peer.name) else {
            return;
        };
        if self.sources.federation.told_others.contains(&peer.name) {
            let told = told(document).join(", ");
            self.step("gateway", true, format!("{} is told to connect to {told}", peer.name));
        }
    }

    fn peer(mut self, name: &PeerName) -> Explanation {
        let report = report(self.sources, name.as_str());
        let Some(row) = self.sources.table.peers().find(|row| row.name == name.as_str()) else {
            self.step("peer", false, not_in_table(self.sources, name, report));
            return self.end(Some("unknown_peer"));
        };
        self.step("peer", true, format!("{name} has the trust domain {}", row.trust_domain));
        let outcome = best_outcome(self.sources, self.question, &row);
        let decided = decided_by(self.sources, self.question, Some(name.as_str()));
        self.step("granted", outcome.passes(), format!("{decided}{}", audited(outcome)));
        if let Some(report) = report {
            self.trust(report);
            self.told(report);
        }
        self.end(Some(if outcome == Outcome::Allowed { "granted" } else { "not_granted" }))
    }
}
