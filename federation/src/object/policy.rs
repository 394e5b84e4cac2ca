//! `FederationPolicy` (`fedgate.dev/v1alpha1`, cluster-scoped): what the administrator allows to
//! which peers.
//!
//! A policy denies before it allows: a peer that some policy selects gets only what a policy
//! allows. So an invalid policy must not disappear, or its peers would see everything that is
//! labelled. It stays as [`PolicyBody::Unreadable`] and allows nothing. It selects the peers that
//! it readably names, or all peers if it names none.

use crate::finding::{Finding, FindingReason, ObjectRef};
use crate::form::{self, FormError, Step};
use fedgate_core::{MAX_CALLER_PATTERNS, Mode, PeerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The spec of a `FederationPolicy`.
///
/// `kubectl explain` shows the comments of the fields. The lengths limit what an API server
/// accepts, and the cost of its validation rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederationPolicySpec {
    /// The names of the IstioFederation objects of the peers that the policy selects. If absent, it
    /// selects all peers. A selected peer may call only what a policy allows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 1_000), inner(length(max = 253)))]
    pub peers: Option<Vec<String>>,
    /// The exported Services that the policy allows: all that match at least one entry. If absent,
    /// it allows all exported Services. An empty list, [], allows none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 100))]
    pub services: Option<Vec<ServiceRule>>,
    /// The callers in the selected peers that the policy allows: all that match at least one entry.
    /// If absent, it allows every caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = MAX_CALLER_PATTERNS))]
    pub callers: Option<Vec<CallerSpec>>,
    /// Enforce refuses what no policy allows. Audit reports it but lets it through, so a policy can
    /// be tried first. A peer is in audit mode only if every policy that selects it has mode Audit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String", extend("enum" = [Mode::Enforce, Mode::Audit], "default" = Mode::Enforce))]
    pub mode: Option<Mode>,
}

/// Selects the exported Services for which all fields match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRule {
    /// Patterns for the Service's namespace, at least one of which must match. '*' stands for any
    /// number of characters. If absent, all namespaces match.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub namespaces: Option<Vec<String>>,
    /// Selects Services by their labels. If absent, all Services match.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub selector: Option<LabelSelector>,
    /// The Service's ports, by number (without quotes) or name. If absent, all ports match.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 100))]
    pub ports: Option<Vec<PortRef>>,
}

/// A Kubernetes label selector; an empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with their required values. All of them must match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schemars(extend("maxProperties" = 64, "nullable" = true))]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements. All of them must match.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 64), extend("nullable" = true))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// A requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelectorRequirement {
    /// The label's name.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// In and NotIn compare the label's value with values. Exists and DoesNotExist only check
    /// whether the label is present.
    pub operator: LabelSelectorOperator,
    /// The values for In and NotIn (at least one). Must be empty for Exists and DoesNotExist.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 64), inner(length(max = 63)), extend("nullable" = true))]
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

/// A port, by number (without quotes) or name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PortRef {
    /// The Service's port number.
    Number(#[schemars(range(min = 1, max = 65_535))] u16),
    /// The Service's port name. A name of digits alone is a number in quotes, by mistake.
    Name(#[schemars(length(max = 63), regex(pattern = "^[0-9a-z-]*[a-z][0-9a-z-]*$"))] String),
}

/// Selects the callers for which both patterns match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerSpec {
    /// A pattern for the caller's namespace, which is NAMESPACE in
    /// spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT. '*' stands for any number of characters. If
    /// absent, all namespaces match.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// A pattern for the caller's service account, which is ACCOUNT in
    /// spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT. '*' stands for any number of characters. If
    /// absent, all service accounts match.
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

/// The content of a policy, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyBody {
    /// It fits the schema of its kind.
    Spec(FederationPolicySpec),
    /// It does not fit. It allows nothing to the peers that it selects.
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
    /// Reads the `spec` of a policy, given as JSON. If that fails, the policy is kept as
    /// unreadable, and a finding says why.
    pub fn read(
        name: impl Into<String>,
        source: Option<String>,
        spec: &serde_json::Value,
    ) -> (Self, Option<Finding>) {
        Self::of(name.into(), source, spec, FederationPolicySpec::read(spec))
    }

    /// Reads a whole policy, given as JSON.
    pub fn read_object(
        name: impl Into<String>,
        source: Option<String>,
        object: &serde_json::Value,
    ) -> (Self, Option<Finding>) {
        let spec = object.get("spec").unwrap_or(&serde_json::Value::Null);
        Self::of(name.into(), source, spec, FederationPolicySpec::of_object(object))
    }

    fn of(
        name: String,
        source: Option<String>,
        spec: &serde_json::Value,
        read: Result<FederationPolicySpec, FormError>,
    ) -> (Self, Option<Finding>) {
        match read {
            Ok(spec) => (Self { name, source, body: PolicyBody::Spec(spec) }, None),
            Err(error) => {
                let policy = Self {
                    name,
                    source,
                    body: PolicyBody::Unreadable(PeerSelection::of_spec(spec)),
                };
                let finding = policy.invalid(error.field(), error.message);
                (policy, Some(finding))
            }
        }
    }

    /// Returns the object as findings name it.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::policy(&self.name).with_source(self.source.clone())
    }

    pub(crate) fn invalid(&self, field: impl Into<String>, why: String) -> Finding {
        let message = format!(
            "{why}; until this is fixed, the policy allows nothing to the peers that it selects"
        );
        Finding::error(FindingReason::InvalidPolicy, self.object(), field, message)
    }
}

