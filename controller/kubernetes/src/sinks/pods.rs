//! The gateway's clusters for Pods that are exported by name: a ServiceEntry for each.
//!
//! The Service's own cluster comes from Kubernetes. A Pod's name is no service of the mesh, so the
//! gateway gets one from us, with the Pod's address. It is in the gateway's namespace and exported
//! to no other, so no other proxy resolves the name differently than before.

use super::imports::{MUTUAL_TLS, NO_WAYPOINT};
use super::object::{Desired, Head};
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use crate::sources::slices::{Pods, Ports};
use fedgate_federation::Federation;
use fedgate_federation::federate::{Export, ExportedPod, Protocol};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The objects, created lazily, in order of host.
pub(crate) fn objects<'a>(
    settings: &'a ControllerSettings,
    federation: &'a Federation,
    pods: &'a Pods,
) -> impl Iterator<Item = Desired> + 'a {
    let exports = federation.exports.chunk_by(|a, b| a.service.host == b.service.host);
    exports.filter_map(move |ports| {
        let first = ports.first()?;
        let pod = first.pod.as_ref()?;
        let known = pods.ports(&first.namespace, &first.name, &pod.name);
        let endpoints = known.map(|known| endpoints(pod, known)).unwrap_or_default();
        Some(entry(settings, first, ports, endpoints))
    })
}

fn entry(
    settings: &ControllerSettings,
    first: &Export,
    ports: &[Export],
    endpoints: Vec<Value>,
) -> Desired {
    let host = first.service.host.as_str();
    let namespaces = &settings.namespaces;
    let head = Head {
        kind: Kind::ServiceEntry,
        namespace: namespaces.gateway(),
        name: host,
        owner: namespaces.own(),
        peer: None,
    };
    let port = |export: &Export| {
        json!({
            "number": export.service.port.get(),
            "name": export.port_name,
            "protocol": Protocol::of_port_name(&export.port_name).word(),
        })
    };
    let spec = json!({
        "hosts": [host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
        "endpoints": endpoints,
        "exportTo": ["."],
    });
    Desired::labelled(head, json!({ "spec": spec }), &[NO_WAYPOINT])
}

/// The Pod's addresses. Of two families only IPv4 counts: a gateway with IPv4 alone would try the
/// other one in vain for every second call.
fn endpoints(pod: &ExportedPod, ports: &Ports) -> Vec<Value> {
    let mut by_address: BTreeMap<IpAddr, BTreeMap<&str, u16>> = BTreeMap::new();
    for (name, addresses) in ports {
        for address in addresses {
            by_address.entry(address.ip()).or_default().insert(name, address.port());
        }
    }
    let has_v4 = by_address.keys().any(IpAddr::is_ipv4);
    let endpoint = |(address, ports): (IpAddr, BTreeMap<&str, u16>)| {
        let mut endpoint = json!({ "address": address.to_string(), "ports": ports });
        if !pod.plain {
            endpoint["labels"] = json!({ MUTUAL_TLS.0: MUTUAL_TLS.1 });
        }
        endpoint
    };
    let wanted = by_address.into_iter().filter(|(address, _)| address.is_ipv4() == has_v4);
    wanted.map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::watch::Key;
    use crate::sample::Sample;
    use crate::sources::{service, slices};
    use fedgate_federation::object::{PODS_ANNOTATION, PUBLIC_SERVICE_LABEL};

    /// The objects for the headless Service `db` with this annotation and these endpoints.
    fn made(annotation: &str, endpoints: Value) -> Vec<Desired> {
        let mut sample = Sample::healthy();
        let key = |name: &str| Key { namespace: "shop".into(), name: name.into() };
        let db = json!({
            "metadata": {
                "name": "db", "namespace": "shop", "labels": { PUBLIC_SERVICE_LABEL: "" },
                "annotations": { PODS_ANNOTATION: annotation },
            },
            "spec": { "clusterIP": "None", "ports": [{ "name": "tcp-sql", "port": 5432 }, { "name": "http", "port": 80 }] },
        });
        let slice = json!({
            "metadata": { "name": "db-x", "namespace": "shop", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{ "name": "tcp-sql", "port": 15432 }, { "name": "http", "port": 8080 }],
        });
        let db = service::keep(serde_json::from_value(db).unwrap());
        sample.observed.services.insert(key("db"), db);
        let slice = slices::keep(serde_json::from_value(slice).unwrap());
        sample.observed.slices.insert(key("db-x"), slice);
        let federation = sample.snapshot().in_force.federation;
        let pods = slices::pods(&sample.observed.slices, false);
        objects(&sample.settings, &federation, &pods).collect()
    }

    #[test]
    fn a_pod_has_a_service_entry_that_only_the_gateway_sees() {
        let made = made("true", json!([{ "addresses": ["10.0.0.1"], "hostname": "db-0" }]));
        let [object] = made.as_slice() else { panic!("one Pod, one object: {made:?}") };
        assert_eq!(
            (object.namespace.as_str(), object.name.as_str()),
            ("fedgate-system", "db-0.db.shop.svc.alpha.example")
        );
        let spec = &object.body["spec"];
        assert_eq!(spec["hosts"], json!(["db-0.db.shop.svc.alpha.example"]));
        assert_eq!((&spec["exportTo"], &spec["resolution"]), (&json!(["."]), &json!("STATIC")));
        let ports = json!([
            { "number": 80, "name": "http", "protocol": "HTTP" },
            { "number": 5432, "name": "tcp-sql", "protocol": "TCP" },
        ]);
        assert_eq!(spec["ports"], ports);
        let endpoint = json!({
            "address": "10.0.0.1",
            "ports": { "http": 8080, "tcp-sql": 15432 },
            "labels": { "security.istio.io/tlsMode": "istio" },
        });
        assert_eq!(spec["endpoints"], json!([endpoint]));
    }

    #[test]
    fn pods_outside_the_mesh_are_called_without_tls_and_only_if_their_owner_says_so() {
        let endpoints = json!([{ "addresses": ["10.0.0.1"], "hostname": "db-0" }]);
        let plain = made("plain", endpoints.clone());
        assert_eq!(plain[0].body["spec"]["endpoints"][0].get("labels"), None);
        assert!(made("no", endpoints).is_empty());
    }

    #[test]
    fn a_pod_that_is_not_ready_keeps_its_name_and_has_no_endpoint() {
        let made = made(
            "true",
            json!([{ "addresses": ["10.0.0.1"], "hostname": "db-0", "conditions": { "ready": false } }]),
        );
        assert_eq!((made.len(), &made[0].body["spec"]["endpoints"]), (1, &json!([])));
    }

    #[test]
    fn of_two_address_families_the_gateway_uses_one() {
        let both = json!([{ "addresses": ["fd00::1", "10.0.0.1"], "hostname": "db-0" }]);
        let made = made("true", both);
        let endpoints = made[0].body["spec"]["endpoints"].as_array().unwrap();
        assert_eq!(endpoints.len(), 1);
        assert_eq!(endpoints[0]["address"], "10.0.0.1");
    }
}
