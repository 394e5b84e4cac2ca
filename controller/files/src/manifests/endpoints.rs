//! Where local workloads listen: EndpointSlices, by Service and port, and by Pod.

use super::object::Found;
use fedgate_core::{Hostname, ServiceName, ServicePort, TrustDomain};
use fedgate_federation::object::{PODS_ANNOTATION, ServiceObject, TransportProtocol};
use fedgate_federation::{Finding, FindingReason, shown};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The addresses of the ready workloads of each Service port.
pub type Endpoints = BTreeMap<ServiceName, BTreeSet<SocketAddr>>;

/// The label with the name of a slice's Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Addresses by name of the port.
type ByPortName = BTreeMap<String, BTreeSet<SocketAddr>>;

/// The workloads of each Service, by its namespace and name.
type ByService = BTreeMap<(String, String), Workloads>;

/// The ready workloads of a Service: all of them, and by their own name if they have one. A named
/// one that is not ready has no addresses.
#[derive(Default)]
struct Workloads {
    all: ByPortName,
    pods: BTreeMap<String, ByPortName>,
}

/// Joins Services with their slices. Their ports match by name. Services that offer their Pods by
/// name learn which Pods they have.
pub(super) fn endpoints(
    services: &mut [ServiceObject],
    slices: &[(&Found, &EndpointSlice)],
    trust_domain: &TrustDomain,
    findings: &mut Vec<Finding>,
) -> Endpoints {
    let mut by_service = ByService::new();
    for (found, slice) in slices {
        Slice { found, slice, findings }.add(&mut by_service);
    }
    let mut endpoints = Endpoints::new();
    for service in services {
        let Some(workloads) = by_service.remove(&(service.namespace.clone(), service.name.clone()))
        else {
            continue;
        };
        let host = format!("{}.{}.svc.{trust_domain}", service.name, service.namespace);
        join(service, &host, &workloads.all, &mut endpoints);
        if service.annotations.contains_key(PODS_ANNOTATION) {
            for (pod, ports) in &workloads.pods {
                join(service, &format!("{pod}.{host}"), ports, &mut endpoints);
            }
            service.pods = workloads.pods.into_keys().collect();
        }
    }
    endpoints
}

/// Adds what listens on each port of the Service, under this host.
fn join(service: &ServiceObject, host: &str, ports: &ByPortName, endpoints: &mut Endpoints) {
    let Ok(host) = Hostname::parse(host) else { return };
    let name = |number| ServiceName::new(host.clone(), ServicePort::new(number)?).ok();
    for port in service.ports.iter().filter(|port| port.protocol == TransportProtocol::Tcp) {
        let addresses = ports.get(port.name.as_deref().unwrap_or_default());
        if let (Some(name), Some(addresses)) = (name(port.port), addresses) {
            endpoints.entry(name).or_default().extend(addresses);
        }
    }
}

/// Tells each Service's ports how many addresses are ready.
pub(super) fn count(
    services: &mut [ServiceObject],
    endpoints: &Endpoints,
    trust_domain: &TrustDomain,
) {
    for service in services {
        let names: Vec<_> = service
            .ports
            .iter()
            .map(|port| service_name(service, port.port, trust_domain))
            .collect();
        for (port, name) in service.ports.iter_mut().zip(names) {
            port.ready = Some(name.and_then(|name| endpoints.get(&name)).map_or(0, BTreeSet::len));
        }
    }
}

fn service_name(
    service: &ServiceObject,
    port: u16,
    trust_domain: &TrustDomain,
) -> Option<ServiceName> {
    let host =
        Hostname::parse(&format!("{}.{}.svc.{trust_domain}", service.name, service.namespace))
            .ok()?;
    ServiceName::new(host, ServicePort::new(port)?).ok()
}

/// A slice, and where what is wrong with it is reported.
struct Slice<'a> {
    found: &'a Found,
    slice: &'a EndpointSlice,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Slice<'a> {
    /// Adds its addresses. Endpoints and ports that are wrong are left out and reported, and so is
    /// a slice whose Service or type of address is not known.
    fn add(mut self, by_service: &mut ByService) {
        let Some(service) = self.service() else { return };
        self.check_ports();
        let slice = self.slice;
        let workloads =
            by_service.entry((self.found.id.namespace.clone(), service.clone())).or_default();
        let named = slice.endpoints.iter().filter_map(hostname);
        workloads.pods.extend(named.map(|name| (name.clone(), ByPortName::new())));
        for (index, endpoint) in slice.endpoints.iter().enumerate() {
            if is_ready(endpoint) {
                self.add_endpoint(index, endpoint, workloads);
            }
        }
    }

    /// Returns the name of its Service, if the slice can be used.
    fn service(&mut self) -> Option<&'a String> {
        let labels = self.slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let service = service.filter(|name| !name.is_empty());
        if service.is_none() {
            let field = format!("metadata.labels[{SERVICE_NAME_LABEL}]");
            self.report(
                &field,
                "expected the name of the slice's Service, found none; set the label, until then the slice is not used",
            );
        }
        let kind = self.slice.address_type.as_str();
        // Some programs omit the type, and nothing depends on it.
        if service.is_some() && !matches!(kind, "" | "IPv4" | "IPv6") {
            let found = shown(kind);
            let message = format!(
                "expected IPv4 or IPv6, found {found:?}; until that is fixed the slice is not used"
            );
            self.report("addressType", &message);
            return None;
        }
        service
    }

    fn check_ports(&mut self) {
        for (index, port) in self.slice.ports.iter().flatten().enumerate() {
            if number(port).is_none() {
                let found = port.port.map_or_else(|| "none".to_owned(), |port| port.to_string());
                let message =
                    format!("expected a port from 1 to 65535, found {found}; the port is left out");
                self.report(&format!("ports[{index}].port"), &message);
            }
        }
    }

    fn add_endpoint(&mut self, index: usize, endpoint: &Endpoint, workloads: &mut Workloads) {
        let field = format!("endpoints[{index}].addresses");
        if endpoint.addresses.is_empty() {
            let message = "expected at least one IP address, found none; the endpoint is left out";
            self.report(&field, message);
        }
        let ports = self.slice.ports.as_deref().unwrap_or_default();
        for text in &endpoint.addresses {
            let Ok(address) = text.parse::<IpAddr>() else {
                let found = shown(text);
                let message =
                    format!("expected an IP address, found {found:?}; the address is left out");
                self.report(&field, &message);
                continue;
            };
            add_address(&mut workloads.all, address, ports);
            let pod = hostname(endpoint).and_then(|name| workloads.pods.get_mut(name));
            if let Some(pod) = pod {
                add_address(pod, address, ports);
            }
        }
    }

    fn report(&mut self, field: &str, message: &str) {
        let object = self.found.id.object(&self.found.source);
        let reason = FindingReason::InvalidObject;
        self.findings.push(Finding::warning(reason, object, field, message));
    }
}

fn add_address(ports: &mut ByPortName, address: IpAddr, slice_ports: &[EndpointPort]) {
    for port in
        slice_ports.iter().filter(|port| matches!(port.protocol.as_deref(), None | Some("TCP")))
    {
        if let Some(number) = number(port) {
            let name = port.name.clone().unwrap_or_default();
            ports.entry(name).or_default().insert(SocketAddr::new(address, number));
        }
    }
}

fn number(port: &EndpointPort) -> Option<u16> {
    port.port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

/// An empty hostname is the same as none, as in Kubernetes.
fn hostname(endpoint: &Endpoint) -> Option<&String> {
    endpoint.hostname.as_ref().filter(|name| !name.is_empty())
}

/// Kubernetes says to treat unknown readiness as ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}
