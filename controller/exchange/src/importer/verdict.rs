//! To whom a token may be sent.
//!
//! A token's audience is the UUID that the peer claims, and a peer may claim any. One that claims another cluster's could hand
//! our token on to that cluster, and fetch there what is meant for us. So a UUID is good for a token only after `federate` has
//! compared it with all others: the importer shows what it has learned, waits for the verdict, and goes on at once when it comes.

use fedgate_core::PeerName;
use fedgate_federation::{Federation, document::ClusterUuid};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// What was decided about the UUID that a peer claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) cluster_uuid: ClusterUuid,
    pub(super) may_send_token: bool,
}

/// The verdicts, by peer.
pub(super) type Verdicts = BTreeMap<PeerName, Verdict>;

/// What `federation` says of its peers.
pub(super) fn verdicts(federation: &Federation) -> Verdicts {
    let verdict = |report: &fedgate_federation::federate::PeerReport| {
        let verdict =
            Verdict { cluster_uuid: report.cluster_uuid.clone()?, may_send_token: report.standing.may_send_token() };
        Some((report.peer.name.clone(), verdict))
    };
    federation.peers.iter().filter_map(verdict).collect()
}

/// The newest verdicts, as one peer's task sees them.
#[derive(Clone, Debug)]
pub(super) struct Judged(pub(super) watch::Receiver<Arc<Verdicts>>);

impl Judged {
    /// Whether `peer` may be sent a token for `claimed`; `None` when nothing has been decided about that UUID.
    pub(super) fn may_send_token(&self, peer: &PeerName, claimed: &ClusterUuid) -> Option<bool> {
        may_send_token(&self.0.borrow(), peer, claimed)
    }

    /// Ready when the answer is another one than `before`.
    pub(super) async fn changed(&mut self, peer: &PeerName, claimed: &ClusterUuid, before: Option<bool>) {
        if self.0.wait_for(|verdicts| may_send_token(verdicts, peer, claimed) != before).await.is_err() {
            // The importer is gone, and this task with it.
            std::future::pending::<()>().await;
        }
    }
}

fn may_send_token(verdicts: &Verdicts, peer: &PeerName, claimed: &ClusterUuid) -> Option<bool> {
    // By spelling: the token is made of what the peer claims now.
    let is_about = |verdict: &&Verdict| verdict.cluster_uuid.as_str() == claimed.as_str();
    verdicts.get(peer).filter(is_about).map(|verdict| verdict.may_send_token)
}
