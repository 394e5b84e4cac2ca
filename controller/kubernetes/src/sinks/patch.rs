//! Patches of an EnvoyFilter.

use serde_json::{Value, json};

/// A patch of the matching filter chains, or of the filters in them.
pub(super) fn on_chain(
    context: &str,
    chain: &Value,
    apply_to: &str,
    operation: &str,
    value: &Value,
) -> Value {
    json!({
        "applyTo": apply_to,
        "match": { "context": context, "listener": { "filterChain": chain } },
        "patch": { "operation": operation, "value": value },
    })
}
