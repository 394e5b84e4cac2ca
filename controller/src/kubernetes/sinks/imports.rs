//! The objects of imports: for each imported host a name in the mesh, how to call it, and whose roots are believed for it.
//!
//! Each has the host as its name, so a gateway that moves is an update of the same objects, and an operator finds them by the name
//! that programs call.

use super::object::{Desired, Head};
use crate::envoy::resource::extension;
use crate::envoy::trust::spiffe_validator;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::settings::ControllerSettings;
use fedgate_core::TrustDomain;
use fedgate_federation::bundle::{TrustBundle, bundle_map};
use fedgate_federation::federate::{Import, ServerIdentity};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The objects of all imports. `imports` are in order of host, as `federate` gives them. They are made one after another and can be
/// dropped before the next: there may be very many.
pub(crate) fn objects<'a>(
    settings: &'a ControllerSettings,
    imports: &'a [Import],
    bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
) -> impl Iterator<Item = Desired> + 'a {
    let hosts = imports.chunk_by(|a, b| a.service.host == b.service.host);
    hosts
        .filter_map(|ports| Some(Host { settings, ports, first: ports.first()?, bundles }))
        .flat_map(|host| host.objects())
}

/// One imported host with all its ports.
struct Host<'a> {
    settings: &'a ControllerSettings,
    ports: &'a [Import],
    first: &'a Import,
    bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
}

