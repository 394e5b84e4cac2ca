mod extension;
mod rows;
mod view;

pub(crate) use rows::is_port_name;
pub use view::{Outcome, View};

use super::{DocumentError, GatewayAddress, Limits, Locality, Network, Parsed, WorkloadIdentity};
use crate::bundle::Fingerprint;
use crate::finding::ObjectRef;
use fedgate_core::{Hex, Hostname, ServicePort, TrustDomain};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// What a cluster offers to one peer: its gateways, and the services that the peer may know of.
#[derive(Debug, Clone, Eq, Serialize, Deserialize)]
pub struct PrivateDocument {
    /// The gateways, in order.
    pub gateways: Vec<GatewayAddress>,
    /// The services, in order of host. Shared among the documents of peers that may see the same.
    pub services: Arc<[PublicService]>,
    /// What fedgate clusters add.
    pub extension: Option<PrivateExtension>,
}

/// Most comparisons are of a document with itself, whose services are then the same ones:
/// `Arc<[T]>` alone would compare all of them.
impl PartialEq for PrivateDocument {
    fn eq(&self, other: &Self) -> bool {
        let Self { gateways, services, extension } = self;
        (Arc::ptr_eq(services, &other.services) || *services == other.services)
            && *gateways == other.gateways
            && *extension == other.extension
    }
}

/// A Service that a cluster offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicService {
    /// `<name>.<namespace>.svc.<trust domain>`.
    pub hostname: Hostname,
    /// Its ports, in the Service's order. Never empty.
    pub ports: Vec<PublicServicePort>,
}

/// A port of a [`PublicService`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicServicePort {
    /// A DNS label. Its first part says the protocol.
    pub name: String,
    /// The port number of the Service.
    pub port: ServicePort,
}

/// What fedgate clusters add to the private document, under the key `fedgate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateExtension {
    /// Grows whenever the content changes, so that an old document is recognised. A change of the
    /// view does not count.
    pub sequence: u64,
    /// The number of rows in `publicServices`. It proves that the document is complete, so fewer
    /// services than before are accepted at once.
    pub service_count: u64,
    /// The cluster's network.
    #[serde(default)]
    pub network: Network,
    /// The SPIFFE IDs of its gateways. If empty, any identity of its trust domain.
    #[serde(default)]
    pub gateway_identities: Vec<WorkloadIdentity>,
    /// Where its gateways are, in order of gateway. Gateways without an entry may be anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway_localities: Vec<LocatedGateway>,
    /// The hosts of `publicServices` whose TLS passes through the gateway to the workload, in
    /// order. The workload answers with its own identity, which may be any in the cluster's trust
    /// domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passthrough_hosts: Vec<Hostname>,
    /// The reader's roots that the cluster has put in force, in order. `None` if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_roots: Option<Vec<Fingerprint>>,
    /// The reader's keys by which the cluster accepts tokens and signatures, in order. `None` if it
    /// does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_keys: Option<Vec<Fingerprint>>,
    /// The entity tag of the cluster's public document, without quotes. A reader that has another
    /// one fetches the public document at once. `None` if the cluster does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_tag: Option<String>,
    /// From which age on, in seconds, the cluster wants its documents to be shown as stale. `None`
    /// if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after_seconds: Option<u64>,
    /// What the cluster sees of the reader. `None` if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
}

/// Where a gateway is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocatedGateway {
    /// Its address, as in `ingressGateways`.
    #[serde(flatten)]
    pub gateway: GatewayAddress,
    /// Its region and zone.
    pub locality: Locality,
}

impl PrivateExtension {
    /// Returns where a gateway is, if the cluster says so.
    pub fn locality(&self, gateway: &GatewayAddress) -> Option<&Locality> {
        let located = self.gateway_localities.iter().find(|located| located.gateway == *gateway);
        located.map(|located| &located.locality)
    }

    pub(crate) fn stale_after(&self) -> Option<Duration> {
        self.stale_after_seconds.map(Duration::from_secs)
    }

    /// Returns what a sequence stands for: everything but the sequence itself and the view.
    fn numbered(&self) -> Self {
        Self { sequence: 0, view: None, ..self.clone() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    public_services: &'a [PublicService],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tail<'a> {
    ingress_gateways: &'a [GatewayAddress],
    #[serde(skip_serializing_if = "Option::is_none")]
    fedgate: Option<&'a PrivateExtension>,
}

impl PrivateDocument {
    /// Parses a body as the private document of the peer with this trust domain, whose object is
    /// `object`. Bad rows, and names that are not the peer's, are dropped with findings.
    ///
    /// # Errors
    /// [`DocumentError`] if it is not a JSON object, is too large, lacks one of its lists, or is
    /// not as complete as it says. `ingressGateways: null` counts as a missing list, not as an
    /// empty one.
    pub fn parse(
        body: &[u8],
        trust_domain: &TrustDomain,
        object: &ObjectRef,
        limits: &Limits,
    ) -> Result<Parsed<Self>, DocumentError> {
        rows::parse(body, trust_domain, object, limits)
    }

    /// Writes the body: [`Self::head_json`], then [`Self::tail_json`].
    pub fn to_json(&self) -> Vec<u8> {
        [self.head_json(), self.tail_json()].concat()
    }

    /// Writes the first part of the body: the services. It is by far the larger part, and the same
    /// for all peers that may see the same services. So it needs to be kept only once for all of
    /// them.
    pub fn head_json(&self) -> Vec<u8> {
        let head = Head { public_services: &self.services };
        // Strings and numbers only, so this cannot fail.
        let mut json = serde_json::to_vec(&head).unwrap_or_default();
        // The tail closes the object.
        json.pop();
        json
    }

    /// Writes the rest of the body, which is specific to the peer: gateways and extension.
    pub fn tail_json(&self) -> Vec<u8> {
        let tail = Tail { ingress_gateways: &self.gateways, fedgate: self.extension.as_ref() };
        let mut json = serde_json::to_vec(&tail).unwrap_or_default();
        // The head has opened the object, and has a field already.
        json.iter_mut().take(1).for_each(|byte| *byte = b',');
        json
    }

    /// Returns an ID of the content, regardless of sequence and view: 16 hexadecimal digits. By it
    /// an operator accepts a held document, and no other.
    pub fn id(&self) -> String {
        let extension = self.extension.as_ref().map(PrivateExtension::numbered);
        let unnumbered = Self { extension, ..self.clone() };
        let hash = Sha256::digest(unnumbered.to_json());
        Hex(hash.get(..8).unwrap_or(&hash)).to_string()
    }

    /// Returns true if both have the same content, regardless of their sequences and views.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        self.gateways == other.gateways
            && self.services == other.services
            && self.extension.as_ref().map(PrivateExtension::numbered)
                == other.extension.as_ref().map(PrivateExtension::numbered)
    }
}
