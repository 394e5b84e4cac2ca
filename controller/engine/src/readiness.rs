//! Whether a peer is ready, in the words of every view: `fedgate status`, `--watch`, the operators'
//! page.

use crate::status::{MUST_HOLD, PeerStatus};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::knowledge::SERVER_ONLY;

/// How ready a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A call would get through.
    Ready,
    /// Something is not known yet, and nothing has failed.
    NotYet,
    /// Something has failed.
    NotReady,
}

impl PeerStatus {
    /// Whether the peer is ready, and in words why not: the first condition that fails, else the
    /// obstacle, else the first condition that is not yet known.
    pub fn readiness(&self) -> (Readiness, String) {
        if self.ready {
            return (Readiness::Ready, format!("ready{}", failed_gateways(self)));
        }
        match (self.first_failing(), &self.obstacle) {
            (Some(failed), _) if failed.status != ConditionStatus::Unknown => {
                not_ready(&described(failed))
            }
            (_, Some(obstacle)) => not_ready(obstacle),
            (Some(unknown), None) => {
                (Readiness::NotYet, format!("not ready yet: {}", described(unknown)))
            }
            (None, None) => (Readiness::NotReady, "NOT READY".to_owned()),
        }
    }

    /// The first condition that keeps the peer from being ready, preferably one that is known. The
    /// later ones fail, or are unknown, for the same reason.
    pub(crate) fn first_failing(&self) -> Option<&Condition> {
        let failing = || self.conditions.iter().filter(|condition| fails(condition));
        failing()
            .find(|condition| condition.status != ConditionStatus::Unknown)
            .or_else(|| failing().next())
    }
}

fn not_ready(why: &str) -> (Readiness, String) {
    (Readiness::NotReady, format!("NOT READY: {why}"))
}

/// Which gateways of a ready peer failed the last probe. On Kubernetes the message [`SERVER_ONLY`]
/// is the same for every peer, so only the condition shows it.
fn failed_gateways(peer: &PeerStatus) -> String {
    let is_probe =
        |condition: &&Condition| condition.kind == ConditionType::DataplaneConnectionReady;
    match peer.conditions.iter().find(is_probe).map(|probe| probe.message.as_str()) {
        None | Some("" | SERVER_ONLY) => String::new(),
        Some(message) => format!("; gateways: {message}"),
    }
}

/// A condition in words.
pub(crate) fn described(condition: &Condition) -> String {
    match condition.message.as_str() {
        "" => format!("{:?} {}", condition.kind, condition.reason),
        message => format!("{:?} {}: {message}", condition.kind, condition.reason),
    }
}

/// Returns true if a condition keeps a peer from being ready.
fn fails(condition: &Condition) -> bool {
    match condition.kind {
        ConditionType::Stale => condition.status == ConditionStatus::True,
        kind => MUST_HOLD.contains(&kind) && condition.status != ConditionStatus::True,
    }
}
