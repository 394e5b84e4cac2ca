//! Parses the rows of a private document one by one.

use super::{PrivateDocument, PrivateExtension, PublicService, PublicServicePort};
use crate::document::{DocumentError, GatewayAddress, GatewayHost, Limits, Parsed, read_body};
use crate::finding::{FindingReason, Findings, ObjectRef, Severity, shown};
use crate::json::read_object;
use fedgate_core::{Hostname, ServiceName, ServicePort, TrustDomain};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeSet;

/// Rows are parsed one by one, so that a bad row does not affect the others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(borrow, default)]
    ingress_gateways: Option<Vec<&'a RawValue>>,
    // The outer Option says whether the key is there: DKP writes `null` for a cluster that offers
    // nothing.
    #[serde(borrow, default, deserialize_with = "present")]
    public_services: Option<Option<Vec<&'a RawValue>>>,
    #[serde(borrow, default)]
    fedgate: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Ports are read as any JSON value, so that the message can say what was found instead of a port.
#[derive(Deserialize)]
struct ReadGateway {
    address: String,
    port: Value,
}

#[derive(Deserialize)]
struct ReadService<'a> {
    hostname: String,
    #[serde(borrow)]
    ports: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct ReadPort {
    name: String,
    port: Value,
}

/// See [`PrivateDocument::parse`].
pub(super) fn parse(
    body: &[u8],
    trust_domain: &TrustDomain,
    object: &ObjectRef,
    limits: &Limits,
) -> Result<Parsed<PrivateDocument>, DocumentError> {
    let read: Read<'_> = read_body(body, limits)?;
    let missing = |field| DocumentError::invalid(field, "expected a list, found none");
    let gateway_rows = read.ingress_gateways.ok_or_else(|| missing("ingressGateways"))?;
    let service_rows =
        read.public_services.ok_or_else(|| missing("publicServices"))?.unwrap_or_default();
    check_count("ingressGateways", gateway_rows.len(), limits.gateways)?;
    check_count("publicServices", service_rows.len(), limits.services)?;

    let mut reader = Reader {
        body,
        trust_domain,
        limits,
        findings: Findings::new(object.clone(), limits.findings),
    };
    let extension = read.fedgate.and_then(|raw| reader.extension(raw));
    check_complete(extension.as_ref(), service_rows.len())?;
    let gateways = reader.gateways(&gateway_rows);
    let services = reader.services(&service_rows).into();
    Ok(Parsed {
        document: PrivateDocument { gateways, services, extension },
        findings: reader.findings.into_vec(),
    })
}

fn check_count(field: &'static str, count: usize, most: usize) -> Result<(), DocumentError> {
    match count <= most {
        true => Ok(()),
        false => Err(DocumentError::too_many(field, count, most)),
    }
}

fn check_complete(extension: Option<&PrivateExtension>, rows: usize) -> Result<(), DocumentError> {
    match extension {
        Some(extension) if extension.service_count != rows as u64 => Err(DocumentError::invalid(
            "fedgate.serviceCount",
            format!(
                "it says {} and publicServices has {rows} rows, so something is missing",
                extension.service_count
            ),
        )),
        _ => Ok(()),
    }
}

/// Reads what a document lists, and collects what is wrong with it.
pub(super) struct Reader<'a> {
    pub(super) body: &'a [u8],
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) limits: &'a Limits,
    pub(super) findings: Findings,
}

