//! Metrics: the labels that stand in the names of the filter's metrics, as labels.

use serde_json::{Value, json};

/// Envoy shows a plugin's metrics as `wasmcustom.<name>`.
const COUNTERS: &str = r"^wasmcustom\.fedgate\.(?:peer_)?connections\.";

/// `StatsConfig`: the first group of each expression is taken out of the name, the second is the label's value.
///
/// A peer's name may have dots, so it reaches to the end; it comes last.
pub(super) fn stats_config() -> Value {
    let tag = |name: &str, rest: &str| json!({ "tag_name": name, "regex": format!("{COUNTERS}{rest}") });
    json!({
        "stats_tags": [
            tag("outcome", r"(outcome\.([^.]+)\.)"),
            tag("reason", r".*?(\.reason\.([^.]+))$"),
            tag("peer", r".*?(\.peer\.(.+))$"),
        ],
    })
}
