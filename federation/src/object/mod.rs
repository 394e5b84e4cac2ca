//! The objects that an operator writes, as an adapter hands them over: Kubernetes kinds that have
//! not been checked yet.
//!
//! An adapter reads bytes (a file, or an API server's answer) into these types. It reports what it
//! could not read as its own findings, in [`Objects::findings`]. All rules about the contents of
//! fields are here and in [`crate::federate()`], so both platforms have the same ones.

mod advertise;
mod endpoint;
mod federated;
mod health_check;
mod peer;
mod policy;
mod service;
mod trust;

pub use advertise::ADVERTISE_ANNOTATION;
pub use endpoint::{EndpointTls, MetadataEndpoint};
pub(crate) use federated::is_within;
pub use federated::{
    Everything, FederatedPortSpec, FederatedServiceObject, FederatedServiceSpec, FederatedSuffix,
    MAX_FEDERATED_PORTS, MAX_MEMBER_ENTRIES, MAX_MEMBER_PEERS, MAX_PRIORITY, MAX_WEIGHT,
    MemberSpec, ServiceRefSpec,
};
pub use health_check::{HealthCheckSpec, MAX_CHECK_TEXT, TcpCheckSpec};
pub(crate) use peer::check_cluster_domain;
pub use peer::{IstioFederationSpec, MetadataSpec, Peer, peers};
pub use policy::{
    CallerSpec, FederationPolicySpec, LabelSelector, LabelSelectorOperator,
    LabelSelectorRequirement, PeerSelection, PolicyBody, PolicyObject, PortRef, ServiceRule,
};
pub use service::{
    GATEWAY_MODE_ANNOTATION, GatewayMode, PEERS_ANNOTATION, PODS_ANNOTATION, PUBLIC_SERVICE_LABEL,
    PodNames, ServiceObject, ServicePortSpec, TransportProtocol,
};
pub use trust::{
    ACCEPT_DOCUMENT_ANNOTATION, APPROVE_ANNOTATION, PIN_KEYS_ANNOTATION, PIN_ROOTS_ANNOTATION,
    PIN_UUIDS_ANNOTATION, Pins, ROOT_CHANGE_ANNOTATION, RootChange, TrustPolicy,
    UNSIGNED_ANNOTATION, is_annotation_of_fedgate,
};

use crate::finding::{Finding, ObjectRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A spec, with the name and the source of its object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named<T> {
    /// `metadata.name`, not yet checked.
    pub name: String,
    /// The file that it comes from, in files mode.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
    /// Its annotations that are fedgate's ([`is_annotation_of_fedgate`]), not yet checked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
    /// The spec.
    pub spec: T,
}

impl<T> Named<T> {
    /// Creates an object without source and annotations.
    pub fn new(name: impl Into<String>, spec: T) -> Self {
        Self { name: name.into(), source: None, annotations: BTreeMap::new(), spec }
    }
}

impl Named<IstioFederationSpec> {
    /// Returns the object as findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::federation(&self.name).with_source(self.source.clone())
    }
}

/// Returns true if an API server accepts the name for a Service or a Namespace (RFC 1123 label).
pub fn is_dns_label(name: &str) -> bool {
    crate::document::is_port_name(name)
}

/// Returns true if an API server accepts the name for most other objects (RFC 1123 subdomain).
pub fn is_dns_name(name: &str) -> bool {
    fedgate_core::PeerName::parse(name).is_ok()
}

/// All relevant objects of this cluster, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// The peers' objects.
    pub federations: Vec<Named<IstioFederationSpec>>,
    /// The administrator's policies, unreadable ones included: those deny rather than disappear.
    pub policies: Vec<PolicyObject>,
    /// The Services. Those that have no export label and are no local member of a
    /// `FederatedService` have no effect and may be left out.
    pub services: Vec<ServiceObject>,
    /// The federated names.
    pub federated_services: Vec<FederatedServiceObject>,
    /// The adapter's findings about what it refused.
    pub findings: Vec<Finding>,
}
