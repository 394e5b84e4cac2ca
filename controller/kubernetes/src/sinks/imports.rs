//! The objects of imports: for each imported host its name in the mesh, and how to call it.
//! `bindings` says whose roots are trusted for it.
//!
//! The host is the name of these objects. So a gateway that moves only updates them, and an
//! operator finds them by the name that programs call.

use super::object::{Desired, Head};
use crate::api::fingerprint::USE_WAYPOINT;
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use fedgate_core::{Hostname, TrustDomain};
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::document::Locality;
use fedgate_federation::federate::{Import, Imports, Protocol, ServerIdentity};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The network of the peers' gateways, in Istio's sense. On purpose, no network of a mesh has this
/// name, and no gateway leads to it.
///
/// ztunnel ignores DestinationRules and `exportTo`, and would send an ambient Pod's bytes to an
/// endpoint in clear text. But it refuses an endpoint in a network to which it has no gateway
/// (`build_request_through_gateway` in its `outbound.rs`, since Istio 1.26). Sidecars connect to
/// the endpoint directly, as they do for every network without gateways.
///
/// The network also keeps the addresses that a peer announces apart from this mesh's workloads.
pub(crate) const PEERS_NETWORK: &str = "fedgate.dev";

/// Keeps the namespace's waypoint from calling instead of ztunnel.
pub(super) const NO_WAYPOINT: (&str, &str) = (USE_WAYPOINT, "none");

/// Makes sidecars use mutual TLS even without our DestinationRule: it may be deleted, or another
/// one may take precedence.
pub(super) const MUTUAL_TLS: (&str, &str) = ("security.istio.io/tlsMode", "istio");

/// The objects of all imports. There may be very many, so they are created lazily, and each can be
/// dropped before the next. A host whose owner has no trusted root gets none.
pub(crate) fn objects<'a>(
    settings: &'a ControllerSettings,
    imports: &'a Imports,
    bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
    addresses: &'a BTreeMap<Hostname, IpAddr>,
) -> impl Iterator<Item = Desired> + 'a {
    imports
        .by_host()
        .filter_map(|ports| {
            let first = ports.first()?;
            let address = addresses.get(&first.service.host).copied();
            Some(Host { settings, ports, first, address })
        })
        .filter(|host| bundles.contains_key(&host.first.trust_domain))
        .flat_map(|host| [host.destination_rule(), host.service_entry()])
}

/// One imported host with all its ports.
struct Host<'a> {
    settings: &'a ControllerSettings,
    ports: &'a [Import],
    first: &'a Import,
    /// Its address in the mesh, if we choose it.
    address: Option<IpAddr>,
}

