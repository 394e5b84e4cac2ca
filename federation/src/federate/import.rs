//! Imports and trust bundles: which services become reachable here, and whose roots are trusted.

use super::gateways::{Gateway, Located, locate};
use super::{Candidate, Inputs, LocalCluster, health};
use crate::bundle::{Root, TrustBundle, dangling};
use crate::credentials::intermediate;
use crate::document::{PrivateDocument, PublicService, WorkloadIdentity};
use crate::finding::{Finding, FindingReason};
use fedgate_core::{Hostname, PeerName, ServiceName, TrustDomain};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// A port of a peer's Service, made reachable here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The peer that owns it.
    pub peer: PeerName,
    /// The peer's trust domain. The server's identity must be in it and signed by its bundle.
    pub trust_domain: TrustDomain,
    /// Host and port; the host ends in `.svc.<trust domain>`.
    pub service: ServiceName,
    /// The port's name.
    pub port_name: String,
    /// The protocol, derived from the port's name.
    pub protocol: Protocol,
    /// The peer's gateways. Never empty; shared among the peer's imports.
    pub gateways: Arc<[Gateway]>,
    /// Whether TLS passes through the gateway to the workload.
    pub passthrough: bool,
    /// Who must answer: the gateway, or the workload if TLS is passed through. Shared among the
    /// peer's imports.
    pub server: Arc<ServerIdentity>,
}

impl Import {
    /// Returns the addresses of the peer's gateways: never empty, each address once.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.gateways.iter().flat_map(|gateway| &gateway.addresses).copied()
    }
}

/// The identity that must answer for an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerIdentity {
    /// Any identity of the peer's trust domain, because the peer names no gateway identities or TLS
    /// passes through to the workload.
    AnyOf(TrustDomain),
    /// One of these identities, all in the peer's trust domain. Never empty.
    Exactly(Vec<WorkloadIdentity>),
}

/// How to probe a peer's gateways: with the same checks that a client of its services relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The import to ask for in the TLS handshake; `None` if no import fits.
    pub service: Option<ServiceName>,
    /// Whether `service` is the peer's health name, which its gateway answers itself.
    pub health: bool,
    /// Whether the peer says that it has put our roots in force. A change calls for a new probe.
    pub acknowledges: Option<bool>,
    /// The gateways. Never empty.
    pub gateways: Arc<[Gateway]>,
    /// Who must answer.
    pub server: Arc<ServerIdentity>,
    /// The roots that must have signed the server's identity.
    pub bundle: TrustBundle,
}

/// The longest name that DNS allows, dots included.
const LONGEST_NAME: usize = 253;

/// The protocol of a port (Istio's protocol selection by port name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TLS that ends at the workload.
    Tls,
    /// HTTP/2, including gRPC.
    Http2,
    /// HTTP/1.1.
    Http,
    /// Anything else.
    Tcp,
}

impl Protocol {
    /// Derives the protocol from a port's name (peer protocol, section 5): from the part before the
    /// first `-`.
    pub fn of_port_name(name: &str) -> Self {
        let base = name.split('-').next().unwrap_or_default();
        let known = [
            ("https", Self::Tls),
            ("http2", Self::Http2),
            ("http", Self::Http),
            ("grpc", Self::Http2),
            ("tls", Self::Tls),
        ];
        known
            .into_iter()
            .find(|(word, _)| base.contains(word))
            .map_or(Self::Tcp, |(_, protocol)| protocol)
    }

    /// The protocol's name in Istio's resources.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Http2 => "HTTP2",
            Self::Http => "HTTP",
            Self::Tcp => "TCP",
        }
    }
}

