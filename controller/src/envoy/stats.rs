//! Metrics: the labels that stand in the names of the filter's metrics, as labels.

use serde_json::{Value, json};

/// `StatsConfig`: the first group of each expression is taken out of the name, the second is the label's value.
///
/// Envoy shows a plugin's metrics as `wasmcustom.<name>`. A peer's name may have dots, and words such as `reason` between
/// them, so it comes last, and each expression says which metric it is for.
pub(super) fn stats_config() -> Value {
    let tag = |name: &str, rest: &str| json!({ "tag_name": name, "regex": format!(r"^wasmcustom\.fedgate\.{rest}") });
    json!({
        "stats_tags": [
            tag("outcome", r"(?:peer_)?connections\.(outcome\.(\w+)\.)"),
            tag("reason", r"connections\..*?(\.reason\.(\w+))$"),
            tag("peer", r"peer_connections\..*?(\.peer\.(.+))$"),
        ],
    })
}
