//! How callers find out whether a member works.

use super::{FederatedService, MemberPlace, Protocol};
use crate::finding::{Finding, FindingReason, shown};
use crate::object::{HealthCheckSpec, MAX_CHECK_TEXT, TcpCheckSpec};
use fedgate_core::ServiceName;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The time between two checks unless the object says otherwise. With it, calls leave a member
/// within two seconds.
const INTERVAL: Duration = Duration::from_millis(500);
/// The longest time between two checks.
const LONGEST: Duration = Duration::from_secs(60);

/// How callers find out whether a member works.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// The question, and the answer of a Service that works.
    pub probe: HealthProbe,
    /// The time between two checks of an address.
    pub interval: Duration,
}

/// A question to a Service, and the answer if it works.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HealthProbe {
    /// An HTTP GET that is answered with 200 to 299.
    Http {
        /// The path, which begins with a slash.
        path: String,
        /// Whether the port speaks HTTP/2.
        http2: bool,
    },
    /// Bytes over TCP.
    Tcp {
        /// What to send; `None` if the server speaks first.
        send: Option<String>,
        /// What the answer must contain; not empty.
        expect: String,
    },
}

impl fmt::Display for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { path, .. } => write!(f, "GET {}", shown(path)),
            Self::Tcp { expect, .. } => write!(f, "{:?} over TCP", shown(expect)),
        }
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = SignedDuration::try_from(self.interval).unwrap_or(SignedDuration::MAX);
        write!(f, "{} every {interval:#}", self.probe)
    }
}

impl HealthCheck {
    /// Checks what an object says about a port.
    ///
    /// # Errors
    /// The field below the health check that is wrong, and why.
    pub(super) fn new(
        spec: &HealthCheckSpec,
        protocol: Protocol,
    ) -> Result<Self, (&'static str, String)> {
        if protocol == Protocol::Tls {
            let message = "a TLS port cannot be checked, because its TLS ends at the workload; remove the health check, or name the port tcp".to_owned();
            return Err(("", message));
        }
        Ok(Self { probe: probe(spec, protocol)?, interval: interval(spec)? })
    }
}

fn probe(
    spec: &HealthCheckSpec,
    protocol: Protocol,
) -> Result<HealthProbe, (&'static str, String)> {
    match (&spec.path, &spec.tcp) {
        (Some(path), None) => {
            let http2 = protocol == Protocol::Http2;
            Ok(HealthProbe::Http { path: checked_path(path)?, http2 })
        }
        (None, Some(tcp)) => checked_tcp(tcp),
        _ => Err(("", "expected exactly one of path and tcp; add or remove one".to_owned())),
    }
}

fn checked_path(path: &str) -> Result<String, (&'static str, String)> {
    let is_valid = path.starts_with('/')
        && path.len() <= MAX_CHECK_TEXT
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_valid {
        let message = format!(
            "expected a path such as /healthz, of at most {MAX_CHECK_TEXT} visible ASCII characters, found {:?}; correct it",
            shown(path)
        );
        return Err((".path", message));
    }
    Ok(path.to_owned())
}

fn checked_tcp(spec: &TcpCheckSpec) -> Result<HealthProbe, (&'static str, String)> {
    let is_valid = |text: &str| (1..=MAX_CHECK_TEXT).contains(&text.len());
    let expected = |field: &'static str| {
        (field, format!("expected a text of 1 to {MAX_CHECK_TEXT} bytes; correct it"))
    };
    if spec.send.as_deref().is_some_and(|text| !is_valid(text)) {
        return Err(expected(".tcp.send"));
    }
    if !is_valid(&spec.expect) {
        return Err(expected(".tcp.expect"));
    }
    Ok(HealthProbe::Tcp { send: spec.send.clone(), expect: spec.expect.clone() })
}

fn interval(spec: &HealthCheckSpec) -> Result<Duration, (&'static str, String)> {
    let Some(text) = &spec.interval else { return Ok(INTERVAL) };
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.filter(|span| (INTERVAL..=LONGEST).contains(span)).ok_or_else(|| {
        let message = format!(
            "expected a time from 500ms to 1m, such as 2s, found {:?}; correct it",
            shown(text)
        );
        (".interval", message)
    })
}

/// Gives each member one check, whatever the names are that lead to it: callers have one cluster
/// for a member, and it is either healthy or not. The first name in order of host that has a check
/// for the member decides.
pub(super) fn settle(services: &mut [FederatedService]) -> Vec<Finding> {
    let mut checks: BTreeMap<ServiceName, (HealthCheck, String)> = BTreeMap::new();
    let mut findings = Vec::new();
    for service in &*services {
        let owner = format!("{}/{}", service.namespace, service.name);
        for port in &service.ports {
            let Some(check) = &port.check else { continue };
            let peers = port.members.iter().filter(|member| member.place != MemberPlace::Local);
            for member in peers.filter_map(|member| member.service.as_ref()) {
                let (first, other) =
                    checks.entry(member.clone()).or_insert_with(|| (check.clone(), owner.clone()));
                if first != check {
                    findings.push(differs(service, member, first, other));
                }
            }
        }
    }
    for port in services.iter_mut().flat_map(|service| &mut service.ports) {
        for member in &mut port.members {
            let check = member.service.as_ref().and_then(|name| checks.get(name));
            member.check = check.map(|(check, _)| check.clone());
        }
    }
    findings
}

fn differs(
    service: &FederatedService,
    member: &ServiceName,
    first: &HealthCheck,
    owner: &str,
) -> Finding {
    let message = format!(
        "FederatedService {owner} already has a health check for {member}, {first}, and a member has only one; make the two the same"
    );
    Finding::warning(FindingReason::InvalidHealthCheck, service.object(), "spec.ports", message)
}
