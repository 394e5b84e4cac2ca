//! Parses the rows of a private document one by one.

use super::{
    LocatedGateway, PrivateDocument, PrivateExtension, PublicService, PublicServicePort, View,
};
use crate::bundle::Fingerprint;
use crate::document::{
    DocumentError, GatewayAddress, GatewayHost, Limits, Locality, Network, Parsed,
    WorkloadIdentity, read_body,
};
use crate::finding::{FindingReason, Findings, ObjectRef, Severity, shown};
use crate::json::read_object;
use fedgate_core::{Hostname, ServiceName, ServicePort, TrustDomain};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::{BTreeMap, BTreeSet};

/// The longest entity tag of a public document, in bytes.
const MAX_TAG: usize = 128;

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
struct ReadLocality {
    locality: String,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadExtension<'a> {
    sequence: u64,
    service_count: u64,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    gateway_identities: Vec<String>,
    #[serde(borrow, default)]
    gateway_localities: Vec<&'a RawValue>,
    #[serde(default)]
    passthrough_hosts: Vec<String>,
    #[serde(default)]
    applied_roots: Option<Vec<String>>,
    #[serde(default)]
    applied_keys: Option<Vec<String>>,
    #[serde(default)]
    public_tag: Option<String>,
    #[serde(default)]
    stale_after_seconds: Option<u64>,
    /// Read on its own, so that a bad view does not affect the rest.
    #[serde(borrow, default)]
    view: Option<&'a RawValue>,
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

struct Reader<'a> {
    body: &'a [u8],
    trust_domain: &'a TrustDomain,
    limits: &'a Limits,
    findings: Findings,
}