impl Host<'_> {
    fn head(&self, kind: Kind) -> Head<'_> {
        let namespaces = &self.settings.namespaces;
        let (name, peer) = (self.first.service.host.as_str(), self.first.peer.as_str());
        Head {
            kind,
            namespace: namespaces.imports(),
            name,
            owner: namespaces.own(),
            peer: Some(peer),
        }
    }

    fn service_entry(&self) -> Desired {
        let port = |import: &Import| json!({ "number": import.service.port.get(), "name": import.port_name, "protocol": import.protocol.word() });
        let endpoint = |(address, locality): (SocketAddr, Option<&Locality>)| {
            let ports: BTreeMap<_, _> = self
                .ports
                .iter()
                .map(|import| (import.port_name.as_str(), address.port()))
                .collect();
            let mut endpoint = json!({
                "address": address.ip().to_string(),
                "ports": ports,
                "network": PEERS_NETWORK,
                "labels": { MUTUAL_TLS.0: MUTUAL_TLS.1 },
            });
            if let Some(locality) = locality {
                endpoint["locality"] = locality.as_str().into();
            }
            endpoint
        };
        let endpoints: Vec<_> = self.first.endpoints().map(endpoint).collect();
        let mut spec = json!({
            "hosts": [self.first.service.host.as_str()],
            "location": "MESH_INTERNAL",
            // The controller resolves names: once for all sidecars, and never to one of our own
            // addresses.
            "resolution": "STATIC",
            "ports": self.ports.iter().map(port).collect::<Vec<_>>(),
            "endpoints": endpoints,
            "exportTo": self.settings.gateway.export_to,
        });
        if let Some(address) = self.address {
            spec["addresses"] = json!([address]);
        }
        if let ServerIdentity::Exactly(identities) = self.first.server.as_ref() {
            spec["subjectAltNames"] = identities.iter().map(|identity| identity.as_str()).collect();
        }
        Desired::labelled(self.head(Kind::ServiceEntry), json!({ "spec": spec }), &[NO_WAYPOINT])
    }

    /// Mutual TLS with the mesh's own certificates.
    ///
    /// If the peer says where its gateways are, each sidecar calls the nearest, and others when that
    /// is out of rotation. Otherwise all gateways are equal: Istio's locality preference, which comes
    /// with outlier detection, would send all calls or none to those with an unknown locality.
    ///
    /// A gateway leaves rotation if it takes no connection or if its TLS handshake fails. The
    /// servers' answers do not count, because one gateway stands for all servers.
    fn destination_rule(&self) -> Desired {
        let mut policy = json!({
            "tls": { "mode": "ISTIO_MUTUAL" },
            "loadBalancer": { "localityLbSetting": { "enabled": self.is_located() } },
            "connectionPool": { "tcp": self.silence() },
            "outlierDetection": {
                // By default, five 5xx answers in a row would eject a gateway that has only passed
                // them on.
                "consecutive5xxErrors": 0,
                "splitExternalLocalOriginErrors": true,
                "consecutiveLocalOriginFailures": 2,
                "interval": "5s",
                "baseEjectionTime": "10s",
                "maxEjectionPercent": 100,
                // When all are ejected, all are tried.
                "minHealthPercent": 1,
            },
        });
        let renewed = self.renewed_connections(&policy);
        if !renewed.is_empty() {
            policy["portLevelSettings"] = renewed.into();
        }
        let host = self.first.service.host.as_str();
        let spec = json!({ "host": host, "trafficPolicy": policy, "exportTo": self.settings.gateway.export_to });
        Desired::new(self.head(Kind::DestinationRule), json!({ "spec": spec }))
    }

    fn is_located(&self) -> bool {
        self.first.endpoints().any(|(_, locality)| locality.is_some())
    }

    /// How silent connections are kept.
    fn silence(&self) -> Value {
        let quiet = self.settings.connections.quiet();
        json!({
            "tcpKeepalive": {
                "time": format!("{}s", quiet.keepalive_seconds()),
                "interval": format!("{}s", quiet.interval_seconds()),
                "probes": quiet.probes(),
            },
            "idleTimeout": quiet.idle_timeout_text(),
        })
    }

    /// Ports on which HTTP requests share connections: a connection ends between two requests after
    /// a time. The gateway sees only TCP, so it cannot do this itself when it shuts down. Other
    /// protocols are left alone: only the program knows when their connections may end.
    fn renewed_connections(&self, policy: &Value) -> Vec<Value> {
        let http = self
            .ports
            .iter()
            .filter(|import| matches!(import.protocol, Protocol::Http | Protocol::Http2));
        let lifetime = format!("{}s", self.settings.gateway.connection_lifetime.as_secs_f64());
        let of_port = |import: &Import| {
            // The settings of a port replace the general ones.
            let mut policy = policy.clone();
            policy["port"] = json!({ "number": import.service.port.get() });
            policy["connectionPool"]["tcp"]["maxConnectionDuration"] = lifetime.clone().into();
            policy
        };
        http.map(of_port).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::sinks::bindings;
    use std::sync::Arc;

    /// The objects of beta's `web`, by kind.
    fn made(change: impl FnOnce(&mut Import)) -> BTreeMap<Kind, Value> {
        let sample = Sample::healthy();
        let federation = sample.snapshot().in_force.federation;
        let mut imports: Vec<_> = federation.imports.iter().cloned().collect();
        change(&mut imports[0]);
        let imports = imports.into_iter().collect();
        let none = BTreeMap::new();
        let bindings = bindings::objects(&sample.settings, &imports, &federation.bundles);
        let objects =
            bindings.chain(objects(&sample.settings, &imports, &federation.bundles, &none));
        objects.map(|object| (object.kind, object.body["spec"].clone())).collect()
    }

    /// As a DKP cluster writes it, but for the resolution: the controller has looked up the names.
    #[test]
    fn an_import_has_the_form_of_the_protocol() {
        let (mut host, mut server) = (String::new(), None);
        let objects = made(|import| {
            host = import.service.host.to_string();
            server = import.addresses().next();
        });
        let (entry, server) = (&objects[&Kind::ServiceEntry], server.unwrap());
        assert_eq!(entry["hosts"], json!([host]));
        assert_eq!(
            (&entry["location"], &entry["resolution"]),
            (&json!("MESH_INTERNAL"), &json!("STATIC"))
        );
        assert_eq!(entry["ports"], json!([{ "number": 80, "name": "http", "protocol": "HTTP" }]));
        let endpoints = entry["endpoints"].as_array().unwrap();
        assert_eq!(endpoints.len(), 1);
        assert_eq!(endpoints[0]["address"], server.ip().to_string());
        assert_eq!(endpoints[0]["ports"], json!({ "http": server.port() }));
        let rule = &objects[&Kind::DestinationRule];
        assert_eq!(rule["host"], json!(host));
        assert_eq!(rule["trafficPolicy"]["tls"], json!({ "mode": "ISTIO_MUTUAL" }));
    }

    /// So a gateway that moves is an update, not a deletion and a creation.
    #[test]
    fn the_names_of_the_objects_do_not_depend_on_the_gateways() {
        let names = |change: &dyn Fn(&mut Import)| {
            let sample = Sample::healthy();
            let federation = sample.snapshot().in_force.federation;
            let mut imports: Vec<_> = federation.imports.iter().cloned().collect();
            imports.iter_mut().for_each(change);
            let imports = imports.into_iter().collect();
            let none = BTreeMap::new();
            let written = objects(&sample.settings, &imports, &federation.bundles, &none);
            let name = |object: Desired| {
                (object.kind, object.body["metadata"]["name"].clone(), object.body["spec"].clone())
            };
            written.map(name).collect::<Vec<_>>()
        };
        let move_gateway = |import: &mut Import| {
            let mut gateways = import.gateways.to_vec();
            gateways[0].addresses = vec!["192.0.2.99:1234".parse().unwrap()];
            import.gateways = gateways.into();
        };
        let (before, after) = (names(&|_| ()), names(&move_gateway));
        assert_ne!(before, after, "the gateway has moved");
        let only_names = |all: Vec<(Kind, Value, Value)>| {
            all.into_iter().map(|(kind, name, _)| (kind, name)).collect::<Vec<_>>()
        };
        let (before, after) = (only_names(before), only_names(after));
        assert!(!before.is_empty() && before.iter().all(|(_, name)| name.is_string()));
        assert_eq!(before, after);
    }

    #[test]
    fn an_address_of_ours_is_the_hosts_only_address() {
        let sample = Sample::healthy();
        let federation = sample.snapshot().in_force.federation;
        let host = federation.imports.iter().next().unwrap().service.host.clone();
        let addresses = BTreeMap::from([(host, "240.96.0.7".parse().unwrap())]);
        let written =
            objects(&sample.settings, &federation.imports, &federation.bundles, &addresses);
        let entry = written.into_iter().find(|object| object.kind == Kind::ServiceEntry).unwrap();
        assert_eq!(entry.body["spec"]["addresses"], json!(["240.96.0.7"]));
        assert_eq!(made(|_| ())[&Kind::ServiceEntry].get("addresses"), None, "istiod chooses it");
    }

    #[test]
    fn gateways_have_equal_weight_and_unreachable_ones_are_ejected() {
        let policy = &made(|_| ())[&Kind::DestinationRule]["trafficPolicy"];
        assert_eq!(policy["loadBalancer"]["localityLbSetting"]["enabled"], false);
        let outliers = &policy["outlierDetection"];
        assert_eq!(
            outliers["consecutive5xxErrors"], 0,
            "what a server answers is not the gateway's fault"
        );
        assert_eq!(
            (&outliers["consecutiveLocalOriginFailures"], &outliers["maxEjectionPercent"]),
            (&json!(2), &json!(100))
        );
        assert_eq!(outliers["minHealthPercent"], 1, "when all have left all are tried");
    }

    #[test]
    fn sidecars_prefer_the_nearest_gateway_if_the_peer_says_where_they_are() {
        let objects = made(|import| {
            let mut gateways = import.gateways.to_vec();
            gateways[0].locality = Some(Locality::parse("eu/a").unwrap());
            import.gateways = gateways.into();
        });
        assert_eq!(objects[&Kind::ServiceEntry]["endpoints"][0]["locality"], "eu/a");
        let policy = &objects[&Kind::DestinationRule]["trafficPolicy"];
        assert_eq!(policy["loadBalancer"]["localityLbSetting"]["enabled"], true);
        let of_port = &policy["portLevelSettings"][0];
        assert_eq!(of_port["loadBalancer"]["localityLbSetting"]["enabled"], true);
        let unknown = made(|_| ());
        assert_eq!(unknown[&Kind::ServiceEntry]["endpoints"][0].get("locality"), None);
    }

    /// The settings of a port replace the general ones.
    #[test]
    fn silent_connections_are_kept_on_every_port() {
        let policy = &made(|_| ())[&Kind::DestinationRule]["trafficPolicy"];
        let tcp = json!({ "tcpKeepalive": { "time": "30s", "interval": "10s", "probes": 3 }, "idleTimeout": "3600s" });
        assert_eq!(policy["connectionPool"]["tcp"], tcp);
        let mut http = tcp;
        http["maxConnectionDuration"] = "60s".into();
        assert_eq!(policy["portLevelSettings"][0]["connectionPool"]["tcp"], http);
    }

    /// Without the network, ambient Pods would call in clear text. Without the label on the
    /// endpoint, so would sidecars to which our DestinationRule does not apply. The tests on a real
    /// istiod check the result.
    #[test]
    fn endpoints_are_in_the_peers_network_and_use_mutual_tls() {
        let sample = Sample::healthy();
        let federation = sample.snapshot().in_force.federation;
        let none = BTreeMap::new();
        let written = objects(&sample.settings, &federation.imports, &federation.bundles, &none);
        let entry =
            written.into_iter().find(|object| object.kind == Kind::ServiceEntry).unwrap().body;
        assert_eq!(entry["metadata"]["labels"][USE_WAYPOINT], "none");
        for endpoint in entry["spec"]["endpoints"].as_array().unwrap() {
            assert_eq!(endpoint["network"], PEERS_NETWORK);
            assert_eq!(endpoint["labels"], json!({ "security.istio.io/tlsMode": "istio" }));
        }
        assert_ne!(entry["spec"]["endpoints"], json!([]));
    }

    #[test]
    fn the_server_identity_is_the_gateways_or_any_of_the_peers() {
        let gateway = "spiffe://beta.example/ns/gw/sa/gw";
        let identity = fedgate_federation::document::WorkloadIdentity::parse(gateway).unwrap();
        let exactly =
            made(|import| import.server = Arc::new(ServerIdentity::Exactly(vec![identity])));
        assert_eq!(exactly[&Kind::ServiceEntry]["subjectAltNames"], json!([gateway]));
        let workload = made(|import| {
            import.passthrough = true;
            import.server = Arc::new(ServerIdentity::AnyOf(import.trust_domain.clone()));
        });
        assert_eq!(workload[&Kind::ServiceEntry].get("subjectAltNames"), None);
        // In any case, a root of the peer must have signed the identity.
        let binding = workload[&Kind::EnvoyFilter].to_string();
        assert!(
            binding.contains("beta.example") && !binding.contains("alpha.example"),
            "{binding}"
        );
    }
}
