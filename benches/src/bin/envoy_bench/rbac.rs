//! The same grants for Envoy's own RBAC filter.

use fedgate_benches::{Exports, trust_domain};
use fedgate_core::Callers;
use serde_json::{Map, Value, json};

const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";
const ACTION: &str = "type.googleapis.com/envoy.config.rbac.v3.Action";
const SERVER_NAME: &str =
    "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.ServerNameInput";
const URI_SAN: &str =
    "type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput";

/// A policy for each export, with its principals. Envoy tries one after the other.
pub(crate) fn rules(exports: &Exports) -> Value {
    let policies: Map<_, _> = (0..exports.services.len())
        .map(|row| {
            let principals: Vec<_> = callers(exports, row)
                .map(
                    |prefix| json!({ "authenticated": { "principal_name": { "prefix": prefix } } }),
                )
                .collect();
            let sni = exports.services[row].sni();
            let permission = json!({ "requested_server_name": { "exact": sni } });
            let policy = json!({ "permissions": [permission], "principals": principals });
            (format!("export-{row}"), policy)
        })
        .collect();
    filter("rules", &json!({ "policies": policies }))
}

/// A map from server name to a map from prefix of an identity.
pub(crate) fn matcher(exports: &Exports) -> Value {
    let by_caller = |row| {
        let allow = on_match("ALLOW");
        let map: Map<_, _> = callers(exports, row).map(|prefix| (prefix, allow.clone())).collect();
        json!({ "matcher": { "matcher_tree": {
            "input": { "name": "uri_san", "typed_config": { "@type": URI_SAN } },
            "prefix_match_map": { "map": map },
        } } })
    };
    let map: Map<_, _> = (0..exports.services.len())
        .map(|row| (exports.services[row].sni(), by_caller(row)))
        .collect();
    let tree = json!({
        "input": { "name": "server_name", "typed_config": { "@type": SERVER_NAME } },
        "exact_match_map": { "map": map },
    });
    filter("matcher", &json!({ "matcher_tree": tree, "on_no_match": on_match("DENY") }))
}

/// The identities that may reach an export, as prefixes: of a peer, or of a namespace there.
fn callers(exports: &Exports, row: usize) -> impl Iterator<Item = String> {
    let grants = &exports.sets[exports.set_of[row]];
    grants.iter().flat_map(|(&peer, callers)| {
        let peer = format!("spiffe://{}/", trust_domain(peer));
        match callers {
            Callers::Any => vec![peer],
            Callers::Only(patterns) => patterns
                .iter()
                .map(|pattern| {
                    format!("{peer}ns/{}", pattern.namespace.as_str().trim_end_matches('*'))
                })
                .collect(),
        }
    })
}

fn on_match(action: &str) -> Value {
    let config = json!({ "@type": ACTION, "name": "federation", "action": action });
    json!({ "action": { "name": "action", "typed_config": config } })
}

fn filter(field: &str, value: &Value) -> Value {
    let config = json!({ "@type": RBAC, "stat_prefix": "federation", field: value });
    json!({ "name": "envoy.filters.network.rbac", "typed_config": config })
}