impl Reader<'_> {
    fn drop_row(&mut self, reason: FindingReason, field: String, why: String) {
        self.findings.add(
            Severity::Error,
            reason,
            field,
            format!("{why}; the row was dropped, ask the peer's operator to correct it"),
        );
    }

    fn gateways(&mut self, rows: &[&RawValue]) -> Vec<GatewayAddress> {
        let mut gateways = BTreeSet::new();
        for (index, row) in rows.iter().enumerate() {
            match gateway(self.body, row) {
                Ok(gateway) => {
                    gateways.insert(gateway);
                }
                Err(why) => self.drop_row(
                    FindingReason::InvalidGateway,
                    format!("ingressGateways[{index}]"),
                    why,
                ),
            }
        }
        gateways.into_iter().collect()
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

    fn extension(&mut self, raw: &RawValue) -> Option<PrivateExtension> {
        let text = raw.get().as_bytes();
        let read: ReadExtension<'_> = match read_object(text) {
            Ok(read) => read,
            Err(error) => {
                self.refuse_extension(error.within(self.body, text).to_string());
                return None;
            }
        };
        let rows = [
            read.gateway_identities.len(),
            read.gateway_localities.len(),
            read.network.pod_cidrs.len(),
            read.network.service_cidrs.len(),
        ];
        if let Some(rows) = rows.into_iter().find(|rows| *rows > self.limits.extension_rows) {
            self.refuse_extension(format!(
                "a list has {rows} rows, at most {} are accepted",
                self.limits.extension_rows
            ));
            return None;
        }
        if read.network.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 253) {
            self.refuse_extension("a network's name has 1 to 253 bytes".to_owned());
            return None;
        }
        let applied = [("appliedRoots", &read.applied_roots), ("appliedKeys", &read.applied_keys)];
        let rows = applied.map(|(name, rows)| (name, rows.as_ref().map_or(0, Vec::len)));
        if let Some((name, rows)) = rows.into_iter().find(|(_, rows)| *rows > self.limits.roots) {
            self.refuse_extension(format!(
                "{name} has {rows} rows, at most {} are accepted",
                self.limits.roots
            ));
            return None;
        }
        let hosts = read.passthrough_hosts.len();
        if hosts > self.limits.services {
            self.refuse_extension(format!(
                "passthroughHosts has {hosts} rows, at most {} are accepted",
                self.limits.services
            ));
            return None;
        }
        if read.public_tag.as_ref().is_some_and(|tag| tag.len() > MAX_TAG) {
            self.refuse_extension(format!("publicTag has more than {MAX_TAG} bytes"));
            return None;
        }
        let ReadExtension {
            sequence,
            service_count,
            network,
            gateway_identities,
            gateway_localities,
            passthrough_hosts,
            applied_roots,
            applied_keys,
            public_tag,
            stale_after_seconds,
            view,
        } = read;
        Some(PrivateExtension {
            sequence,
            service_count,
            network,
            passthrough_hosts: self.hosts(&passthrough_hosts),
            gateway_identities: self.identities(&gateway_identities),
            gateway_localities: self.localities(&gateway_localities),
            applied_roots: applied_roots.map(|roots| self.fingerprints("appliedRoots", &roots)),
            applied_keys: applied_keys.map(|keys| self.fingerprints("appliedKeys", &keys)),
            public_tag,
            stale_after_seconds,
            view: view.and_then(|raw| self.view(raw)),
        })
    }

    fn view(&mut self, raw: &RawValue) -> Option<View> {
        let read = View::parse(raw.get().as_bytes());
        read.map_err(|why| {
            let message = format!("it was left out: {why}; ask the peer's operator to correct it");
            let reason = FindingReason::InvalidExtension;
            self.findings.add(Severity::Warning, reason, "fedgate.view", message);
        })
        .ok()
    }

    /// For a host that is dropped here, the gateway is expected to answer. So its calls fail, and
    /// no other server is trusted.
    fn hosts(&mut self, texts: &[String]) -> Vec<Hostname> {
        let mut hosts = BTreeSet::new();
        for (index, text) in texts.iter().enumerate() {
            match Hostname::parse(text) {
                Ok(host) if self.trust_domain.owns(&host) => {
                    hosts.insert(host);
                }
                _ => {
                    let why = format!(
                        "expected <name>.<namespace>.svc.{}, found {:?}",
                        self.trust_domain,
                        shown(text)
                    );
                    self.drop_row(
                        FindingReason::ForeignName,
                        format!("fedgate.passthroughHosts[{index}]"),
                        why,
                    );
                }
            }
        }
        hosts.into_iter().collect()
    }

    fn refuse_extension(&mut self, why: String) {
        let message = format!("it was left out: {why}; ask the peer's operator to correct it");
        self.findings.add(Severity::Warning, FindingReason::InvalidExtension, "fedgate", message);
    }

    fn identities(&mut self, uris: &[String]) -> Vec<WorkloadIdentity> {
        let mut identities = BTreeSet::new();
        for (index, uri) in uris.iter().enumerate() {
            match WorkloadIdentity::parse(uri) {
                Ok(identity) if identity.trust_domain() == self.trust_domain.as_str() => {
                    identities.insert(identity);
                }
                _ => {
                    let why = format!(
                        "expected spiffe://{}/<path>, found {:?}",
                        self.trust_domain,
                        shown(uri)
                    );
                    self.drop_row(
                        FindingReason::ForeignIdentity,
                        format!("fedgate.gatewayIdentities[{index}]"),
                        why,
                    );
                }
            }
        }
        identities.into_iter().collect()
    }

    /// A gateway whose row is dropped here may be anywhere.
    fn localities(&mut self, rows: &[&RawValue]) -> Vec<LocatedGateway> {
        let mut localities = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            match located(self.body, row) {
                Ok(LocatedGateway { gateway, locality }) => {
                    localities.entry(gateway).or_insert(locality);
                }
                Err(why) => {
                    let field = format!("fedgate.gatewayLocalities[{index}]");
                    self.drop_row(FindingReason::InvalidExtension, field, why);
                }
            }
        }
        let located = |(gateway, locality)| LocatedGateway { gateway, locality };
        localities.into_iter().map(located).collect()
    }

    fn fingerprints(&mut self, list: &str, texts: &[String]) -> Vec<Fingerprint> {
        let mut fingerprints = BTreeSet::new();
        for (index, text) in texts.iter().enumerate() {
            match Fingerprint::parse(text) {
                Ok(fingerprint) => {
                    fingerprints.insert(fingerprint);
                }
                Err(error) => {
                    let why = format!("{error}, found {:?}", shown(text));
                    self.drop_row(
                        FindingReason::InvalidExtension,
                        format!("fedgate.{list}[{index}]"),
                        why,
                    );
                }
            }
        }
        fingerprints.into_iter().collect()
    }
}

fn gateway(body: &[u8], row: &RawValue) -> Result<GatewayAddress, String> {
    let read: ReadGateway = parse_row(body, row)?;
    let address = GatewayHost::parse(&read.address)
        .map_err(|error| format!("{error} ({:?})", shown(&read.address)))?;
    Ok(GatewayAddress { address, port: parse_port(&read.port)? })
}

fn located(body: &[u8], row: &RawValue) -> Result<LocatedGateway, String> {
    let read: ReadLocality = parse_row(body, row)?;
    let refused = |error| format!("{error}, found {:?}", shown(&read.locality));
    let locality = Locality::parse(&read.locality).map_err(refused)?;
    Ok(LocatedGateway { gateway: gateway(body, row)?, locality })
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
fn parse_row<'a, T: Deserialize<'a>>(body: &[u8], row: &'a RawValue) -> Result<T, String> {
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
