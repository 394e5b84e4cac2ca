//! The ports that callers use.

use super::{HealthCheck, Protocol};
use crate::document::is_port_name;
use crate::finding::{Finding, FindingReason, shown};
use crate::object::{FederatedServiceObject, MAX_FEDERATED_PORTS};
use fedgate_core::{Hostname, ServiceName, ServicePort};
use std::collections::BTreeSet;

/// A valid port.
pub(super) struct CheckedPort {
    pub(super) service: ServiceName,
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) check: Option<HealthCheck>,
}

/// Returns an object's ports, in order of number.
pub(super) fn checked(
    host: &Hostname,
    object: &FederatedServiceObject,
) -> Result<Vec<CheckedPort>, Box<Finding>> {
    let specs = &object.spec.ports;
    let wrong = |reason, row: Option<usize>, message: String| {
        let field = row.map_or("spec.ports".to_owned(), |row| format!("spec.ports[{row}]"));
        Box::new(object.error(reason, field, message))
    };
    if specs.is_empty() {
        let message = "expected the ports that callers use, found none; add one".to_owned();
        return Err(wrong(FindingReason::NoPorts, None, message));
    }
    if specs.len() > MAX_FEDERATED_PORTS {
        let message = format!(
            "expected at most {MAX_FEDERATED_PORTS} ports, found {}; remove some",
            specs.len()
        );
        return Err(wrong(FindingReason::TooManyPorts, None, message));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::new();
    for (row, spec) in specs.iter().enumerate() {
        if spec.name.is_empty() {
            let message = "expected a name such as http or tcp-sql, which says the protocol, found none; name the port".to_owned();
            return Err(wrong(FindingReason::UnnamedPort, Some(row), message));
        }
        if !is_port_name(&spec.name) {
            let message = format!(
                "expected a name of lower-case letters, digits and '-', found {:?}; correct it",
                shown(&spec.name)
            );
            return Err(wrong(FindingReason::InvalidPort, Some(row), message));
        }
        let Some(port) = ServicePort::new(spec.port) else {
            let message = "expected a port from 1 to 65535, found 0; correct it".to_owned();
            return Err(wrong(FindingReason::InvalidPort, Some(row), message));
        };
        if !names.insert(&spec.name) || !numbers.insert(port) {
            let message = format!(
                "expected each name and each number once, found {} {port} again; remove one",
                spec.name
            );
            return Err(wrong(FindingReason::DuplicatePort, Some(row), message));
        }
        let service = ServiceName::new(host.clone(), port).map_err(|error| {
            wrong(
                FindingReason::NameTooLong,
                Some(row),
                format!("{host} is not usable with port {port}: {error}; shorten the host"),
            )
        })?;
        let protocol = Protocol::of_port_name(&spec.name);
        let check = spec.health_check.as_ref().map(|check| HealthCheck::new(check, protocol));
        let check = check.transpose().map_err(|(field, message)| {
            let field = format!("spec.ports[{row}].healthCheck{field}");
            Box::new(object.error(FindingReason::InvalidHealthCheck, field, message))
        })?;
        ports.push(CheckedPort { service, name: spec.name.clone(), protocol, check });
    }
    ports.sort_by(|one, other| one.service.cmp(&other.service));
    Ok(ports)
}
