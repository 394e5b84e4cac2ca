//! The Pods of exported headless Services, by name: their EndpointSlices.
//!
//! Kubernetes copies the labels of a Service to its EndpointSlices, and marks those of a headless
//! one. So the API server sends only the slices of exported headless Services, and nothing has to
//! read Pods. Of a slice only the endpoints with a name are kept: those of a StatefulSet's Pods.

use crate::api::watch::{Key, Watched};
use fedgate_federation::object::{PODS_ANNOTATION, PUBLIC_SERVICE_LABEL, ServiceObject};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::api::DynamicObject;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The label with which Kubernetes marks the slices of headless Services.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The label with the name of a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Selects the slices of headless Services: with `mcs_exports` of all, because a `ServiceExport` sets
/// no label, otherwise of those with the export label.
pub(crate) fn selector(mcs_exports: bool) -> String {
    match mcs_exports {
        true => format!("{HEADLESS},{SERVICE_NAME}"),
        false => format!("{PUBLIC_SERVICE_LABEL},{HEADLESS},{SERVICE_NAME}"),
    }
}

/// What is kept of a slice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Slice {
    /// The name of its Service.
    service: String,
    /// The addresses of each Pod's ports; a Pod that is not ready has none.
    pods: BTreeMap<String, Ports>,
}

/// The addresses at which a Pod can be called, by the name of the Service's port.
pub(crate) type Ports = BTreeMap<String, BTreeSet<SocketAddr>>;

/// The Pods of each Service, by its namespace and name, and then by their own name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pods {
    by_service: BTreeMap<(String, String), BTreeMap<String, Ports>>,
    /// Whether the API server refuses to list them.
    refused: bool,
}

/// Extracts what is needed from a slice. One that cannot be read has no Pods.
pub(crate) fn keep(object: DynamicObject) -> Slice {
    let read = serde_json::to_value(&object).and_then(serde_json::from_value::<EndpointSlice>);
    let Ok(slice) = read else { return Slice::default() };
    let service = slice.metadata.labels.and_then(|mut labels| labels.remove(SERVICE_NAME));
    let mut pods: BTreeMap<String, Ports> = BTreeMap::new();
    for endpoint in &slice.endpoints {
        if let Some(name) = endpoint.hostname.as_ref().filter(|name| !name.is_empty()) {
            let ports = pods.entry(name.clone()).or_default();
            add(ports, endpoint, slice.ports.as_deref().unwrap_or_default());
        }
    }
    Slice { service: service.unwrap_or_default(), pods }
}

fn add(ports: &mut Ports, endpoint: &Endpoint, of_slice: &[EndpointPort]) {
    // Kubernetes says to treat unknown readiness as ready.
    if !endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true) {
        return;
    }
    let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    for address in addresses {
        for port in of_slice.iter().filter(|port| is_tcp(port)) {
            if let Some(number) = port.port.and_then(|number| u16::try_from(number).ok()) {
                let name = port.name.clone().unwrap_or_default();
                ports.entry(name).or_default().insert(SocketAddr::new(address, number));
            }
        }
    }
}

fn is_tcp(port: &EndpointPort) -> bool {
    matches!(port.protocol.as_deref(), None | Some("TCP"))
}

/// Joins the slices: a Service has several if it has many Pods, or Pods with two addresses.
/// `refused` if the API server refuses to list them.
pub(crate) fn pods(slices: &BTreeMap<Key, Slice>, refused: bool) -> Pods {
    let mut pods = Pods { refused, ..Pods::default() };
    for (key, slice) in slices {
        let service = (key.namespace.clone(), slice.service.clone());
        let of_service = pods.by_service.entry(service).or_default();
        for (name, ports) in &slice.pods {
            let known = of_service.entry(name.clone()).or_default();
            for (port, addresses) in ports {
                known.entry(port.clone()).or_default().extend(addresses);
            }
        }
    }
    pods
}

impl Pods {
    /// Tells a Service that offers its Pods by name which Pods it has.
    pub(crate) fn name_in(&self, service: &mut ServiceObject) {
        if service.annotations.contains_key(PODS_ANNOTATION) {
            let key = (service.namespace.clone(), service.name.clone());
            let pods = self.by_service.get(&key).into_iter().flat_map(BTreeMap::keys);
            service.pods = pods.cloned().collect();
            service.pods_refused = self.refused;
        }
    }

