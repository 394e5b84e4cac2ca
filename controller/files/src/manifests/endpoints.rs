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
        add(&mut by_service, found, slice, findings);
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

fn add(
    by_service: &mut ByService,
    found: &Found,
    slice: &EndpointSlice,
    findings: &mut Vec<Finding>,
) {
    let mut refuse = |field: &str, message: String| {
        findings.push(Finding::warning(
            FindingReason::InvalidObject,
            found.id.object(&found.source),
            field,
            message,
        ));
    };
    let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
    let Some(service) = label.filter(|name| !name.is_empty()) else {
        let message =
            "expected the name of the slice's Service, found none; set the label, until then the slice is not used"
                .to_owned();
        return refuse(&format!("metadata.labels[{SERVICE_NAME_LABEL}]"), message);
    };
    // Some programs omit the type, and nothing depends on it.
    if !matches!(slice.address_type.as_str(), "" | "IPv4" | "IPv6") {
        let found = shown(&slice.address_type);
        return refuse(
            "addressType",
            format!(
                "expected IPv4 or IPv6, found {found:?}; until that is fixed the slice is not used"
            ),
        );
    }
    for (index, port) in
        slice.ports.iter().flatten().enumerate().filter(|(_, port)| number(port).is_none())
    {
        let found = port.port.map_or_else(|| "none".to_owned(), |port| port.to_string());
        refuse(
            &format!("ports[{index}].port"),
            format!("expected a port from 1 to 65535, found {found}; the port is left out"),
        );
    }
    let workloads = by_service.entry((found.id.namespace.clone(), service.clone())).or_default();
    let named = slice.endpoints.iter().filter_map(hostname);
    workloads.pods.extend(named.map(|name| (name.clone(), ByPortName::new())));
    for (index, endpoint) in
        slice.endpoints.iter().enumerate().filter(|(_, endpoint)| is_ready(endpoint))
    {
        if endpoint.addresses.is_empty() {
            let field = format!("endpoints[{index}].addresses");
            refuse(
                &field,
                "expected at least one IP address, found none; the endpoint is left out".to_owned(),
            );
        }
        for text in &endpoint.addresses {
            match text.parse::<IpAddr>() {
                Ok(address) => {
                    let ports = slice.ports.as_deref().unwrap_or_default();
                    add_address(&mut workloads.all, address, ports);
                    if let Some(pod) =
                        hostname(endpoint).and_then(|name| workloads.pods.get_mut(name))
                    {
                        add_address(pod, address, ports);
                    }
                }
                Err(_) => {
                    let field = format!("endpoints[{index}].addresses");
                    refuse(
                        &field,
                        format!(
                            "expected an IP address, found {:?}; the address is left out",
                            shown(text)
                        ),
                    );
                }
            }
        }
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
