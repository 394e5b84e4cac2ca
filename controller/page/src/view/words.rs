//! What `fedgate status` says in words.

use fedgate_engine::status::{MUST_HOLD, PeerStatus};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::knowledge::SERVER_ONLY;

/// Whether a peer is ready, and why not: the last column of `fedgate status`.
pub(super) fn state(peer: &PeerStatus) -> String {
    match peer.ready {
        true => "ready".to_owned() + &gateways(peer),
        false => why(peer),
    }
}

/// Which gateways of a ready peer failed the last probe. On Kubernetes the message [`SERVER_ONLY`]
/// is the same for every peer.
fn gateways(peer: &PeerStatus) -> String {
    let is_probe =
        |condition: &&Condition| condition.kind == ConditionType::DataplaneConnectionReady;
    match peer.conditions.iter().find(is_probe).map(|probe| probe.message.as_str()) {
        None | Some("" | SERVER_ONLY) => String::new(),
        Some(message) => format!("; gateways: {message}"),
    }
}

/// Why a peer is not ready: the first condition that fails, else the obstacle, else the first
/// condition that is not yet known.
fn why(peer: &PeerStatus) -> String {
    let failed = peer
        .conditions
        .iter()
        .filter(is_bad)
        .find(|condition| condition.status != ConditionStatus::Unknown);
    let describe = |condition: &Condition| match condition.message.as_str() {
        "" => format!("{:?} {}", condition.kind, condition.reason),
        message => format!("{:?} {}: {message}", condition.kind, condition.reason),
    };
    match (failed, &peer.obstacle, peer.conditions.iter().find(is_bad)) {
        (Some(failed), ..) => format!("NOT READY: {}", describe(failed)),
        (None, Some(obstacle), _) => format!("NOT READY: {obstacle}"),
        (None, None, Some(unknown)) => format!("not ready yet: {}", describe(unknown)),
        (None, None, None) => "NOT READY".to_owned(),
    }
}

fn is_bad(condition: &&Condition) -> bool {
    match condition.kind {
        ConditionType::Stale => condition.status == ConditionStatus::True,
        kind => MUST_HOLD.contains(&kind) && condition.status != ConditionStatus::True,
    }
}

/// Returns true if a condition is as it should be; `None` if that is not known.
pub(super) fn is_well(condition: &Condition) -> Option<bool> {
    let wanted = match condition.kind {
        kind if MUST_HOLD.contains(&kind) => ConditionStatus::True,
        ConditionType::RootsValid
        | ConditionType::RootsAcknowledged
        | ConditionType::TableLoaded => ConditionStatus::True,
        _ => ConditionStatus::False,
    };
    (condition.status != ConditionStatus::Unknown).then_some(condition.status == wanted)
}
