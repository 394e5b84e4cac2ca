//! The parts of Services that exports need.

use crate::finding::ObjectRef;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The label by which a Service's owner exports it. Its value must be empty.
pub const PUBLIC_SERVICE_LABEL: &str = "federation.istio.deckhouse.io/public-service";

/// The annotation by which the owner narrows an export to some peers: names of `IstioFederation`s,
/// separated by commas.
pub const PEERS_ANNOTATION: &str = "fedgate.dev/peers";

/// The annotation by which the owner chooses what the gateway does with callers' TLS; see
/// [`GatewayMode`].
pub const GATEWAY_MODE_ANNOTATION: &str = "fedgate.dev/gateway-mode";

/// The annotation by which the owner of a headless Service exports its Pods by name as well; see
/// [`PodNames`].
pub const PODS_ANNOTATION: &str = "fedgate.dev/pods";

/// Whether the Pods of an exported Service can be called by their names, and how the gateway calls
/// them on Kubernetes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodNames {
    /// They cannot.
    #[default]
    No,
    /// They can. The gateway uses the mesh's mutual TLS.
    Mutual,
    /// They can. The Pods are not part of the mesh, so the gateway calls them without TLS.
    Plain,
}

/// What the gateway does with the TLS of an export's callers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// TLS ends at the gateway. The gateway judges the callers, and the workload sees the gateway's
    /// identity.
    #[default]
    Terminate,
    /// TLS passes through to the workload, which sees the callers' identities and judges them. The
    /// gateway sees no identity.
    Passthrough,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceObject {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The file that it comes from, in files mode.
    pub source: Option<String>,
    /// `spec.type`; `None` means the default, `ClusterIP`.
    pub service_type: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`; only fedgate's are read.
    pub annotations: BTreeMap<String, String>,
    /// `spec.selector`: the labels of its workloads.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`, in their order.
    pub ports: Vec<ServicePortSpec>,
    /// Whether `spec.clusterIP` is `None`.
    pub headless: bool,
    /// The names of its Pods, as its EndpointSlices have them (`endpoints[].hostname`). Not yet
    /// checked; only needed of a Service with [`PODS_ANNOTATION`].
    pub pods: BTreeSet<String>,
    /// Whether the API server refuses to list its EndpointSlices, so that its Pods are not known.
    pub pods_refused: bool,
}

/// One entry of a Service's `spec.ports`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePortSpec {
    /// The port's name. Its first part says the protocol (`http-api`).
    pub name: Option<String>,
    /// The port number of the Service.
    pub port: u16,
    /// TCP unless specified otherwise.
    pub protocol: TransportProtocol,
    /// How many addresses of its workloads are ready; `None` if the adapter does not know. It
    /// matters only for local members of `FederatedService`s.
    pub ready: Option<usize>,
}

/// A Service port's protocol.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum TransportProtocol {
    /// The only protocol that the gateway forwards.
    #[default]
    Tcp,
    /// Announced, as DKP does, but not reachable.
    Udp,
    /// Announced, as DKP does, but not reachable.
    Sctp,
}

impl ServiceObject {
    /// Returns the object as findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::service(&self.namespace, &self.name).with_source(self.source.clone())
    }
}
