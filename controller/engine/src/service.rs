//! Reads what exports need from a Service, on both platforms.

use fedgate_federation::form::{FormError, Step};
use fedgate_federation::object::{ServiceObject, ServicePortSpec, TransportProtocol};
use fedgate_federation::shown;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use std::collections::BTreeSet;

/// Reads a Service's ports, and keeps what else exports need.
///
/// # Errors
/// The faulty field, and what was expected.
pub fn service_object(
    service: Service,
    namespace: &str,
    name: &str,
    source: Option<String>,
) -> Result<ServiceObject, FormError> {
    let spec = service.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default().into_iter().enumerate();
    Ok(ServiceObject {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source,
        service_type: spec.type_,
        labels: service.metadata.labels.unwrap_or_default(),
        annotations: service.metadata.annotations.unwrap_or_default(),
        selector: spec.selector.unwrap_or_default(),
        headless: spec.cluster_ip.as_deref() == Some("None"),
        pods: BTreeSet::new(),
        pods_refused: false,
        ports: ports.map(|(index, port)| read_port(index, port)).collect::<Result<_, _>>()?,
    })
}

fn read_port(index: usize, port: ServicePort) -> Result<ServicePortSpec, FormError> {
    let wrong = |field: &str, message: String| {
        let path = ["spec", "ports"].map(|name| Step::Field(name.to_owned()));
        let rest = [Step::Row(index), Step::Field(field.to_owned())];
        FormError::new(path.into_iter().chain(rest).collect(), message)
    };
    // A missing port is read as 0.
    let found = if port.port == 0 { "0 or none".to_owned() } else { port.port.to_string() };
    let number = u16::try_from(port.port).ok().filter(|number| *number > 0);
    let number = number
        .ok_or_else(|| wrong("port", format!("expected a port from 1 to 65535, found {found}")))?;
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => TransportProtocol::Tcp,
        Some("UDP") => TransportProtocol::Udp,
        Some("SCTP") => TransportProtocol::Sctp,
        Some(other) => {
            return Err(wrong(
                "protocol",
                format!("expected TCP, UDP or SCTP, found {:?}", shown(other)),
            ));
        }
    };
    Ok(ServicePortSpec { name: port.name, port: number, protocol, ready: None })
}
