//! Prepares the workloads of Services with TLS passthrough. Their sidecars must trust the peers'
//! roots, each for its own trust domain, and our roots for ours.
//!
//! This takes an EnvoyFilter in the Service's namespace that selects the Service's workloads. In
//! the mesh's root namespace it would apply to workloads with the same labels in any namespace,
//! which the Service's owner did not ask for.
//!
//! It changes only the chains that istiod builds for mutual TLS, which match Istio's own ALPNs. A
//! patch of a chain without a TLS context would add one.
//!
//! With a PeerAuthentication of mode STRICT, istiod builds chains that match no ALPN. So
//! passthrough needs the mode PERMISSIVE. AuthorizationPolicies, which see the callers' identities,
//! then decide who may call.

use super::object::{Desired, Head};
use super::patch::on_chain;
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use crate::sources::passthrough::{LABEL, name_for};
use fedgate_envoy::resource::extension;
use fedgate_envoy::trust::{into_downstream_tls, spiffe_validator};
use fedgate_federation::bundle::{TrustBundle, bundle_map};
use fedgate_federation::federate::PassthroughService;
use fedgate_federation::{Federation, LocalCluster};
use serde_json::{Value, json};

/// The chains to change: each entry selects the chains that match this ALPN. Together they cover
/// all chains for mutual TLS (istiod's `allIstioMtlsALPNs`, `mtlsHTTPALPNs` and
/// `mtlsTCPWithMxcALPNs`). Applying the change twice has the same result.
const CHAINS: [&str; 2] = ["istio", "istio-h2"];

/// The objects, in order of Service. There are none without our own roots: the workloads would no
/// longer trust their neighbours.
pub(crate) fn objects(
    settings: &ControllerSettings,
    local: &LocalCluster,
    federation: &Federation,
) -> Vec<Desired> {
    if local.roots.is_empty() {
        return Vec::new();
    }
    let ours = TrustBundle { trust_domain: local.trust_domain.clone(), roots: local.roots.clone() };
    let bundles: Vec<_> = federation.bundles.values().chain([&ours]).collect();
    let patches: Vec<_> =
        CHAINS.iter().flat_map(|alpn| [trusting(alpn, &bundles), one_name(alpn)]).collect();
    federation.passthrough.iter().map(|service| object(settings, service, &patches)).collect()
}

fn object(
    settings: &ControllerSettings,
    service: &PassthroughService,
    patches: &[Value],
) -> Desired {
    let name = name_for(&service.name);
    let head = Head {
        kind: Kind::EnvoyFilter,
        namespace: &service.namespace,
        name: &name,
        owner: settings.namespaces.own(),
        peer: None,
    };
    let spec =
        json!({ "workloadSelector": { "labels": service.selector }, "configPatches": patches });
    Desired::labelled(head, json!({ "spec": spec }), &[(LABEL, "")])
}

/// Trusts each root for its own trust domain. istiod accepts only identities of the mesh's own
/// trust domain, by a list to which this adds. It has to be the same field: Envoy refuses it in
/// combination with the newer one (`match_typed_subject_alt_names`).
fn trusting(alpn: &str, bundles: &[&TrustBundle]) -> Value {
    let map = String::from_utf8_lossy(&bundle_map(bundles.iter().copied())).into_owned();
    let names = bundles
        .iter()
        .map(|bundle| json!({ "prefix": format!("spiffe://{}/", bundle.trust_domain) }));
    let validation = json!({
        "match_subject_alt_names": names.collect::<Vec<_>>(),
        "custom_validator_config": spiffe_validator(json!({ "inline_string": map })),
    });
    on_mutual_tls(
        alpn,
        "FILTER_CHAIN",
        "MERGE",
        json!({ "transport_socket": into_downstream_tls(validation) }),
    )
}

