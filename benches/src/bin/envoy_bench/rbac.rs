//! The same grants for Envoy's own RBAC filter.
//!
//! The filters are JSON text of up to 46 MB. Exports share their grants, so the text for a set of
//! grants is made once, and copied.

use fedgate_benches::{Exports, trust_domain};
use fedgate_core::{Callers, ServiceName};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";
const ACTION: &str = "type.googleapis.com/envoy.config.rbac.v3.Action";
const SERVER_NAME: &str =
    "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.ServerNameInput";
const URI_SAN: &str =
    "type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput";

/// Stands for JSON text that is put in later.
const PLACE: &str = "@place@";

/// A policy for each export, with its principals. Envoy tries one after the other.
pub(crate) fn rules(exports: &Exports) -> String {
    let principal = |prefix| json!({ "authenticated": { "principal_name": { "prefix": prefix } } });
    let policy = |callers: Vec<String>| -> Value {
        let principals: Vec<_> = callers.into_iter().map(principal).collect();
        let permission = json!({ "requested_server_name": { "exact": PLACE } });
        json!({ "permissions": [permission], "principals": principals })
    };
    let policies = for_each_export(exports, policy, |policy, row, service| {
        format!("\"export-{row}\":{}", put(policy, &json!(service.sni()).to_string()))
    });
    put(&filter("rules", &json!({ "policies": PLACE })), &policies)
}

/// A map from server name to a map from prefix of an identity.
pub(crate) fn matcher(exports: &Exports) -> String {
    let by_caller = |callers: Vec<String>| -> Value {
        let allow = on_match("ALLOW");
        let map: Map<_, _> = callers.into_iter().map(|prefix| (prefix, allow.clone())).collect();
        json!({ "matcher": { "matcher_tree": {
            "input": { "name": "uri_san", "typed_config": { "@type": URI_SAN } },
            "prefix_match_map": { "map": map },
        } } })
    };
    let map = for_each_export(exports, by_caller, |by_caller, _, service| {
        format!("{}:{by_caller}", json!(service.sni()))
    });
    let tree = json!({
        "input": { "name": "server_name", "typed_config": { "@type": SERVER_NAME } },
        "exact_match_map": { "map": PLACE },
    });
    let matcher = json!({ "matcher_tree": tree, "on_no_match": on_match("DENY") });
    put(&filter("matcher", &matcher), &map)
}

/// A JSON object with an entry for each export, made from the text for its set of grants.
fn for_each_export(
    exports: &Exports,
    of_set: impl Fn(Vec<String>) -> Value,
    entry: impl Fn(&str, usize, &ServiceName) -> String,
) -> String {
    let sets: Vec<_> = exports.sets.iter().map(|set| of_set(callers(set)).to_string()).collect();
    let rows = exports.services.iter().zip(&exports.set_of).enumerate();
    let entries: Vec<_> =
        rows.map(|(row, (service, &set))| entry(&sets[set], row, service)).collect();
    format!("{{{}}}", entries.join(","))
}

/// The identities that a set of grants names, as prefixes: of a peer, or of a namespace there.
fn callers(grants: &BTreeMap<usize, Callers>) -> Vec<String> {
    let prefixes = grants.iter().flat_map(|(&peer, callers)| {
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
    });
    prefixes.collect()
}

fn on_match(action: &str) -> Value {
    let config = json!({ "@type": ACTION, "name": "federation", "action": action });
    json!({ "action": { "name": "action", "typed_config": config } })
}

fn filter(field: &str, value: &Value) -> String {
    let config = json!({ "@type": RBAC, "stat_prefix": "federation", field: value });
    json!({ "name": "envoy.filters.network.rbac", "typed_config": config }).to_string()
}

/// The text with JSON in its place.
pub(crate) fn put(text: &str, json: &str) -> String {
    text.replacen(&format!("\"{PLACE}\""), json, 1)
}

/// Where [`put`] puts a filter.
pub(crate) fn place() -> Value {
    PLACE.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_benches::Kind;

    /// Both forms have the grants of the exports: no more and no fewer.
    #[test]
    fn every_export_has_its_grants() {
        let exports = Exports::new(Kind::Mixed, 300);
        let parsed = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let (rules, matcher) = (parsed(rules(&exports)), parsed(matcher(&exports)));
        let policies = &rules["typed_config"]["rules"]["policies"];
        let map = &matcher["typed_config"]["matcher"]["matcher_tree"]["exact_match_map"]["map"];
        assert_eq!(policies.as_object().unwrap().len(), 300);
        assert_eq!(map.as_object().unwrap().len(), 300);
        for (row, service) in exports.services.iter().enumerate() {
            let policy = &policies[format!("export-{row}")];
            let permission = &policy["permissions"][0]["requested_server_name"]["exact"];
            assert_eq!(*permission, service.sni());
            let grants = callers(&exports.sets[exports.set_of[row]]);
            assert_eq!(policy["principals"].as_array().unwrap().len(), grants.len());
            let tree = &map[service.sni()]["matcher"]["matcher_tree"]["prefix_match_map"]["map"];
            let prefixes: Vec<_> = tree.as_object().unwrap().keys().collect();
            assert_eq!(prefixes, grants.iter().collect::<Vec<_>>());
        }
    }
}