impl Host<'_> {
    /// The binding comes first, so that there is no moment in which any root is believed for the host.
    fn objects(&self) -> Vec<Desired> {
        let Some(bundle) = self.bundles.get(&self.first.trust_domain) else { return Vec::new() };
        vec![self.binding(bundle), self.destination_rule(), self.service_entry()]
    }

    fn head(&self, kind: Kind) -> Head<'_> {
        let places = &self.settings.places;
        let namespace = if kind == Kind::EnvoyFilter { &places.root } else { places.imports() };
        let (name, peer) = (self.first.service.host.as_str(), self.first.peer.as_str());
        Head { kind, namespace, name, owner: &places.namespace, peer: Some(peer) }
    }

    fn service_entry(&self) -> Desired {
        let gateways = &self.first.gateways;
        let resolution = if gateways.iter().all(|gateway| gateway.address.is_ip()) { "STATIC" } else { "DNS" };
        let port = |import: &Import| json!({ "number": import.service.port.get(), "name": import.port_name, "protocol": import.protocol.word() });
        let endpoints: Vec<_> = gateways
            .iter()
            .map(|gateway| {
                let ports: BTreeMap<_, _> =
                    self.ports.iter().map(|import| (import.port_name.as_str(), gateway.port.get())).collect();
                json!({ "address": gateway.address.to_string(), "ports": ports })
            })
            .collect();
        let mut spec = json!({
            "hosts": [self.first.service.host.as_str()],
            "location": "MESH_INTERNAL",
            "resolution": resolution,
            "ports": self.ports.iter().map(port).collect::<Vec<_>>(),
            "endpoints": endpoints,
            "exportTo": self.settings.gateway.export_to,
        });
        if let ServerIdentity::Exactly(identities) = self.first.server.as_ref() {
            spec["subjectAltNames"] = identities.iter().map(|identity| identity.as_str()).collect();
        }
        Desired::new(self.head(Kind::ServiceEntry), json!({ "spec": spec }))
    }

    /// Mutual TLS by the mesh's own certificates. All gateways of the peer are alike wherever they are: with Istio's locality preference,
    /// which comes with outlier detection, those of unknown locality would get all calls or none. A gateway that takes no connection, or
    /// whose TLS handshake fails, leaves rotation; what a server answers is no reason, since one gateway stands for all servers.
    fn destination_rule(&self) -> Desired {
        let policy = json!({
            "tls": { "mode": "ISTIO_MUTUAL" },
            "loadBalancer": { "localityLbSetting": { "enabled": false } },
            "outlierDetection": {
                // Unless it is said, five answers of 5xx in a row put a gateway out of rotation that has only passed them on.
                "consecutive5xxErrors": 0,
                "splitExternalLocalOriginErrors": true,
                "consecutiveLocalOriginFailures": 2,
                "interval": "5s",
                "baseEjectionTime": "10s",
                "maxEjectionPercent": 100,
                // When all have left, all are tried.
                "minHealthPercent": 1,
            },
        });
        let host = self.first.service.host.as_str();
        let spec = json!({ "host": host, "trafficPolicy": policy, "exportTo": self.settings.gateway.export_to });
        Desired::new(self.head(Kind::DestinationRule), json!({ "spec": spec }))
    }

    /// For this host the peer's roots are believed and no others, whatever the mesh believes otherwise.
    fn binding(&self, bundle: &TrustBundle) -> Desired {
        let map = String::from_utf8_lossy(&bundle_map([bundle])).into_owned();
        let validation = json!({ "custom_validator_config": spiffe_validator(json!({ "inline_string": map })) });
        let context = json!({ "common_tls_context": { "combined_validation_context": { "default_validation_context": validation } } });
        let socket: Value =
            extension("envoy.transport_sockets.tls", "extensions.transport_sockets.tls.v3.UpstreamTlsContext", context);
        let patch = json!({
            "applyTo": "CLUSTER",
            "match": { "context": "SIDECAR_OUTBOUND", "cluster": { "service": self.first.service.host.as_str() } },
            "patch": { "operation": "MERGE", "value": { "transport_socket": socket } },
        });
        Desired::new(self.head(Kind::EnvoyFilter), json!({ "spec": { "configPatches": [patch] } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::sample::Sample;
    use std::sync::Arc;

    /// The objects of beta's `web`, by kind.
    fn made(change: impl FnOnce(&mut Import)) -> BTreeMap<Kind, Value> {
        let sample = Sample::healthy();
        let federation = sample.snapshot().in_force.federation;
        let mut imports = federation.imports.clone();
        change(&mut imports[0]);
        let objects = objects(&sample.settings, &imports, &federation.bundles);
        objects.map(|object| (object.kind, object.body["spec"].clone())).collect()
    }

    #[test]
    fn all_gateways_are_alike_and_one_that_cannot_be_connected_to_leaves() {
        let policy = &made(|_| ())[&Kind::DestinationRule]["trafficPolicy"];
        assert_eq!(policy["loadBalancer"]["localityLbSetting"]["enabled"], false);
        let outliers = &policy["outlierDetection"];
        assert_eq!(outliers["consecutive5xxErrors"], 0, "what a server answers is not the gateway's fault");
        assert_eq!(
            (&outliers["consecutiveLocalOriginFailures"], &outliers["maxEjectionPercent"]),
            (&json!(2), &json!(100))
        );
        assert_eq!(outliers["minHealthPercent"], 1, "when all have left all are tried");
    }

    #[test]
    fn the_server_is_the_gateway_or_any_workload_of_the_peer() {
        let gateway = "spiffe://beta.example/ns/gw/sa/gw";
        let identity = fedgate_federation::document::WorkloadIdentity::parse(gateway).unwrap();
        let exactly = made(|import| import.server = Arc::new(ServerIdentity::Exactly(vec![identity])));
        assert_eq!(exactly[&Kind::ServiceEntry]["subjectAltNames"], json!([gateway]));
        let workload = made(|import| {
            import.passthrough = true;
            import.server = Arc::new(ServerIdentity::AnyOf(import.trust_domain.clone()));
        });
        assert_eq!(workload[&Kind::ServiceEntry].get("subjectAltNames"), None);
        // Whoever it is has to be signed by the peer's own roots.
        let binding = workload[&Kind::EnvoyFilter].to_string();
        assert!(binding.contains("beta.example") && !binding.contains("alpha.example"), "{binding}");
    }
}
