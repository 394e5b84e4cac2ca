//! `FederationPolicy`s. One that cannot be read closes; it does not vanish.

use fedgate_federation::Finding;
use fedgate_federation::object::PolicyObject;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

/// A policy, and what is wrong with it.
pub(crate) type Policy = (PolicyObject, Option<Finding>);

/// What is kept of an object.
pub(crate) fn keep(object: DynamicObject) -> Policy {
    PolicyObject::read(object.name_any(), None, object.data.get("spec").unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::object::PolicyBody;
    use serde_json::json;

    #[test]
    fn a_policy_that_cannot_be_read_is_kept_as_one_that_closes() {
        let read =
            |spec: Value| keep(serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap());
        let (policy, finding) = read(json!({ "peers": "beta" }));
        assert!(matches!(policy.body, PolicyBody::Unreadable(_)) && finding.is_some());
        let (policy, finding) = read(json!({ "peers": ["beta"] }));
        assert!(matches!(policy.body, PolicyBody::Spec(_)) && finding.is_none());
    }
}
