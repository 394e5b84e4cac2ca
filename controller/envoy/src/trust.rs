//! Whom the Envoys trust: roots bound to their trust domains, the cluster's own certificate, and
//! TLS settings.
//!
//! Roots are kept apart by trust domain. Envoy's SPIFFE validator picks them by the trust domain in
//! the certificate's first URI SAN, so a root can speak only for its own trust domain.

use super::resource::{discovery, extension, source, typed};
use super::{FilePath, GatewayInputs, Identity};
use base64::{Engine, prelude::BASE64_STANDARD};
use fedgate_core::{ServiceName, TrustDomain};
use fedgate_federation::bundle::{Root, TrustBundle, bundle_map};
use fedgate_federation::federate::ServerIdentity;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SECRET: &str = "extensions.transport_sockets.tls.v3.Secret";
const IDENTITY: &str = "identity";

/// A trust domain that no certificate can have: the validator reads it only up to the first `/`.
const NOBODY: &str = "nobody/has/this/trust/domain";

/// The peers' roots, by trust domain.
///
/// Envoy refuses an empty map and keeps the last good one in force, so removing the last peer would
/// have no effect. Without peers the map holds `local_roots`, under a trust domain that no
/// certificate can have.
pub(super) fn peers_bundles(inputs: &GatewayInputs<'_>) -> Vec<u8> {
    bundles_or_nobody(inputs.trust_domain, inputs.local_roots, inputs.bundles)
}

/// The JSON of `peers_bundles`, from its parts.
pub fn bundles_or_nobody(
    trust_domain: &TrustDomain,
    local_roots: &[Root],
    bundles: &BTreeMap<TrustDomain, TrustBundle>,
) -> Vec<u8> {
    if bundles.values().any(|bundle| !bundle.roots.is_empty()) {
        return bundle_map(bundles.values());
    }
    let local = TrustBundle { trust_domain: trust_domain.clone(), roots: local_roots.to_vec() };
    let mut map: Value = serde_json::from_slice(&bundle_map([&local])).unwrap_or_default();
    let bundle = map["trust_domains"][trust_domain.as_str()].take();
    json!({ "trust_domains": { NOBODY: bundle } }).to_string().into_bytes()
}

/// The validator that binds each root to its trust domain. `trust_bundles` is a `DataSource`.
pub fn spiffe_validator(trust_bundles: Value) -> Value {
    let message = "extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
    extension("envoy.tls.cert_validator.spiffe", message, json!({ "trust_bundles": trust_bundles }))
}

/// What to merge into a listener's existing TLS context: whom to trust, and no resumption. A
/// resumed session outlives the root that it was made with.
pub fn into_downstream_tls(validation: Value) -> Value {
    let fields = json!({
        "disable_stateless_session_resumption": true,
        "disable_stateful_session_resumption": true,
        "common_tls_context": in_combined_context(validation),
    });
    extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        fields,
    )
}

/// What to merge into a cluster's existing TLS context: whom to trust.
pub fn into_upstream_tls(validation: Value) -> Value {
    let fields = json!({ "common_tls_context": in_combined_context(validation) });
    extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        fields,
    )
}

/// istiod delivers the mesh's roots by SDS, combined with what is written here.
fn in_combined_context(validation: Value) -> Value {
    json!({ "combined_validation_context": { "default_validation_context": validation } })
}

/// The TLS settings of the federation listener.
///
/// No resumption, because a resumed session outlives the root that it was made with. No ALPN: Envoy
/// accepts a client's offer by not answering it, so no client speaks `istio-peer-exchange` to us.
pub(super) fn downstream_tls(identity: &FilePath, bundles: &FilePath) -> Value {
    let trust_bundles =
        json!({ "filename": bundles.as_str(), "watched_directory": { "path": bundles.folder() } });
    let fields = json!({
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "disable_stateful_session_resumption": true,
        "common_tls_context": {
            "tls_params": tls_params(),
            "tls_certificate_sds_secret_configs": [{ "name": IDENTITY, "sds_config": source(identity) }],
            "validation_context": { "custom_validator_config": spiffe_validator(trust_bundles) },
        },
    });
    extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        fields,
    )
}

/// The TLS settings towards a peer: accepts only `server`, verified only by the roots of its trust
/// domain.
///
/// The roots are in the cluster itself. If each peer's roots were a separate secret (SDS from a
/// file), each would take an inotify instance, and Envoy aborts if it gets none. One bundle map for
/// all peers would not be safe. The validator picks the roots by the first URI SAN, but the matcher
/// accepts any. So a certificate with the SANs `gamma`, `beta`, signed by gamma's root, would pass
/// for beta.
///
/// The filter chains of an `AUTO_PASSTHROUGH` gateway match on ALPN `istio`. No session is kept,
/// for the same reason as on the listener. The server name comes from the connection: see
/// [`listener::import`](super::listener).
pub(super) fn upstream_tls(
    identity: &FilePath,
    bundle: &TrustBundle,
    server: &ServerIdentity,
) -> Value {
    let map = String::from_utf8_lossy(&bundle_map([bundle])).into_owned();
    let fields = json!({
        "max_session_keys": 0,
        "common_tls_context": {
            "alpn_protocols": ["istio"],
            "tls_params": tls_params(),
            "tls_certificate_sds_secret_configs": [{ "name": IDENTITY, "sds_config": source(identity) }],
            "validation_context": {
                "match_typed_subject_alt_names": matchers(server),
                "custom_validator_config": spiffe_validator(json!({ "inline_string": map })),
            },
        },
    });
    extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        fields,
    )
}

/// The same with a fixed server name, that of `service`.
pub(super) fn member_tls(
    identity: &FilePath,
    bundle: &TrustBundle,
    server: &ServerIdentity,
    service: &ServiceName,
) -> Value {
    let mut socket = upstream_tls(identity, bundle, server);
    socket["typed_config"]["sni"] = service.sni().into();
    socket
}

/// The identities that a peer's server may have.
fn matchers(server: &ServerIdentity) -> Vec<Value> {
    let matcher = |matcher: Value| json!({ "san_type": "URI", "matcher": matcher });
    match server {
        ServerIdentity::AnyOf(trust_domain) => {
            vec![matcher(json!({ "prefix": format!("spiffe://{trust_domain}/") }))]
        }
        ServerIdentity::Exactly(identities) => {
            identities.iter().map(|id| matcher(json!({ "exact": id.as_str() }))).collect()
        }
    }
}

fn tls_params() -> Value {
    json!({ "tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3" })
}

/// The secret with the cluster's certificate and key. Both are in one file, so that Envoy never
/// sees one without the other.
pub(super) fn identity_secret(identity: &Identity) -> Value {
    let inline = |pem: &str| json!({ "inline_bytes": BASE64_STANDARD.encode(pem) });
    let certificate = json!({
        "certificate_chain": inline(identity.chain_pem()),
        "private_key": inline(identity.key_pem()),
    });
    discovery(vec![typed(SECRET, json!({ "name": IDENTITY, "tls_certificate": certificate }))])
}