    /// Where a Pod can be called; `None` if there is no such Pod.
    pub(crate) fn ports(&self, namespace: &str, service: &str, pod: &str) -> Option<&Ports> {
        self.by_service.get(&(namespace.to_owned(), service.to_owned()))?.get(pod)
    }
}

/// What was not listed yet. A refusal counts as an answer: it lasts until an operator grants the
/// permission, and must not stop everything else.
pub(crate) fn missing(watched: &Watched<Slice>) -> Option<String> {
    super::missing(watched).filter(|_| !is_refused(watched))
}

/// Returns true if the API server refuses to list them.
pub(crate) fn is_refused(watched: &Watched<Slice>) -> bool {
    watched.failure().is_some_and(|why| why.contains(" 403: "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(name: &str, endpoints: Value) -> (Key, Slice) {
        let object = json!({
            "metadata": { "name": name, "namespace": "shop", "labels": { SERVICE_NAME: "db" } },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{ "name": "tcp-sql", "port": 15432 }, { "name": "dns", "port": 53, "protocol": "UDP" }],
        });
        let key = Key { namespace: "shop".into(), name: name.into() };
        (key, keep(serde_json::from_value(object).unwrap()))
    }

    fn db() -> ServiceObject {
        ServiceObject {
            namespace: "shop".into(),
            name: "db".into(),
            annotations: [(PODS_ANNOTATION.to_owned(), "true".to_owned())].into(),
            ..ServiceObject::default()
        }
    }

    #[test]
    fn pods_are_joined_from_all_slices_of_their_service() {
        let slices = [
            slice(
                "db-a",
                json!([
                    { "addresses": ["10.0.0.1"], "hostname": "db-0" },
                    { "addresses": ["10.0.0.9"] },
                    { "addresses": ["10.0.0.2"], "hostname": "db-1", "conditions": { "ready": false } },
                ]),
            ),
            slice("db-b", json!([{ "addresses": ["fd00::1", "x"], "hostname": "db-0" }])),
        ];
        let pods = pods(&slices.into(), false);
        let mut db = db();
        pods.name_in(&mut db);
        assert!(!db.pods_refused);
        assert_eq!(db.pods.iter().collect::<Vec<_>>(), ["db-0", "db-1"], "ready or not");
        let addresses: BTreeSet<SocketAddr> =
            ["10.0.0.1:15432", "[fd00::1]:15432"].map(|text| text.parse().unwrap()).into();
        let expected = Ports::from([("tcp-sql".to_owned(), addresses)]);
        assert_eq!(pods.ports("shop", "db", "db-0"), Some(&expected));
        assert_eq!(pods.ports("shop", "db", "db-1"), Some(&Ports::new()));
        assert_eq!(pods.ports("shop", "db", "db-2"), None);
        assert_eq!(pods.ports("other", "db", "db-0"), None);
    }

    #[test]
    fn a_service_that_does_not_ask_learns_of_no_pod() {
        let slices = [slice("db-a", json!([{ "addresses": ["10.0.0.1"], "hostname": "db-0" }]))];
        let mut db = ServiceObject { annotations: BTreeMap::new(), ..db() };
        pods(&slices.into(), false).name_in(&mut db);
        assert!(db.pods.is_empty());
    }

    #[test]
    fn a_service_learns_that_its_pods_cannot_be_read() {
        let mut db = db();
        pods(&BTreeMap::new(), true).name_in(&mut db);
        assert!(db.pods.is_empty() && db.pods_refused);
        let mut silent = ServiceObject { annotations: BTreeMap::new(), ..db };
        silent.pods_refused = false;
        pods(&BTreeMap::new(), true).name_in(&mut silent);
        assert!(!silent.pods_refused, "it does not ask for them");
    }

    #[test]
    fn a_malformed_slice_has_no_pods() {
        for endpoints in [json!("x"), json!([{ "addresses": "10.0.0.1" }]), json!([1])] {
            assert_eq!(slice("db-a", endpoints).1, Slice::default());
        }
    }
}
