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
        let verdicts = self.0.borrow();
        verdicts.get(peer).filter(|verdict| is_about(verdict, claimed)).map(|verdict| verdict.may_send_token)
    }

    /// Ready when `peer` may be sent a token for `claimed`.
    pub(super) async fn allowed(&mut self, peer: &PeerName, claimed: &ClusterUuid) {
        let allows =
            |verdicts: &Arc<Verdicts>| verdicts.get(peer).is_some_and(|v| v.may_send_token && is_about(v, claimed));
        if self.0.wait_for(allows).await.is_err() {
            // The importer is gone, and this task with it.
            std::future::pending::<()>().await;
        }
    }
}

/// By spelling, too: the token is made of what the peer claims now.
fn is_about(verdict: &Verdict, claimed: &ClusterUuid) -> bool {
    verdict.cluster_uuid.as_str() == claimed.as_str()
}
