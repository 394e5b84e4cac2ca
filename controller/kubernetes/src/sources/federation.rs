//! `IstioFederation`s: the spec for the compiler, and what is needed of the status to write the next
//! one.

use crate::api::fingerprint::{Fingerprint, fingerprint};
use crate::crd::status::PeerCondition;
use fedgate_federation::federate::{Condition, ConditionType};
use fedgate_federation::form::FormError;
use fedgate_federation::object::{IstioFederationSpec, Named, is_annotation_of_fedgate};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::Value;

/// An `IstioFederation`, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FederationObject {
    /// The spec, or why it is invalid.
    pub spec: Result<Named<IstioFederationSpec>, Box<Finding>>,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Findings about fields that have no meaning here.
    pub(crate) unknown: Vec<Finding>,
    /// Its conditions.
    pub conditions: Vec<PeerCondition>,
    /// The fingerprint of the whole status.
    pub status: Fingerprint,
}

impl FederationObject {
    /// One of its conditions.
    pub(crate) fn condition(&self, kind: ConditionType) -> Option<Condition> {
        let found =
            self.conditions.iter().find(|condition| condition.kind == format!("{kind:?}"))?;
        let (reason, message) = (found.reason.clone(), found.message.clone());
        Some(Condition { kind, status: found.status, reason, message })
    }
}

/// Extracts what is needed from an object.
pub(crate) fn keep(object: DynamicObject) -> FederationObject {
    let status = object.data.get("status").cloned().unwrap_or(Value::Null);
    FederationObject {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        conditions: conditions(&status),
        status: fingerprint(&status),
        unknown: unknown(&object),
        spec: spec(&object),
    }
}

/// A changed status is not news for the compiler.
pub(crate) fn is_news(before: &FederationObject, after: &FederationObject) -> bool {
    // A field that the controller does not read increases the generation too, and the status has to
    // show the generation.
    let is_same =
        before.spec == after.spec && before.unknown == after.unknown && before.uid == after.uid;
    !is_same || before.generation != after.generation
}

fn spec(object: &DynamicObject) -> Result<Named<IstioFederationSpec>, Box<Finding>> {
    let name = object.name_any();
    // Other annotations may be large, and change for unrelated reasons.
    let ours = object.annotations().iter().filter(|(name, _)| is_annotation_of_fedgate(name));
    let annotations = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
    match IstioFederationSpec::of_object(&object.data) {
        Ok(spec) => Ok(Named { annotations, ..Named::new(name, spec) }),
        Err(error) => {
            let (object, field) = (ObjectRef::federation(name), error.field());
            Err(Box::new(Finding::error(
                FindingReason::InvalidObject,
                object,
                field,
                error.message,
            )))
        }
    }
}

fn unknown(object: &DynamicObject) -> Vec<Finding> {
    let finding = |error: FormError| {
        let (object, field) = (ObjectRef::federation(object.name_any()), error.field());
        Finding::warning(FindingReason::UnknownField, object, field, error.message)
    };
    IstioFederationSpec::unknown_fields(&object.data).into_iter().map(finding).collect()
}

/// The entries in the form of a condition; others are not ours.
pub(super) fn conditions(status: &Value) -> Vec<PeerCondition> {
    let listed = status.get("conditions").and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(|condition| PeerCondition::deserialize(condition).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::object::ACCEPT_DOCUMENT_ANNOTATION;
    use serde_json::json;

    fn object(value: Value) -> FederationObject {
        keep(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn an_invalid_spec_is_a_finding() {
        let broken =
            object(json!({ "metadata": { "name": "beta" }, "spec": { "trustDomain": 7 } }));
        let finding = broken.spec.unwrap_err();
        assert_eq!(
            (finding.reason, finding.object.name.as_str()),
            (FindingReason::InvalidObject, "beta")
        );
        assert!(object(json!({ "metadata": { "name": "beta" } })).spec.is_err());
        let spec = json!({ "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" });
        assert!(object(json!({ "metadata": { "name": "beta" }, "spec": spec })).spec.is_ok());
    }

    #[test]
    fn only_a_changed_spec_is_news() {
        let spec = json!({ "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" });
        let with = |spec: &Value, status: Value| {
            object(
                json!({ "metadata": { "name": "beta", "uid": "1" }, "spec": spec, "status": status }),
            )
        };
        let before = with(&spec, json!({}));
        let changed = with(
            &spec,
            json!({ "conditions": [{ "type": "Accepted", "status": "True", "reason": "Accepted" }] }),
        );
        assert!(before != changed && !is_news(&before, &changed));
        assert_eq!(changed.conditions.len(), 1);
        let annotated = |value: &str| {
            let metadata = json!({ "name": "beta", "uid": "1", "annotations": { ACCEPT_DOCUMENT_ANNOTATION: value } });
            object(json!({ "metadata": metadata, "spec": spec, "status": {} }))
        };
        assert!(is_news(&before, &annotated("0123456789abcdef")));
        assert_eq!(annotated("x").spec.unwrap().annotations[ACCEPT_DOCUMENT_ANNOTATION], "x");
        let mut unrelated =
            json!({ "metadata": { "name": "beta", "uid": "1" }, "spec": spec, "status": {} });
        unrelated["metadata"]["annotations"] = json!({ "example.com/touched": "today" });
        assert!(!is_news(&before, &object(unrelated)));
        let mut other = spec;
        other["trustDomain"] = "gamma.example".into();
        assert!(is_news(&before, &with(&other, json!({}))));
    }
}
