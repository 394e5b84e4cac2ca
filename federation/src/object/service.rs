//! Services, as far as exports need them.

use crate::finding::ObjectRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The label by which a Service's owner exports it; its value must be exactly empty.
pub const PUBLIC_SERVICE_LABEL: &str = "federation.istio.deckhouse.io/public-service";

/// The annotation by which the owner narrows an export to some peers: names of `IstioFederation`s, separated by commas.
pub const PEERS_ANNOTATION: &str = "fedgate.dev/peers";

/// The annotation by which the owner says what the gateway does with the TLS of callers; see [`GatewayMode`].
pub const GATEWAY_MODE_ANNOTATION: &str = "fedgate.dev/gateway-mode";

/// What the gateway does with the TLS of an export's callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// It ends there: the gateway judges the callers, and the workload sees the gateway's identity.
    #[default]
    Terminate,
    /// It goes on to the workload, which sees the callers' identities and judges them; the gateway sees none.
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
    /// `spec.type`; `None` stands for the default, `ClusterIP`.
    pub service_type: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`; only our own are looked at.
    pub annotations: BTreeMap<String, String>,
    /// `spec.selector`: the labels of its workloads.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`, in their order.
    pub ports: Vec<ServicePortSpec>,
}

/// One entry of a Service's `spec.ports`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePortSpec {
    /// The port's name, which says its protocol by its first part (`http-api`).
    pub name: Option<String>,
    /// The Service's port.
    pub port: u16,
    /// TCP unless said otherwise.
    pub protocol: TransportProtocol,
}

/// A Service port's protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TransportProtocol {
    /// The one that goes through the gateway.
    #[default]
    Tcp,
    /// Announced, as DKP does, and unreachable.
    Udp,
    /// Announced, as DKP does, and unreachable.
    Sctp,
}

impl ServiceObject {
    /// How findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::service(&self.namespace, &self.name).from_source(self.source.clone())
    }
}
