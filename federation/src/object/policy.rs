//! `FederationPolicy` (`fedgate.dev/v1alpha1`, cluster-scoped): what the administrator allows to which peers.
//!
//! A policy closes before it opens: a peer that some policy selects gets only what a policy allows. So a policy that cannot be
//! understood must not vanish, or the peers it was written against would see everything that is labelled. It stays as
//! [`PolicyBody::Unreadable`]: it selects the peers that it readably names, or all when it cannot be told, and allows nothing.

use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use fedgate_core::{MAX_CALLER_PATTERNS, Mode, PeerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The spec of a `FederationPolicy`.
///
/// The fields' comments are what `kubectl explain` shows. Lengths bound what an API server takes and what its rules cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederationPolicySpec {
    /// The peers that the policy is about, by the names of their IstioFederation objects. They get what policies allow and
    /// nothing else. Leave it out for all peers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 1_000), inner(length(max = 253)))]
    pub peers: Option<Vec<String>>,
    /// The exports that the policy allows: those that match one entry at least. Leave it out for all exports.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 100))]
    pub services: Option<Vec<ServiceRule>>,
    /// The callers of these peers that the policy allows: those that match one entry at least. Leave it out for any caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = MAX_CALLER_PATTERNS))]
    pub callers: Option<Vec<CallerSpec>>,
    /// Enforce refuses what no policy allows. Audit reports it and lets it through, so that a policy can be tried before it bites.
    /// A peer is in audit mode when all policies that are about it say Audit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String", extend("enum" = [Mode::Enforce, Mode::Audit], "default" = Mode::Enforce))]
    pub mode: Option<Mode>,
}

/// Which exports: those for which all the given fields match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRule {
    /// Patterns of the Service's namespace, one of which must match; '*' stands for any run of characters. Leave it out for all
    /// namespaces.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub namespaces: Option<Vec<String>>,
    /// What the Service's labels must be. Leave it out for all Services.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub selector: Option<LabelSelector>,
    /// The Service's ports, by number (without quotes) or by name. Leave it out for all ports.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 100))]
    pub ports: Option<Vec<PortRef>>,
}

/// A Kubernetes label selector; an empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels and the values that they must have, all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions, all of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One condition of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelectorRequirement {
    /// The label's name.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// What must hold: In and NotIn compare the label with values; Exists and DoesNotExist ask only whether it is there.
    pub operator: LabelSelectorOperator,
    /// The values of In and NotIn, one at least; none with Exists and DoesNotExist.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// What must hold for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelSelectorOperator {
    /// It is there and has one of the values.
    In,
    /// It is not there, or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// A port, by number (without quotes) or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PortRef {
    /// The Service's port number.
    Number(#[schemars(range(min = 1, max = 65_535))] u16),
    /// The Service's port name. A name of digits alone is a number in quotes, by mistake.
    Name(#[schemars(length(max = 63), regex(pattern = "^[0-9a-z-]*[a-z][0-9a-z-]*$"))] String),
}

/// Which callers: those for which both patterns match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerSpec {
    /// A pattern of the caller's namespace: NAMESPACE in spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT. '*' stands for any run of
    /// characters. Leave it out for any namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// A pattern of the caller's service account: ACCOUNT in spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT. '*' stands for any run
    /// of characters. Leave it out for any account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
}

/// A policy as an adapter hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyObject {
    /// `metadata.name`.
    pub name: String,
    /// The file that it comes from, in files mode.
    pub source: Option<String>,
    /// What it says.
    pub body: PolicyBody,
}

/// What a policy says, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyBody {
    /// It has its kind's form.
    Spec(FederationPolicySpec),
    /// It has not. It allows nothing to the peers that it selects.
    Unreadable(PeerSelection),
}

/// The peers that a policy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSelection {
    /// All of them.
    All,
    /// Those with these names.
    Only(BTreeSet<PeerName>),
}

impl PolicyObject {
    /// Reads the `spec` of a policy, given as JSON. When that fails the policy is kept as unreadable, and a finding says why.
    pub fn read(name: impl Into<String>, source: Option<String>, spec: &serde_json::Value) -> (Self, Option<Finding>) {
        let name = name.into();
        match FederationPolicySpec::deserialize(spec) {
            Ok(spec) => (Self { name, source, body: PolicyBody::Spec(spec) }, None),
            Err(error) => {
                let names = spec.get("peers").and_then(|peers| Vec::<String>::deserialize(peers).ok());
                let selection = PeerSelection::readable(names.as_deref());
                let policy = Self { name, source, body: PolicyBody::Unreadable(selection) };
                let finding = policy
                    .invalid("spec", format!("it is not what a FederationPolicy says: {}", shown(&error.to_string())));
                (policy, Some(finding))
            }
        }
    }

    /// Reads a whole policy, given as JSON. A field beside `spec` makes it unreadable as well: it was meant to be a part of it.
    pub fn read_object(
        name: impl Into<String>,
        source: Option<String>,
        object: &serde_json::Value,
    ) -> (Self, Option<Finding>) {
        const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
        let spec = object.get("spec").unwrap_or(&serde_json::Value::Null);
        let (policy, finding) = Self::read(name, source, spec);
        let fields = object.as_object().into_iter().flat_map(|object| object.keys());
        let Some(stray) = fields.map(String::as_str).find(|field| !FIELDS.contains(field)) else {
            return (policy, finding);
        };
        let names = spec.get("peers").and_then(|peers| Vec::<String>::deserialize(peers).ok());
        let body = PolicyBody::Unreadable(PeerSelection::readable(names.as_deref()));
        let finding = policy
            .invalid(shown(stray), "expected no field beside spec; what a policy says belongs under spec".to_owned());
        (Self { body, ..policy }, Some(finding))
    }

    /// How findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::policy(&self.name).from_source(self.source.clone())
    }

    pub(crate) fn invalid(&self, field: impl Into<String>, why: String) -> Finding {
        let message = format!("{why}. Until this is mended the policy allows nothing to the peers that it selects");
        Finding::error(FindingReason::InvalidPolicy, self.object(), field, message)
    }
}

impl PeerSelection {
    /// The peers that a list readably names; all when there is no list, or no readable name on it.
    pub fn readable(names: Option<&[String]>) -> Self {
        let names: BTreeSet<_> =
            names.unwrap_or_default().iter().filter_map(|name| PeerName::parse(name).ok()).collect();
        match names.is_empty() {
            true => Self::All,
            false => Self::Only(names),
        }
    }

    /// Whether `peer` is one of them.
    pub fn selects(&self, peer: &PeerName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(peer),
        }
    }
}
