//! What the workloads need that TLS is passed through to: their sidecars have to believe the peers' roots, each for its own trust domain, and
//! ours for ours.
//!
//! An EnvoyFilter in the Service's namespace that selects the Service's workloads. In the mesh's root namespace it would hold for whatever
//! workload of any namespace has such labels, which is not what the Service's owner has asked for.
//!
//! It changes the chains that istiod makes for mutual TLS and no others: those that are matched by Istio's own ALPNs. A chain without a TLS
//! context would be given one. With a PeerAuthentication of mode STRICT istiod makes chains that are matched by no ALPN; so passthrough needs
//! the mode PERMISSIVE, and who may call is said by AuthorizationPolicies, which see the callers' identities.

use super::object::{Desired, Head};
use crate::envoy::resource::extension;
use crate::envoy::trust::spiffe_validator;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::settings::ControllerSettings;
use crate::kubernetes::sources::passthrough::{LABEL, name_for};
use fedgate_federation::bundle::{TrustBundle, bundle_map};
use fedgate_federation::federate::PassthroughService;
use fedgate_federation::{Federation, LocalCluster};
use serde_json::{Value, json};

/// Which chains are changed: each is matched by all of the ALPNs of one line. Between them they are all chains for mutual TLS (istiod's
/// `allIstioMtlsALPNs`, `mtlsHTTPALPNs` and `mtlsTCPWithMxcALPNs`); what is changed twice is the same as what is changed once.
const CHAINS: [&str; 2] = ["istio", "istio-h2"];

/// The objects, in order of Service. None without roots of our own: the workloads' neighbours would be believed no more.
pub(crate) fn objects(settings: &ControllerSettings, local: &LocalCluster, federation: &Federation) -> Vec<Desired> {
    if local.roots.is_empty() {
        return Vec::new();
    }
    let ours = TrustBundle { trust_domain: local.trust_domain.clone(), roots: local.roots.clone() };
    let map = String::from_utf8_lossy(&bundle_map(federation.bundles.values().chain([&ours]))).into_owned();
    let patches: Vec<_> = CHAINS.iter().map(|alpn| patch(alpn, &map)).collect();
    federation.passthrough.iter().map(|service| object(settings, service, &patches)).collect()
}

fn object(settings: &ControllerSettings, service: &PassthroughService, patches: &[Value]) -> Desired {
    let name = name_for(&service.name);
    let head = Head {
        kind: Kind::EnvoyFilter,
        namespace: &service.namespace,
        name: &name,
        owner: &settings.places.namespace,
        peer: None,
    };
    let spec = json!({ "workloadSelector": { "labels": service.selector }, "configPatches": patches });
    Desired::labelled(head, json!({ "spec": spec }), &[(LABEL, "")])
}

fn patch(alpn: &str, map: &str) -> Value {
    let validation = json!({ "custom_validator_config": spiffe_validator(json!({ "inline_string": map })) });
    let context = extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({
            // A session that is resumed outlives the root that it was made with.
            "disable_stateless_session_resumption": true,
            "disable_stateful_session_resumption": true,
            "common_tls_context": { "combined_validation_context": { "default_validation_context": validation } },
        }),
    );
    let chain = json!({ "transportProtocol": "tls", "applicationProtocols": alpn });
    json!({
        "applyTo": "FILTER_CHAIN",
        "match": { "context": "SIDECAR_INBOUND", "listener": { "filterChain": chain } },
        "patch": { "operation": "MERGE", "value": { "transport_socket": context } },
    })
}
