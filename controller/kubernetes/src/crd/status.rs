//! `status` of an `IstioFederation`: the fields of DKP's definition, with its names, and
//! `observedGeneration`.
//!
//! With DKP's definition, the API server drops fields that it does not know, so nothing may depend
//! on our additional ones.

use fedgate_federation::federate::ConditionStatus;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of an `IstioFederation`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IstioFederationStatus {
    /// The metadata.generation that this status describes. If it differs from the object's, the
    /// controller has not yet processed the last change of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last valid documents that were fetched from the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_cache: Option<MetadataCache>,
    /// The conditions of the peer, one for each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<PeerCondition>,
}

/// What a peer has published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MetadataCache {
    /// The public document, which the peer serves to anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicCache>,
    /// When the public document was last fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub public_last_fetch_timestamp: Option<Timestamp>,
    /// The private document, which the peer serves only to its peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<PrivateCache>,
    /// When the private document was last fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub private_last_fetch_timestamp: Option<Timestamp>,
}

/// A peer's public document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PublicCache {
    /// The UUID that the peer publishes.
    #[serde(rename = "clusterUUID", skip_serializing_if = "String::is_empty")]
    pub cluster_uuid: String,
    /// The public key in PEM that verifies the peer's requests.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authn_key_pub: String,
    /// The root certificates of the peer's mesh in PEM.
    #[serde(rename = "rootCA", skip_serializing_if = "String::is_empty")]
    pub root_ca: String,
}

/// A peer's private document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PrivateCache {
    /// The addresses of the peer's gateways.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress_gateways: Vec<GatewayAddress>,
    /// The Services that the peer exports to this cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_services: Vec<PublicService>,
}

/// The address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayAddress {
    /// An IP address or a host name.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// A Service that a peer exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicService {
    /// The host name that clients use: NAME.NAMESPACE.svc.TRUSTDOMAIN.
    pub hostname: String,
    /// The Service's ports.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<PublicPort>,
}

/// A port of a Service that a peer exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicPort {
    /// The port's name.
    pub name: String,
    /// The port's number.
    pub port: u16,
    /// The protocol, derived from the port's name: HTTP, HTTP2, TLS or TCP.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub protocol: String,
}

/// A condition of the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerCondition {
    /// The type of the condition, for example Accepted or PublicMetadataExchangeReady.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the condition holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// The reason for the status, as a word for programs.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// The reason for the status, as a sentence for people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// When the status last changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Option<Timestamp>,
    /// When the condition was last checked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_probe_time: Option<Timestamp>,
    /// The metadata.generation that the condition describes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub observed_generation: Option<i64>,
}
