//! The ports that callers use.

use super::{HealthCheck, Protocol};
use crate::document::is_port_name;
use crate::finding::{Finding, FindingReason, shown};
use crate::object::{FederatedPortSpec, FederatedServiceObject, MAX_FEDERATED_PORTS};
use fedgate_core::{Hostname, ServiceName, ServicePort};
use std::collections::BTreeSet;

/// A valid port.
pub(super) struct CheckedPort {
    pub(super) service: ServiceName,
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) check: Option<HealthCheck>,
}

/// A reason why the ports of an object cannot be used: its word, the field below `spec.ports`, and
/// the message.
type Fault = (FindingReason, String, String);

/// Returns an object's ports, in order of number.
pub(super) fn checked(
    host: &Hostname,
    object: &FederatedServiceObject,
) -> Result<Vec<CheckedPort>, Box<Finding>> {
    let ports = read(host, &object.spec.ports);
    let mut ports = ports.map_err(|(reason, field, message)| {
        Box::new(object.error(reason, format!("spec.ports{field}"), message))
    })?;
    ports.sort_by(|one, other| one.service.cmp(&other.service));
    Ok(ports)
}

fn read(host: &Hostname, specs: &[FederatedPortSpec]) -> Result<Vec<CheckedPort>, Fault> {
    if specs.is_empty() {
        let message = "expected the ports that callers use, found none; add one".to_owned();
        return Err((FindingReason::NoPorts, String::new(), message));
    }
    if specs.len() > MAX_FEDERATED_PORTS {
        let message = format!(
            "expected at most {MAX_FEDERATED_PORTS} ports, found {}; remove some",
            specs.len()
        );
        return Err((FindingReason::TooManyPorts, String::new(), message));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::new();
    for (row, spec) in specs.iter().enumerate() {
        let port = port(host, spec)
            .map_err(|(reason, field, message)| (reason, format!("[{row}]{field}"), message))?;
        let number = port.service.port;
        if !names.insert(&spec.name) || !numbers.insert(number) {
            let message = format!(
                "expected each name and each number once, found {} {number} again; remove one",
                spec.name
            );
            return Err((FindingReason::DuplicatePort, format!("[{row}]"), message));
        }
        ports.push(port);
    }
    Ok(ports)
}

fn port(host: &Hostname, spec: &FederatedPortSpec) -> Result<CheckedPort, Fault> {
    let wrong = |reason, message: String| (reason, String::new(), message);
    if spec.name.is_empty() {
        let message = "expected a name such as http or tcp-sql, which says the protocol, found none; name the port";
        return Err(wrong(FindingReason::UnnamedPort, message.to_owned()));
    }
    if !is_port_name(&spec.name) {
        let message = format!(
            "expected a name of lower-case letters, digits and '-', found {:?}; correct it",
            shown(&spec.name)
        );
        return Err(wrong(FindingReason::InvalidPort, message));
    }
    if spec.name == "udp" || spec.name.starts_with("udp-") {
        let message = format!(
            "expected a protocol over TCP, found the name {}, which says UDP; name the port tcp-… or after its protocol",
            spec.name
        );
        return Err(wrong(FindingReason::InvalidPort, message));
    }
    let Some(number) = ServicePort::new(spec.port) else {
        let message = "expected a port from 1 to 65535, found 0; correct it".to_owned();
        return Err(wrong(FindingReason::InvalidPort, message));
    };
    let service = ServiceName::new(host.clone(), number).map_err(|error| {
        let message = format!("{host} is not usable with port {number}: {error}; shorten the host");
        wrong(FindingReason::NameTooLong, message)
    })?;
    let protocol = Protocol::of_port_name(&spec.name);
    let check = spec.health_check.as_ref().map(|check| HealthCheck::new(check, protocol));
    let check = check.transpose().map_err(|(field, message)| {
        (FindingReason::InvalidHealthCheck, format!(".healthCheck{field}"), message)
    })?;
    Ok(CheckedPort { service, name: spec.name.clone(), protocol, check })
}
