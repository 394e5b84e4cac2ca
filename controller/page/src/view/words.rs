//! Whether a condition is well.

use fedgate_engine::status::MUST_HOLD;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};

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
