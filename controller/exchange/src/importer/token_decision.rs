//! Decides which peers may be sent a token.
//!
//! A token's audience is the UUID that a peer claims, and a peer may claim any. A peer that claims
//! another cluster's UUID could pass our token on to that cluster and fetch what is meant for us.
//! So `federate` must compare a UUID with all others before a token is made for it. The importer
//! reports the UUID it has learned, waits for the decision, and goes on as soon as it comes.

use fedgate_core::PeerName;
use fedgate_federation::{Federation, document::ClusterUuid};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// What was decided about the UUID that a peer claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenDecision {
    pub(super) cluster_uuid: ClusterUuid,
    pub(super) may_send_token: bool,
}

/// The decisions, by peer.
pub(super) type TokenDecisions = BTreeMap<PeerName, TokenDecision>;

/// What `federation` has decided about its peers.
pub(super) fn token_decisions(federation: &Federation) -> TokenDecisions {
    let decision = |report: &fedgate_federation::federate::PeerReport| {
        let decision = TokenDecision {
            cluster_uuid: report.cluster_uuid.clone()?,
            may_send_token: report.standing.may_send_token(),
        };
        Some((report.peer.name.clone(), decision))
    };
    federation.peers.iter().filter_map(decision).collect()
}

/// The latest decisions, for one peer's task.
#[derive(Clone, Debug)]
pub(super) struct DecisionWatch(pub(super) watch::Receiver<Arc<TokenDecisions>>);

impl DecisionWatch {
    /// Returns true if `peer` may be sent a token for `claimed`; `None` if nothing is decided about
    /// that UUID yet.
    pub(super) fn may_send_token(&self, peer: &PeerName, claimed: &ClusterUuid) -> Option<bool> {
        may_send_token(&self.0.borrow(), peer, claimed)
    }

    /// Waits until the answer differs from `before`.
    pub(super) async fn changed(
        &mut self,
        peer: &PeerName,
        claimed: &ClusterUuid,
        before: Option<bool>,
    ) {
        if self
            .0
            .wait_for(|decisions| may_send_token(decisions, peer, claimed) != before)
            .await
            .is_err()
        {
            // The importer is gone, and so is this task.
            std::future::pending::<()>().await;
        }
    }
}

fn may_send_token(
    decisions: &TokenDecisions,
    peer: &PeerName,
    claimed: &ClusterUuid,
) -> Option<bool> {
    // Compares the spelling, because the token is made from exactly what the peer claims now.
    let is_about = |decision: &&TokenDecision| decision.cluster_uuid.as_str() == claimed.as_str();
    decisions.get(peer).filter(is_about).map(|decision| decision.may_send_token)
}
