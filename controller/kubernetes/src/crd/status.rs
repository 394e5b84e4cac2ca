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
pub struct IstioFederationStatus {
    /// The metadata.generation of the spec that this status is about. When metadata.generation is
    /// another, the last change of the spec was not looked at yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The peer's documents as they were fetched last and found good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_cache: Option<MetadataCache>,
    /// How it is with the peer, one entry for each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<PeerCondition>,
}

/// What a peer has published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataCache {
    /// What the peer tells everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicCache>,
    /// When public was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub public_last_fetch_timestamp: Option<Timestamp>,
    /// What the peer tells its peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<PrivateCache>,
    /// When private was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub private_last_fetch_timestamp: Option<Timestamp>,
}

/// What a peer tells everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PublicCache {
    /// The UUID that the peer claims.
    #[serde(rename = "clusterUUID", skip_serializing_if = "String::is_empty")]
    pub cluster_uuid: String,
    /// The public key, in PEM, with which the peer's requests are verified.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authn_key_pub: String,
    /// The root certificates of the peer's mesh, in PEM.
    #[serde(rename = "rootCA", skip_serializing_if = "String::is_empty")]
    pub root_ca: String,
}

/// What a peer tells its peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrivateCache {
    /// Where the peer's gateways are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress_gateways: Vec<GatewayAddress>,
    /// The Services that the peer exports to this cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_services: Vec<PublicService>,
}

/// Where a gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAddress {
    /// An IP address or a host name.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// A Service that a peer exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicService {
    /// The name under which it is reached: NAME.NAMESPACE.svc.TRUSTDOMAIN.
    pub hostname: String,
    /// The Service's ports.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<PublicPort>,
}

/// A port of a Service that a peer exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicPort {
    /// The port's name.
    pub name: String,
    /// The port's number.
    pub port: u16,
    /// What is spoken on it: HTTP, HTTP2, TLS or TCP, as its name says.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub protocol: String,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerCondition {
    /// What the condition is about, for example Accepted or PublicMetadataExchangeReady.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// Why, in one word.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// Since when status is what it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Option<Timestamp>,
    /// When it was looked at last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_probe_time: Option<Timestamp>,
    /// The metadata.generation of the spec that the condition is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub observed_generation: Option<i64>,
}
