//! The CustomResourceDefinitions, generated from the Rust types, so that the API server accepts
//! exactly what we read.
//!
//! They are checked in under `deploy/kubernetes/crds/`, one file each: where the platform brings
//! its own `IstioFederation` (as DKP does), ours is left out. `cargo xtask generate` writes the
//! files, and a test compares them.

pub(crate) mod federated;
#[cfg(test)]
mod manifests;
mod rules;
mod schema;
pub(crate) mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;

use federated::FederatedServiceStatus;
use fedgate_federation::object::{FederatedServiceSpec, FederationPolicySpec, IstioFederationSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use status::IstioFederationStatus;

/// A peer: another cluster of the federation. Create one object for each peer.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct IstioFederation {
    /// Where to find the peer, and how to recognize it.
    spec: IstioFederationSpec,
    /// The state of the peer, as this cluster sees it. The controller writes it.
    status: Option<IstioFederationStatus>,
}

/// Restricts which exported Services peers may call. A peer that no policy selects may call all
/// exported Services. A peer that one or more policies select may call only what at least one of
/// these policies allows. An invalid policy allows nothing to the peers that it selects.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct FederationPolicy {
    /// The selected peers, and the Services and callers that the policy allows.
    spec: FederationPolicySpec,
}

/// One name for the same Service in several clusters. Programs of this mesh call the name, and the
/// calls go to the first of its members that is ready. Only this cluster knows the name: no peer
/// has to agree, and none can claim it.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct FederatedService {
    /// The name, its ports, and the Services behind it.
    spec: FederatedServiceSpec,
    /// Where calls go. The controller writes it.
    status: Option<FederatedServiceStatus>,
}

/// All definitions, in order of name.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [federated_services(), federation_policies(), istio_federations()]
}

/// A definition as in its file under `deploy/kubernetes/crds/`.
///
/// # Errors
/// If it cannot be written as YAML.
pub fn yaml(definition: &CustomResourceDefinition) -> anyhow::Result<String> {
    let header =
        "# Made from the Rust types by `cargo xtask generate`. Change those, not this file.\n";
    Ok(format!("{header}{}", serde_saphyr::to_string(&serde_json::to_value(definition)?)?))
}

fn istio_federations() -> CustomResourceDefinition {
    let columns = vec![
        column("Trust Domain", ".spec.trustDomain", "The peer's trust domain."),
        condition(
            "Accepted",
            "Accepted",
            "Whether the object describes a peer that can take part in the federation.",
        ),
        condition(
            "Public",
            "PublicMetadataExchangeReady",
            "Whether the last fetch of the peer's public document succeeded.",
        ),
        condition(
            "Private",
            "PrivateMetadataExchangeReady",
            "Whether the last fetch of the peer's private document succeeded.",
        ),
        condition(
            "Dataplane",
            "DataplaneConnectionReady",
            "Whether a gateway of the peer accepts connections.",
        ),
        condition("Stale", "Stale", "Whether the peer's metadata has not been confirmed recently."),
        age(),
        wide("Endpoint", ".spec.metadataEndpoint", "The URL of the peer's metadata."),
        wide(
            "UUID",
            ".status.metadataCache.public.clusterUUID",
            "The UUID that the peer publishes.",
        ),
        wide(
            "Gateway",
            ".status.metadataCache.private.ingressGateways[0].address",
            "The address of the peer's first gateway.",
        ),
    ];
    let schema = schema::of::<IstioFederation>(rules::ISTIO_FEDERATION);
    let names = names("istiofederations", "istiofederation", "IstioFederation");
    definition("deckhouse.io", names, with_status(version(schema, columns)))
}

fn federated_services() -> CustomResourceDefinition {
    let columns = vec![
        column("Host", ".status.host", "The name that programs call."),
        condition("Accepted", "Accepted", "Whether the name is in force."),
        condition("Ready", "Ready", "Whether calls to the name get through."),
        column("Current", ".status.current", "The clusters that calls go to now."),
        age(),
    ];
    let schema = schema::of::<FederatedService>(rules::FEDERATED_SERVICE);
    let mut names = names("federatedservices", "federatedservice", "FederatedService");
    names.short_names = Some(vec!["fsvc".to_owned()]);
    let mut definition = definition("fedgate.dev", names, with_status(version(schema, columns)));
    definition.spec.scope = "Namespaced".to_owned();
    definition
}

fn federation_policies() -> CustomResourceDefinition {
    let columns = vec![
        column(
            "Peers",
            ".spec.peers",
            "The peers that the policy selects; empty if it selects all.",
        ),
        column("Mode", ".spec.mode", "Whether the policy is enforced, or only reported."),
        age(),
    ];
    let schema = schema::of::<FederationPolicy>(rules::FEDERATION_POLICY);
    let names = names("federationpolicies", "federationpolicy", "FederationPolicy");
    definition("fedgate.dev", names, version(schema, columns))
}

fn definition(
    group: &str,
    names: CustomResourceDefinitionNames,
    version: CustomResourceDefinitionVersion,
) -> CustomResourceDefinition {
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{group}", names.plural)),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: group.to_owned(),
            names,
            scope: "Cluster".to_owned(),
            versions: vec![version],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn names(plural: &str, singular: &str, kind: &str) -> CustomResourceDefinitionNames {
    CustomResourceDefinitionNames {
        plural: plural.to_owned(),
        singular: Some(singular.to_owned()),
        kind: kind.to_owned(),
        list_kind: Some(format!("{kind}List")),
        ..CustomResourceDefinitionNames::default()
    }
}

fn version(
    schema: JSONSchemaProps,
    columns: Vec<CustomResourceColumnDefinition>,
) -> CustomResourceDefinitionVersion {
    CustomResourceDefinitionVersion {
        name: "v1alpha1".to_owned(),
        served: true,
        storage: true,
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
        additional_printer_columns: Some(columns),
        ..CustomResourceDefinitionVersion::default()
    }
}

fn with_status(version: CustomResourceDefinitionVersion) -> CustomResourceDefinitionVersion {
    let subresources = CustomResourceSubresources {
        status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
        scale: None,
    };
    CustomResourceDefinitionVersion { subresources: Some(subresources), ..version }
}

fn column(name: &str, json_path: &str, description: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        json_path: json_path.to_owned(),
        type_: "string".to_owned(),
        description: Some(description.to_owned()),
        ..CustomResourceColumnDefinition::default()
    }
}

/// A column with the status of a condition.
fn condition(name: &str, kind: &str, description: &str) -> CustomResourceColumnDefinition {
    column(name, &format!(r#".status.conditions[?(@.type=="{kind}")].status"#), description)
}

/// A column that `kubectl get --output wide` shows.
fn wide(name: &str, json_path: &str, description: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition { priority: Some(1), ..column(name, json_path, description) }
}

fn age() -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        type_: "date".to_owned(),
        ..column("Age", ".metadata.creationTimestamp", "The age of the object.")
    }
}
