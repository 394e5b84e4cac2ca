//! `FederationPolicy`s. An invalid one denies; it is never ignored.

use fedgate_federation::Finding;
use fedgate_federation::object::PolicyObject;
use kube::ResourceExt;
use kube::api::DynamicObject;

/// A policy, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// Its content, as far as it is valid.
    pub(crate) policy: PolicyObject,
    /// Why it is invalid.
    pub(crate) finding: Option<Finding>,
}

/// Extracts what is needed from an object.
pub(crate) fn keep(object: DynamicObject) -> Policy {
    let (policy, finding) = PolicyObject::read_object(object.name_any(), None, &object.data);
    Policy { uid: object.uid().unwrap_or_default(), policy, finding }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::object::PolicyBody;
    use serde_json::{Value, json};

    #[test]
    fn an_unreadable_policy_allows_nothing() {
        let read = |spec: Value| {
            keep(
                serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec }))
                    .unwrap(),
            )
        };
        let Policy { policy, finding, .. } = read(json!({ "peers": "beta" }));
        assert!(matches!(policy.body, PolicyBody::Unreadable(_)) && finding.is_some());
        let Policy { policy, finding, .. } = read(json!({ "peers": ["beta"] }));
        assert!(matches!(policy.body, PolicyBody::Spec(_)) && finding.is_none());
    }

    #[test]
    fn a_policy_with_a_field_outside_the_spec_allows_nothing() {
        let object = json!({
            "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy", "metadata": { "name": "p" },
            "spec": { "peers": ["beta"] }, "callers": [{ "namespace": "shop" }],
        });
        let Policy { policy, finding, .. } = keep(serde_json::from_value(object).unwrap());
        assert!(matches!(policy.body, PolicyBody::Unreadable(_)) && finding.is_some());
    }
}
