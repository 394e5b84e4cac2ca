//! Metrics: turns the labels inside the filter's metric names into real labels.

use serde_json::{Value, json};

/// `StatsConfig`: the first group of each expression is removed from the name, the second is the
/// label's value.
///
/// Envoy shows a plugin's metrics as `wasmcustom.<name>`. A peer's name may contain dots, and words
/// such as `reason` between them. So it comes last, or ends before an underscore, which it cannot
/// contain. Each expression says which metric it is for.
pub(super) fn stats_config() -> Value {
    let tag = |name: &str, rest: &str| json!({ "tag_name": name, "regex": format!(r"^wasmcustom\.fedgate\.{rest}") });
    json!({
        "stats_tags": [
            tag("outcome", r"(?:peer_)?connections\.(outcome\.(\w+)\.)"),
            tag("reason", r"connections\..*?(\.reason\.(\w+))$"),
            tag(
                "peer",
                r"(?:peer_connections\..*?|callers)(\.peer\.(.+?))(?:\._namespace\..*)?$",
            ),
            tag("caller_namespace", r"callers\.peer\..+?(\._namespace\.([^.]+))\._export\..+$"),
            tag("export", r"callers\.peer\..+?(\._export\.(.+))$"),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where Istio starts Envoy, the Helm chart passes it these labels.
    #[test]
    fn the_charts_bootstrap_has_the_same_tags() {
        let chart = include_str!("../../../deploy/chart/files/gateway-bootstrap.json");
        assert_eq!(
            serde_json::from_str::<Value>(chart).unwrap(),
            json!({ "stats_config": stats_config() })
        );
    }
}