/// Returns the usable roots of the accepted peers. A peer's document lists which of its roots are in
/// force, so certificates from those must be accepted. Hence roots that are not valid now are left out,
/// and so are intermediates without their root, which Envoy cannot use. A trust domain without any
/// usable root is left out as well.
pub(super) fn bundles<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<TrustDomain, TrustBundle> {
    let mut bundles = BTreeMap::new();
    for candidate in accepted {
        let Some(document) = candidate.public(inputs) else { continue };
        let mut roots = Vec::new();
        for root in &document.roots {
            match invalid_now(root, inputs.now) {
                None => roots.push(root.clone()),
                Some((reason, why)) => {
                    let message = format!("root {} ({}) {why}", root.fingerprint(), root.subject());
                    findings.push(Finding::error(
                        reason,
                        candidate.peer.object(),
                        "rootCA",
                        message,
                    ));
                }
            }
        }
        let unusable: BTreeSet<_> =
            dangling(&roots).into_iter().map(|root| root.fingerprint()).collect();
        let (unusable, roots): (Vec<_>, Vec<_>) =
            roots.into_iter().partition(|root| unusable.contains(&root.fingerprint()));
        for root in unusable {
            let message = format!(
                "root {}. It is not used; its operator has to do that",
                intermediate(&root)
            );
            findings.push(Finding::error(
                FindingReason::IntermediateRoot,
                candidate.peer.object(),
                "rootCA",
                message,
            ));
        }
        if !roots.is_empty() {
            let trust_domain = candidate.peer.trust_domain.clone();
            bundles.insert(trust_domain.clone(), TrustBundle { trust_domain, roots });
        }
    }
    bundles
}

/// Returns why a root cannot be used at `now`, and what to do about it.
fn invalid_now(root: &Root, now: Timestamp) -> Option<(FindingReason, String)> {
    let (begins, ends) = (root.not_before(), root.not_after());
    match () {
        () if root.is_expired(now) => {
            let why = format!(
                "expired at {ends} and is not used; the peer's operator must publish one that is valid"
            );
            Some((FindingReason::ExpiredRoot, why))
        }
        () if now < begins => {
            let why = format!(
                "is valid from {begins} on and not used before; compare the clocks, or wait"
            );
            Some((FindingReason::RootNotYetValid, why))
        }
        () => None,
    }
}

/// The imports, and what must be probed and looked up for them.
pub(super) struct Imports {
    /// In order of service.
    pub(super) rows: Vec<Import>,
    pub(super) targets: BTreeMap<PeerName, ProbeTarget>,
    pub(super) names: BTreeMap<PeerName, BTreeSet<Hostname>>,
    /// The peers with a name that has not been looked up yet.
    pub(super) pending: BTreeSet<PeerName>,
}

/// Returns the services and gateways of the peers that have a bundle.
pub(super) fn imports<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
    bundles: &BTreeMap<TrustDomain, TrustBundle>,
    findings: &mut Vec<Finding>,
) -> Imports {
    let mut imports = Imports {
        rows: Vec::new(),
        targets: BTreeMap::new(),
        names: BTreeMap::new(),
        pending: BTreeSet::new(),
    };
    for candidate in accepted {
        let Some(bundle) = bundles.get(&candidate.peer.trust_domain) else { continue };
        let Some(document) = candidate.private(inputs) else { continue };
        let located = locate(inputs, candidate, &document.gateways, findings);
        if !located.gateways.is_empty() {
            let health = candidate.public(inputs).and_then(|public| {
                health::name(&public.cluster_uuid, &candidate.peer.trust_domain)
            });
            imports.add_peer(
                candidate,
                document,
                bundle,
                &located.gateways,
                health.as_ref(),
                inputs.local,
            );
        } else if !document.services.is_empty() && !located.pending {
            findings.push(no_gateways(candidate, document));
        }
        imports.add_names(&candidate.peer.name, located);
    }
    imports.rows.sort_by(|a, b| a.service.cmp(&b.service));
    imports
}

/// Returns whether the peer has put at least one of our roots in force; `None` if it does not say.
pub(super) fn acknowledges(document: &PrivateDocument, local: &LocalCluster) -> Option<bool> {
    let applied = document.extension.as_ref()?.applied_roots.as_ref()?;
    Some(local.roots.iter().any(|root| applied.contains(&root.fingerprint())))
}