impl Reader<'_> {
    pub(super) fn drop_row(&mut self, reason: FindingReason, field: String, why: String) {
        self.findings.add(
            Severity::Error,
            reason,
            field,
            format!("{why}; the row was dropped, ask the peer's operator to correct it"),
        );
    }

    /// Parses the rows of a list. Rows that are wrong are dropped and reported, and of equal ones
    /// one is kept.
    pub(super) fn list<R, T: Ord>(
        &mut self,
        list: &str,
        reason: FindingReason,
        rows: &[R],
        parse: impl Fn(&R) -> Result<T, String>,
    ) -> Vec<T> {
        let mut parsed = BTreeSet::new();
        for (index, row) in rows.iter().enumerate() {
            match parse(row) {
                Ok(row) => {
                    parsed.insert(row);
                }
                Err(why) => self.drop_row(reason, format!("{list}[{index}]"), why),
            }
        }
        parsed.into_iter().collect()
    }

    fn gateways(&mut self, rows: &[&RawValue]) -> Vec<GatewayAddress> {
        let body = self.body;
        self.list("ingressGateways", FindingReason::InvalidGateway, rows, |row| gateway(body, row))
    }

    fn services(&mut self, rows: &[&RawValue]) -> Vec<PublicService> {
        let mut services: Vec<PublicService> = Vec::new();
        let mut hostnames = BTreeSet::new();
        for (index, row) in rows.iter().enumerate() {
            let field = format!("publicServices[{index}]");
            let Some(service) = self.service(row, &field) else { continue };
            match hostnames.insert(service.hostname.clone()) {
                true => services.push(service),
                false => {
                    let why = format!(
                        "expected each hostname once, found {} a second time",
                        service.hostname
                    );
                    self.drop_row(FindingReason::DuplicateService, field, why);
                }
            }
        }
        services.sort();
        services
    }

    fn service(&mut self, row: &RawValue, field: &str) -> Option<PublicService> {
        let hostname_and_ports = service(self.body, row);
        let (hostname, rows) = match hostname_and_ports {
            Ok(parts) => parts,
            Err(why) => {
                self.drop_row(FindingReason::InvalidService, field.to_owned(), why);
                return None;
            }
        };
        if !self.trust_domain.owns(&hostname) {
            let why = format!(
                "expected <name>.<namespace>.svc.{}, found {:?}",
                self.trust_domain,
                shown(hostname.as_str())
            );
            self.drop_row(FindingReason::ForeignName, format!("{field}.hostname"), why);
            return None;
        }
        let ports = self.ports(&hostname, &rows, field);
        if ports.is_empty() {
            let why = format!("{hostname}: expected a valid port at least, found none");
            self.drop_row(FindingReason::InvalidService, field.to_owned(), why);
            return None;
        }
        Some(PublicService { hostname, ports })
    }

    fn ports(
        &mut self,
        hostname: &Hostname,
        rows: &[&RawValue],
        field: &str,
    ) -> Vec<PublicServicePort> {
        let mut ports: Vec<PublicServicePort> = Vec::new();
        if rows.len() > self.limits.ports_per_service {
            let why = format!(
                "{hostname}: expected at most {} ports, found {}; its owner has to spread them over several Services",
                self.limits.ports_per_service,
                rows.len()
            );
            self.drop_row(FindingReason::InvalidPort, format!("{field}.ports"), why);
            return ports;
        }
        for (index, row) in rows.iter().enumerate() {
            let field = format!("{field}.ports[{index}]");
            match port(self.body, row) {
                Ok(port) if ports.iter().any(|other| other.name == port.name) => {
                    let why =
                        format!("expected each port name once, found {} a second time", port.name);
                    self.drop_row(FindingReason::DuplicatePort, field, why);
                }
                Ok(port) => match ServiceName::new(hostname.clone(), port.port) {
                    Ok(_) => ports.push(port),
                    Err(why) => {
                        let why =
                            format!("{hostname}:{}: {why}, so no client can call it", port.port);
                        self.drop_row(FindingReason::NameTooLong, field, why);
                    }
                },
                Err(why) => self.drop_row(FindingReason::InvalidPort, field, why),
            }
        }
        ports
    }
}

pub(super) fn gateway(body: &[u8], row: &RawValue) -> Result<GatewayAddress, String> {
    let read: ReadGateway = parse_row(body, row)?;
    let address = GatewayHost::parse(&read.address)
        .map_err(|error| format!("{error} ({:?})", shown(&read.address)))?;
    Ok(GatewayAddress { address, port: parse_port(&read.port)? })
}

fn service<'a>(body: &[u8], row: &'a RawValue) -> Result<(Hostname, Vec<&'a RawValue>), String> {
    let read: ReadService<'a> = parse_row(body, row)?;
    let error = |error| format!("expected a host name, found {:?}: {error}", shown(&read.hostname));
    Ok((Hostname::parse(&read.hostname).map_err(error)?, read.ports))
}

fn port(body: &[u8], row: &RawValue) -> Result<PublicServicePort, String> {
    let read: ReadPort = parse_row(body, row)?;
    match is_port_name(&read.name) {
        true => Ok(PublicServicePort { port: parse_port(&read.port)?, name: read.name }),
        false => {
            Err(format!("expected a port name (RFC 1123 label), found {:?}", shown(&read.name)))
        }
    }
}

/// Reads a row. `row` is a part of `body`, and positions in messages refer to `body`, which the
/// operator has.
pub(super) fn parse_row<'a, T: Deserialize<'a>>(
    body: &[u8],
    row: &'a RawValue,
) -> Result<T, String> {
    let text = row.get().as_bytes();
    read_object(text).map_err(|error| error.within(body, text).to_string())
}

fn parse_port(port: &Value) -> Result<ServicePort, String> {
    let number = port.as_u64().and_then(|number| u16::try_from(number).ok());
    let expected =
        || format!("expected a port from 1 to 65535, found {}", shown(&port.to_string()));
    number.and_then(ServicePort::new).ok_or_else(expected)
}

/// Returns true for a DNS label (RFC 1123), which is how Kubernetes names Service ports.
pub(crate) fn is_port_name(name: &str) -> bool {
    let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