impl FederationPolicySpec {
    /// Reads a spec, given as JSON. A field without a value is an error: an empty `services:` looks
    /// as if it allowed nothing but would allow everything.
    ///
    /// # Errors
    /// The first field that is wrong; its path begins with `spec`.
    pub fn read(spec: &serde_json::Value) -> Result<Self, FormError> {
        let read = match form::empty_field(spec) {
            Some(path) => Err(FormError::new(path.clone(), without_value(&path))),
            None => form::read(spec),
        };
        read.map_err(|error| error.below("spec"))
    }

    /// Reads the spec of a whole policy. An unknown field next to `spec` is also an error, because
    /// it was probably meant to be inside.
    ///
    /// # Errors
    /// As for [`Self::read`], with the path from the object.
    pub fn of_object(object: &serde_json::Value) -> Result<Self, FormError> {
        const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
        let fields = object.as_object().into_iter().flat_map(|object| object.keys());
        if let Some(stray) = fields.map(String::as_str).find(|field| !FIELDS.contains(field)) {
            let message =
                "expected no field beside spec; what a policy says belongs under spec, indented";
            return Err(FormError::new(vec![Step::Field(stray.to_owned())], message));
        }
        match object.get("spec") {
            None | Some(serde_json::Value::Null) => {
                let message = "expected what the policy allows, found nothing; write \"spec: {services: []}\" to allow nothing";
                Err(FormError::new(vec![Step::Field("spec".to_owned())], message))
            }
            Some(spec) => Self::read(spec),
        }
    }
}

/// Advises what to do about a field of a policy that has no value.
fn without_value(path: &[Step]) -> String {
    let what = match path.last() {
        Some(Step::Field(name)) if name == "services" => {
            "expected a list of exports, found nothing; write \"services: []\" to allow none"
        }
        Some(Step::Row(_)) => "expected an entry, found nothing; complete it or remove it",
        _ => "expected a value, found nothing; complete it",
    };
    format!("{what} (a field without a value would count as left out, and allow more)")
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortRefVisitor)
    }
}

struct PortRefVisitor;

/// The same rule as in the schema of [`PortRef::Name`].
fn is_port_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.bytes().any(|c| c.is_ascii_lowercase())
}

impl serde::de::Visitor<'_> for PortRefVisitor {
    type Value = PortRef;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a port from 1 to 65535 without quotes, or a port name such as http")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PortRef, E> {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        port.map(PortRef::Number)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    /// Refuses names that no port can have, such as `"80"` or `80-90`, because they would match
    /// nothing.
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<PortRef, E> {
        match is_port_name(name) {
            true => Ok(PortRef::Name(name.to_owned())),
            false => Err(E::invalid_value(serde::de::Unexpected::Str(name), &self)),
        }
    }
}

impl PeerSelection {
    /// Returns the peers that a spec readably names, even if other parts of it are wrong; all peers
    /// if they cannot be read.
    pub fn of_spec(spec: &serde_json::Value) -> Self {
        let names = spec.get("peers").and_then(|peers| form::read::<Vec<String>>(peers).ok());
        Self::readable(names.as_deref())
    }

    /// Returns the peers that a list readably names; all peers if there is no list or no readable
    /// name.
    pub fn readable(names: Option<&[String]>) -> Self {
        let names: BTreeSet<_> = names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| PeerName::parse(name).ok())
            .collect();
        match names.is_empty() {
            true => Self::All,
            false => Self::Only(names),
        }
    }

    /// Returns true if `peer` is selected.
    pub fn selects(&self, peer: &PeerName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(peer),
        }
    }
}
