//! `FederatedService`s, and the Services of this cluster that they name.

use super::federation::conditions;
use super::service;
use crate::api::fingerprint::{Fingerprint, fingerprint};
use crate::api::watch::Key;
use crate::crd::status::PeerCondition;
use fedgate_federation::object::{FederatedServiceObject, FederatedServiceSpec, ServiceObject};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeMap;

/// Selects the Services without the export label; those with it are watched as exports.
pub(crate) const NOT_EXPORTED: &str = "!federation.istio.deckhouse.io/public-service";

/// A `FederatedService`, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FederatedObject {
    /// The object, or why it is invalid.
    pub(crate) object: Result<FederatedServiceObject, Box<Finding>>,
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// Its conditions.
    pub(crate) conditions: Vec<PeerCondition>,
    /// The fingerprint of the whole status.
    pub(crate) status: Fingerprint,
}

/// Extracts what is needed from an object.
pub(crate) fn keep(object: DynamicObject) -> FederatedObject {
    let status = object.data.get("status").cloned().unwrap_or(Value::Null);
    FederatedObject {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        conditions: conditions(&status),
        status: fingerprint(&status),
        object: read(&object),
    }
}

/// A changed status is not news for the compiler.
pub(crate) fn is_news(before: &FederatedObject, after: &FederatedObject) -> bool {
    before.object != after.object
        || (before.generation, &before.uid) != (after.generation, &after.uid)
}

fn read(object: &DynamicObject) -> Result<FederatedServiceObject, Box<Finding>> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    match FederatedServiceSpec::of_object(&object.data) {
        Ok(spec) => Ok(FederatedServiceObject { namespace, name, source: None, spec }),
        Err(error) => Err(Box::new(Finding::error(
            FindingReason::InvalidObject,
            ObjectRef::federated_service(namespace, name),
            error.field(),
            error.message,
        ))),
    }
}

/// What a local member needs of a Service; `None` if the Service is malformed.
pub(crate) type Local = Option<ServiceObject>;

/// Extracts it.
pub(crate) fn keep_local(object: DynamicObject) -> Local {
    local(service::keep(object))
}

/// The same of a Service that is already read.
pub(crate) fn local(read: service::Read) -> Local {
    let service = read.service.ok()?;
    Some(ServiceObject {
        annotations: BTreeMap::new(),
        selector: BTreeMap::new(),
        labels: BTreeMap::new(),
        ..service
    })
}

/// The Services of this cluster that are members, by namespace and name.
pub(crate) fn named<'a>(
    objects: impl Iterator<Item = &'a FederatedObject>,
) -> impl Iterator<Item = Key> {
    objects.filter_map(|object| object.object.as_ref().ok()).flat_map(|object| {
        let local = object.spec.members.iter().filter(|member| member.local.is_some());
        local.map(|member| {
            let service = member.service.as_ref();
            let name = service.and_then(|service| service.name.as_ref());
            let namespace = service.and_then(|service| service.namespace.as_ref());
            Key {
                namespace: namespace.unwrap_or(&object.namespace).clone(),
                name: name.unwrap_or(&object.name).clone(),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(spec: Value, status: Value) -> FederatedObject {
        let metadata = json!({ "name": "web", "namespace": "shop", "uid": "1" });
        let object = json!({ "metadata": metadata, "spec": spec, "status": status });
        keep(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn an_invalid_object_is_a_finding_that_names_it() {
        let ports = json!([{ "name": "http", "port": 80 }]);
        let broken = object(json!({ "ports": ports, "members": [{ "lokal": {} }] }), Value::Null);
        let finding = broken.object.unwrap_err();
        assert_eq!(finding.object, ObjectRef::federated_service("shop", "web"));
        assert_eq!(finding.field.as_deref(), Some("spec.members[0].lokal"));
        let valid = object(json!({ "ports": ports, "members": [{ "local": {} }] }), Value::Null);
        assert!(valid.object.is_ok());
    }

    #[test]
    fn only_a_changed_spec_is_news() {
        let spec =
            json!({ "ports": [{ "name": "http", "port": 80 }], "members": [{ "local": {} }] });
        let before = object(spec.clone(), Value::Null);
        let after = object(spec.clone(), json!({ "host": "web.shop.global" }));
        assert!(before != after && !is_news(&before, &after));
        let spec = json!({ "ports": spec["ports"], "members": [{ "peers": ["beta"] }] });
        assert!(is_news(&before, &object(spec, Value::Null)));
    }

    #[test]
    fn local_members_name_services() {
        let spec = json!({
            "ports": [{ "name": "http", "port": 80 }],
            "members": [
                { "local": {} },
                { "local": {}, "service": { "name": "old", "namespace": "attic" } },
                { "peers": ["beta"], "service": { "name": "theirs" } },
            ],
        });
        let object = object(spec, Value::Null);
        let names: Vec<_> = named([&object].into_iter()).collect();
        let key =
            |namespace: &str, name: &str| Key { namespace: namespace.into(), name: name.into() };
        assert_eq!(names, [key("shop", "web"), key("attic", "old")]);
    }
}
