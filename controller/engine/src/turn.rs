//! Whose turn it is when a peer is not ready: this cluster's operator, the peer's, or either.
//!
//! What the peer says it sees of this cluster has its turns from `federate` already
//! ([`fedgate_federation::federate::Mismatch`]). This is the same for what this cluster sees of the
//! peer.

use crate::readiness::described;
use crate::status::PeerStatus;
use fedgate_federation::FindingReason;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType, Turn};
use fedgate_federation::knowledge::{DataplaneReason, ExchangeReason};

/// What keeps a peer from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Who has to act. `None` while it is not known yet, and it is enough to wait.
    pub turn: Option<Turn>,
    /// What is missing.
    pub what: String,
}

impl PeerStatus {
    /// What keeps the peer from being ready, the first cause first. Empty for a ready peer.
    ///
    /// What this cluster sees comes first. What the peer sees of this cluster follows, because the
    /// same fault often shows on both sides, and one of them knows whose it is.
    pub fn missing(&self) -> Vec<Missing> {
        if self.ready {
            return Vec::new();
        }
        let here = self
            .obstacle
            .iter()
            .map(|obstacle| Missing { turn: Some(Turn::Ours), what: obstacle.clone() });
        let first = self
            .first_failing()
            .map(|condition| Missing { turn: turn(condition), what: described(condition) });
        let far = self.far_side.iter().flat_map(|side| &side.mismatches);
        let far = far
            .map(|mismatch| Missing { turn: Some(mismatch.turn), what: mismatch.message.clone() });
        here.chain(first).chain(far).collect()
    }
}

fn turn(condition: &Condition) -> Option<Turn> {
    if condition.status == ConditionStatus::Unknown {
        return None;
    }
    let is = |reason: ExchangeReason| condition.reason == reason.word();
    Some(match condition.kind {
        ConditionType::Accepted => accepted(condition),
        ConditionType::PublicMetadataExchangeReady
        | ConditionType::PrivateMetadataExchangeReady => {
            match () {
                () if is(ExchangeReason::TokenGenerationFailed) => Turn::Ours,
                () if is(ExchangeReason::InvalidPublicMetadata)
                    || is(ExchangeReason::InvalidPrivateMetadata) =>
                {
                    Turn::Theirs
                }
                // It has no object for this cluster, or cannot reach it. Clocks are either's.
                () if is(ExchangeReason::NonOkResponse)
                    && condition.message.starts_with("401")
                    && !condition.message.starts_with("401: the peer refuses the token") =>
                {
                    Turn::Theirs
                }
                () => Turn::Either,
            }
        }
        ConditionType::DataplaneConnectionReady => {
            match condition.reason == DataplaneReason::ConfigurationError.word() {
                true => Turn::Ours,
                false => Turn::Theirs,
            }
        }
        _ => Turn::Either,
    })
}

fn accepted(condition: &Condition) -> Turn {
    let is = |reason: FindingReason| condition.reason == reason.camel_case();
    match () {
        () if is(FindingReason::OurUuid) || is(FindingReason::UuidTaken) => Turn::Theirs,
        () if is(FindingReason::NetworkOverlap) => Turn::Either,
        () => Turn::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: ConditionType, reason: &str, message: &str) -> Condition {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        Condition { kind, status: ConditionStatus::False, reason, message }
    }

    #[test]
    fn each_failing_condition_has_a_turn() {
        use ConditionType::{
            Accepted, DataplaneConnectionReady, PrivateMetadataExchangeReady,
            PublicMetadataExchangeReady,
        };
        let cases = [
            (Accepted, "SameTrustDomain", "", Turn::Ours),
            (Accepted, "NotPinned", "", Turn::Ours),
            (Accepted, "OurUuid", "", Turn::Theirs),
            (Accepted, "UuidTaken", "", Turn::Theirs),
            (Accepted, "NetworkOverlap", "", Turn::Either),
            (PublicMetadataExchangeReady, "FetchFailed", "", Turn::Either),
            (PublicMetadataExchangeReady, "InvalidPublicMetadata", "", Turn::Theirs),
            (PrivateMetadataExchangeReady, "NonOKResponse", "401: unknown", Turn::Theirs),
            (
                PrivateMetadataExchangeReady,
                "NonOKResponse",
                "401: the peer refuses the token: the clocks differ",
                Turn::Either,
            ),
            (PrivateMetadataExchangeReady, "NonOKResponse", "404", Turn::Either),
            (PrivateMetadataExchangeReady, "TokenGenerationFailed", "", Turn::Ours),
            (DataplaneConnectionReady, "ProbeFailed", "", Turn::Theirs),
            (DataplaneConnectionReady, "ConfigurationError", "", Turn::Ours),
        ];
        for (kind, reason, message, expected) in cases {
            assert_eq!(
                turn(&condition(kind, reason, message)),
                Some(expected),
                "{reason} {message}"
            );
        }
        let unknown = Condition {
            status: ConditionStatus::Unknown,
            ..condition(DataplaneConnectionReady, "Pending", "not probed yet")
        };
        assert_eq!(turn(&unknown), None);
    }
}