/// Refuses clients with more than one name. The validator checks the first URI SAN, and an
/// AuthorizationPolicy matches any of them. So a peer's CA could give its workloads foreign names,
/// including ours.
fn one_name(alpn: &str) -> Value {
    let action = |name: &str, action: &str| {
        extension(
            "envoy.filters.rbac.action",
            "config.rbac.v3.Action",
            json!({ "name": name, "action": action }),
        )
    };
    // All URI SANs, separated by commas.
    let names =
        extension("uri_san", "extensions.matching.common_inputs.ssl.v3.UriSanInput", json!({}));
    let several =
        json!({ "single_predicate": { "input": names, "value_match": { "contains": "," } } });
    let matcher = json!({
        "matcher_list": { "matchers": [{
            "predicate": several,
            "on_match": { "action": action("several_uri_sans", "DENY") },
        }] },
        "on_no_match": { "action": action("one_uri_san", "ALLOW") },
    });
    let filter = extension(
        "envoy.filters.network.rbac",
        "extensions.filters.network.rbac.v3.RBAC",
        json!({ "stat_prefix": "fedgate_names.", "matcher": matcher }),
    );
    on_mutual_tls(alpn, "NETWORK_FILTER", "INSERT_FIRST", filter)
}

/// A patch of the chains that istiod builds for mutual TLS and this ALPN.
fn on_mutual_tls(alpn: &str, apply_to: &str, operation: &str, value: Value) -> Value {
    let chain = json!({ "transportProtocol": "tls", "applicationProtocols": alpn });
    on_chain("SIDECAR_INBOUND", &chain, apply_to, operation, &value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn workloads_trust_each_root_for_its_own_trust_domain() {
        let sample = Sample::healthy();
        let mut federation = sample.snapshot().in_force.federation;
        assert!(objects(&sample.settings, &sample.local, &federation).is_empty());
        let selector = [("app".to_owned(), "web".to_owned())].into();
        federation.passthrough.push(PassthroughService {
            namespace: "shop".into(),
            name: "web".into(),
            selector,
        });
        let made = objects(&sample.settings, &sample.local, &federation);
        let [object] = made.as_slice() else { panic!("one Service, one object: {made:?}") };
        assert_eq!(
            (object.namespace.as_str(), object.name.as_str()),
            ("shop", "fedgate-passthrough-web")
        );
        assert_eq!(object.body["metadata"]["labels"][LABEL], "");
        assert_eq!(object.body["spec"]["workloadSelector"], json!({ "labels": { "app": "web" } }));
        let patches = object.body["spec"]["configPatches"].as_array().unwrap();
        assert_eq!(patches.len(), 2 * CHAINS.len());
        for patch in patches {
            assert_eq!(patch["match"]["context"], "SIDECAR_INBOUND");
            // A patch without one of Istio's ALPNs would add a TLS context to chains that have
            // none.
            assert!(
                patch["match"]["listener"]["filterChain"]["applicationProtocols"]
                    .as_str()
                    .is_some_and(|alpn| alpn.contains("istio"))
            );
        }
        let validation = &patches[0]["patch"]["value"]["transport_socket"]["typed_config"]["common_tls_context"]
            ["combined_validation_context"]["default_validation_context"];
        let names = json!([{ "prefix": "spiffe://beta.example/" }, { "prefix": "spiffe://alpha.example/" }]);
        assert_eq!(validation["match_subject_alt_names"], names);
        let map = &validation["custom_validator_config"]["typed_config"]["trust_bundles"]["inline_string"];
        let map: Value = serde_json::from_str(map.as_str().unwrap()).unwrap();
        let domains: Vec<_> = map["trust_domains"].as_object().unwrap().keys().collect();
        assert_eq!(domains, ["alpha.example", "beta.example"]);
    }

    #[test]
    fn without_our_own_roots_workloads_are_not_changed() {
        let mut sample = Sample::healthy();
        let mut federation = sample.snapshot().in_force.federation;
        let selector = [("app".to_owned(), "web".to_owned())].into();
        federation.passthrough.push(PassthroughService {
            namespace: "shop".into(),
            name: "web".into(),
            selector,
        });
        sample.local.roots.clear();
        assert!(objects(&sample.settings, &sample.local, &federation).is_empty());
    }
}
