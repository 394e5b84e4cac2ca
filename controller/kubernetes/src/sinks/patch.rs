//! How an EnvoyFilter changes what istiod makes.

use serde_json::{Value, json};

/// A change of the filter chains that match, or of the filters in them.
pub(super) fn on_chain(context: &str, chain: &Value, apply_to: &str, operation: &str, value: &Value) -> Value {
    json!({
        "applyTo": apply_to,
        "match": { "context": context, "listener": { "filterChain": chain } },
        "patch": { "operation": operation, "value": value },
    })
}
