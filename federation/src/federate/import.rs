//! Imports: the services of peers that become reachable here.

use super::gateways::Gateway;
use crate::bundle::TrustBundle;
use crate::document::{Locality, WorkloadIdentity};
use crate::object::Peer;
use fedgate_core::{MeshHost, PeerName, ServiceName, TrustDomain};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
        self.endpoints().map(|(address, _)| address)
    }

    /// Returns the same addresses, each with the locality of its gateway, if that is known.
    pub fn endpoints(&self) -> impl Iterator<Item = (SocketAddr, Option<&Locality>)> {
        self.gateways.iter().flat_map(|gateway| {
            gateway.addresses.iter().map(move |address| (*address, gateway.locality.as_ref()))
        })
    }
}

/// The identity that must answer for an import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerIdentity {
    /// Any identity of the peer's trust domain, because the peer names no gateway identities or TLS
    /// passes through to the workload.
    AnyOf(TrustDomain),
    /// One of these identities, all in the peer's trust domain. Never empty.
    Exactly(Vec<WorkloadIdentity>),
}

/// The imports of all peers, in order of trust domain and service. Consecutive results of
/// [`federate_again`](super::federate_again) share those of the peers that have not changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports(BTreeMap<TrustDomain, Arc<[Import]>>);

impl Imports {
    pub(super) fn insert(&mut self, trust_domain: TrustDomain, imports: Arc<[Import]>) {
        self.0.insert(trust_domain, imports);
    }

    /// Returns all imports.
    pub fn iter(&self) -> impl Iterator<Item = &Import> {
        self.0.values().flat_map(|imports| imports.iter())
    }

    /// Returns the imports of each peer, in order of service.
    pub fn by_peer(&self) -> impl Iterator<Item = (&TrustDomain, &[Import])> {
        self.0.iter().map(|(trust_domain, imports)| (trust_domain, imports.as_ref()))
    }

    /// Returns the ports of each imported host.
    pub fn by_host(&self) -> impl Iterator<Item = &[Import]> {
        let same = |a: &Import, b: &Import| a.service.host == b.service.host;
        self.0.values().flat_map(move |imports| imports.chunk_by(same))
    }

    /// Returns the imports from the peer with this trust domain, in order of service.
    pub fn of(&self, trust_domain: &str) -> &[Import] {
        self.0.get(trust_domain).map(AsRef::as_ref).unwrap_or_default()
    }

    /// Returns the imports from a peer, in order of service. A refused peer has none, even if its
    /// trust domain is that of an accepted one.
    pub fn of_peer(&self, peer: &Peer) -> &[Import] {
        let imports = self.of(peer.trust_domain.as_str());
        match imports.first() {
            Some(first) if first.peer == peer.name => imports,
            _ => &[],
        }
    }

    /// Returns an import, and its position among those of its peer.
    pub fn find(&self, service: &ServiceName) -> Option<(usize, &Import)> {
        let imports = self.of(owner(service));
        let position = imports.binary_search_by(|import| import.service.cmp(service)).ok()?;
        Some((position, imports.get(position)?))
    }

    /// Returns the number of imports.
    pub fn len(&self) -> usize {
        self.0.values().map(|imports| imports.len()).sum()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the trust domain of a service's peer: what follows `NAME.NAMESPACE.svc.`.
pub fn owner(service: &ServiceName) -> &str {
    MeshHost::parse(&service.host).map(|host| host.trust_domain).unwrap_or_default()
}

impl FromIterator<Import> for Imports {
    fn from_iter<I: IntoIterator<Item = Import>>(imports: I) -> Self {
        let mut by_peer: BTreeMap<TrustDomain, Vec<Import>> = BTreeMap::new();
        for import in imports {
            by_peer.entry(import.trust_domain.clone()).or_default().push(import);
        }
        let sorted = |(trust_domain, mut imports): (TrustDomain, Vec<Import>)| {
            imports.sort_by(|a, b| a.service.cmp(&b.service));
            (trust_domain, imports.into())
        };
        Self(by_peer.into_iter().map(sorted).collect())
    }
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