fn no_gateways(candidate: &Candidate<'_>, document: &PrivateDocument) -> Finding {
    let message = match document.gateways.len() {
        0 => "the peer announces services and no gateway, so they cannot be reached; ask its operator to announce one"
            .to_owned(),
        count => format!(
            "none of the peer's gateways ({count}) can be used, so its services cannot be reached; ask its operator to announce one that can"
        ),
    };
    Finding::error(FindingReason::NoGateways, candidate.peer.object(), "ingressGateways", message)
}

impl Imports {
    fn add_names(&mut self, peer: &PeerName, located: Located) {
        if located.pending {
            self.pending.insert(peer.clone());
        }
        if !located.names.is_empty() {
            self.names.insert(peer.clone(), located.names);
        }
    }

    /// Adds the imports of one peer, whose health name is `health`.
    fn add_peer(
        &mut self,
        candidate: &Candidate<'_>,
        document: &PrivateDocument,
        bundle: &TrustBundle,
        gateways: &Arc<[Gateway]>,
        health: Option<&ServiceName>,
        local: &LocalCluster,
    ) {
        let peer = &candidate.peer;
        let server = Arc::new(server_identity(&peer.trust_domain, document));
        let workload = Arc::new(ServerIdentity::AnyOf(peer.trust_domain.clone()));
        let passed_through: BTreeSet<&Hostname> =
            document.extension.iter().flat_map(|extension| &extension.passthrough_hosts).collect();
        let import = |(service, port_name): (ServiceName, &String)| {
            let passthrough = passed_through.contains(&service.host);
            Import {
                peer: peer.name.clone(),
                trust_domain: peer.trust_domain.clone(),
                service,
                port_name: port_name.clone(),
                protocol: Protocol::of_port_name(port_name),
                gateways: Arc::clone(gateways),
                passthrough,
                server: Arc::clone(if passthrough { &workload } else { &server }),
            }
        };
        // The names were checked when the document arrived. Documents from a state file are checked
        // here again.
        let owned =
            document.services.iter().filter(|service| peer.trust_domain.owns(&service.hostname));
        let rows = owned.flat_map(ports).map(import);
        let (health, rows): (Vec<_>, Vec<_>) = rows.partition(|row| Some(&row.service) == health);
        // The gateway answers the health name for every peer, whatever else is granted to us. Where
        // TLS passes through to a workload, the gateway does not answer.
        let of_gateway = |rows: &[Import]| {
            let rows = rows.iter().filter(|row| !row.passthrough).map(|row| &row.service);
            rows.filter(|service| service.sni().len() <= LONGEST_NAME).min().cloned()
        };
        let of_health = of_gateway(&health);
        let (is_health, service) = (of_health.is_some(), of_health.or_else(|| of_gateway(&rows)));
        let acknowledges = acknowledges(document, local);
        let target = ProbeTarget {
            service,
            health: is_health,
            acknowledges,
            gateways: Arc::clone(gateways),
            server,
            bundle: bundle.clone(),
        };
        self.targets.insert(peer.name.clone(), target);
        self.rows.extend(rows);
    }
}

/// Returns a host's ports, each number once. A Service may use one number for both TCP and UDP.
/// Documents do not say which is which, and the gateway forwards only TCP.
fn ports(service: &PublicService) -> Vec<(ServiceName, &String)> {
    let mut numbers = BTreeSet::new();
    let rows = service.ports.iter().filter(|row| numbers.insert(row.port));
    rows.filter_map(|row| {
        Some((ServiceName::new(service.hostname.clone(), row.port).ok()?, &row.name))
    })
    .collect()
}

fn server_identity(trust_domain: &TrustDomain, document: &PrivateDocument) -> ServerIdentity {
    let named = document.extension.iter().flat_map(|extension| &extension.gateway_identities);
    let own: Vec<_> = named
        .filter(|identity| identity.trust_domain() == trust_domain.as_str())
        .cloned()
        .collect();
    match own.is_empty() {
        true => ServerIdentity::AnyOf(trust_domain.clone()),
        false => ServerIdentity::Exactly(own),
    }
}
