//! `status` of a `FederatedService`.

use super::status::PeerCondition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a `FederatedService`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FederatedServiceStatus {
    /// The metadata.generation that this status describes. If it differs from the object's, the
    /// controller has not yet processed the last change of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The name that programs call, if it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The clusters that calls go to now, as far as this cluster knows: the names of their
    /// IstioFederations, or local for this cluster. Each proxy also passes over members that do not
    /// answer it.
    pub current: Vec<String>,
    /// The members of each port in order of priority.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// The conditions of the name, one for each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<PeerCondition>,
}

/// A member of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberStatus {
    /// The port that programs call.
    pub port: u16,
    /// The name of the peer's IstioFederation, or local for this cluster.
    pub cluster: String,
    /// The host and port of the Service in that cluster, if they are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// Its priority; 0 comes first.
    pub priority: u32,
    /// Its share in the calls of its priority.
    pub weight: u32,
    /// Whether it takes calls: ready, unproven (it gets calls, but nothing has shown yet that they
    /// get through), or the reason why it is passed over.
    pub state: String,
    /// The explanation for people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
}
