//! `FederationPolicy` (`fedgate.dev/v1alpha1`, cluster-scoped): what the administrator allows to which peers.
//!
//! A policy closes before it opens: a peer that some policy selects gets only what a policy allows. So a policy that cannot be
//! understood must not vanish, or the peers it was written against would see everything that is labelled. It stays as
//! [`PolicyBody::Unreadable`]: it selects the peers that it readably names, or all when it cannot be told, and allows nothing.

use crate::finding::{Finding, FindingReason, ObjectRef, shown};
use fedgate_core::{Mode, PeerName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The spec of a `FederationPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederationPolicySpec {
    /// The peers that it is about, by the names of their `IstioFederation`s. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peers: Option<Vec<String>>,
    /// The exports that it allows: those that match one of these. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub services: Option<Vec<ServiceRule>>,
    /// The peers' callers that it allows: those that match one of these. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub callers: Option<Vec<CallerSpec>>,
    /// Whether refusals take effect. Absent: `Enforce`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<Mode>,
}

/// Which exports: those for which all the given fields match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRule {
    /// Patterns of namespaces, `*` for any run of characters. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespaces: Option<Vec<String>>,
    /// The Service's labels. Absent: whatever they are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub selector: Option<LabelSelector>,
    /// The Service's ports, by number or name. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ports: Option<Vec<PortRef>>,
}

/// A Kubernetes label selector; an empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels and the values that they must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions, all of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One condition of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// What must hold.
    pub operator: LabelSelectorOperator,
    /// The values of `In` and `NotIn`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub values: Vec<String>,
}

/// What must hold for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// A port, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// The Service's port number.
    Number(u16),
    /// The Service's port name.
    Name(String),
}

/// Which callers: those for which both patterns match. A field that is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerSpec {
    /// A pattern of the caller's namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// A pattern of the caller's service account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
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
